"""RecordIO files, and texts beside data and models, damaged and hostile."""
import io
import json
import os
import struct

import numpy as np
from PIL import Image

from . import commands
from .driver import CLEAN, RIGHT

ABOUT = 'RecordIO files, indices, lists; class names and descriptions of parameters: damaged and hostile'
QUICK = 40
SECONDS, MEMORY = 60, 4 << 30

_MODEL = dict(stem='thumbnail', classes=3, blocks=(1, 1), reductions=(0.5,))
_TEXTS = ['', '\n' * 1000, 'what is this', '\0' * 100, '\ufeff', '-1', '9' * 5000, 'nan', 'inf', '1e999', '[' * 100000,
          '{}', 'null', '\x1b]0;title\x07', '\u202e\n\u2028\x85\x0c', '0\t0\n' * 100000, 'a\tb\tc\n', '0\t-4\n',
          '0\t99999999\n', '0 \u0661\n', '{"model": 1}', '"' + 'x' * 100000 + '"', '1\t1_0\n', '\r\r\r',
          '0\t18446744073709551616\n']
_LABELS = [float('nan'), float('inf'), -1., 0.5, 1e9, -0., 3e38, 16777217., 2.]
# Into what a name of a setting in a description is changed, and into what its value.
_VALUES = [None, True, -1, 0, 1e308, float('nan'), float('inf'), '', 'x' * 10000, '\x1b[31m', [], [[]], {}, {'a': {}},
           1 << 70, [1] * 10000, [0.5], ['a', None], -0.5, 'pretrained']


def _record(label, image, kind=0, flag=0, more=b''):
    content = struct.pack('<IfQQ', flag, label, 0, 0) + more + image
    return struct.pack('<II', 0xced7230a, kind << 29 | len(content)) + content + b'\0' * (-len(content) % 4)


def prepare(folder):
    """A RecordIO file with its index and list; parameters with their description and class names."""
    state = {'folder': folder}
    records, offsets = b'', []
    for index in range(6):
        image = io.BytesIO()
        Image.fromarray(np.random.RandomState(index).randint(0, 256, (20, 20, 3)).astype(np.uint8)).save(image, 'JPEG')
        offsets.append(len(records))
        records += _record(index % 3, image.getvalue())
    state['offsets'] = offsets
    state['files'] = {
        'data.rec': records,
        'data.idx': ''.join(f'{index}\t{offset}\n' for index, offset in enumerate(offsets)).encode(),
        'data.lst': ''.join(f'{index}\t{index % 3}\t{("cat", "dog", "owl")[index % 3]}/{index}.jpg\n'
                            for index in range(6)).encode(),
        'names.txt': b'cat\ndog\nowl\n'}
    prefix, params = commands.exported_model(folder, _MODEL)
    state['prefix'] = prefix
    from bmx.deploy import load
    _, metadata = load(prefix)
    state['files']['net.json'] = json.dumps(dict(
        model='meliusnet22', settings=_MODEL, layer_defaults=metadata.layer_defaults, classes=['cat', 'dog', 'owl'],
        preprocess=metadata.preprocess), default=list).encode()
    with open(params, 'rb') as content:
        state['files']['net.params'] = content.read()
    return state


def _spoilt_record(content, state, random):
    """One record in the place of another."""
    at, end = state['offsets'][2:4]
    label, image = _LABELS[random.randint(len(_LABELS))], content[at + 32:end]
    record = [lambda: _record(label, image), lambda: _record(0., image, flag=1, more=struct.pack('<f', label)),
              lambda: _record(0., image, flag=int(random.randint(2, 1 << 31))),
              lambda: _record(1., image, kind=int(random.randint(1, 8))), lambda: _record(1., b''),
              lambda: _record(1., commands.mutant(image, random)), lambda: commands.mutant(content[at:end], random),
              lambda: _record(1., b'%!PS-Adobe-3.0 EPSF-3.0\n')][random.randint(8)]()
    # The record keeps its place in the file, so that those behind it are where the index says.
    return content[:at] + record[:end - at].ljust(end - at, b'\0') + content[end:]


def _spoilt_json(content, random):
    """A description in which one value, somewhere, is another."""
    tree = json.loads(content.decode())
    place, value = tree, _VALUES[random.randint(len(_VALUES))]
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = keys[random.randint(len(keys))]
        if not isinstance(place[key], (dict, list)) or not place[key] or random.rand() < 0.3:
            break
        place = place[key]
    if isinstance(place, dict) and random.rand() < 0.2:
        place[('pretrained', 'root', '\x1b[31m', 'x' * 1000)[random.randint(4)]] = place.pop(key)
    else:
        place[key] = value
    return json.dumps(tree).encode()


def attempt(state, random, folder):
    """Spoil one of the files, then train on the records, or export the parameters."""
    files = dict(state['files'])
    name = ('data.rec', 'data.rec', 'data.rec', 'data.idx', 'data.lst', 'names.txt', 'net.json', 'net.json')[
        random.randint(8)]
    if name == 'data.rec' and random.rand() < 0.5:
        files[name] = _spoilt_record(files[name], state, random)
    elif name == 'net.json' and random.rand() < 0.7:
        files[name] = _spoilt_json(files[name], random)
    elif name != 'data.rec' and random.rand() < 0.4:
        files[name] = _TEXTS[random.randint(len(_TEXTS))].encode(('utf-8', 'utf-16')[random.randint(2)])
    else:
        files[name] = commands.mutant(files[name], random)
    for each, content in files.items():
        with open(os.path.join(folder, each), 'wb') as out:
            out.write(content)
    if name.startswith('data'):
        return _train(folder, name)
    return _export(folder)


def _train(folder, name):
    path = os.path.join(folder, 'data')
    found = commands.train('--use-rec', '--rec-train', path + '.rec', '--rec-train-idx', path + '.idx',
                           '--rec-val', path + '.rec', '--rec-val-idx', path + '.idx')
    assert name != 'data.lst' or found.code == 0, found  # it gives names alone
    return RIGHT if found.code == 0 and 'skipped' not in found.out and 'does not tell' not in found.out else CLEAN


def _export(folder):
    prefix = os.path.join(folder, 'out')
    found = commands.bmx('export', '--params', os.path.join(folder, 'net.params'), '--out', prefix, '--class-names',
                         os.path.join(folder, 'names.txt'))
    if found.code:
        assert not os.path.exists(prefix + '-symbol.json'), found
        return CLEAN
    Image.new('RGB', (20, 20)).save(os.path.join(folder, 'a.png'))
    found = commands.bmx('predict', prefix, os.path.join(folder, 'a.png'))
    return RIGHT if found.code == 0 else CLEAN
