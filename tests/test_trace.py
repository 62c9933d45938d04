"""Networks become graphs when their shapes are not known yet, are known by now, and again: as with Gluon's layers."""
import re

import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon import nn

import bmx
from bmx.deploy import ExportError
from bmx.graph import Graph
from bmx.nn.quantizers import ESTIMATORS

IMAGE, ROW, FLAT = (2, 3, 12, 12), (2, 3, 12), (2, 12)


class Own(mx.gluon.HybridBlock):
    """A layer of a user's, whose weight is quantized as it is or computed."""

    def __init__(self, quantize):
        super().__init__()
        self._quantize = quantize
        self.weight = self.params.get('weight', shape=(8, 0), allow_deferred_init=True)

    def hybrid_forward(self, F, x, weight):
        return F.FullyConnected(bmx.nn.ste_sign(x), self._quantize(F, weight), num_hidden=8, no_bias=True)


def _with_activation(layer, **arguments):
    return lambda: [bmx.nn.QActivation(**arguments), layer()]


# name: layers of a network, all with deferred shapes; input; how many of the layers run binary
LAYERS = {
    'Conv2D': (lambda: [nn.Conv2D(8, 3)], IMAGE, 0),
    'GroupedStem': (lambda: [bmx.nn.GroupedStem(16)], IMAGE, 0),
    'PReLU': (lambda: [bmx.nn.BinaryConv(8, 3), bmx.nn.PReLU(), bmx.nn.Scale(0.5)], IMAGE, 1),
    'QConv1D': (_with_activation(lambda: bmx.nn.QConv1D(8, 3, padding=1)), ROW, 1),
    'QConv2D': (_with_activation(lambda: bmx.nn.QConv2D(8, 3, padding=1)), IMAGE, 1),
    'QDense': (_with_activation(lambda: bmx.nn.QDense(8)), FLAT, 1),
    'QDense of images': (_with_activation(lambda: bmx.nn.QDense(8)), IMAGE, 1),
    'BinaryConv': (lambda: [bmx.nn.BinaryConv(8, 3)], IMAGE, 1),
    'normalised': (lambda: [nn.BatchNorm(), bmx.nn.BinaryConv(8, 3, padding=1), nn.BatchNorm(),
                            bmx.nn.BinaryConv(8, 3, padding=1)], IMAGE, 2),
    'BinaryDense': (lambda: [bmx.nn.BinaryDense(8)], FLAT, 1),
    'approx_sign': (lambda: [bmx.nn.BinaryConv(8, 3, quantizer='approx_sign')], IMAGE, 1),
    'constant': (lambda: [bmx.nn.BinaryConv(8, 3, scaling='constant')], IMAGE, 1),
    'gradient': (lambda: [bmx.nn.BinaryDense(8, scaling='gradient')], FLAT, 1),
    'clip_threshold': (lambda: [bmx.nn.BinaryConv(8, 3, clip_threshold=0)], IMAGE, 1),
    'binarizations': (lambda: [bmx.nn.BinaryConv(8, 3, binarizations=2)], IMAGE, 1),
    'bits': (lambda: [bmx.nn.BinaryConv(8, 3, bits=2)], IMAGE, 1),
    'bits=32': (lambda: [bmx.nn.BinaryConv(8, 3, bits=32)], IMAGE, 0),
    'own': (lambda: [Own(lambda F, weight: bmx.nn.ste_sign(weight))], FLAT, 1),
    'own, polynomial': (lambda: [Own(lambda F, weight: bmx.nn.approx_sign(weight))], FLAT, 1),
    'own, computed': (lambda: [Own(lambda F, weight: bmx.nn.ste_sign(weight * 2 + 0.1))], FLAT, 1),
}
# How a network is called before: when its shapes are settled, and whether a graph is kept of a time when they were not.
CALLS = {'imperative': lambda net: None, 'hybridized': lambda net: net.hybridize()}


def _sequence(*blocks):
    net = nn.HybridSequential()
    net.add(*blocks)
    return net


@pytest.fixture(params=CALLS)
def call(request):
    return CALLS[request.param]


@pytest.fixture(params=LAYERS)
def trained(request, call):
    """(features, network with a head on them, input, how many layers run binary), called once."""
    make, shape, binary = LAYERS[request.param]
    features = _sequence(*make(), nn.Flatten())
    net = _sequence(features, nn.Dense(10))
    net.initialize(mx.init.Normal(0.5))
    call(net)
    x = mx.nd.array(np.random.RandomState(0).normal(size=shape))
    net(x)
    return features, net, x, binary


def _assert_exports(net, x, binary, folder):
    exported = bmx.export(net, str(folder / 'deployed'), x.shape, inputs=x)
    assert sum(row.reason is None for row in exported.rows) == binary
    assert exported.comparison.max_difference < 1e-6


def test_new_head(trained, tmp_path):
    features, _, x, binary = trained
    net = _sequence(features, nn.Dense(3))
    net[1].initialize()
    assert bmx.summary(net, x.shape).layers[-1]['output_shape'][-1] == 3
    _assert_exports(net, x, binary, tmp_path)
    expected = net(x).asnumpy()
    net.hybridize()
    np.testing.assert_allclose(net(x).asnumpy(), expected, rtol=1e-5, atol=1e-5)


class TwoHeads(mx.gluon.HybridBlock):
    """A network with a head that it does not use."""

    def __init__(self, features):
        super().__init__()
        with self.name_scope():
            self.features, self.head, self.unused = features, nn.Dense(3), _sequence(bmx.nn.QDense(4))

    def hybrid_forward(self, F, x):
        return self.head(self.features(x))


@pytest.mark.filterwarnings('ignore:.*is not used by any computation')
def test_unused_head(trained, tmp_path):
    features, _, x, binary = trained
    net = TwoHeads(features)
    net.head.initialize()
    net.unused.initialize()
    bmx.summary(net, x.shape)
    _assert_exports(net, x, binary, tmp_path)
    net.hybridize()
    assert net(x).shape == (2, 3)


def test_module(trained):
    _, net, x, _ = trained
    module = mx.mod.Module(net(mx.sym.var('data')), label_names=None)
    module.bind([('data', x.shape)], for_training=False)
    parameters = {name: parameter.data() for name, parameter in net.collect_params().items()}
    module.set_params(*[{name: parameters[name] for name in names if name in parameters}
                        for names in (module.symbol.list_arguments(), module.symbol.list_auxiliary_states())])
    module.forward(mx.io.DataBatch([x]), is_train=False)
    np.testing.assert_allclose(module.get_outputs()[0].asnumpy(), net(x).asnumpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings('ignore:Cannot decide type')
def test_gluon_export_and_imports(trained, tmp_path):
    _, net, x, binary = trained
    if not net._active:
        net.hybridize()
        net(x)
    expected = net(x).asnumpy()
    net.export(str(tmp_path / 'net'))
    again = mx.gluon.SymbolBlock.imports(str(tmp_path / 'net-symbol.json'), ['data'], str(tmp_path / 'net-0000.params'))
    np.testing.assert_allclose(again(x).asnumpy(), expected, rtol=1e-5, atol=1e-5)
    weights = [node for node in Graph.from_block(again, x.shape).nodes if node.name.endswith('weight')]
    assert all(node.attr('__shape__') == net.collect_params()[node.name].shape for node in weights)
    assert bmx.summary(again, x.shape).bops == bmx.summary(net, x.shape).bops
    _assert_exports(again, x, binary, tmp_path)


def test_a_graph_of_known_shapes_has_the_operator():
    """Not the slower composition of built-in ones, once a layer's shape is known; other shapes can follow."""
    layer = bmx.nn.BinaryDense(4)
    layer.initialize()
    before = layer(mx.sym.var('data')).tojson()
    assert bmx.summary(layer, (1, 5)).bops == 20 and bmx.summary(layer, (1, 6)).bops == 24
    layer(mx.nd.ones((1, 7)))
    after = layer(mx.sym.var('data')).tojson()
    assert before.count('"binarize"') == 1 and after.count('"binarize"') == 2
    assert layer(mx.sym.var('data')).infer_shape(data=(2, 7))[1] == [(2, 4)]


@pytest.mark.parametrize('name, attributes', [
    ('ste_sign', {'estimator': 'clip', 'clip_threshold': '0.7'}), ('approx_sign', {'estimator': 'polynomial'})])
def test_composed_signs(name, attributes):
    """As a graph has them that was traced on a GPU."""
    x = mx.sym.var('data')
    graph = Graph.from_symbol(ESTIMATORS[name](x * 2, 0.7, composed=True, padding=(1, 1), pad_value=1) + 1)
    assert [node.op for node in graph.nodes] == ['null', '_mul_scalar', 'binarize', 'Pad', '_plus_scalar']
    assert graph.nodes[2].attrs == attributes
    data = np.random.RandomState(0).normal(size=(2, 3, 4, 5)).astype('float32')
    results = []
    for symbol in (ESTIMATORS[name](x * 2, 0.7, composed=True), Graph.from_symbol(
            ESTIMATORS[name](x * 2, 0.7, composed=True)).to_symbol()):
        executor = symbol.simple_bind(mx.cpu(), data=data.shape)
        executor.arg_dict['data'][:] = data
        executor.forward(is_train=True)
        executor.backward(mx.nd.array(data))
        results.append([executor.outputs[0].asnumpy(), executor.grad_dict['data'].asnumpy()])
    assert np.array_equal(results[0][0], results[1][0])
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-6, atol=1e-6)


def _composed(x, scalars=(0, 2, 1), surrogate=None, blocked=None):
    surrogate = mx.sym.clip(x, -1, 1) if surrogate is None else surrogate
    zero, two, one = scalars
    blocked = surrogate if blocked is None else blocked
    return mx.sym.BlockGrad((x >= zero) * two - one) + (surrogate - mx.sym.BlockGrad(blocked))


_X = mx.sym.var('data')


@pytest.mark.parametrize('symbol', [
    _composed(_X, scalars=(0.5, 2, 1)), _composed(_X, scalars=(0, 3, 1)), _composed(_X, scalars=(0, 2, 0)),
    _composed(_X, surrogate=mx.sym.clip(_X, -1, 2)),
    _composed(_X, surrogate=mx.sym.clip(mx.sym.var('other'), -1, 1)), _composed(_X, blocked=_X),
    _composed(_X, surrogate=mx.sym.tanh(_X)), _composed(_X, surrogate=mx.sym.clip(_X, -2, 2) * mx.sym.abs(_X)),
    _composed(_X, surrogate=mx.sym.clip(_X, -2, 2) * (2 - mx.sym.abs(mx.sym.clip(_X, -2, 2)))), _X + (_X - _X)])
def test_what_only_resembles_a_composed_sign(symbol):
    assert 'binarize' not in {node.op for node in Graph.from_symbol(symbol).nodes}


def test_identities_are_left_out():
    """Also at the end of a graph, and of one with several outputs."""
    x = mx.sym.var('data')
    parts = mx.sym.SliceChannel(mx.sym.identity(x), num_outputs=2)
    graph = Graph.from_symbol(mx.sym.Group([mx.sym.identity(mx.sym.identity(parts[1])), mx.sym.relu(parts[0]),
                                            mx.sym.identity(x)]))
    assert [node.op for node in graph.nodes] == ['null', 'SliceChannel', 'relu']
    assert [(node.op, index) for node, index in graph.outputs] == [('SliceChannel', 1), ('relu', 0), ('null', 0)]
    executor = graph.to_symbol().bind(mx.cpu(), {'data': mx.nd.array([[-1, 2]])})
    assert [output.asnumpy().tolist() for output in executor.forward()] == [[[2]], [[0]], [[-1, 2]]]


def _block(function):
    class Block(mx.gluon.HybridBlock):
        hybrid_forward = function
    return _sequence(nn.Dense(3), Block(prefix='inner_'))


def _chosen(self, F, x):
    return x if x.sum().asscalar() > 0 else -x


def _compared(self, F, x):
    return -x if x > 0 else x


def _shaped(self, F, x):
    return F.reshape(x, shape=(x.shape[0], -1))


def _of_arrays(self, F, x):
    return mx.nd.relu(x)


def _mistaken(self, F, x):
    return x[self.missing]


def _two_inputs(self, F, x, y):
    return x + y


def _nested(self, F, x):
    return [x, (x, x)]


def _nothing(self, F, x):
    return []


def _named(self, F, x):
    return {'x': x}


_BY_VALUE = r'.*: inner \(Block\): .*in a graph data has neither values nor a shape: compute with the operators of F'


@pytest.mark.parametrize('initialized', [False, True])
@pytest.mark.parametrize('function, message', [
    (_chosen, _BY_VALUE + '.*F.where'), (_compared, _BY_VALUE), (_shaped, _BY_VALUE), (_of_arrays, _BY_VALUE),
    (_mistaken, r"cannot be traced .*: inner \(Block\): .*'missing'$"), (_two_inputs, "one input: .*'y'$"),
    (_nested, r'\d+ \(HybridSequential\) has a tuple among its outputs; return arrays alone, in one flat'),
    (_named, r'hybridsequential\d+ \(HybridSequential\) has a dict among its outputs'),
    (_nothing, 'has nothing among its outputs'),
])
def test_what_cannot_be_traced(function, message, initialized, tmp_path):
    net = _block(function)
    if initialized:
        net.initialize()
        net[0](mx.nd.ones(FLAT))
    for attempt, error in ((lambda: bmx.summary(net, FLAT), ValueError),
                           (lambda: bmx.export(net, str(tmp_path / 'net'), FLAT), ExportError)):
        with pytest.raises(error) as found:
            attempt()
        assert re.search(message, str(found.value)) and '\n' not in str(found.value)


def test_shapes_that_do_not_follow():
    class Unused(mx.gluon.HybridBlock):
        def __init__(self):
            super().__init__(prefix='net_')
            self.weight = self.params.get('weight', shape=(0, 3), allow_deferred_init=True)

        def hybrid_forward(self, F, x, weight):
            return F.broadcast_add(x, F.sum(weight))

    with pytest.raises(ValueError, match=r'net \(Unused\): the shapes of net_weight do not follow from an input'):
        Graph.from_block(Unused(), (1, 3))
