"""Mutants of the files of deployed models; see ABOUT."""
import copy
import hashlib
import json
import os
import re
import tempfile

import mxnet as mx
import numpy as np
from mxnet.gluon import nn

import bmx
from bmx import deploy
from bmx.deploy import files

from . import driver

ABOUT = ('mutants of symbol, program and parameters of deployed models: an error of loading or MXNet\'s, or the same '
         'answer; of files without a digest of the symbol, or signed anew, no crash')
QUICK = 25
SECONDS, MEMORY = 60, 4 << 30

DATA = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'data')
# What numbers become.
EXTREMES = ('0', '-1', '1', '2', '7', '8', '63', '255', '32768', '65536', '2147483647', '2147483648', '4294967296',
            '9223372036854775807', '-9223372036854775808', '1e308', '-1e-320', 'nan', 'inf', '0.5', '', '[]', 'null',
            'x')


class _Residual(mx.gluon.HybridBlock):
    def __init__(self, **kwargs):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm(), bmx.nn.BinaryConv(8, 3, padding=1, **kwargs)

    def hybrid_forward(self, F, x):
        return x + self.conv(self.norm(x))


def _sequential(*blocks):
    net = nn.HybridSequential()
    net.add(*blocks)
    return net


def networks():
    """Small networks that have between them all that programs hold, and the shape of an input."""
    stem = [nn.Conv2D(8, 3, padding=1, use_bias=False), bmx.nn.PlainLayout()]
    return {
        'meliusnet': (bmx.get_model('meliusnet22', blocks=(1, 1), reductions=(0.5,), growth=8, stem='thumbnail',
                                    classes=3), (3, 8, 8)),
        'resnet of average pooling': (_sequential(*stem, _Residual(), nn.AvgPool2D(2, ceil_mode=True,
                                                                                  count_include_pad=False),
                                                  _Residual(), nn.GlobalAvgPool2D(), nn.Dense(3)), (3, 9, 9)),
        'groups': (_sequential(*stem, _Residual(groups=2), bmx.nn.ChannelShuffle(2), bmx.nn.PReLU(),
                               _Residual(groups=8), nn.MaxPool2D(2), nn.Dense(3)), (3, 8, 8)),
        'binarizations': (_sequential(nn.BatchNorm(), bmx.nn.BinaryConv(8, 3, binarizations=2, scaling='constant'),
                                      bmx.nn.QActivation(binarizations=2), bmx.nn.QDense(3, binarizations=2)),
                          (3, 8, 8)),
        'rows': (_sequential(bmx.nn.QActivation(), bmx.nn.QDense(8, flatten=False), nn.BatchNorm(axis=2),
                             bmx.nn.QActivation(), bmx.nn.QDense(3)), (4, 12)),
    }


class _Model:
    """The contents of both files, an input and what is answered."""

    def __init__(self, prefix):
        self.files = {path: _read(path(prefix)) for path in (files.symbol_path, files.params_path)}
        net, self.metadata = deploy.load(prefix)
        self.input = mx.nd.array(np.random.RandomState(5).normal(size=[2] + self.metadata.input_shape))
        self.answer = net(self.input).asnumpy()


def prepare(folder):
    models = []
    for name, (net, shape) in networks().items():
        mx.random.seed(0)
        net.initialize(mx.init.Normal(1))
        bmx.export(net, os.path.join(folder, name), (1,) + shape)
        models.append(_Model(os.path.join(folder, name)))
    models += [_Model(os.path.join(DATA, f'format-{version}')) for version in (1, 2, 3)]
    for model in models:
        model.input.wait_to_read()
    return models


def attempt(state, random, folder):
    model = state[random.randint(len(state))]
    changed = dict(model.files)
    for _ in range(random.choice([1, 1, 1, 2, 5])):
        path = files.params_path if random.rand() < 0.15 else files.symbol_path
        changed[path] = _mutate(changed[path], random, path is files.symbol_path)
    signed = random.rand() < 0.5
    if signed:
        changed = _sign(changed)
    prefix = os.path.join(folder, 'net')
    for path, content in changed.items():
        with open(path(prefix), 'wb') as stream:
            stream.write(content)
    try:
        net, _ = deploy.load(prefix)
        found = net(model.input)
        found = [each.asnumpy() for each in (found if isinstance(found, list) else [found])]
    except (bmx.LoadError, mx.MXNetError):
        return driver.CLEAN
    covered = model.metadata.symbol_sha256 is not None and not signed
    if covered or changed == model.files:
        np.testing.assert_array_equal(found, [model.answer])
    return driver.RIGHT


def _read(path):
    with open(path, 'rb') as stream:
        return stream.read()


def _sign(changed):
    """The same with the digests that its contents have, as far as there are any."""
    symbol, params = changed[files.symbol_path], changed[files.params_path]
    for name, content in ((b'params_sha256', params), (b'symbol_sha256', None)):
        place = re.search(name + rb'\\": \\"([0-9a-f]{64})\\"', symbol)
        if place:
            begin, end = place.span(1)
            zeroed = symbol[:begin] + b'0' * 64 + symbol[end:]
            digest = hashlib.sha256(zeroed if content is None else content).hexdigest().encode()
            symbol = symbol[:begin] + digest + symbol[end:]
    return {files.symbol_path: symbol, files.params_path: params}


# Mutations: functions of bytes and a RandomState, which may fail on what is no text or JSON any more.

def _mutate(content, random, is_symbol):
    if not content:
        return bytes([random.randint(256)])
    kinds = _OF_BYTES + (_OF_SYMBOLS * 2 if is_symbol else (_arrays,) * 3)
    try:
        return kinds[random.randint(len(kinds))](content, random)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, StopIteration, mx.MXNetError):
        return _flip(content, random)


def _flip(content, random):
    position = random.randint(len(content))
    return content[:position] + bytes([content[position] ^ 1 << random.randint(8)]) + content[position + 1:]


def _truncate(content, random):
    return content[:random.randint(len(content))]


def _repeat(content, random):
    begin, length = random.randint(len(content)), random.randint(1, 200)
    return content[:begin + length] + content[begin:]


def _cut(content, random):
    begin = random.randint(len(content))
    return content[:begin] + content[begin + random.randint(1, 200):]


def _number(content, random):
    return _replace_one(rb'-?\d+', content, random, lambda old: _other_number(old, random))


def _other_number(old, random):
    if random.rand() < 0.5:
        return EXTREMES[random.randint(len(EXTREMES))].encode()
    return b'%d' % (int(old) + random.randint(-2, 3))


def _replace_one(pattern, content, random, change):
    places = list(re.finditer(pattern, content))
    begin, end = places[random.randint(len(places))].span()
    return content[:begin] + change(content[begin:end]) + content[end:]


def _swap_tokens(content, random):
    tokens = re.split(rb'(\W)', content)
    one, other = random.randint(len(tokens), size=2)
    tokens[one], tokens[other] = tokens[other], tokens[one]
    return b''.join(tokens)


def _program(content, random):
    """A change of a word, a field or an instruction of a program."""
    def change(text):
        separator = [b'; ', b' ', b',', b'|'][random.randint(4)]
        parts = text.split(separator)
        index, kind = random.randint(len(parts)), random.randint(5)
        if kind == 0:
            del parts[index]
        elif kind == 1:
            parts.insert(random.randint(len(parts) + 1), parts[index])
        elif kind == 2:
            other = random.randint(len(parts))
            parts[index], parts[other] = parts[other], parts[index]
        elif kind == 3:
            parts[index] = _number(parts[index], random)
        else:
            words = [b'relu', b'prelu:p0', b'plus:x0[0:8]', b'norm:p1', b'pool=avg', b'full=1', b'shuffle=2',
                     b's0:int16', b's0:planar', b'y0', b'x1[0:8]', b's9[0:8]', b'groups=3', b'binarizations=8',
                     b'kernel=0,0']
            parts[index] = words[random.randint(len(words))]
        return separator.join(parts)
    return _replace_one(rb'(?<="program": ")[^"]*', content, random, change)


def _structure(content, random):
    """A key or an element of the JSON of a symbol, of any depth, taken out, repeated or replaced."""
    graph = json.loads(content.decode())
    places = []

    def walk(value):
        for key in (value if isinstance(value, dict) else range(len(value))):
            places.append((value, key))
            if isinstance(value[key], (dict, list)):
                walk(value[key])
    walk(graph)
    holder, key = places[random.randint(len(places))]
    other_holder, other_key = places[random.randint(len(places))]
    kind = random.randint(4)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    elif kind == 2:
        holder[key] = copy.deepcopy(other_holder[other_key])
    else:
        values = [None, 0, -1, 2 ** 31, 2 ** 63, 1e308, True, '', 'x' * 1000, '\x00', [], {}, [[]], float('nan')]
        holder[key] = values[random.randint(len(values))]
    return json.dumps(graph, indent=1).encode()


def _metadata(content, random):
    """A change of what the file says of itself."""
    graph = json.loads(content.decode())
    attrs = next(node['attrs'] for node in graph['nodes'] if '__bmx__' in node.get('attrs', {}))
    kinds = (_structure, _number, _flip, _cut)
    attrs['__bmx__'] = kinds[random.randint(len(kinds))](attrs['__bmx__'].encode(), random).decode(errors='replace')
    return json.dumps(graph, indent=1).encode()


def _attribute(content, random):
    """An attribute of an operator becomes another number or another operator's attribute."""
    return _replace_one(rb'(?<=": ")[^"]*', content, random, lambda old: _number(old, random))


def _edge(content, random):
    """What a node reads, or the graph gives, becomes another output of another node."""
    return _replace_one(rb'\[\s*\d+,\s*\d+,\s*\d+\s*\]', content, random, lambda old: _number(old, random))


def _arrays(content, random):
    """Parameters of other shapes, types or names, saved anew."""
    arrays = mx.nd.load_frombuffer(content)
    name = sorted(arrays)[random.randint(len(arrays))]
    value, kind = arrays[name].asnumpy(), random.randint(6)
    if kind == 0:
        del arrays[name]
    elif kind == 1:
        arrays[name + 'x'] = arrays.pop(name)
    elif kind == 2:
        arrays[name] = mx.nd.array(value, dtype=['float32', 'uint8', 'int8', 'float16', 'float64'][random.randint(5)])
    elif kind == 3:
        arrays[name] = mx.nd.array(value.reshape(-1), dtype=value.dtype)
    elif kind == 4:
        arrays[name] = mx.nd.array(value[:random.randint(len(value))] if len(value) > 1 else [], dtype=value.dtype)
    else:
        spoiled = value.astype('float32')
        spoiled.flat[random.randint(spoiled.size)] = [np.nan, np.inf, -np.inf, 3e38][random.randint(4)]
        arrays[name] = mx.nd.array(spoiled, dtype='float32')
    with tempfile.NamedTemporaryFile() as file:
        mx.nd.save(file.name, arrays)
        return _read(file.name)


_OF_BYTES = (_flip, _truncate, _repeat, _cut)
_OF_SYMBOLS = (_number, _swap_tokens, _program, _program, _structure, _metadata, _attribute, _edge)
