"""Operations and sizes against counts made by hand; tests/test_papers.py compares them with the papers' numbers."""
import json
import os

import mxnet as mx
import pytest
from mxnet import gluon
from mxnet.gluon import nn

import bmx
from helpers import assert_costs_the_same


def test_counts_made_by_hand():
    net = nn.HybridSequential()
    net.add(nn.Conv2D(8, 3, padding=1),                     # 8*3*9 weights, 8 biases
            nn.BatchNorm(),                                 # two values a channel
            bmx.nn.BinaryConv(16, 3, padding=1, groups=2),  # 16*4*9 binary weights
            nn.HybridSequential(), nn.Dense(10))            # 10*16*6*6 weights, 10 biases
    net[3].add(nn.MaxPool2D(2))
    counted = bmx.summary(net, (2, 3, 12, 12))
    assert counted.params_binary == 16 * 4 * 9
    assert counted.params_float == 8 * 3 * 9 + 8 + 16 + 10 * 16 * 36 + 10
    assert counted.bops == 16 * 4 * 9 * 144
    assert counted.flops == 8 * 3 * 9 * 144 + 10 * 16 * 36
    assert counted.flops_without_classifier == 8 * 3 * 9 * 144
    assert counted.ops == counted.bops / 64 + counted.flops
    assert counted.size_mib == (counted.params_binary / 8 + 4 * counted.params_float) / 2 ** 20
    assert [layer['bits'] for layer in counted.layers if layer['bits']] == ['32/32', '1/1', '32/32']


def test_shared_weights_count_once_and_their_operations_twice():
    layer = bmx.nn.BinaryConv(8, 3, padding=1, in_channels=8)
    net = nn.HybridSequential()
    net.add(layer, nn.HybridSequential())
    net[1].add(layer)
    counted = bmx.summary(net, (1, 8, 4, 4))
    assert counted.params_binary == 8 * 8 * 9
    assert counted.bops == 2 * 8 * 8 * 9 * 16


def test_binary_weights_on_float_input_are_flops():
    net = nn.HybridSequential()
    net.add(bmx.nn.QConv2D(4, 1, in_channels=3, use_bias=False))
    counted = bmx.summary(net, (1, 3, 5, 5))
    assert (counted.params_binary, counted.bops, counted.flops) == (12, 0, 300)
    assert counted.layers[0]['bits'] == '1/32'


@pytest.mark.parametrize('weight, activation, bits', [
    ('dorefa(3)', 'dorefa(2)', (3, 2)), ('sign', 'dorefa(2)', (1, 2)), ('dorefa(2)', 'sign', (2, 1)),
    ('sign', 'residual(3)', (1, 3)), ('dorefa(2)', 'float', (2, 32))])
def test_a_product_of_several_bits_is_one_of_each_pair_of_bits(weight, activation, bits):
    net = bmx.nn.BinaryConv(8, 3, in_channels=4, weight=weight, activation=activation)
    counted, macs = bmx.summary(net, (2, 4, 6, 6)), 8 * 4 * 9 * 16
    few = max(bits) < 32
    assert (counted.bops, counted.flops) == ((macs * bits[0] * bits[1], 0) if few else (0, macs))
    assert counted.size_mib == bits[0] * 8 * 4 * 9 / 8 / 2 ** 20
    assert [layer['bits'] for layer in counted.layers if layer['bits']] == ['/'.join(map(str, bits))]


class Split(gluon.HybridBlock):
    """A product of the second, larger part of its input."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(4, 1, use_bias=False)

    def hybrid_forward(self, F, x):
        return self.conv(F.split_v2(x, (2,), axis=1)[1])


class Rows(gluon.HybridBlock):
    """A dense layer on more rows than the batch has."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Dense(4, use_bias=False)

    def hybrid_forward(self, F, x):
        return self.dense(F.reshape(x, shape=(-1, 16)))


# Network, shape of its input, FLOPs, BOPs, without the classifier.
COUNTS = {
    'channels last': (lambda: nn.Conv2D(8, 3, layout='NHWC', use_bias=False), (1, 10, 10, 3), 8 * 3 * 9 * 64, 0, None),
    'second output': (Split, (3, 8, 4, 4), 4 * 6 * 16, 0, None),
    'rows': (Rows, (5, 2, 4, 4), 2 * 16 * 4, 0, 0),
    'transposed': (lambda: nn.Conv2DTranspose(6, 3, in_channels=4, use_bias=False), (1, 4, 5, 5), 4 * 6 * 9 * 25,
                   0, None),
    'binary classifier': (lambda: binary_dense(True), (2, 64), 0, 640, 0),
    'binary rows': (lambda: binary_dense(False), (2, 7, 64), 0, 7 * 640, 0),
}


def binary_dense(flatten):
    net = nn.HybridSequential()
    net.add(bmx.nn.QActivation(), bmx.nn.QDense(10, flatten=flatten, use_bias=False))
    return net


@pytest.mark.parametrize('name', COUNTS)
def test_counts(name, tmp_path):
    build, shape, flops, bops, ops_without_classifier = COUNTS[name]
    net = build()
    counted = bmx.summary(net, shape)
    assert (counted.flops, counted.bops) == (flops, bops)
    expected = counted.ops if ops_without_classifier is None else ops_without_classifier
    assert counted.ops_without_classifier == expected
    if bops:
        net.initialize()
        bmx.export(net, str(tmp_path / 'net'), shape)
        deployed = bmx.summary(mx.sym.load(str(tmp_path / 'net-symbol.json')), shape)
        assert (deployed.flops, deployed.bops, deployed.params_binary) == (flops, bops, counted.params_binary)
        assert deployed.ops_without_classifier == expected


def test_what_is_packed_is_what_the_exporter_packs(tmp_path):
    net = nn.HybridSequential()
    net.add(bmx.nn.QConv2D(16, 3, in_channels=5, use_bias=False), bmx.nn.BinaryConv(9, 3, in_channels=16))
    net.initialize()
    exported = bmx.export(net, str(tmp_path / 'net'), (1, 5, 9, 9))
    counted = bmx.summary(net, (1, 5, 9, 9))
    assert [layer['bytes_packed'] for layer in counted.layers] == [row.bytes_after for row in exported.rows]
    assert [layer['bits'] for layer in counted.layers] == ['1/32', '1/1']


def test_deep_networks():
    counted = bmx.summary(gluon.model_zoo.vision.resnet152_v1(), (1, 3, 224, 224))
    assert 11e9 < counted.flops < 11.7e9


def test_what_is_not_counted_is_named():
    net = nn.HybridSequential()
    net.add(gluon.rnn.LSTM(8), nn.Dense(2))
    counted = bmx.summary(net, (5, 1, 4))
    assert len(counted.uncounted) == 1 and 'not counted: ' + counted.uncounted[0] in str(counted)


@pytest.mark.parametrize('initialized', [False, True])
def test_counting_needs_no_parameters_and_changes_none(initialized):
    net = bmx.get_model('meliusnet22', stem='thumbnail', classes=10)
    if initialized:
        net.initialize()
    counted = bmx.summary(net, (1, 3, 32, 32))
    assert counted.ops > counted.ops_without_classifier > 0
    assert 'MiB' in str(counted)
    keys = {'bops', 'flops', 'flops_without_classifier', 'ops', 'ops_without_classifier', 'params_binary',
            'params_float', 'size_mib', 'layers'}
    assert keys <= set(json.loads(counted.to_json()))


# Networks of all kinds, whose deployed form must cost the same; shapes of their inputs.
DEPLOYED = {
    'residual': (lambda: [bmx.nn.GroupedStem(16), nn.BatchNorm(), bmx.nn.BinaryConv(8, 3, padding=1), nn.Dense(3)],
                 (2, 3, 16, 16)),
    'scaling, bias': (lambda: [bmx.nn.QActivation(), bmx.nn.QConv2D(8, 3, scaling='constant'), nn.BatchNorm(),
                               nn.Activation('relu'), nn.MaxPool2D(2), bmx.nn.BinaryConv(8, 3, groups=2)],
                      (2, 6, 16, 16)),
    'one slope': (lambda: [nn.BatchNorm(scale=False), bmx.nn.BinaryConv(8, 3), bmx.nn.PReLU(), bmx.nn.BinaryConv(8, 1),
                           bmx.nn.Scale()], (1, 5, 9, 9)),
    'slopes': (lambda: [bmx.nn.BinaryConv(8, 3), bmx.nn.PReLU(in_channels=8), nn.AvgPool2D(2, ceil_mode=True),
                        bmx.nn.BinaryConv(8, 1)], (1, 5, 9, 9)),
    'rows': (lambda: [bmx.nn.QActivation(), bmx.nn.QDense(5, flatten=False), nn.Dense(3)], (4, 7, 20)),
    'binary weights': (lambda: [bmx.nn.QConv2D(8, 3, scaling='constant'), bmx.nn.QDense(3)], (1, 3, 9, 9)),
    'weights of k bits': (lambda: [bmx.nn.QConv2D(8, 3, weight='dorefa(2)', activation='float'),
                                   bmx.nn.BinaryDense(3)], (1, 3, 9, 9)),
    'bias inside': (lambda: [bmx.nn.QActivation(), Inside()], (1, 3, 9, 9)),
    'shared': (lambda: [bmx.nn.BinaryConv(8, 3, in_channels=8)] * 2 + [nn.BatchNorm(in_channels=8)], (1, 8, 9, 9)),
    'binarizations': (lambda: [bmx.nn.BinaryConv(8, 3, binarizations=2), bmx.nn.QActivation(binarizations=3),
                               bmx.nn.QDense(5, binarizations=3)], (2, 3, 9, 9)),
    'one dimension': (lambda: [nn.BatchNorm(), bmx.nn.QActivation(), bmx.nn.QConv1D(8, 3, groups=2), nn.Dense(2)],
                      (2, 6, 9)),
}


class Inside(gluon.HybridBlock):
    """A product of signs that stays float."""

    def __init__(self):
        super().__init__()
        self.weight = self.params.get('weight', shape=(4, 3, 3, 3))
        self.bias = self.params.get('bias', shape=(4,))

    def hybrid_forward(self, F, x, weight, bias):
        return F.Convolution(x, F.binarize(weight), bias, kernel=(3, 3), num_filter=4)


@pytest.mark.parametrize('name', DEPLOYED)
def test_a_deployed_network_costs_what_its_float_network_costs(name, tmp_path):
    build, shape = DEPLOYED[name]
    net = nn.HybridSequential()
    net.add(*build())
    net.initialize(mx.init.Normal(1))
    bmx.export(net, str(tmp_path / 'net'), shape)
    assert_costs_the_same(net, shape, str(tmp_path / 'net'))


def test_binary_operations_of_files_from_before():
    for version, bops in ((1, 8 * 27 * 36 + 8 * 72 * 4 + 4 * 32), (2, None), (3, None)):
        path = os.path.join(os.path.dirname(__file__), 'data', f'format-{version}-symbol.json')
        counted = bmx.summary(mx.sym.load(path), (1, 3, 6, 6))
        assert counted.bops == bops or bops is None and counted.bops > 8 * 27 * 36 + 8 * 72 * 36
        assert counted.flops == 0
