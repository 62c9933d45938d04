"""The structure of networks as data, and its picture."""
import json
import os

import mxnet as mx
import pytest
from mxnet import gluon
from mxnet.gluon import nn

import bmx
from bmx import plot
from bmx.cli import main
from bmx.io.formats import PICTURES
from bmx.models import MODELS
from bmx.nn import STEMS, BinaryConv, make_stem
from bmx.plot.detail import _paths
from bmx.structure import structure
from helpers import check_picture

BRANCHED = ('groupnet18', 'groupnet34', 'ensemble_resnete18')  # networks whose blocks are not all in a row
SIZES = {'alexnet': 96, 'grouped': 64, 'imagenet': 64, 'mobilenet': 32, 'quicknet': 64, 'thumbnail': 16}


def expected_names(net):
    """The elements of `features`, and the output; stages of blocks, and what has no name, as their elements."""
    for element in list(net.features._children.values()) + [net.output]:
        inner = list(element._children.values())
        blocks = inner and (element.prefix == net.prefix or any(
            type(each).__module__.startswith('bmx.models') for each in inner))
        for each in inner if blocks else [element]:
            yield each.prefix[len(net.prefix):].rstrip('_')


@pytest.mark.parametrize('name, stem', [(name, 'thumbnail') for name in sorted(MODELS)]
                         + [('meliusnet22', 'grouped'), ('resnete18', 'imagenet')])
def test_models(name, stem):
    net, shape = bmx.get_model(name, stem=stem), (1, 3, SIZES[stem], SIZES[stem])
    blocks, counted = structure(net, shape)
    in_a_row = name not in BRANCHED
    if in_a_row and hasattr(net, 'features') and hasattr(net, 'output'):
        assert [block.name for block in blocks] == list(expected_names(net))
    assert len({block.name for block in blocks}) == len(blocks)
    assert blocks[0].input_shape == list(shape[1:])
    assert blocks[-1].output_shape == [10 if name == 'meliusnet13' else 1000]
    assert sum(block.bops for block in blocks) == counted.bops
    assert sum(block.flops for block in blocks) == counted.flops
    assert sum(block.size_bits for block in blocks) / 8 / 2 ** 20 == pytest.approx(counted.size_mib, rel=1e-9)
    for before, block in zip(blocks, blocks[1:]):
        if in_a_row:
            assert block.reads == [before.name] and block.input_shape == before.output_shape
        assert set(block.reads) <= {'data'} | {other.name for other in blocks} - {block.name}
    for block in blocks:
        assert sum(count for _, count in block.channels) == block.output_shape[0]
        assert set(block.bits) == {layer.bits for layer in block.layers if layer.bits}
        assert ('1/1' in block.bits) == (block.bops > 0)
        edges, column, lane = _paths(block.layers)
        assert len({(column[place], lane[place]) for place in range(len(block.layers))}) == len(block.layers)
        assert {edge[:2] for edge in edges} == {(source, place) for place, layer in enumerate(block.layers)
                                                for source in layer.inputs}
    check_picture(blocks, counted, shape)


@pytest.mark.parametrize('stem', STEMS)
def test_stems(stem):
    blocks, _ = structure(bmx.get_model('meliusnet_c', stem=stem), (1, 3, SIZES[stem], SIZES[stem]))
    assert blocks[0].role == 'module' and blocks[0].kind == STEMS[stem].__name__
    found = [layer.text for layer in blocks[0].layers if layer.bits]
    assert found == {'alexnet': ['conv 11\u00d711, stride 4'], 'mobilenet': ['conv 3\u00d73, stride 2'],
                     'grouped': ['conv 3\u00d73, stride 2', 'conv 3\u00d73, 4 groups', 'conv 3\u00d73, 8 groups'],
                     'imagenet': ['conv 7\u00d77, stride 2'], 'thumbnail': ['conv 3\u00d73'],
                     'quicknet': ['conv 3\u00d73, stride 2', 'depthwise conv 3\u00d73, stride 2',
                                  'conv 1\u00d71']}[stem]


def test_meliusnet59():
    blocks, _ = structure(bmx.get_model('meliusnet59'), (1, 3, 224, 224))
    stages = {}
    for block in blocks:
        if block.role == 'block':
            stages.setdefault(block.stage, []).append(block)
    assert [len(stage) for stage in stages.values()] == [12, 24, 48, 24]
    for channels, stage in zip((64, 192, 320, 544), stages.values()):
        for place, block in enumerate(stage):
            assert block.bits == ['1/1']
            if place % 2:
                assert (block.kind, block.channels) == ('ImprovementBlock', [('kept', channels), ('improved', 64)])
                channels += 64
            else:
                assert (block.kind, block.channels) == ('DenseBlock', [('kept', channels), ('new', 64)])
    transition = next(block for block in blocks if block.name == 'transition2')
    assert (transition.kind, transition.role, transition.bits) == ('transition', 'module', ['32/32'])
    assert (transition.input_shape, transition.output_shape) == ([960, 28, 28], [320, 14, 14])
    assert [layer.text for layer in transition.layers] == ['batch norm', 'max pool 2\u00d72', 'ReLU', 'conv 1\u00d71']
    assert len(plot._kinds(blocks)) == 2 and plot.panels._pattern(stages['stage3']) == [
        '24 \u00d7 (DenseBlock +', 'ImprovementBlock)']


def test_shortcuts():
    blocks = {block.name: block for block in structure(bmx.get_model('resnete18'), (1, 3, 224, 224))[0]}
    assert blocks['stage2_residualblock1'].channels == [('improved', 128)]
    first = blocks['stage2_residualblock0']
    assert first.channels == [('merged', 128)] and sorted(first.bits) == ['1/1', '32/32']
    assert first.bops == 128 * 64 * 9 * 28 * 28 and first.flops == 128 * 64 * 28 * 28
    edges, _, lane = _paths(first.layers)
    shortcut = [layer.text for place, layer in enumerate(first.layers) if lane[place] == 1]
    assert shortcut == ['avg pool 2\u00d72', 'conv 1\u00d71', 'batch norm']


class Twice(gluon.HybridBlock):
    """Calls a layer twice, computes by itself between blocks, wraps what it holds."""

    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.conv = nn.Conv2D(8, 3, padding=1, in_channels=8, use_bias=False)
            self.inner = nn.HybridSequential(prefix='inner_')
            with self.inner.name_scope():
                self.inner.add(Halves(), nn.BatchNorm())

    def hybrid_forward(self, F, x):
        y = self.conv(F.concat(x, x, dim=1))
        return self.inner(self.conv(F.relu(y)) + y)


class Halves(gluon.HybridBlock):
    """Improves one half and lets the other one be."""

    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.conv = nn.Conv2D(4, 1, in_channels=4)

    def hybrid_forward(self, F, x):
        first, second = F.split(x, num_outputs=2, axis=1)
        return F.concat(first, second + self.conv(F.slice_axis(x, axis=1, begin=0, end=4)), dim=1)


def tiny():
    """The example of README.md."""
    net = nn.HybridSequential()
    net.add(make_stem('thumbnail', 64),
            nn.BatchNorm(), BinaryConv(128, 3, padding=1, in_channels=64),
            nn.BatchNorm(), nn.Activation('relu'), nn.GlobalAvgPool2D(), nn.Dense(10))
    return net


# Network, shape of its input, what is expected: kind, whether it is in a stage, what came of the channels.
OWN = {
    'tiny': (tiny, (1, 3, 16, 16), [
        ('ThumbnailStem', False, [('new', 64)]), ('BatchNorm', False, [('new', 64)]),
        ('BinaryConv', False, [('new', 128)]), ('BatchNorm', False, [('new', 128)]),
        ('Activation', False, [('new', 128)]), ('GlobalAvgPool2D', False, [('new', 128)]),
        ('Dense', False, [('new', 10)])]),
    'one layer': (lambda: nn.Dense(4), (2, 7), [('Dense', False, [('new', 4)])]),
    'twice': (Twice, (1, 4, 6, 6), [
        ('concat', False, [('kept', 8)]), ('Conv2D', False, [('new', 8)]), ('ReLU', False, [('new', 8)]),
        ('+', False, [('improved', 8)]), ('Halves', True, [('kept', 4), ('improved', 4)]),
        ('BatchNorm', True, [('new', 8)])]),
    'blocks without names': (lambda: gluon.model_zoo.vision.resnet18_v1(), (1, 3, 64, 64), [
        (kind, False, [('new', 64)]) for kind in ('Conv2D', 'BatchNorm', 'Activation', 'MaxPool2D')]
        + [('BasicBlockV1', True, [('improved' if channels == 64 or place else 'merged', channels)])
           for channels in (64, 128, 256, 512) for place in (0, 1)]
        + [('GlobalAvgPool2D', False, [('new', 512)]), ('Dense', False, [('new', 1000)])]),
}


@pytest.mark.parametrize('name', OWN)
def test_own_networks(name):
    build, shape, expected = OWN[name]
    net = build()
    blocks, counted = structure(net, shape)
    assert [(block.kind, bool(block.stage), block.channels) for block in blocks] == expected
    assert len({block.name for block in blocks}) == len(blocks)
    assert 'bmx_block' not in net(mx.sym.var('data')).tojson()
    assert sum(block.flops for block in blocks) == counted.flops > 0
    check_picture(blocks, counted, shape)


BEGINNINGS = {'.png': b'\x89PNG', '.svg': b'<?xml', '.pdf': b'%PDF'}


@pytest.mark.parametrize('ending', PICTURES)
def test_files(ending, tmp_path, capsys):
    path = tmp_path / ('net' + ending.upper())
    assert main(['plot', 'resnete18', '--stem', 'thumbnail', '--out', str(path)]) == 0
    assert capsys.readouterr().out == f'{path}\n'
    assert path.read_bytes().startswith(BEGINNINGS[ending]) and os.listdir(str(tmp_path)) == [path.name]


def test_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(['plot', 'MeliusNet22', '--set', 'blocks=(1,1)', '--set', 'reductions=(0.5,)', '--bits', '4']) == 0
    assert capsys.readouterr().out == 'meliusnet22.png\n' and os.listdir('.') == ['meliusnet22.png']
    os.remove('meliusnet22.png')
    assert main(['plot', 'meliusnet22', '--json', '--input-size', '64']) == 0
    found = json.loads(capsys.readouterr().out)
    blocks, _ = structure(bmx.get_model('meliusnet22'), (1, 3, 64, 64))
    assert found == json.loads(json.dumps([block.to_dict() for block in blocks])) and not os.listdir('.')


@pytest.mark.parametrize('out, message', [
    ('net.jpg', 'ends in .png, .svg, .pdf'), ('net', 'ends in'), ('.', 'is a folder'),
    ('none/net.png', 'folder of none/net.png does not exist')])
def test_refusals(out, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(['plot', 'meliusnet22', '--out', out]) == 1
    error = capsys.readouterr().err
    assert error.startswith('bmx plot: ') and message in error and error.count('\n') == 1 and not os.listdir('.')


def test_a_block_of_several_bits():
    with bmx.nn.config(bits=4):
        net = bmx.get_model('resnete18', stem='thumbnail')
    blocks, counted = structure(net, (1, 3, 32, 32))
    assert blocks[2].bits == ['4/4'] and blocks[2].size_bits == 64 * 64 * 9 * 4 + 32 * 2 * 64
    assert sum(block.flops for block in blocks) == counted.flops
    check_picture(blocks, counted, (1, 3, 32, 32))
