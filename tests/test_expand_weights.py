"""Float weights of few values: the operator `expand_weights`, and files that store them by codes."""
import json

import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon
from mxnet.gluon import nn

import bmx
from bmx import deploy, ops
from bmx.bench import split
from bmx.deploy import files, lower
from bmx.papers import meliusnet as papers
from helpers import assert_costs_the_same, own, random, randomize, sequential

# Shapes of weights, and of the axes along which levels may differ.
SHAPES = [((5, 3, 3, 3), (5, 1, 1, 1)), ((16, 4, 3, 2), (1, 1, 3, 1)), ((24, 7, 1, 1), (1, 1, 1, 1)),
          ((40, 9), (40, 1)), ((6, 5, 4), (1, 1, 4)), ((4, 2, 3, 3), (4, 1, 3, 3)), ((1, 33), (1, 1))]


def few_values(shape, by, bits, seed=0):
    """Weights of 2^bits values for each index of `by`, zeros of both signs among them."""
    random = np.random.RandomState(seed)
    values = random.normal(size=(1 << bits,) + by).astype(np.float32)
    values[0], values[1] = 0, -0.0
    taken = random.randint(1 << bits, size=shape)
    return np.take_along_axis(np.broadcast_to(values, (1 << bits,) + shape), taken[None], 0)[0]


def same_bits(one, other):
    return one.dtype == other.dtype == np.float32 and one.shape == other.shape and one.tobytes() == other.tobytes()


@pytest.mark.parametrize('bits', [1, 2, 3, 8])
@pytest.mark.parametrize('shape, by', SHAPES)
def test_every_weight_comes_back(shape, by, bits):
    weight = few_values(shape, by, bits)
    levels, codes = ops.pack_levels(weight, bits, by)
    assert levels.shape == (1 << bits,) + by and levels.dtype == np.float32
    assert codes.shape == (bits, -(-weight.size // 8)) and codes.dtype == np.uint8
    for groups in [0] + [count for count in (1, 2, 4) if shape[0] % count == 0]:
        expected = ops.pack_float_weights(weight.reshape(shape[0], -1), groups) if groups else weight
        found = mx.nd.expand_weights(mx.nd.array(levels), mx.nd.array(codes, dtype='uint8'), shape=shape, bits=bits,
                                     groups=groups).asnumpy()
        assert same_bits(found, expected)
        assert same_bits(ops.reference.expand_weights(levels, codes, shape, bits, groups), expected)


def test_more_values_than_codes():
    weight = few_values((8, 4), (8, 1), 2)
    assert ops.pack_levels(weight, 2, (1, 1)) is None and ops.pack_levels(weight, 1, (8, 1)) is None


@pytest.mark.parametrize('arguments, message', [
    (dict(shape=(8, 16), bits=9), 'bits must be between 1 and 8, got 9'),
    (dict(shape=(8, 16), bits=2), r'levels must have shape \(4\) and then 1 or the size of each of \(8, 16\)'),
    (dict(shape=(8, 17)), r'codes must have shape \(1, 17\), got \(1, 16\)'),
    (dict(shape=(128,)), 'shape must have 2 to 5 dimensions'),
    (dict(shape=(8, 0)), 'a dimension of shape must be between 1'),
    (dict(shape=(8, 16), groups=3), 'groups must be 0 or divide the 8 filters, got 3'),
    (dict(shape=(8, 16), groups=-1), 'groups must be 0 or divide'),
    (dict(shape=(65536, 65536, 65536)), 'are too many'),
])
def test_what_does_not_fit_is_an_error(arguments, message):
    levels, codes = mx.nd.zeros((2, 1, 1)), mx.nd.zeros((1, 16), dtype='uint8')
    with pytest.raises(mx.MXNetError, match=message):
        mx.nd.expand_weights(levels, codes, **arguments).wait_to_read()


# Networks -------------------------------------------------------------------------------------------------------------

def conv(channels, in_channels, weight, activation='float', **more):
    return bmx.nn.QConv2D(channels, 3, padding=1, in_channels=in_channels, use_bias=False, weight=weight,
                          activation=activation, **more)


def float_net(weight):
    """Float layers alone: it keeps MXNet's operators."""
    return sequential(conv(24, 5, weight), nn.BatchNorm(), nn.Activation('relu'), conv(24, 24, weight, groups=2),
                      nn.GlobalAvgPool2D(), nn.Flatten(),
                      bmx.nn.QDense(50, in_units=24, use_bias=False, weight=weight, activation='float'))


def mixed_net(weight):
    """Layers of few bits around a binary one: programs compute all of them."""
    return sequential(conv(24, 5, weight), nn.BatchNorm(), bmx.nn.BinaryConv(24, 3, padding=1, in_channels=24),
                      nn.BatchNorm(), conv(24, 24, weight, groups=2), nn.GlobalAvgPool2D(), nn.Flatten(),
                      bmx.nn.QDense(50, in_units=24, use_bias=False, weight=weight, activation='float'))


def rows_net(weight):
    with bmx.nn.config(weight=weight, activation='float'):
        return sequential(bmx.nn.QConv1D(16, 3, in_channels=30, use_bias=False),
                          bmx.nn.QDense(20, in_units=16 * 8, use_bias=False))


WEIGHTS = {'sign': 1, 'xnor': 1, 'sq_bwn': 1, 'twn': 2, 'ttq': 2, 'dorefa(3)': 3, 'syq(k=2,by="pixel")': 2,
           'lq(2)': 2, 'abc(2)': 2}


@pytest.mark.parametrize('weight', WEIGHTS)
@pytest.mark.parametrize('build, exact', [(float_net, False), (rows_net, False), (mixed_net, False), (mixed_net, True)])
def test_exported(build, weight, exact, tmp_path, monkeypatch):
    shape = (2, 30, 10) if build is rows_net else (2, 5, 7, 6)
    x = random(shape, 3)
    net = randomize(build(weight), x)
    prefix = str(tmp_path / 'net')
    exported = bmx.export(net, prefix, shape, x, exact=exact)
    deployed, metadata = deploy.load(prefix)
    with monkeypatch.context() as patch:  # as floats
        patch.setattr(lower, 'mark', lambda *arguments: None)
        bmx.export(net, prefix + '_float', shape, x, exact=exact)
    expected = deploy.load(prefix + '_float')[0](x).asnumpy()
    assert np.ptp(expected) > 0 and metadata.format == 5
    assert np.array_equal(deployed(x).asnumpy(), expected)
    assert metadata.exact or np.array_equal(expected, own(net, x))

    rows = [row for row in exported.rows if row.reason == 'its input is not binary']
    coded = [row for row in rows if row.bytes_after < row.bytes_before]
    assert coded and len(coded) == exported.report.count('its input is not binary; its weights are packed')
    assert all(row.bytes_before >= 4 * 1024 for row in coded)
    counted, found = bmx.summary(net, shape), bmx.summary(deployed, shape)
    for layers in (counted.layers, found.layers):
        assert sum(row.bytes_after for row in exported.rows) == sum(
            layer['bytes_packed'] for layer in layers if layer['bits'])
    assert all(f'{WEIGHTS[weight]}/' in layer['bits'] or layer['bits'] == '1/1' for layer in found.layers
               if layer['bits'])
    assert_costs_the_same(net, shape, prefix)

    # nothing is expanded when a loaded network computes; MXNet alone does it at each call
    assert 'expand_weights' not in deployed._cached_graph[1].tojson()
    plain, as_floats = (gluon.SymbolBlock.imports(f'{each}-symbol.json', ['data'], f'{each}-0000.params')
                        for each in (prefix, prefix + '_float'))
    assert plain._cached_graph[1].tojson().count('"op": "expand_weights"') == len(coded)
    assert dict(bmx.summary(plain, shape).to_dict(), name='') == dict(bmx.summary(deployed, shape).to_dict(), name='')
    assert len(split._layers(prefix, shape, '')) == len(split._layers(prefix + '_float', shape, ''))
    for block in (plain, as_floats):
        block.hybridize(static_alloc=True, static_shape=True)
    for _ in range(2):
        found = plain(x).asnumpy()
        assert np.array_equal(found, as_floats(x).asnumpy()) and np.allclose(found, expected, 1e-4, 1e-3)
        assert metadata.exact or np.array_equal(found, expected)


@pytest.mark.parametrize('weight, activation, reason', [
    ('dorefa(3)', 'dorefa(3)', 'its product would take 9 binary ones'),
    ('ttq', 'sign', 'its weights are no whole numbers'),
])
def test_few_values_that_stay_float_for_other_reasons(weight, activation, reason, tmp_path):
    net = sequential(bmx.nn.BinaryConv(16, 3, in_channels=16, weight=weight, activation=activation), nn.Flatten())
    x = random((2, 16, 6, 6))
    exported = bmx.export(randomize(net, x), str(tmp_path / 'net'), x.shape, x)
    row, = exported.rows
    assert row.reason == reason and row.bytes_after < row.bytes_before / 10
    assert f'float: {reason}; its weights are packed' in exported.report


def test_bias_inside_a_product(tmp_path):
    class Biased(gluon.HybridBlock):
        def hybrid_forward(self, F, x, weight, bias):
            return F.FullyConnected(x, F.binarize(weight), bias, num_hidden=20)
    net = Biased()
    net.weight, net.bias = net.params.get('weight', shape=(20, 60)), net.params.get('bias', shape=(20,))
    x = random((2, 60))
    row, = bmx.export(randomize(net, x), str(tmp_path / 'net'), x.shape, x).rows
    for block in (net, deploy.load(str(tmp_path / 'net'))[0]):
        layer, = bmx.summary(block, x.shape).layers
        assert layer['bytes_packed'] == row.bytes_after + 4 * 20 == 1200 // 8 + 4 * 2 + 4 * 20


def test_small_weights_stay_as_they_are(tmp_path):
    net = sequential(conv(8, 14, 'ttq'), conv(16, 8, 'ttq'))  # 1008 and 1152 weights
    x = random((1, 14, 5, 5))
    exported = bmx.export(randomize(net, x), str(tmp_path / 'net'), x.shape, x)
    assert [row.bytes_after for row in exported.rows] == [4 * 1008, 2 * 1152 // 8 + 4 * 4]
    assert exported.report.count('its weights are packed') == 1
    # a deployed network of MXNet's operators alone can be exported again; its weights then are floats as any
    again = deploy.load(str(tmp_path / 'net'))[0]
    size = bmx.export(again, str(tmp_path / 'again'), x.shape, x).params_bytes
    counted = bmx.summary(deploy.load(str(tmp_path / 'again'))[0], x.shape)
    assert 0 <= size - sum(layer['bytes_packed'] for layer in counted.layers) < 500




@pytest.mark.parametrize('name, settings, weight, published', [
    ('resnete18', {}, 'xnor', None), ('resnete18', {}, 'ttq', None), ('resnet18_binary', {}, 'xnor', None),
    # rows of the MeliusNet paper's Table 3
    ('resnet18_binary', papers.FLOAT_1X1, 'xnor', 4.0), ('resnet18_binary', papers.FLOAT_1X1, 'ttq', 5.3),
])
def test_files_are_as_small_as_counted(name, settings, weight, published, tmp_path):
    with bmx.nn.config(weight=weight, activation='float'):
        net = bmx.get_model(name, **settings)
    net.initialize()
    counted = bmx.summary(net, (1, 3, 224, 224))
    # a smaller image than that, which the size of the file does not depend on
    exported = bmx.export(net, str(tmp_path / 'net'), (1, 3, 33, 33), random((1, 3, 33, 33)))
    assert exported.params_bytes / 2 ** 20 == pytest.approx(counted.size_mib, rel=0.03)
    assert sum(layer['bytes_packed'] for layer in counted.layers) == pytest.approx(exported.params_bytes, rel=0.03)
    if published:
        assert exported.params_bytes / 2 ** 20 == pytest.approx(published, rel=0.03)


# Damaged files --------------------------------------------------------------------------------------------------------

def edited(path, changed, attributes=(), arrays=None, inputs=None):
    """Rewrite a deployed model with valid digests: attributes of its node of `expand_weights`, inputs, arrays."""
    symbol, saved = json.loads(path.with_name('net-symbol.json').read_text()), mx.nd.load(str(path) + '-0000.params')
    names = [node['name'] for node in symbol['nodes']]
    node = next(node for node in symbol['nodes'] if node['op'] == 'expand_weights')
    node['attrs'].update(attributes)
    if inputs:
        node['inputs'] = [[names.index(names[node['inputs'][0][0]] if each == 'levels' else each), 0, 0]
                          for each in inputs]
    for suffix, value in (arrays or {}).items():
        name = next(name for name in saved if name.endswith(suffix))
        saved[name] = value
        variable = symbol['nodes'][names.index(name[4:])]
        variable['attrs']['__shape__'] = str(value.shape)
    mx.nd.save(str(changed) + '-0000.params', saved)
    changed.with_name(changed.name + '-symbol.json').write_text(json.dumps(symbol))


DAMAGES = {
    'shape': dict(attributes={'shape': '(24, 24, 3, 3)'}),
    'shape of another product': dict(attributes={'shape': '(12, 24, 3, 3)'}),
    'no shape': dict(attributes={'shape': '()'}),
    'shape of 0': dict(attributes={'shape': '(24, 0, 3, 3)'}),
    'huge shape': dict(attributes={'shape': '(2147483647, 2147483647, 2147483647)'}),
    'shape beyond numbers': dict(attributes={'shape': '(99999999999999999999, 1)'}),
    'shape as text': dict(attributes={'shape': 'many'}),
    'bits': dict(attributes={'bits': '3'}),
    'no bits': dict(attributes={'bits': '0'}),
    'negative bits': dict(attributes={'bits': '-1'}),
    'groups': dict(attributes={'groups': '5'}),
    'other groups': dict(attributes={'groups': '1'}),
    'unknown attribute': dict(attributes={'order': '1'}),
    'levels too few': dict(arrays={'_levels': mx.nd.ones((2, 1, 1, 1, 1))}),
    'levels of fewer axes': dict(arrays={'_levels': mx.nd.ones((4, 1, 1))}),
    'levels of other filters': dict(arrays={'_levels': mx.nd.ones((4, 23, 1, 1, 1))}),
    'levels of another type': dict(arrays={'_levels': mx.nd.ones((4, 1, 1, 1, 1), dtype='float64')}),
    'codes too few': dict(arrays={'_codes': mx.nd.ones((2, 7), dtype='uint8')}),
    'codes too many': dict(arrays={'_codes': mx.nd.ones((3, 324), dtype='uint8')}),
    'codes of floats': dict(arrays={'_codes': mx.nd.ones((2, 324))}),
    'data for codes': dict(inputs=['levels', 'data']),
    'levels for codes': dict(inputs=['levels', 'levels']),
}


@pytest.mark.parametrize('exact', [False, True])
@pytest.mark.parametrize('name', DAMAGES)
def test_damaged(name, exact, tmp_path):
    net = sequential(bmx.nn.BinaryConv(24, 3, in_channels=4), conv(24, 24, 'ttq', groups=2))
    x = random((1, 4, 6, 6))
    bmx.export(randomize(net, x), str(tmp_path / 'net'), x.shape, x, exact=exact)
    edited(tmp_path / 'net', tmp_path / 'same')
    assert np.array_equal(files.import_block(str(tmp_path / 'same'))(x).asnumpy(),
                          deploy.load(str(tmp_path / 'net'))[0](x).asnumpy())
    edited(tmp_path / 'net', tmp_path / 'changed', **DAMAGES[name])
    with pytest.raises((bmx.LoadError, mx.MXNetError)):
        files.import_block(str(tmp_path / 'changed'))(x).wait_to_read()
    with pytest.raises(bmx.LoadError):
        deploy.load(str(tmp_path / 'changed'))
