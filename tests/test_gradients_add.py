"""Gradients of the operators are added where they have to be: grad_req='add', and values that many nodes read."""
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon import nn

import bmx
from bmx.nn.quantizers import ESTIMATORS

SHAPE = (2, 3, 4, 5)
DTYPES = ('float16', 'float32', 'float64')


def _residual(F, x, **attributes):
    signs, scales = F.residual_binarize(x, binarizations=2, **attributes)
    return F.broadcast_mul(F.reshape(signs, shape=(2, 2, -1)), F.expand_dims(scales, axis=2))


# name: function of F, the inputs and attributes that differ from call to call; shapes; dtypes
OPERATORS = {
    'clip': (lambda F, x, **other: F.binarize(x, **dict({'clip_threshold': 0.9}, **other)), [SHAPE], DTYPES),
    'polynomial': (lambda F, x, **other: F.binarize(x, estimator='polynomial', **other), [SHAPE], DTYPES),
    'border': (lambda F, x, **other: F.binarize(x, pad=(1, 1), pad_value=1, **other), [SHAPE], DTYPES),
    'residual': (_residual, [SHAPE], DTYPES),
    'scale': (lambda F, x, s, **other: F.channelwise(x, s, kind='scale'), [SHAPE, (3,)], DTYPES[1:]),
    'prelu': (lambda F, x, s, **other: F.channelwise(x, s, kind='prelu'), [SHAPE, (1,)], DTYPES[1:]),
    'convolution': (lambda F, x, w, **other: F.binary_convolution(x, w, kernel=(3, 3), num_filter=6, **other),
                    [SHAPE, (6, 3, 3, 3)], DTYPES[1:2]),
}
CASES = [(name, dtype) for name, (_, _, dtypes) in OPERATORS.items() for dtype in dtypes]
FLAGS = {'imperative': None, 'hybridized': {}, 'static': {'static_alloc': True, 'static_shape': True}}


def _values(shapes, dtype):
    random = np.random.RandomState(0)
    return [mx.nd.array(random.normal(0, 0.7, shape), dtype=dtype) for shape in shapes]


def _passes(run, gradients, count=2):
    """The gradients of inputs, as NumPy arrays, after each of some backward passes."""
    found = []
    for _ in range(count):
        with mx.autograd.record():
            result = run()
        result.backward()
        found.append([gradient.asnumpy() for gradient in gradients()])
    return found


def _assert_twice(first, second):
    for once, twice in zip(first, second):
        assert once.any() and np.array_equal(2 * once, twice)


class _Lambda(mx.gluon.HybridBlock):
    def __init__(self, function, shapes=(), dtype='float32'):
        super().__init__()
        self._function = function
        for index, shape in enumerate(shapes):
            setattr(self, f'weight{index}', self.params.get(f'weight{index}', shape=shape, dtype=dtype,
                                                              grad_req='add'))

    def hybrid_forward(self, F, *inputs, **weights):
        return self._function(F, *inputs, *[weights[name] for name in sorted(weights)])


@pytest.mark.parametrize('flags', FLAGS.values(), ids=FLAGS)
@pytest.mark.parametrize('name, dtype', CASES)
def test_inputs(name, dtype, flags):
    function, shapes, _ = OPERATORS[name]
    inputs = _values(shapes, dtype)
    for value in inputs:
        value.attach_grad(grad_req='add')
    net = _Lambda(function)
    if flags is not None:
        net.hybridize(**flags)
    _assert_twice(*_passes(lambda: net(*inputs) * 3, lambda: [value.grad for value in inputs]))


@pytest.mark.parametrize('flags', FLAGS.values(), ids=FLAGS)
@pytest.mark.parametrize('name, dtype', CASES)
def test_parameters(name, dtype, flags):
    """Those of a block of one's own."""
    function, shapes, _ = OPERATORS[name]
    net = _Lambda(lambda F, x, *weights: F.broadcast_add(function(F, *weights), x), shapes, dtype)
    net.initialize(mx.init.Normal(0.7))
    if flags is not None:
        net.hybridize(**flags)
    x = mx.nd.zeros(1, dtype=dtype)
    _assert_twice(*_passes(lambda: net(x) * 3, lambda: [p.grad() for p in net.collect_params().values()]))


@pytest.mark.parametrize('readers', [1, 7, 8, 9, 20])
@pytest.mark.parametrize('request_', ['write', 'add'])
@pytest.mark.parametrize('name', OPERATORS)
def test_many_readers(name, request_, readers):
    """MXNet adds up the gradients of 8 and more readers in one array. They differ, so that none can be merged."""
    function, shapes, _ = OPERATORS[name]
    variables = [mx.sym.var(f'x{index}') for index in range(len(shapes))]
    values = _values(shapes, 'float32')

    def gradients(count, passes):
        # The data is computed, so that its gradient is not that of an argument, which has a request of its own.
        data = variables[0] * 1
        read = [mx.sym.sum(function(mx.sym, data, *variables[1:], __place__=str(index))) * (index + 1)
                for index in range(count)]
        executor = mx.sym.add_n(*read).simple_bind(
            mx.cpu(), grad_req=request_, **{f'x{index}': shape for index, shape in enumerate(shapes)})
        for index, value in enumerate(values):
            executor.arg_dict[f'x{index}'][:] = value
        for _ in range(passes):
            executor.forward(is_train=True)
            executor.backward(mx.nd.ones(1))
        return [executor.grad_dict[f'x{index}'].asnumpy() for index in range(len(shapes))]

    total = readers * (readers + 1) // 2 * (2 if request_ == 'add' else 1)
    for one, found in zip(gradients(1, 1), gradients(readers, 2)):
        assert one.any()
        np.testing.assert_allclose(found, one * total, rtol=1e-5, atol=1e-4)


def test_readers_that_differ_in_nothing_but_a_threshold():
    """MXNet makes one node of equal nodes: not of the identities before them."""
    x = mx.sym.var('x')
    total = mx.sym.add_n(*[mx.sym.binarize(x, clip_threshold=1 + index) for index in range(9)])
    executor = total.simple_bind(mx.cpu(), x=(3,), grad_req='write')
    executor.arg_dict['x'][:] = 0.5
    executor.forward(is_train=True)
    executor.backward(mx.nd.ones(3))
    assert executor.grad_dict['x'].asnumpy().tolist() == [9, 9, 9]


def test_executor_before_the_import_and_library_after_it():
    """What MXNet remembers of its first gradient does not matter; nor do libraries that are loaded later."""
    script = '''
import mxnet as mx
def gradient(result):
    executor = result.simple_bind(mx.cpu(), x=(3,), grad_req='write')
    executor.arg_dict['x'][:] = 0.5
    executor.forward(is_train=True)
    executor.backward(mx.nd.ones(3))
    return executor.grad_dict['x'].asnumpy().tolist()
gradient(mx.sym.var('x') * 2)
import bmx
for _ in range(2):
    value = mx.sym.var('x') * 1
    print(gradient(mx.sym.add_n(*[mx.sym.binarize(value) for _ in range(9)])))
    mx.library.load(bmx.ops.library_path())
'''
    result = subprocess.run([sys.executable, '-c', script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert result.stdout.count('[9.0, 9.0, 9.0]\n') == 2, result.stdout + result.stderr


LAYERS = {
    'QActivation': bmx.nn.QActivation, 'border': lambda: bmx.nn.QActivation(padding=(1, 1)),
    'polynomial': lambda: bmx.nn.QActivation(quantizer='approx_sign'), 'bits': lambda: bmx.nn.QActivation(2),
    'PReLU': bmx.nn.PReLU, 'Scale': lambda: bmx.nn.Scale(1.0), 'PlainLayout': bmx.nn.PlainLayout,
    'ChannelShuffle': lambda: bmx.nn.ChannelShuffle(3), 'stem': lambda: bmx.nn.GroupedStem(16),
    'BinaryConv': lambda: bmx.nn.BinaryConv(4, 3, padding=1),
    'scaling': lambda: bmx.nn.BinaryConv(4, 3, scaling='gradient'),
    'binarizations': lambda: bmx.nn.BinaryConv(4, 3, padding=1, binarizations=3),
    'BinaryDense': lambda: bmx.nn.BinaryDense(4, binarizations=2),
    'QConv2D': lambda: bmx.nn.QConv2D(4, 3, scaling='constant'), 'QDense': lambda: bmx.nn.QDense(4),
    'padded': lambda: bmx.nn.QConv2D(4, 3, padding=1), 'weights of bits': lambda: bmx.nn.QDense(4, bits=2),
}


@pytest.mark.parametrize('flags', FLAGS.values(), ids=FLAGS)
@pytest.mark.parametrize('name', LAYERS)
def test_layers(name, flags):
    """Inputs and parameters, of a layer that is read twice as well."""
    layer = LAYERS[name]()
    layer.initialize(mx.init.Normal(0.5))
    x, = _values([(2, 3, 9, 9)], 'float32')
    with mx.autograd.pause():
        layer(x)
    if flags is not None:
        layer.hybridize(**flags)
    x.attach_grad(grad_req='add')
    layer.collect_params().setattr('grad_req', 'add')
    arrays = [x] + [parameter.data() for parameter in layer.collect_params().values() if parameter.grad_req == 'add']
    _assert_twice(*_passes(lambda: mx.nd.concat(*[mx.nd.reshape(part, (-1,)) for part in _parts(layer(x))], dim=0) * 3,
                           lambda: [array.grad for array in arrays]))


def _parts(result):
    return result if isinstance(result, (list, tuple)) else [result]


@pytest.mark.parametrize('composed', [False, True])
@pytest.mark.parametrize('name', ESTIMATORS)
def test_quantizers(name, composed):
    weight, = _values([(4, 6)], 'float32')
    weight.attach_grad(grad_req='add')
    _assert_twice(*_passes(lambda: ESTIMATORS[name](weight, 0.9, composed) * 3, lambda: [weight.grad]))


def test_shared_parameters():
    """Two layers, one weight, over two passes: four times the gradient where both layers do the same."""
    one = bmx.nn.QDense(4, use_bias=False, in_units=60)
    other = bmx.nn.QDense(4, use_bias=False, in_units=60, params=one.params)
    one.initialize(mx.init.Normal(0.5))
    one.weight.grad_req = 'add'
    x, = _values([(2, 60)], 'float32')
    gradients = _passes(lambda: one(x) + other(x), lambda: [one.weight.grad()])
    _assert_twice(*gradients)
    one.weight.zero_grad()
    _assert_twice(*_passes(lambda: one(x), lambda: [one.weight.grad()])[:1], gradients[0])


@pytest.mark.parametrize('layer', [bmx.nn.QDense(4, quantizer=name, scaling='gradient') for name in ESTIMATORS])
def test_weight_traced_before_its_shape_is_known(layer):
    layer.initialize(mx.init.Normal(0.5))
    layer.hybridize()
    layer.collect_params().setattr('grad_req', 'add')
    x, = _values([(2, 3)], 'float32')
    _assert_twice(*_passes(lambda: layer(x) * 3, lambda: [layer.weight.grad(), layer.bias.grad()]))


def test_no_copies_outside_of_autograd(monkeypatch):
    def copy(*_, **__):
        raise AssertionError('a copy')

    monkeypatch.setattr(mx.nd, 'identity', copy)
    net = nn.HybridSequential()
    net.add(bmx.nn.BinaryConv(4, 3, padding=1, scaling='constant'), bmx.nn.PReLU(), bmx.nn.BinaryDense(3))
    net.initialize()
    assert net(mx.nd.ones(SHAPE)).shape == (2, 3)


def test_functions_keep_their_arguments():
    x, out = mx.nd.array([-2, 3]), mx.nd.zeros(2)
    for scope in (mx.autograd.pause(), mx.autograd.record()):
        with scope:
            assert mx.nd.binarize(x, clip_threshold=1, out=out, name='sign') is out
        assert out.asnumpy().tolist() == [-1, 1]
    symbol = mx.sym.binarize(data=mx.sym.var('x'), name='sign', attr={'__mark__': '1'})
    assert symbol.list_arguments() == ['x'] and symbol.list_outputs() == ['sign_output']
    assert symbol.attr('__mark__') == '1'
    for package in (mx.nd, mx.nd.op, mx.sym, mx.sym.op):
        assert package.residual_binarize.__name__ == 'residual_binarize'
