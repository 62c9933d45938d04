"""The structure of networks from files, read from the instructions of their programs."""
import os

import mxnet as mx
import pytest
from mxnet import gluon

import bmx
from bmx.graph import Graph
from bmx.ops.program import parse
from bmx.structure import structure
from bmx.structure.texts import instruction_text
from helpers import check_picture

# Settings and height of an image.
MODELS = {'meliusnet22': ({'stem': 'thumbnail', 'blocks': (2, 1), 'reductions': (0.5,)}, 16),
          'resnete18': ({'stem': 'thumbnail'}, 16),
          'mobinet_mid': ({'k': 1}, 64),
          'nin_binary': ({}, 96)}


@pytest.fixture(scope='module')
def deployed(tmp_path_factory):
    """From a name of `MODELS` to the float network, the shape of its input, and the prefix of its files."""
    found = {}

    def get(name, exact=False):
        if (name, exact) not in found:
            settings, size = MODELS[name]
            mx.random.seed(0)
            net, shape = bmx.get_model(name, classes=10, **settings), (1, 3, size, size)
            net.initialize(mx.init.Xavier())
            prefix = str(tmp_path_factory.mktemp('deployed') / name)
            bmx.export(net, prefix, shape, exact=exact)
            found[name, exact] = net, shape, prefix
        return found[name, exact]
    return get


def instructions(prefix):
    nodes = Graph.from_symbol(mx.sym.load(prefix + '-symbol.json')).nodes
    return [instruction for node in nodes if node.op == 'binary_subgraph'
            for instruction in parse(node.attrs['program']).instructions]


@pytest.mark.parametrize('exact', [False, True])
@pytest.mark.parametrize('name', MODELS)
def test_models(name, exact, deployed):
    net, shape, prefix = deployed(name, exact)
    blocks, counted = structure(bmx.deploy.load(prefix)[0], shape)
    expected = bmx.summary(net, shape)
    assert sum(block.bops for block in blocks) == counted.bops == expected.bops > 0
    assert sum(block.flops for block in blocks) == counted.flops == expected.flops
    assert sum(block.size_bits for block in blocks) / 8 / 2 ** 20 == counted.size_mib == expected.size_mib
    assert blocks[0].input_shape == list(shape[1:]) and blocks[-1].output_shape == [10]
    assert len({block.name for block in blocks}) == len(blocks)
    texts = [layer.text for block in blocks for layer in block.layers if layer.text != 'concat']
    if not exact:  # one node
        assert texts == [instruction_text(instruction) for instruction in instructions(prefix)]
    for before, block in zip(blocks, blocks[1:]):
        assert block.reads == [before.name] and block.input_shape == before.output_shape
    for block in blocks:
        assert sum(count for _, count in block.channels) == block.output_shape[0]
        assert set(block.bits) == {layer.bits for layer in block.layers if layer.bits}
        assert all(place < index for index, layer in enumerate(block.layers) for place in layer.inputs)
        assert ('1/1' in block.bits) == (block.bops > 0)
    check_picture(blocks, counted, shape)


def test_growth(deployed):
    _, shape, prefix = deployed('meliusnet22')
    blocks, _ = structure(bmx.deploy.load(prefix)[0], shape)
    found = [(block.kind, block.stage, block.channels) for block in blocks if block.role == 'block']
    first = [('dense block', [('kept', 64), ('new', 64)]), ('improvement block', [('kept', 64), ('improved', 64)]),
             ('dense block', [('kept', 128), ('new', 64)]), ('improvement block', [('kept', 128), ('improved', 64)])]
    assert [each[::2] for each in found[:4]] == first and {each[1] for each in found[:4]} == {'stage 1'}
    assert {each[1] for each in found[4:]} == {'stage 2'}
    improvement = next(block for block in blocks if block.kind == 'improvement block')
    assert improvement.name == 'stage1_improvementblock0_binaryconv0_conv0'
    assert [(layer.text, layer.inputs) for layer in improvement.layers] == [
        ('threshold, conv 3\u00d73, +', [-1]), ('concat', [-1, 0])]


def test_shortcuts(deployed):
    _, shape, prefix = deployed('resnete18')
    blocks = {block.name: block for block in structure(bmx.deploy.load(prefix)[0], shape)[0]}
    first = blocks['stage2_residualblock0_binaryconv0_conv0']
    assert first.channels == [('merged', 128)] and first.bits == ['32/32', '1/1']
    assert [(layer.text, layer.inputs) for layer in first.layers] == [
        ('avg pool 2\u00d72', [-1]), ('conv 1\u00d71, batch norm', [0]),
        ('sign, conv 3\u00d73, stride 2, batch norm, +', [-1, 1])]
    assert blocks['stage2_residualblock1_binaryconv0_conv0'].channels == [('improved', 128)]
    assert [layer.text for layer in blocks['dense0'].layers] == ['dense, bias']


@pytest.mark.parametrize('instruction, text', [
    ('conv in=x0[0:64] out=y0 kernel=3,3 filters=64 groups=4 binarizations=2 weight=p0 steps=mul:p1|prelu:p2',
     '2 signs, conv 3\u00d73, 4 groups, \u00d7, PReLU'),
    ('conv in=x0[0:64] out=y0:flat kernel=7,7 filters=10 whole=1 weight=p0', 'sign, dense'),
    ('fconv in=x0[0:8] out=y0 before=norm:p0|relu kernel=3,1 stride=2,1 filters=8 groups=8 weight=p1',
     'batch norm, ReLU, depthwise conv 3\u00d71, stride 2\u00d71'),
    ('map in=x0[0:8] out=y0 pool=avg global=1', 'global avg pool'),
    ('map in=x0[0:8] out=y0 pool=max kernel=2,2 stride=2,2 steps=add:p0 shuffle=4',
     'max pool 2\u00d72, bias, shuffle of 4 groups'),
    ('map in=x0[0:8] out=y0', 'copy')])
def test_texts(instruction, text):
    assert instruction_text(parse(instruction).instructions[0]) == text


class Gate(gluon.HybridBlock):
    """A product of two results that depend on the input."""

    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.conv = bmx.nn.BinaryConv(8, 1)

    def hybrid_forward(self, F, x):
        return x * self.conv(x)


def test_products_of_results_are_no_sums(tmp_path):
    net = Gate()
    net.initialize(mx.init.Normal(1))
    bmx.export(net, str(tmp_path / 'net'), (1, 8, 6, 6))
    block, = structure(bmx.deploy.load(str(tmp_path / 'net'))[0], (1, 8, 6, 6))[0]
    assert [(layer.text, layer.inputs) for layer in block.layers] == [
        ('sign, conv 1\u00d71', [-1]), ('\u00d7', [-1, 0])]
    assert block.channels == [('new', 8)]


def test_what_is_read_before_a_product_keeps_blocks_together():
    program = ('map in=x0[0:8] out=s0:planar steps=relu; map in=x0[0:8] out=s1:planar pool=max kernel=1,1; '
               'fconv in=s1[0:8] out=y0 before=plus:s0[0:8] kernel=1,1 filters=4 weight=p0')
    weight = mx.sym.var('w', shape=(1, 1, 8, 4))
    symbol = mx.sym.binary_subgraph(mx.sym.var('data'), weight, program=program, num_data=1, num_outputs=1)
    net = gluon.SymbolBlock(symbol, mx.sym.var('data'))
    block, = structure(net, (1, 8, 6, 6))[0]
    assert [(layer.text, layer.inputs) for layer in block.layers] == [
        ('ReLU', [-1]), ('max pool 1\u00d71', [-1]), ('+, conv 1\u00d71', [1, 0])]


class Branches(gluon.HybridBlock):
    """Two results that are concatenated, beside what comes."""

    def __init__(self):
        super().__init__()
        with self.name_scope():
            self.first, self.second = bmx.nn.BinaryConv(8, 3, padding=1), bmx.nn.BinaryConv(16, 1)
            self.last = bmx.nn.BinaryConv(8, 1)

    def hybrid_forward(self, F, x):
        return self.last(F.concat(self.first(x), self.second(x), dim=1))


def test_branches(tmp_path):
    net = Branches()
    net.initialize(mx.init.Normal(1))
    bmx.export(net, str(tmp_path / 'net'), (1, 8, 6, 6))
    blocks, _ = structure(bmx.deploy.load(str(tmp_path / 'net'))[0], (1, 8, 6, 6))
    assert [block.name for block in blocks] == ['binaryconv1_conv0', 'binaryconv2_conv0']
    assert [(layer.text, layer.inputs) for layer in blocks[0].layers] == [
        ('sign, conv 3\u00d73', [-1]), ('sign, conv 1\u00d71', [-1]), ('concat', [0, 1])]
    assert blocks[0].channels == [('new', 24)] and blocks[0].output_shape == blocks[1].input_shape == [24, 6, 6]


@pytest.mark.parametrize('version', [1, 2, 3])
def test_files_from_before(version):
    net, metadata = bmx.deploy.load(os.path.join(os.path.dirname(__file__), 'data', f'format-{version}'))
    shape = (1,) + tuple(metadata.input_shape)
    blocks, counted = structure(net, shape)
    assert sum(block.bops for block in blocks) == counted.bops > 0
    assert sum(block.size_bits for block in blocks) == sum(layer['size_bits'] for layer in counted.layers)
    check_picture(blocks, counted, shape)


def test_files_without_programs(tmp_path):
    net = gluon.model_zoo.vision.resnet18_v1(classes=10)
    net.initialize()
    net.hybridize()
    net(mx.nd.zeros((1, 3, 64, 64)))
    net.export(str(tmp_path / 'net'))
    loaded = gluon.SymbolBlock.imports(str(tmp_path / 'net-symbol.json'), ['data'], str(tmp_path / 'net-0000.params'))
    blocks, counted = structure(loaded, (1, 3, 64, 64))
    assert sum(block.flops for block in blocks) == bmx.summary(net, (1, 3, 64, 64)).flops
    assert sum(block.size_bits for block in blocks) == sum(layer['size_bits'] for layer in counted.layers)
    assert sum(block.kind == 'residual block' for block in blocks) == 8
    check_picture(blocks, counted, (1, 3, 64, 64))
