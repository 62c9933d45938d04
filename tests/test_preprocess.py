"""Images: which are read, to which values, in which bounds; what is refused."""
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from bmx.io import preprocess
from bmx.io.images import EXTENSIONS, FORMATS, decode_image, read_image, to_rgb
from bmx.io.preprocess import find_images, load_inputs, prepare, resize_and_crop

VIEW = {'size': [16, 16], 'crop_ratio': 0.875, 'mean': [0.5] * 3, 'std': [0.25] * 3}
PHOTOGRAPHS = '/work/shared/data/imagenette/val'


def encoded(array, form, **kwargs):
    """A uint8 array, or an image, as the content of a file."""
    data = io.BytesIO()
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(data, form, **kwargs)
    return data.getvalue()


def noise(*shape):
    return np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)


def ramp():
    return np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))


def rgb(gray):
    return np.repeat(gray[..., None], 3, axis=-1)


# Values ---------------------------------------------------------------------------------------------------------------

def _palette(transparency=None):
    image = Image.fromarray(ramp() // 4, 'P')
    image.putpalette([value for index in range(64) for value in (index, 255 - index, 7)])
    return encoded(image, 'PNG', **({} if transparency is None else {'transparency': transparency}))


def _png(depth, kind, rows):
    """A PNG by hand, of what Pillow does not write: `rows` are bytes."""
    def chunk(name, content):
        return (len(content).to_bytes(4, 'big') + name + content + zlib.crc32(name + content).to_bytes(4, 'big'))
    width = len(rows[0]) * 8 // depth // {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    header = width.to_bytes(4, 'big') + len(rows).to_bytes(4, 'big') + bytes([depth, kind, 0, 0, 0])
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header)
            + chunk(b'IDAT', zlib.compress(b''.join(b'\0' + row for row in rows))) + chunk(b'IEND', b''))


def _wide(pixels, alpha=False):
    """Rows of 16-bit values whose lower byte is noise."""
    values = pixels.reshape(len(pixels), -1).astype('>u2') * 256 + noise(*pixels.reshape(len(pixels), -1).shape)
    return [row.astype('>u2').tobytes() for row in values]


PALETTE = np.stack([ramp() // 4, 255 - ramp() // 4, np.full_like(ramp(), 7)], axis=-1)
COLOURS = noise(48, 64, 3)
# Each: content of a file, the RGB values that it stands for.
MODES = {
    'gray': (encoded(ramp(), 'PNG'), rgb(ramp())),
    'gray, 16 bits': (encoded(ramp().astype(np.uint16) * 257, 'PNG'), rgb(ramp())),
    'gray, 16 bits, PGM': (b'P5 64 48 65535\n' + (ramp().astype('>u2') * 257).tobytes(), rgb(ramp())),
    'gray, 10 bits, PGM': (b'P5 64 48 1023\n' + np.full((48, 64), 1023, '>u2').tobytes(), rgb(ramp() * 0 + 255)),
    'gray, lower bytes': (_png(16, 0, _wide(ramp())), rgb(ramp())),
    'gray, 4 bits': (_png(4, 0, [bytes([0x0f, 0x7a])]), rgb(np.array([[0, 255, 119, 170]], np.uint8))),
    'gray and alpha': (encoded(np.stack([ramp(), 255 - ramp()], axis=-1), 'PNG'), rgb(ramp())),
    'gray and alpha, 16 bits': (_png(16, 4, _wide(np.stack([ramp(), 255 - ramp()], axis=-1))), rgb(ramp())),
    'gray, one transparent': (encoded(ramp(), 'PNG', transparency=8), rgb(ramp())),
    '1 bit': (encoded(Image.fromarray(ramp() >= 128), 'PNG'), rgb((ramp() >= 128) * np.uint8(255))),
    'palette': (_palette(), PALETTE),
    'palette, one transparent': (_palette(3), PALETTE),
    'palette and alpha': (_palette(bytes(range(64))), PALETTE),
    'colours': (encoded(COLOURS, 'PNG'), COLOURS),
    'colours, 16 bits': (_png(16, 2, _wide(COLOURS)), COLOURS),
    'colours and alpha': (encoded(np.dstack([COLOURS, ramp()]), 'PNG'), COLOURS),
    'colours and alpha, 16 bits': (_png(16, 6, _wide(np.dstack([COLOURS, ramp()]))), COLOURS),
    'PPM': (encoded(COLOURS, 'PPM'), COLOURS),
    'BMP': (encoded(COLOURS, 'BMP'), COLOURS),
    'WebP': (encoded(COLOURS, 'WEBP', lossless=True), COLOURS),
    'GIF': (encoded(ramp(), 'GIF'), rgb(ramp())),
    'GIF of two': (encoded(ramp(), 'GIF', save_all=True, append_images=[Image.fromarray(255 - ramp())]), rgb(ramp())),
    'CMYK': (encoded(Image.fromarray(np.full((48, 64, 4), (255, 0, 0, 0), np.uint8), 'CMYK'), 'JPEG', quality=100),
             np.full((48, 64, 3), (0, 255, 255), np.uint8)),
}


@pytest.mark.parametrize('name', MODES)
def test_values_by_mode(name, tmp_path):
    content, expected = MODES[name]
    path = tmp_path / 'image.png'
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        found = read_image(path)
    assert found.dtype == np.uint8 and found.shape == expected.shape
    np.testing.assert_allclose(found.astype(int), expected, atol=2 if name == 'CMYK' else 0)


@pytest.mark.parametrize('name', MODES)
def test_values_of_opened_images(name):
    """Those of the file; the image keeps what it knows."""
    with Image.open(io.BytesIO(MODES[name][0])) as image:
        image.load()
        before = dict(image.info)
        found = to_rgb(image)
        assert image.info == before
    np.testing.assert_array_equal(found, decode_image(io.BytesIO(MODES[name][0]), name))


@pytest.mark.parametrize('form, options', [('JPEG', dict(quality=100, subsampling=0)), ('PNG', {}),
                                           ('WEBP', dict(lossless=True))])
@pytest.mark.parametrize('orientation', range(10))
def test_turned_as_the_camera_notes(form, options, orientation):
    """As Pillow turns it: 1 to 8, other numbers say nothing; and not twice."""
    exif = Image.Exif()
    exif[0x10f], exif[0x112] = 'maker', orientation
    content = encoded(noise(5, 7, 3), form, exif=exif.tobytes(), **options)
    with Image.open(io.BytesIO(content)) as image:
        expected = ImageOps.exif_transpose(image)
        assert expected.size == ((5, 7) if 5 <= orientation <= 8 else (7, 5))
        found = decode_image(io.BytesIO(content), 'photograph')
        np.testing.assert_array_equal(found, np.asarray(expected.convert('RGB')))
        np.testing.assert_array_equal(to_rgb(expected), found)


_UPRIGHT = b'MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0'


@pytest.mark.parametrize('exif', [_UPRIGHT[:-size] for size in range(3, len(_UPRIGHT))] + [
    b'MM\0*\xff\xff\xff\xff', b'II*\0' + _UPRIGHT[4:], _UPRIGHT.replace(b'\0\3\0', b'\0\4\0'), b'', b'no EXIF', 'text'])
def test_damaged_exif_turns_nothing(exif):
    image = Image.fromarray(noise(5, 7, 3))
    image.info['exif'] = _UPRIGHT
    assert to_rgb(image).shape == (7, 5, 3)
    image.info['exif'] = exif
    assert to_rgb(image).shape == (5, 7, 3)


def test_floating_point_is_refused(tmp_path):
    """A portable float map has no range that could be known."""
    path = tmp_path / 'float.ppm'
    path.write_bytes(b'Pf\n4 3\n-1.0\n' + np.full((3, 4), 0.5, '<f4').tobytes())
    with pytest.raises(OSError, match='float.ppm cannot be decoded as an image: the image.s pixels are of the kind F,'):
        read_image(str(path))


@pytest.mark.parametrize('mean, std', [(preprocess.IMAGENET_MEAN, preprocess.IMAGENET_STD), ([0] * 3, [1] * 3),
                                       (0.3, 0.7), (np.float64([0.1, 0.2, 0.3]), np.float32([3, 0.2, 1e-3]))])
def test_normalise_is_the_formula_bit_for_bit(mean, std):
    image = noise(40, 30, 3)
    expected = ((image.astype(np.float32) / 255 - np.float32(mean)) / np.float32(std)).transpose(2, 0, 1)
    found = preprocess.normalise(image, mean, std)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32 and found.flags.c_contiguous


# What is refused ------------------------------------------------------------------------------------------------------

def huge(form):
    """A small image whose header promises 61504x61488 pixels (WebP: its utmost, 16383x16383)."""
    width, height = 61504, 61488
    if form == 'JPEG':
        content = bytearray(encoded(noise(48, 64, 3), form))
        at = content.find(b'\xff\xc0')
        content[at + 5:at + 9] = height.to_bytes(2, 'big') + width.to_bytes(2, 'big')
    elif form == 'PNG':
        content = bytearray(encoded(noise(48, 64, 3), form))
        content[16:24] = width.to_bytes(4, 'big') + height.to_bytes(4, 'big')
        content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, 'big')
    elif form == 'BMP':
        content = bytearray(encoded(noise(48, 64, 3), form))
        content[18:26] = width.to_bytes(4, 'little') + height.to_bytes(4, 'little')
    elif form == 'GIF':
        content = bytearray(encoded(ramp(), form))
        content[6:10] = width.to_bytes(2, 'little') + height.to_bytes(2, 'little')
    elif form == 'PPM':
        content = b'P6 %d %d 255\n' % (width, height) + bytes(1000)
    else:
        content = bytearray(encoded(noise(48, 64, 3), form, lossless=True))
        content[21:25] = (int.from_bytes(content[21:25], 'little') | (1 << 28) - 1).to_bytes(4, 'little')
    return bytes(content)


FOREIGN = {
    'EPS': b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n',
    'TIFF': encoded(noise(8, 8, 3), 'TIFF'),
    'TGA': encoded(noise(8, 8, 3), 'TGA'),
    'ICO': encoded(noise(16, 16, 3), 'ICO'),
    'text': b'no image\n',
    'a letter': b'P',
    'nothing': b'',
}


@pytest.mark.parametrize('name', FOREIGN)
def test_other_formats_are_not_tried(name, tmp_path):
    path = tmp_path / 'image.jpg'
    path.write_bytes(FOREIGN[name])
    with pytest.raises(OSError, match='image.jpg cannot be decoded as an image: it is none of JPEG, PNG'):
        read_image(str(path))


@pytest.mark.parametrize('form', FORMATS)
def test_a_bound_of_pixels(form, tmp_path, monkeypatch):
    """Whatever Pillow's own is; an error and no warning."""
    path = tmp_path / 'huge.jpg'
    path.write_bytes(huge(form))
    for limit in (Image.MAX_IMAGE_PIXELS, None):
        monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', limit)
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            with pytest.raises(OSError, match='huge.jpg cannot be decoded as an image: .* pixels'):
                read_image(str(path))


@pytest.mark.parametrize('lenient', [False, True])
@pytest.mark.parametrize('form', FORMATS)
def test_truncated_images_are_refused(form, lenient, tmp_path, monkeypatch):
    """Whatever the program told Pillow, which stays as it was."""
    monkeypatch.setattr(ImageFile, 'LOAD_TRUNCATED_IMAGES', lenient)
    path, content = tmp_path / 'cut.png', encoded(noise(60, 80, 3), form)
    for share in (0.02, 0.25, 0.5, 0.9):
        path.write_bytes(content[:int(share * len(content))])
        with pytest.raises(OSError, match='cut.png cannot be decoded as an image: .'):
            read_image(str(path))
        assert ImageFile.LOAD_TRUNCATED_IMAGES is lenient
    path.write_bytes(content)
    assert read_image(str(path)).shape == (60, 80, 3)


def test_threads_refuse_truncated_images(tmp_path, monkeypatch):
    """None of them switches Pillow back while another one reads."""
    monkeypatch.setattr(ImageFile, 'LOAD_TRUNCATED_IMAGES', True)
    content = encoded(noise(100, 100, 3), 'JPEG')
    for name, length in (('whole.jpg', None), ('cut.jpg', len(content) // 2)):
        (tmp_path / name).write_bytes(content[:length])
    outcomes = []

    def read(name):
        for _ in range(50):
            try:
                read_image(str(tmp_path / name))
                outcomes.append((name, 'read'))
            except OSError:
                outcomes.append((name, 'refused'))

    threads = [threading.Thread(target=read, args=(name,)) for name in ('whole.jpg', 'cut.jpg') * 2]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(outcomes) == 200 and set(outcomes) == {('whole.jpg', 'read'), ('cut.jpg', 'refused')}
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


_STATE = '''
import json, logging, os, random, signal, sys, warnings
import matplotlib, mxnet, numpy as np, PIL.Image, PIL.ImageFile, tqdm.contrib.logging
def state():
    return {'Pillow': [PIL.ImageFile.LOAD_TRUNCATED_IMAGES, PIL.Image.MAX_IMAGE_PIXELS],
            'warnings': [str(each) for each in warnings.filters],
            'logging': [str(logging.getLogger().handlers), logging.getLogger().level, logging.root.manager.disable],
            'random': [hash(random.getstate()), hash(np.random.get_state()[1].tobytes())],
            'signals': [str(signal.getsignal(each)) for each in sorted(signal.valid_signals())],
            'environment': {key: value for key, value in os.environ.items() if not key.startswith(('OMP_', 'KMP_'))},
            'numpy': [str(np.geterr()), str(np.get_printoptions())], 'recursion': sys.getrecursionlimit(),
            'matplotlib': str(matplotlib.rcParams), 'hooks': [str(sys.excepthook), str(sys.displayhook)],
            'directory': os.getcwd()}
before = state()
import importlib
import bmx, bmx.train, bmx.cli
for name in bmx.cli.COMMANDS:
    importlib.import_module('bmx.cli.' + name.replace('-', '_'))
after = state()
print(json.dumps({key: [before[key], after[key]] for key in before if before[key] != after[key]}))
'''


def test_importing_leaves_the_process_as_it_was():
    run = subprocess.run([sys.executable, '-W', 'ignore', '-c', _STATE], stdout=subprocess.PIPE, check=True)
    assert json.loads(run.stdout.decode().splitlines()[-1]) == {}


@pytest.mark.parametrize('name, message', [('none.jpg', 'no such image: .*none.jpg'), ('', 'is a folder, not an image'),
                                           ('pipe.jpg', 'no such image: .*pipe.jpg')])
def test_what_is_no_file(name, message, tmp_path):
    os.mkfifo(str(tmp_path / 'pipe.jpg'))
    with pytest.raises(OSError, match=message):
        read_image(tmp_path / name)


# Sizes ----------------------------------------------------------------------------------------------------------------

def _resize_whole(image, size, crop_ratio):
    """The definition: resize, then cut out the centre."""
    (height, width), rows, columns = size, *image.shape[:2]
    scale = max(-(-height // crop_ratio) / rows, -(-width // crop_ratio) / columns)
    target = (max(width, round(columns * scale)), max(height, round(rows * scale)))
    rows_first = Image.fromarray(image).resize((target[0], rows), Image.BILINEAR)
    resized = np.asarray(rows_first.resize(target, Image.BILINEAR))
    top, left = (target[1] - height) // 2, (target[0] - width) // 2
    return resized[top:top + height, left:left + width]


@pytest.mark.parametrize('size, ratio', [([224, 224], 0.875), ([32, 48], 1.0)])
@pytest.mark.skipif(not os.path.isdir(PHOTOGRAPHS), reason='needs photographs')
def test_photographs_are_resized_as_defined(size, ratio):
    for path in find_images(PHOTOGRAPHS)[::60]:
        image = read_image(path)
        np.testing.assert_array_equal(resize_and_crop(image, size, ratio), _resize_whole(image, size, ratio))


def test_resizing_does_not_depend_on_the_version_of_pillow():
    """Some resize columns before rows, which rounds otherwise; the sum is that of 10.4 and of 13.0."""
    found = [resize_and_crop(noise(*shape, 3), (8, 12), 0.875) for shape in [(84, 22), (173, 48), (30, 178), (9, 9)]]
    assert hashlib.sha256(np.stack(found).tobytes()).hexdigest()[:16] == '55b50503f5fd6147'


@pytest.mark.parametrize('shape', [(40, 60), (300, 7), (1, 90)])
@pytest.mark.parametrize('size, ratio', [([16, 16], 0.875), ([9, 20], 0.5)])
def test_only_the_centre_of_very_long_images_is_resized(shape, size, ratio, monkeypatch):
    """To what the whole image resized would have there, but for rounding."""
    image = noise(*shape, 3)
    expected = _resize_whole(image, size, ratio).astype(int)
    np.testing.assert_array_equal(resize_and_crop(image, size, ratio), expected)
    monkeypatch.setattr(preprocess, 'MAX_RESIZED_PIXELS', 0)
    assert np.abs(resize_and_crop(image, size, ratio) - expected).max() <= 1


_THIN = '''
import resource, numpy as np
from bmx.io.preprocess import resize_and_crop
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for shape in ((1, 65000, 3), (65000, 2, 3), (4, 3000, 3)):
    assert resize_and_crop(np.full(shape, 77, np.uint8), (224, 224), 0.875).tolist() == [[[77] * 3] * 224] * 224
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
'''


def test_thin_images_take_little_memory():
    """An image of 1x65000 pixels used to become one of 256x16640000."""
    run = subprocess.run([sys.executable, '-W', 'ignore', '-c', _THIN], stdout=subprocess.PIPE, check=True)
    assert int(run.stdout.decode().split()[-1]) < 400 << 10  # KiB


# Files and folders ----------------------------------------------------------------------------------------------------

def test_find_images(tmp_path):
    """Links to folders, loops among them, hidden files and folders, every extension in upper case, too."""
    folder, elsewhere = tmp_path / 'images [1]', tmp_path / 'elsewhere'
    for path in (folder / 'b', folder / '.ipynb_checkpoints', elsewhere / 'deep'):
        path.mkdir(parents=True)
    wanted = [folder / f'b/{index}{extension}' for index, extension in enumerate(EXTENSIONS)]
    wanted += [folder / 'UPPER.JPEG', folder / 'linked.png', elsewhere / 'deep/far.gif']
    for path in wanted + [folder / '._UPPER.jpg', folder / '.ipynb_checkpoints/1.jpg', folder / 'notes.txt']:
        path.write_bytes(b'')
    (folder / 'link').symlink_to(elsewhere)
    (folder / 'b/loop').symlink_to(folder)
    (elsewhere / 'deep/back').symlink_to(elsewhere)
    expected = sorted(str(path).replace(str(elsewhere), str(folder / 'link')) for path in wanted)
    assert find_images(folder) == find_images(str(folder)) == expected


def test_load_inputs(tmp_path):
    """A file that cannot be read is raised, or told and left out; paths are strings or `Path`s."""
    names = [f'{index}.png' for index in range(5)]
    for name in names:
        (tmp_path / name).write_bytes(encoded(noise(20, 30, 3), 'PNG'))
    (tmp_path / '3.png').write_bytes(b'no image')
    paths = [tmp_path / name for name in names]
    skipped = []
    batches = list(load_inputs(iter(paths), VIEW, batch_size=2, skipped=skipped.append))
    assert [batch.shape for batch in batches] == [(2, 3, 16, 16)] * 2
    np.testing.assert_array_equal(batches[0][0].asnumpy(), prepare(read_image(str(paths[0])), VIEW))
    assert len(skipped) == 1 and '3.png cannot be decoded' in str(skipped[0])
    with pytest.raises(OSError, match='3.png cannot be decoded'):
        list(load_inputs(paths, VIEW))
    for none in ([], [Path(tmp_path / '3.png')]):
        with pytest.raises(OSError, match='there is no image that can be read'):
            list(load_inputs(none, VIEW, skipped=skipped.append))


def test_a_preprocessing_of_numpy_values():
    view = {'size': np.array([16, 16]), 'crop_ratio': np.float64(0.875), 'mean': np.full(3, 0.5),
            'std': np.full(3, 0.25)}
    np.testing.assert_array_equal(prepare(noise(20, 30, 3), view), prepare(noise(20, 30, 3), VIEW))


@pytest.mark.parametrize('image', [noise(20, 30), noise(20, 30, 4), noise(20, 30, 3).astype(np.float32),
                                   noise(0, 30, 3)])
def test_what_is_no_image_array(image):
    with pytest.raises(ValueError, match=r'an image must be a uint8 array \(H, W, 3\), got a '):
        prepare(image, VIEW)
