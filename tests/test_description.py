"""What a training leaves beside its parameters, and the export that reads it."""
import json
import os
import re

import mxnet as mx
import numpy as np
import pytest

import bmx
from bmx import deploy
from bmx.cli import main
from bmx.io.description import description_path, read_description, write_description
from helpers import own

KEYWORDS = dict(stem='thumbnail', layers=(1,), channels=(16,), classes=3)
PREPROCESS = {'size': [16, 16], 'crop_ratio': 0.8, 'mean': [0.1, 0.2, 0.3], 'std': [0.5, 0.5, 0.5]}


@pytest.fixture
def params(tmp_path):
    """Parameters of a network that its parameters alone do not tell: scaled, of a smaller clip threshold."""
    with bmx.nn.config(scaling='constant', clip_threshold=1.0):
        net = bmx.get_model('resnete18', **KEYWORDS)
    net.initialize(mx.init.Xavier())
    net(mx.nd.zeros((1, 3, 16, 16)))
    path = str(tmp_path / 'net-best.params')
    net.save_parameters(path)
    write_description(path, net, ['cat', 'dog', 'fish'], PREPROCESS)
    return path


def export(params, *more):
    prefix = params.replace('net-best.params', 'out')
    return main(['export', '--params', params, '--out', prefix] + list(more)), prefix


# What may be repeated, and what concerns the inputs and outputs only.
AGREEING = {
    'nothing': [],
    'everything': ['--model', 'ResNetE18', '--scaling', 'constant', '--clip-threshold', '1', '--bits', '1',
                   '--activation-bits', '1', '--stem', 'thumbnail', '--set', 'layers=(1,)', '--set', 'classes=3',
                   '--set', 'bits=1'],
    'other images': ['--input-size', '24', '--crop-ratio', '0.5', '--mean', '0', '0', '0', '--std', '1', '1', '1'],
}


@pytest.mark.parametrize('name', AGREEING)
def test_export_builds_what_was_trained(name, params, capsys):
    code, prefix = export(params, *AGREEING[name])
    assert code == 0, capsys.readouterr().err
    deployed, metadata = deploy.load(prefix)
    assert metadata.model == 'resnete18' and metadata.layer_defaults['scaling'] == 'constant'
    assert metadata.settings == json.loads(json.dumps(KEYWORDS)) and metadata.classes == ['cat', 'dog', 'fish']
    other = name == 'other images'
    assert metadata.input_shape == ([3, 24, 24] if other else [3, 16, 16])
    assert metadata.preprocess == (dict(size=[24, 24], crop_ratio=0.5, mean=[0, 0, 0], std=[1, 1, 1]) if other
                                   else PREPROCESS)
    x = mx.nd.array(np.random.RandomState(0).normal(size=(4, 3, 16, 16)))
    with bmx.nn.config(scaling='constant'):
        net = bmx.get_model('resnete18', **KEYWORDS)
    net.load_parameters(params)
    assert np.array_equal(deployed(x).asnumpy(), own(net, x))


CONTRADICTING = {
    'model': (['--model', 'resnete34'], 'model=resnete34 contradicts .* built with model=resnete18'),
    'keyword': (['--set', 'layers=(2,)'], r'layers=\[2\] contradicts .* built with layers=\[1\]'),
    'new keyword': (['--set', 'extras=False'], 'extras=False contradicts .*net-best.json.* built with the default'),
    'stem': (['--stem', 'imagenet'], 'stem=imagenet contradicts'),
    'scaling': (['--scaling', 'none'], 'scaling=none contradicts .* built with scaling=constant'),
    'bits': (['--bits', '32'], 'bits=32 contradicts .* built with bits=1'),
    'bits as a keyword': (['--set', 'bits=2'], 'bits=2 contradicts'),
    'activation bits': (['--activation-bits', '2'], 'activation_bits=2 contradicts .* built with activation_bits=1'),
}


@pytest.mark.parametrize('name', CONTRADICTING)
def test_contradictions_are_refused(name, params, capsys):
    more, message = CONTRADICTING[name]
    code, prefix = export(params, *more)
    error = capsys.readouterr().err
    assert code == 1 and not os.path.exists(prefix + '-symbol.json')
    assert re.search(message, error), error


def test_without_it_the_options_decide(params, tmp_path, capsys):
    (tmp_path / 'net-best.json').unlink()
    assert export(params)[0] == 1
    assert 'give --model' in capsys.readouterr().err
    keywords = [text for key, value in KEYWORDS.items() for text in ('--set', f'{key}={value}')]
    code, prefix = export(params, '--model', 'resnete18', *keywords)
    assert code == 0
    metadata = deploy.load(prefix)[1]
    assert metadata.layer_defaults['scaling'] == 'none' and metadata.input_shape == [3, 32, 32]


DAMAGE = {
    'truncated': lambda text: text[:len(text) // 2],
    'empty': lambda text: '',
    'binary': lambda text: '\0\1',
    'a list': lambda text: '[1]',
    'another file': lambda text: '{"name": 3}',
    'other settings': lambda text: text.replace('"settings": {', '"settings": 3, "x": {'),
    'model': lambda text: text.replace('"resnete18"', '[1]'),
    'unknown layer setting': lambda text: text.replace('"scaling"', '"scales"'),
    'bits': lambda text: text.replace('"bits": 1', '"bits": 9'),
    'clip threshold': lambda text: text.replace('"clip_threshold": 1.0', '"clip_threshold": "a"'),
    'size': lambda text: text.replace('"size"', '"sizes"'),
    'crop ratio': lambda text: text.replace('0.8', '[]'),
    'mean': lambda text: text.replace('0.2', '"a"'),
}


@pytest.mark.parametrize('name', DAMAGE)
def test_damaged(name, params, capsys):
    with open(description_path(params)) as stream:
        text = stream.read()
    assert DAMAGE[name](text) != text
    with open(description_path(params), 'w') as stream:
        stream.write(DAMAGE[name](text))
    with pytest.raises(bmx.LoadError, match='net-best.json is damaged'):
        read_description(params)
    assert export(params)[0] == 1
    assert 'net-best.json is damaged' in capsys.readouterr().err


DEEP = '[' * 100000 + ']' * 100000
# What a description can hold that no training wrote; tests/test_model_files.py has what deployed models share with it.
HOSTILE = {
    'nested': lambda text: DEEP,
    'nested settings': lambda text: text.replace('"settings": {', f'"settings": {{"a": {DEEP}, '),
    'not UTF-8': lambda text: text.encode().replace(b'cat', b'\xff\xfe'),
    'UTF-16': lambda text: text.encode('utf-16'),
    'class of a number': lambda text: text.replace('"cat"', '3'),
    'class of a list': lambda text: text.replace('"cat"', '["cat"]'),
    'mean NaN': lambda text: text.replace('0.2', 'NaN'),
    'mean infinite': lambda text: text.replace('0.2', '-Infinity'),
    'mean beyond float32': lambda text: text.replace('0.2', '1e300'),
    'std 0': lambda text: text.replace('0.5', '0', 1),
    'std NaN': lambda text: text.replace('0.5', 'NaN', 1),
    'size huge': lambda text: text.replace('16,', '1000000000,', 1),
    'size true': lambda text: text.replace('16,', 'true,', 1),
    'crop ratio huge': lambda text: text.replace('0.8', '1e308'),
    'crop ratio NaN': lambda text: text.replace('0.8', 'NaN'),
    'huge setting': lambda text: text.replace('"classes": 3', f'"classes": 1{"0" * 300}'),
    'infinite setting': lambda text: text.replace('"classes": 3', '"classes": 1e999'),
    'pretrained': lambda text: text.replace('"classes": 3', '"classes": 3, "pretrained": true'),
    'root': lambda text: text.replace('"classes": 3', '"classes": 3, "root": "/"'),
    'prefix': lambda text: text.replace('"classes": 3', '"classes": 3, "prefix": "a"'),
    'params': lambda text: text.replace('"classes": 3', '"classes": 3, "params": null'),
    'ctx': lambda text: text.replace('"classes": 3', '"classes": 3, "ctx": null'),
    'layer default of a list': lambda text: text.replace('"bits": 1', '"bits": [[1]]'),
    'clip threshold NaN': lambda text: text.replace('"clip_threshold": 1.0', '"clip_threshold": NaN'),
    'model of escape sequences': lambda text: text.replace('"resnete18"', r'"\u001b[2J"'),
}


@pytest.mark.parametrize('name', HOSTILE)
def test_hostile(name, params, capsys):
    with open(description_path(params)) as stream:
        text = stream.read()
    changed = HOSTILE[name](text)
    assert changed != text
    with open(description_path(params), 'wb') as stream:
        stream.write(changed if isinstance(changed, bytes) else changed.encode())
    with pytest.raises(bmx.LoadError, match='net-best.json is damaged') as caught:
        read_description(params)
    assert len(str(caught.value)) < 1000 and '\x1b' not in str(caught.value)
    assert export(params)[0] == 1
    assert re.match(r'bmx export: \S+net-best.json is damaged.*\n$', capsys.readouterr().err)


def test_an_infinite_clip_threshold_is_one(params):
    with open(description_path(params)) as stream:
        text = stream.read()
    with open(description_path(params), 'w') as stream:
        stream.write(text.replace('"clip_threshold": 1.0', '"clip_threshold": Infinity'))
    assert read_description(params).layer_defaults['clip_threshold'] == float('inf')
