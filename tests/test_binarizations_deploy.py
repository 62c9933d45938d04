"""Deployed layers of several binarizations: the operators, what the exporter makes of a network, what it costs."""
import json

import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon
from mxnet.gluon import nn

import bmx
from bmx import deploy, ops
from bmx.cli import main
from bmx.io.description import write_description
from bmx.structure import structure
from helpers import operators, own, randomize, sequential
from programs import Parameters, check, make_data


def random(shape, seed=0):
    return mx.nd.array(np.random.RandomState(seed).normal(size=shape))


@pytest.mark.parametrize('channels, filters, groups', [(1, 1, 1), (5, 3, 1), (33, 64, 1), (64, 65, 1), (70, 130, 2),
                                                       (12, 12, 12), (130, 6, 1)])
@pytest.mark.parametrize('pad_value', [-1, 0, 1])
@pytest.mark.parametrize('binarizations', [2, 3, 8])
def test_convolution(isa, channels, filters, groups, pad_value, binarizations):
    x = np.random.RandomState(channels).randn(3, channels, 9, 8).astype('float32')
    weight = ops.pack_weights(np.random.RandomState(1).randn(filters, channels // groups, 3, 2))
    arguments = dict(kernel=(3, 2), pad=(1, 1), stride=(2, 1), dilate=(1, 2), num_filter=filters, num_group=groups,
                     pad_value=pad_value, binarizations=binarizations)
    found = mx.nd.xnor_popcount(mx.nd.array(x), mx.nd.array(weight, dtype='uint8'), **arguments).asnumpy()
    assert np.array_equal(found, ops.reference.xnor_popcount(x, weight, **arguments))


@pytest.mark.parametrize('shape', [(1, 70), (5, 9), (3, 7, 11), (40, 64)], ids=str)
def test_dense_and_one_dimension(isa, shape):
    x = np.random.RandomState(0).randn(*shape).astype('float32')
    kernel = (3,) * (len(shape) - 2)
    weight = ops.pack_weights(np.random.RandomState(1).randn(6, shape[1], *kernel))
    arguments = dict(num_filter=6, binarizations=3, **({'kernel': kernel, 'pad': (2,)} if kernel else {}))
    inputs = mx.nd.array(x), mx.nd.array(weight, dtype='uint8')
    found = mx.nd.xnor_popcount(*inputs, **arguments).asnumpy()
    assert np.array_equal(found, ops.reference.xnor_popcount(x, weight, **arguments))
    alone = mx.nd.xnor_popcount(inputs[0][:1], inputs[1], **arguments).asnumpy()
    assert np.array_equal(alone, found[:1])


@pytest.mark.parametrize('channels', [1, 16, 17, 33, 64, 80])
@pytest.mark.parametrize('slot', ['float32', 'planar', 'int16'])
def test_programs(isa, channels, slot):
    """Inputs of every layout, concatenated; steps behind the sum; a slot added to in place."""
    p = Parameters(channels)
    several = '' if slot == 'int16' else ' binarizations=2'
    program = (
        'conv in=x0[0:C] out=s0:{slot} weight={w} kernel=3,3 pad=1,1 filters=C{several};'
        'conv in=s0[0:C],x0[0:C] out=s1:float32 weight={wide} kernel=3,3 pad=1,1 filters=C binarizations=3 '
        'steps=mul:{v}|add:{v}|norm:{n}|prelu:{v}|plus:s0[0:C];'
        'conv in=s1[0:C] out=s1:float32 weight={w} kernel=3,3 pad=1,1 filters=C pad_value=0 binarizations=2 '
        'steps=plus:s1[0:C];'
        'map in=s1[0:C] out=y0 pool=max kernel=2,2 stride=2,2').replace('C', str(channels)).format(
            slot=slot, several=several, w=p.weight(channels, channels), wide=p.weight(channels, 2 * channels),
            v=p.vector(channels), n=p.vector(3, channels))
    check(program, [make_data((2, channels, 9, 10))], p.values)


def test_threads_compute_the_same():
    p = Parameters(0)
    program = f'conv in=x0[0:200] out=y0 weight={p.weight(130, 200)} kernel=3,3 pad=1,1 filters=130 binarizations=3'
    check(program, [make_data((2, 200, 30, 31))], p.values)


@pytest.mark.parametrize('program, message', [
    ('conv in=x0[0:16] out=y0 weight=p0 kernel=1,1 filters=4 binarizations=9',
     'instruction 0 (conv): binarizations must be between 1 and 8, got 9'),
    ('conv in=x0[0:16] out=y0 weight=p0 threshold=p1 kernel=1,1 filters=4 binarizations=2',
     'instruction 0 (conv): a threshold is of one binarization, got 2'),
    ('conv in=x0[0:16] out=s0:int16 weight=p0 kernel=1,1 filters=4 binarizations=2; map in=s0[0:4] out=y0',
     'instruction 0 (conv): sums of 2 binarizations are not int16'),
    ('map in=x0[0:16] out=y0 binarizations=2', "instruction 0 (map): unknown key 'binarizations'")])
def test_errors_of_programs(program, message):
    inputs = [mx.nd.zeros((1, 16, 3, 3)), mx.nd.zeros((4, 1, 1, 2), dtype='uint8'), mx.nd.zeros((2, 16))]
    count = 1 + ('p0' in program) + ('p1' in program)
    with pytest.raises(mx.MXNetError) as error:
        mx.nd.binary_subgraph(*inputs[:count], program=program).wait_to_read()
    assert message in str(error.value)


@pytest.mark.parametrize('arguments, message', [
    (dict(binarizations=0), 'binarizations must be between 1 and 8, got 0'),
    (dict(binarizations='two'), "binarizations must be an integer, got 'two'"),
    (dict(binarizations=2, threshold=True), 'a threshold is of one binarization, got 2')])
def test_errors_of_the_operator(arguments, message):
    inputs = [mx.nd.zeros((1, 16)), mx.nd.zeros((4, 2), dtype='uint8'), mx.nd.zeros((2, 16))]
    with pytest.raises(mx.MXNetError) as error:
        mx.nd.xnor_popcount(*inputs[:2 + ('threshold' in arguments)], num_filter=4, **arguments)
    assert 'xnor_popcount: ' + message in str(error.value)


class Both(gluon.HybridBlock):
    """One activation read by two convolutions, and as numbers."""

    def __init__(self):
        super().__init__()
        self.activation = bmx.nn.QActivation()
        self.first, self.second = bmx.nn.QConv2D(6, 3, padding=1), bmx.nn.QConv2D(6, 1, use_bias=False)

    def hybrid_forward(self, F, x):
        pair = self.activation(x)
        y = self.first(pair) + self.second(pair)
        return y if not isinstance(pair, tuple) else F.broadcast_mul(y, F.max(pair[1], axis=0).reshape((-1, 1, 1, 1)))


def conv(channels=6, kernel=3, **arguments):
    return bmx.nn.BinaryConv(channels, kernel, padding=kernel // 2, **arguments)


# Name -> network, shape of its input, binary layers.
NETS = {
    'chain': (lambda: sequential(nn.BatchNorm(), conv(), nn.PReLU(), nn.BatchNorm(), conv(12), nn.BatchNorm(),
                                 bmx.nn.BinaryDense(4)), (2, 6, 7, 8), 3),
    'padding +1': (lambda: sequential(conv(pad_value=1), nn.BatchNorm(), conv(pad_value=1)), (2, 6, 7, 8), 2),
    'padding 0': (lambda: sequential(conv(pad_value=0), nn.BatchNorm(), conv(pad_value=0)), (2, 6, 7, 8), 2),
    'groups, strides, dilation': (lambda: sequential(
        conv(groups=2), nn.BatchNorm(), bmx.nn.BinaryConv(12, (3, 2), (2, 1), (2, 1), (2, 1), groups=3),
        bmx.nn.BinaryConv(12, 3, 2, 1, groups=12)), (2, 6, 13, 12), 3),
    'scaling, bias, activation': (lambda: sequential(
        nn.BatchNorm(), bmx.nn.QActivation(), bmx.nn.QConv2D(6, 3, scaling='constant', activation='relu', padding=1),
        bmx.nn.QActivation(), bmx.nn.QConv2D(5, 1, scaling='gradient'), nn.PReLU()), (2, 6, 6, 5), 2),
    'float around': (lambda: sequential(
        nn.Conv2D(6, 3), bmx.nn.PlainLayout(), nn.BatchNorm(), conv(), nn.MaxPool2D(3, 2, 1), nn.BatchNorm(), conv(),
        nn.Conv2D(4, 1)), (2, 3, 9, 9), 2),
    'one dimension': (lambda: sequential(nn.BatchNorm(), bmx.nn.QActivation(), bmx.nn.QConv1D(4, 3, padding=1),
                                         bmx.nn.BinaryDense(3)), (2, 5, 9), 2),
    'dense': (lambda: sequential(nn.BatchNorm(), bmx.nn.BinaryDense(7, scaling='constant'), nn.BatchNorm(),
                                 bmx.nn.BinaryDense(4, use_bias=True)), (3, 10), 2),
    'dense after flatten': (lambda: sequential(conv(), nn.Flatten(), bmx.nn.BinaryDense(4)), (3, 4, 3, 3), 2),
    'dense on many axes': (lambda: bmx.nn.BinaryDense(4), (3, 4, 3, 2, 3), 1),
    'shared activation': (Both, (2, 6, 5, 5), 2),
}


@pytest.mark.parametrize('binarizations', [1, 2, 3])
@pytest.mark.parametrize('name', NETS)
def test_deployed_equals_float(name, binarizations, isa, tmp_path):
    make, shape, binary = NETS[name]
    with bmx.nn.config(binarizations=binarizations):
        net = make()
    x = random((5,) + shape[1:], 3)
    expected = randomize(net, x)(x).asnumpy()
    alone = net(x[1:2]).asnumpy()  # float convolutions round as their batch wants
    prefix = str(tmp_path / 'net')
    result = bmx.export(net, prefix, shape, x)
    assert sum(row.reason is None for row in result.rows) == binary
    deployed, _ = deploy.load(prefix)
    for static in (False, True):
        deployed.hybridize(static_alloc=static, static_shape=static)
        assert np.array_equal(deployed(x).asnumpy(), expected)
        assert np.array_equal(deployed(x[1:2]).asnumpy(), alone)


def test_a_chain_stays_one_node(tmp_path):
    with bmx.nn.config(binarizations=2, scaling='constant'):
        net = sequential(nn.BatchNorm(), conv(), nn.PReLU(), nn.BatchNorm(), conv(), nn.BatchNorm(), conv())
    x = random((2, 6, 7, 8))
    bmx.export(randomize(net, x), str(tmp_path / 'net'), x.shape, x)
    found = operators(str(tmp_path / 'net'))
    assert [node['op'] for node in found] == ['binary_subgraph']
    program = found[0]['attrs']['program']
    assert program.count('conv ') == 3 == program.count('binarizations=2') and 'threshold' not in program


class Terms(gluon.HybridBlock):
    """The terms of a product, and what a function of (F, terms, scales) makes of them."""

    def __init__(self, combine, dense=False):
        super().__init__()
        self._combine, self._dense = combine, dense
        self.weight = self.params.get('weight', shape=(4, 6, 5, 5) if dense else (4, 6, 3, 3))

    def hybrid_forward(self, F, x, weight):
        signs, scales = F.residual_binarize(x, binarizations=2)
        if self._dense:
            product = F.FullyConnected(F.reshape(signs, shape=(0, -1)), F.binarize(weight).reshape((4, -1)),
                                       num_hidden=4, no_bias=True).reshape((-1, 4, 1, 1))
        else:
            product = F.Convolution(signs, F.binarize(weight), kernel=(3, 3), num_filter=4, no_bias=True)
        terms = F.SliceChannel(product, num_outputs=2, axis=0)
        scales = [scale.reshape((-1, 1, 1, 1))
                  for scale in F.SliceChannel(scales, num_outputs=2, axis=0, squeeze_axis=True)]
        return self._combine(F, [terms[0], terms[1]], scales)


def mul(F, term, scale):
    return F.broadcast_mul(term, scale)


OTHERS = {
    'another order': lambda F, t, a: mul(F, t[1], a[1]) + mul(F, t[0], a[0]),
    'other scales': lambda F, t, a: mul(F, t[0], a[1]) + mul(F, t[1], a[0]),
    'no scales': lambda F, t, a: t[0] + t[1],
    'one term': lambda F, t, a: mul(F, t[0], a[0]),
    'a difference': lambda F, t, a: mul(F, t[0], a[0]) - mul(F, t[1], a[1]),
    'a term that is used again': lambda F, t, a: mul(F, t[0], a[0]) + mul(F, t[1], a[1]) + t[1],
    'a scaled term that is used again': lambda F, t, a: (
        lambda first: first + mul(F, t[1], a[1]) + first * 2)(mul(F, t[0], a[0])),
    'changed scales': lambda F, t, a: mul(F, t[0], a[0] * 2) + mul(F, t[1], a[1]),
}


@pytest.mark.parametrize('name', OTHERS)
def test_other_combinations_stay_float(name, tmp_path):
    net = Terms(OTHERS[name])
    net.initialize(mx.init.Normal(1))
    x = random((3, 6, 5, 5))
    result = bmx.export(net, str(tmp_path / 'net'), x.shape, x)
    assert [row.reason for row in result.rows] == [
        'the products of its binarizations are not added up, each with its scale, as by the layers of bmx.nn']
    deployed, _ = deploy.load(str(tmp_path / 'net'))
    assert np.array_equal(deployed(x).asnumpy(), net(x).asnumpy())


def test_the_combination_of_the_layers_by_itself(tmp_path):
    net = Terms(lambda F, t, a: mul(F, t[0], a[0]) + mul(F, t[1], a[1]))
    net.initialize(mx.init.Normal(1))
    x = random((3, 6, 5, 5))
    result = bmx.export(net, str(tmp_path / 'net'), x.shape, x)
    assert [row.reason for row in result.rows] == [None]
    assert np.array_equal(deploy.load(str(tmp_path / 'net'))[0](x).asnumpy(), net(x).asnumpy())


def test_scales_are_no_signs(tmp_path):
    class Net(gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            self.dense = bmx.nn.QDense(3, in_units=2, use_bias=False)

        def hybrid_forward(self, F, x):
            return self.dense(F.transpose(F.residual_binarize(x, binarizations=2)[1]))

    net = Net()
    net.initialize(mx.init.Normal(1))
    result = bmx.export(net, str(tmp_path / 'net'), (4, 6), random((4, 6)))
    assert [row.reason for row in result.rows] == ['its input is not binary']


def small(binarizations=2):
    with bmx.nn.config(binarizations=binarizations):
        return sequential(nn.Conv2D(8, 3), conv(16, groups=2), nn.PReLU(), bmx.nn.BinaryDense(5))


@pytest.mark.parametrize('binarizations', [1, 2, 3])
def test_counts_made_by_hand(binarizations, tmp_path):
    net, shape = small(binarizations), (2, 3, 8, 8)
    counted = bmx.summary(net, shape)
    convolution, dense = 16 * 4 * 9 * 36, 5 * 16 * 36
    assert counted.bops == binarizations * (convolution + dense) and counted.flops == 8 * 3 * 9 * 36
    assert counted.params_binary == 16 * 4 * 9 + 5 * 16 * 36
    assert counted.params_float == 8 * 3 * 9 + 8 + 1
    assert counted.ops_without_classifier == binarizations * convolution / 64 + counted.flops
    products = [layer for layer in counted.layers if layer['bits']]
    assert [layer['bits'] for layer in products] == ['32/32'] + [f'1/{binarizations}'] * 2
    assert [layer['output_shape'] for layer in products] == [[2, 8, 6, 6], [2, 16, 6, 6], [2, 5]]
    exported = bmx.export(randomize(net, random(shape)), str(tmp_path / 'net'), shape)
    assert [layer['bytes_packed'] for layer in products[1:]] == [row.bytes_after for row in exported.rows[1:]]


@pytest.mark.parametrize('shape', [(2, 64), (2, 3, 7)], ids=str)
def test_counts_of_deployed_layers(shape, tmp_path):
    net = bmx.nn.BinaryDense(10, binarizations=3)
    counted = bmx.summary(net, shape)
    assert counted.bops == 3 * 10 * int(np.prod(shape[1:]))
    net.initialize()
    bmx.export(net, str(tmp_path / 'net'), shape)
    deployed = bmx.summary(mx.sym.load(str(tmp_path / 'net-symbol.json')), shape)
    assert (deployed.bops, deployed.flops, deployed.params_binary) == (counted.bops, 0, counted.params_binary)


def test_structure():
    blocks, counted = structure(small(), (1, 3, 8, 8))
    assert [[layer.text for layer in block.layers] for block in blocks] == [
        ['conv 3\u00d73'], ['2 signs', 'conv 3\u00d73, 2 groups'], ['PReLU'], ['2 signs', 'dense']]
    assert blocks[1].layers[1].inputs == [0] and sum(block.bops for block in blocks) == counted.bops
    single = structure(small(1), (1, 3, 8, 8))[0]
    assert [block.channels for block in blocks] == [block.channels for block in single]


SMALL = ['--stem', 'thumbnail', '--set', 'layers=(1,)', '--set', 'channels=(16,)', '--set', 'classes=3']
KEYWORDS = dict(stem='thumbnail', layers=(1,), channels=(16,), classes=3)


def test_commands(tmp_path, capsys):
    with bmx.nn.config(binarizations=2):
        net = bmx.get_model('resnete18', **KEYWORDS)
    net.initialize(mx.init.Xavier())
    x = random((4, 3, 16, 16))
    expected, params, prefix = own(net, x), str(tmp_path / 'net.params'), str(tmp_path / 'out')
    net.save_parameters(params)
    command = ['export', '--model', 'resnete18', '--params', params, '--out', prefix, '--input-size', '16']
    assert main(command + SMALL + ['--binarizations', '2']) == 0, capsys.readouterr().err
    deployed, metadata = deploy.load(prefix)
    assert metadata.layer_defaults['binarizations'] == 2
    assert np.array_equal(deployed(x).asnumpy(), expected)
    assert main(['verify', prefix, '--params', params]) == 0
    assert main(['verify', prefix, '--params', params, '--binarizations', '1']) == 1
    capsys.readouterr()
    bops = []
    for m in '12':
        assert main(['summary', 'resnete18', '--json', '--binarizations', m]) == 0
        bops.append(json.loads(capsys.readouterr().out)['bops'])
    assert bops[1] == 2 * bops[0] > 0
    picture = str(tmp_path / 'net.png')
    assert main(['plot', 'resnete18', '--binarizations', '2', '--input-size', '64', '--out', picture] + SMALL) == 0
    for wrong in ('0', '9', 'two'):
        with pytest.raises(SystemExit):
            main(['summary', 'resnete18', '--binarizations', wrong])


def test_files_from_before(tmp_path, capsys):
    """Neither deployed files nor descriptions named the number of binarizations."""
    net = bmx.get_model('resnete18', **KEYWORDS)
    net.initialize(mx.init.Xavier())
    net(mx.nd.zeros((1, 3, 16, 16)))
    prefix, params = str(tmp_path / 'net'), str(tmp_path / 'net-best.params')
    net.save_parameters(params)
    del net.layer_defaults['binarizations']
    bmx.export(net, prefix, (1, 3, 16, 16))
    assert main(['verify', prefix, '--params', params]) == 0
    write_description(params, net, ['a', 'b', 'c'], {'size': [16, 16], 'crop_ratio': 1.0, 'mean': [0, 0, 0],
                                                     'std': [1, 1, 1]})
    again = ['export', '--params', params, '--out', str(tmp_path / 'out')]
    assert main(again) == 0 and main(again + ['--binarizations', '1']) == 0
    capsys.readouterr()
    assert main(again + ['--binarizations', '2']) == 1
    assert 'binarizations=2 contradicts' in capsys.readouterr().err


def test_trainings_from_before_go_on():
    from bmx.train.checkpoint import Checkpoint, check_same_training
    before = Checkpoint('path', 1, 0, {'arguments': {'lr': 0.1}})
    check_same_training(before, {'lr': 0.1, 'binarizations': 1})
    with pytest.raises(Exception, match='binarizations was 1, is now 2'):
        check_same_training(before, {'lr': 0.1, 'binarizations': 2})


def test_recipes_name_it():
    from bmx.train import recipes
    assert recipes.resolve('meliusnet22', 'digits', {}).binarizations == 1
    assert recipes.resolve('meliusnet22', 'digits', {'binarizations': 3}).binarizations == 3
