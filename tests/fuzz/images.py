"""Images, damaged and hostile ones, through `predict`, `verify`, and a training's first step."""
import io
import json
import os
import zlib

import numpy as np
from PIL import Image

from . import commands
from .driver import CLEAN, RIGHT

ABOUT = 'image files, damaged and hostile, through predict, verify --data-dir and train --dry-run'
QUICK = 40
SECONDS, MEMORY = 60, 4 << 30

_MODEL = dict(stem='thumbnail', classes=3, blocks=(1, 1), reductions=(0.5,))
_FORMATS = {'a.jpg': ('JPEG', {}), 'progressive.jpg': ('JPEG', {'progressive': True}), 'a.png': ('PNG', {}),
            'a.bmp': ('BMP', {}), 'a.gif': ('GIF', {}), 'a.ppm': ('PPM', {}), 'a.webp': ('WEBP', {}),
            'lossless.webp': ('WEBP', {'lossless': True})}


def _chunk(name, content):
    return len(content).to_bytes(4, 'big') + name + content + zlib.crc32(name + content).to_bytes(4, 'big')


def _png(width, height, data, extra=b''):
    header = width.to_bytes(4, 'big') + height.to_bytes(4, 'big') + bytes([8, 2, 0, 0, 0])
    return b'\x89PNG\r\n\x1a\n' + _chunk(b'IHDR', header) + extra + _chunk(b'IDAT', data) + _chunk(b'IEND', b'')


def _thin(width, height):
    data = io.BytesIO()
    Image.new('RGB', (width, height), (1, 2, 3)).save(data, 'JPEG')
    return data.getvalue()


def _foreign(form):
    data = io.BytesIO()
    Image.new('RGB', (20, 20)).save(data, form)
    return data.getvalue()


# By hand; each as the name of a file and its content.
HOSTILE = [
    ('nothing.jpg', b''), ('zeros.jpg', bytes(5000)), ('a letter.ppm', b'P'), ('text.png', b'no image\n' * 100),
    ('eps.jpg', b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n'),
    ('huge.png', _png(60000, 60000, zlib.compress(bytes(1000)))),
    ('bomb.png', _png(11000, 11000, zlib.compress(bytes(11000 * 33001), 9))),
    ('beyond.png', _png(2 ** 31 - 1, 2 ** 31 - 1, b'')), ('no size.png', _png(0, 0, b'')),
    ('text bomb.png', _png(1, 1, zlib.compress(bytes(4)), _chunk(b'zTXt', b'a\0\0' + zlib.compress(bytes(1 << 26))))),
    ('profile bomb.png', _png(1, 1, zlib.compress(bytes(4)),
                              _chunk(b'iCCP', b'a\0\0' + zlib.compress(bytes(1 << 26))))),
    ('thin.jpg', _thin(1, 65000)), ('flat.jpg', _thin(65000, 2)), ('point.jpg', _thin(1, 1)),
    ('huge.ppm', b'P6 99999 99999 255\n'), ('endless number.ppm', b'P6 ' + b'9' * 100000 + b' 1 255\n'),
    ('negative.ppm', b'P6 -5 -5 255\n' + bytes(75)), ('float.ppm', b'Pf\n4 3\n-1.0\n' + bytes(48)),
    ('plain.ppm', b'P3 2 2 255\n' + b'300 ' * 12), ('no maximum.ppm', b'P5 2 2 0\n' + bytes(4)),
    ('huge.bmp', b'BM' + bytes(8) + (54).to_bytes(4, 'little') + (40).to_bytes(4, 'little')
     + (1 << 30).to_bytes(4, 'little') * 2 + b'\1\0\x18\0' + bytes(24)),
    ('huge.gif', b'GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\2\x4c\1\0;'),
    ('empty.webp', b'RIFF\4\0\0\0WEBP'),
    ('vp8x.webp', b'RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0' + b'\xff' * 6 + bytes(8)),
] + [(f'{form}.jpg', _foreign(form)) for form in ('TIFF', 'TGA', 'ICO', 'PCX', 'SGI', 'PDF', 'JPEG2000')]


def prepare(folder):
    """An exported network, and good images of every format with the answers to them."""
    images = os.path.join(folder, 'images')
    os.makedirs(images)
    pixels = np.random.RandomState(0).randint(0, 256, (30, 40, 3)).astype(np.uint8)
    for name, (form, options) in _FORMATS.items():
        Image.fromarray(pixels).save(os.path.join(images, name), form, **options)
    prefix, params = commands.exported_model(folder, _MODEL)
    good = {name: open(os.path.join(images, name), 'rb').read() for name in _FORMATS}
    found = commands.bmx('predict', prefix, '--json', *(os.path.join(images, name) for name in good))
    return {'prefix': prefix, 'params': params, 'good': good,
            'answers': {name: row['top'] for name, row in zip(good, json.loads(found.out))}}


def attempt(state, random, folder):
    """Of three images in a folder one or more are bad; the others get the answers that they always get."""
    names = random.permutation(list(state['good']))[:3]
    files = {str(name): state['good'][name] for name in names}
    untouched = list(files)
    if random.rand() < 0.3:
        name, content = HOSTILE[random.randint(len(HOSTILE))]
        files[name] = content
    else:
        name = untouched.pop()
        files[name] = commands.mutant(files[name], random)
    images = os.path.join(folder, 'images')
    os.makedirs(images)
    for each, content in files.items():
        with open(os.path.join(images, each), 'wb') as out:
            out.write(content)
    use = ('predict', 'predict', 'verify', 'train')[random.randint(4)]
    if use == 'predict':
        found = commands.bmx('predict', state['prefix'], '--json', *(os.path.join(images, each) for each in files),
                             lines=2)
        rows = {os.path.basename(row['image']): row['top'] for row in json.loads(found.out)}
        assert all(rows[each] == state['answers'][each] for each in untouched), 'other answers'
        assert (name in rows) == (found.code == 0), found
        return RIGHT if name in rows else CLEAN
    if use == 'verify':
        found = commands.bmx('verify', state['prefix'], '--params', state['params'], '--data-dir', images, lines=2)
        assert found.code == 0, found
    else:
        for part in ('train', 'val'):
            for label in ('cat', 'dog'):
                os.makedirs(os.path.join(folder, 'data', part, label))
                for each in files:
                    os.link(os.path.join(images, each), os.path.join(folder, 'data', part, label, each))
        found = commands.train('--data-dir', os.path.join(folder, 'data'))
        assert found.code == 0, found
    return CLEAN if 'skipped' in found.out + found.error else RIGHT
