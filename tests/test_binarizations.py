"""Several binarizations of activations: the operator against the reference, layers against plain sums of products."""
import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon
from mxnet.gluon import nn
from mxnet.test_utils import assert_almost_equal

import bmx
from bmx import ops
from bmx.nn import quantizers, tensors
from helpers import DTYPES, gradient

SHAPES = [(3, 5, 7, 9), (2, 70, 6, 5), (4, 33), (2, 9, 11), (2, 3, 4, 5, 6), (1, 1), (1, 8, 1, 1), (2, 64, 40, 41),
          (1, 3, 2, 600)]


def random(shape, seed=0, dtype='float32'):
    return np.random.RandomState(seed).randn(*shape).astype(dtype)


def binarize(x, binarizations, **arguments):
    found = mx.nd.residual_binarize(mx.nd.array(x, dtype=x.dtype), binarizations=binarizations, **arguments)
    return [part.asnumpy() for part in found]


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('binarizations', [1, 2, 3, 8])
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_operator_equals_the_reference(shape, binarizations, dtype):
    x = random(shape, dtype=dtype)
    for found, expected in zip(binarize(x, binarizations), ops.reference.residual_binarize(x, binarizations)):
        assert found.dtype == expected.dtype == x.dtype and np.array_equal(found, expected)


@pytest.mark.parametrize('shape, pad', [((2, 9, 11), (2,)), ((2, 9, 5, 7), (1, 2)), ((2, 9, 5, 7), (0, 1)),
                                        ((2, 3, 5, 7), (2, 0)), ((2, 3, 4, 5, 6), (1, 1)), ((3, 40, 20, 19), 1)],
                         ids=str)
@pytest.mark.parametrize('pad_value', [-1, 0, 1])
def test_border(shape, pad, pad_value):
    x = random(shape)
    found = binarize(x, 3, pad=pad, pad_value=pad_value)
    for one, expected in zip(found, ops.reference.residual_binarize(x, 3, pad, pad_value)):
        assert one.shape == expected.shape and np.array_equal(one, expected)


def test_terms_by_hand():
    signs, scales = binarize(np.float32([[3, -1], [0, -0.0]]), 2)
    assert np.array_equal(scales, [[2, 0], [1, 0]])  # 3, -1 -> 2, 2 times the sign, then 1, 1
    assert np.array_equal(signs, [[1, -1], [1, 1], [1, 1], [1, 1]])


def test_approximation_gets_better():
    x = random((2, 8, 6, 6))
    errors = []
    for m in range(1, 9):
        signs, scales = binarize(x, m)
        errors.append(np.abs(x - np.einsum('mn,mnchw->nchw', scales, signs.reshape((m,) + x.shape))).mean())
    assert all(later < earlier for earlier, later in zip(errors, errors[1:]))


@pytest.mark.parametrize('shape', [(8, 33), (8, 7, 5, 3), (8, 40, 30, 29)], ids=str)
def test_a_sample_does_not_depend_on_its_neighbours(shape):
    x = random(shape)
    signs, scales = binarize(x, 3)
    for sample in range(len(x)):
        alone, alpha = binarize(x[sample:sample + 1], 3)
        assert np.array_equal(alone, signs[sample::8]) and np.array_equal(alpha[:, 0], scales[:, sample])


@pytest.mark.parametrize('dtype', DTYPES)
def test_nan_is_minus_one(dtype):
    x = random((2, 3, 4), dtype=dtype)
    x[0, 1, 2] = np.nan
    signs, scales = binarize(x, 2)
    expected, _ = binarize(x[1:], 2)
    assert signs[0, 1, 2] == -1 and (signs[2] == -1).all() and np.isnan(scales[:, 0]).all()
    assert np.array_equal(signs[1::2], expected)


ESTIMATORS = [{}, {'clip_threshold': 0.7}, {'clip_threshold': 0}, {'estimator': 'polynomial'}]


@pytest.mark.parametrize('arguments', ESTIMATORS, ids=str)
@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('shape, pad', [((3, 33), ()), ((3, 4, 9), (2,)), ((2, 5, 7, 6), (1, 2)),
                                        ((2, 40, 30, 29), (1, 1))], ids=str)
def test_gradient_is_that_of_the_first_term_divided_by_its_scale(shape, pad, dtype, arguments):
    x = random(shape, dtype=dtype)
    x[1] = 0  # alpha_1 of 0
    data = mx.nd.array(x, dtype=dtype)
    data.attach_grad()
    with autograd.record():
        signs, scales = mx.nd.residual_binarize(data, binarizations=2, pad=pad, **arguments)
    heads = [random(part.shape, 1, dtype) for part in (signs, scales)]
    autograd.backward([signs, scales], [mx.nd.array(head, dtype=dtype) for head in heads])
    inside = (slice(len(x)),) + tuple(slice(0, size) for size in shape[1:len(shape) - len(pad)]) + tuple(
        slice(width, -width) for width in pad)
    alpha = scales.asnumpy()[0].reshape((-1,) + (1,) * (len(shape) - 1))
    with np.errstate(divide='ignore', invalid='ignore'):
        expected = np.where(alpha == 0, 0, heads[0][inside] / alpha).astype(dtype)
    assert np.array_equal(data.grad.asnumpy(), gradient(x, **arguments) * expected)


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
@pytest.mark.parametrize('quantizer', quantizers.ESTIMATORS)
@pytest.mark.parametrize('shape, padding', [((3, 33), ()), ((3, 4, 9), (2,)), ((2, 5, 7, 6), (1, 2))], ids=str)
def test_composed_of_built_in_operators(shape, padding, quantizer, dtype):
    x = random(shape, dtype=dtype)
    x[1] = 0
    results = []
    for composed in (False, True):
        data = mx.nd.array(x, dtype=dtype)
        data.attach_grad()
        with autograd.record():
            signs, scales = quantizers.residual_sign(data, 3, quantizer, 0.9, composed, padding, 1)
        signs.backward(mx.nd.array(random(signs.shape, 1), dtype=dtype))
        results.append([part.asnumpy() for part in (signs, scales, data.grad)])
    assert np.array_equal(results[0][0], results[1][0])
    for operator, composed in zip(results[0][1:], results[1][1:]):
        assert operator.dtype == composed.dtype
        assert_almost_equal(operator, composed, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('arguments, shape, message', [
    ({'binarizations': 0}, (2, 3), 'binarizations must be between 1 and 8, got 0'),
    ({'binarizations': 9}, (2, 3), 'binarizations must be between 1 and 8, got 9'),
    ({'pad': (1,)}, (2, 3), 'pad of 1 axes for data of 2, of which two are batch and channels'),
    ({}, (2,), 'data must have a batch axis and at least one more, got shape (2)'),
    ({'terms': 2}, (2, 3), "unknown attribute 'terms'; valid names: binarizations, estimator, clip_threshold, pad, "),
    ({'pad': (2 ** 31 - 1,)}, (2, 3, 4), 'padded data of 4294967298 pixels is too large')])
def test_errors(arguments, shape, message):
    with pytest.raises(mx.MXNetError) as error:
        mx.nd.residual_binarize(mx.nd.zeros(shape), **arguments)
    assert 'residual_binarize: ' + message in str(error.value)


def test_symbol_infers_shapes_and_types():
    symbol = mx.sym.residual_binarize(mx.sym.var('x'), binarizations=3, pad=(1, 2))
    assert symbol.infer_shape(x=(2, 4, 5, 6))[1] == [(6, 4, 7, 10), (3, 2)]
    assert symbol.infer_shape_partial(x=(0, 4, 5, 6))[1] == [(0, 4, 7, 10), (3, 0)]
    assert symbol.infer_type(x='float16')[1] == [np.float16] * 2


# Quantized layer, shape of its input, arguments.
LAYERS = [
    (bmx.nn.QConv1D, (2, 3, 8), dict(channels=4, kernel_size=3, padding=1)),
    (bmx.nn.QConv2D, (2, 6, 7, 5), dict(channels=4, kernel_size=3, padding=(1, 0), strides=2)),
    (bmx.nn.QConv2D, (3, 6, 9, 9), dict(channels=6, kernel_size=(3, 2), dilation=2, groups=3, activation='relu')),
    (bmx.nn.QConv2D, (2, 5, 4, 4), dict(channels=5, kernel_size=3, groups=5, use_bias=False, padding=1)),
    (bmx.nn.QDense, (3, 11), dict(units=4)),
    (bmx.nn.QDense, (3, 2, 5, 2), dict(units=4, activation='relu', use_bias=False)),
    (bmx.nn.BinaryConv, (2, 6, 7, 5), dict(channels=4, kernel_size=3, padding=1, groups=2)),
    (bmx.nn.BinaryDense, (3, 2, 5, 2), dict(units=4)),
]
IDS = [f'{row[0].__name__}-{index}' for index, row in enumerate(LAYERS)]


def build(layer, arguments, **settings):
    """A network of the layer, behind an activation where it has none of its own, and the layer with the weights."""
    net = nn.HybridSequential()
    with bmx.nn.config(**settings):
        if layer in (bmx.nn.BinaryConv, bmx.nn.BinaryDense):
            net.add(layer(**arguments))
            return net, list(net[0]._children.values())[1]
        net.add(bmx.nn.QActivation(), layer(**arguments))
        return net, net[1]


def initialized(net, x):
    mx.random.seed(3)
    net.initialize(mx.init.Normal(1))
    net(x)
    for index, bias in enumerate(net.collect_params('.*bias').values()):
        bias.set_data(mx.nd.array(random(bias.shape, index)))
    return net


def product(layer, signs, weight, pad_value, padding=None):
    """The product of one term, by Gluon's operators; `padding` instead of the layer's own."""
    if isinstance(layer, nn.Dense):
        return mx.nd.FullyConnected(signs, weight, num_hidden=layer._units, no_bias=True)
    padding = layer._kwargs['pad'] if padding is None else padding
    attributes = dict(layer._kwargs, no_bias=True, pad=(0,) * len(padding))
    return mx.nd.Convolution(tensors.pad(signs, padding, pad_value), weight, **attributes)


@pytest.mark.parametrize('hybridize', [False, True])
@pytest.mark.parametrize('pad_value', [-1, 1, 0])
@pytest.mark.parametrize('binarizations', [1, 2, 3])
@pytest.mark.parametrize('layer, shape, arguments', LAYERS, ids=IDS)
def test_a_layer_is_the_sum_of_its_terms(layer, shape, arguments, binarizations, pad_value, hybridize):
    net, inner = build(layer, arguments, binarizations=binarizations, pad_value=pad_value, scaling='constant')
    x = mx.nd.array(random(shape))
    if hybridize:
        net.hybridize(static_alloc=True, static_shape=True)
    initialized(net, x)
    terms = ops.reference.residual_binarize(x.asnumpy(), binarizations)
    weight = inner.weight.data()
    total = None
    padding = (arguments['padding'],) * 2 if layer is bmx.nn.BinaryConv else None
    for signs, alpha in zip(np.split(terms[0], binarizations), terms[1]):
        term = product(inner, mx.nd.array(signs), mx.nd.binarize(weight), pad_value, padding)
        if binarizations > 1:
            term = term * mx.nd.array(alpha).reshape((-1,) + (1,) * (term.ndim - 1))
        total = term if total is None else total + term
    column = (1, -1) + (1,) * (total.ndim - 2)
    total = total * weight.abs().mean(axis=0, exclude=True).reshape(column)
    if inner.bias is not None:
        total = mx.nd.broadcast_add(total, inner.bias.data().reshape(column))
    if 'activation' in arguments:
        total = mx.nd.relu(total)
    assert np.array_equal(net(x).asnumpy(), total.asnumpy())
    assert np.array_equal(net(x[:1]).asnumpy(), total[:1].asnumpy())


@pytest.mark.parametrize('quantizer', quantizers.ESTIMATORS)
@pytest.mark.parametrize('layer, shape, arguments', LAYERS[:6], ids=IDS[:6])
def test_gradients_of_a_layer(layer, shape, arguments, quantizer):
    """The data's is the gradient of the product's approximated input where the estimator lets it through."""
    arguments = {key: value for key, value in arguments.items() if key != 'activation'}
    net, inner = build(layer, arguments, binarizations=2, clip_threshold=0.8, quantizer=quantizer)
    x = mx.nd.array(random(shape))
    initialized(net, x).collect_params().setattr('grad_req', 'add')
    x.attach_grad()
    for _ in range(2):
        with autograd.record():
            y = net(x)
        y.backward(mx.nd.array(random(y.shape, 5)))
    signs, scales = ops.reference.residual_binarize(x.asnumpy(), 2)
    approximated = sum(alpha.reshape((-1,) + (1,) * (x.ndim - 1)) * term
                       for term, alpha in zip(np.split(signs, 2), scales))
    estimator = {'estimator': 'polynomial'} if quantizer == 'approx_sign' else {'clip_threshold': 0.8}
    inputs, weight = mx.nd.array(approximated), mx.nd.binarize(inner.weight.data())
    inputs.attach_grad()
    weight.attach_grad()
    with autograd.record():
        # padded taps are constant; their share of the weight's gradient is that of the border alone
        z = product(inner, inputs, weight, 0)
        if any(inner._kwargs['pad'] if hasattr(inner, '_kwargs') else ()):
            border = tensors.pad(mx.nd.zeros(shape), inner._kwargs['pad'], -1)
            sums = mx.nd.array(scales.sum(axis=0).reshape((-1,) + (1,) * (x.ndim - 1)))
            attributes = dict(inner._kwargs, no_bias=True, pad=(0,) * len(inner._kwargs['pad']))
            z = z + mx.nd.Convolution(mx.nd.broadcast_mul(border, sums), weight, **attributes)
    z.backward(mx.nd.array(random(z.shape, 5)))
    expected = gradient(x.asnumpy(), **estimator) * inputs.grad.asnumpy()
    assert_almost_equal(x.grad.asnumpy(), expected, rtol=1e-4, atol=1e-5)
    slope = gradient(inner.weight.data().asnumpy(), **estimator)
    assert_almost_equal(inner.weight.grad().asnumpy(), 2 * slope * weight.grad.asnumpy(), rtol=1e-4, atol=1e-4)


def test_gpu_graphs_hold_built_in_operators_only():
    net = nn.HybridSequential()
    with bmx.nn.config(binarizations=2):
        net.add(bmx.nn.BinaryConv(4, 3, padding=1, in_channels=4), bmx.nn.BinaryDense(2, in_units=16))
    with mx.gpu(0):
        on_gpu = net(mx.sym.var('data'))
    on_cpu = net(mx.sym.var('data'))
    assert 'binarize' not in on_gpu.tojson() and 'residual_binarize' in on_cpu.tojson()
    net.initialize(mx.init.Normal(1))
    values = {name: value.data() for name, value in net.collect_params().items()}
    results = []
    for symbol in (on_cpu, on_gpu):
        gradients = {name: mx.nd.zeros(value.shape) for name, value in values.items()}
        executor = symbol.bind(mx.cpu(), dict(values, data=mx.nd.array(random((3, 4, 2, 2)))), gradients)
        output = executor.forward(is_train=True)[0]
        executor.backward(mx.nd.array(random(output.shape, 5)))
        results.append([output.asnumpy()] + [gradients[name].asnumpy() for name in sorted(gradients)])
    for operator, composed in zip(*results):
        assert_almost_equal(operator, composed, rtol=1e-4, atol=1e-5)


def test_signs_and_scales_as_two_arguments_or_one():
    x = mx.nd.array(random((2, 3, 5, 5)))
    with bmx.nn.config(binarizations=2):
        activation, conv = bmx.nn.QActivation(), bmx.nn.QConv2D(4, 3)
    conv.initialize()
    signs, scales = activation(x)
    assert signs.shape == (4, 3, 5, 5) and scales.shape == (2, 2)
    expected = conv(signs, scales).asnumpy()
    assert np.array_equal(conv(*activation(x)).asnumpy(), expected)
    assert np.array_equal(conv(activation(x)).asnumpy(), expected)
    conv.hybridize()
    assert np.array_equal(conv(activation(x)).asnumpy(), expected)


def test_inputs_that_do_not_fit_are_refused():
    x = mx.nd.array(random((2, 6)))
    with bmx.nn.config(binarizations=2):
        two = bmx.nn.QDense(3, in_units=6, prefix='two_')
        pair = bmx.nn.QActivation()(x)
    one = bmx.nn.QDense(3, in_units=6, prefix='one_')
    one.initialize()
    two.initialize()
    with pytest.raises(ValueError, match='two: of residual.2. there are two inputs.* got one'):
        two(x)
    with pytest.raises(ValueError, match='one: two inputs, as of several binarizations, but the layer has'):
        one(*pair)
    for other in (1, 3, 4):  # 4: their number could be halved
        signs, scales = mx.nd.residual_binarize(x, binarizations=other)
        with pytest.raises(mx.MXNetError, match='sliced axis must be the same|evenly sized'):
            two(signs, scales).wait_to_read()
    with pytest.raises(ValueError, match='flatten=False is for activations without scales, got residual'):
        bmx.nn.QDense(3, flatten=False, binarizations=2)


@pytest.mark.parametrize('settings', [dict(bits=2), dict(bits=32), dict(activation_bits=2), dict(activation_bits=32),
                                      dict(bits=32, activation_bits=1)], ids=str)
def test_no_effect_where_weights_and_activations_are_not_binary(settings):
    x = mx.nd.array(random((2, 3, 5, 5)))
    results = []
    for binarizations in (1, 3):
        with bmx.nn.config(binarizations=binarizations, **settings):
            net = nn.HybridSequential()
            net.add(bmx.nn.BinaryConv(4, 3, padding=1), bmx.nn.QActivation(), bmx.nn.QConv2D(3, 1),
                    bmx.nn.BinaryDense(2))
        results.append(initialized(net, x)(x).asnumpy())
    assert np.array_equal(*results)


def test_configuration():
    for wrong in (0, 9, -1, 1.5, '2'):
        with pytest.raises(ValueError, match='binarizations must be one of 1, 2, 3, 4, 5, 6, 7, 8, got'):
            bmx.nn.QActivation(binarizations=wrong)
    assert bmx.nn.Config().binarizations == 1
    with bmx.nn.config(binarizations=3):
        layers = [bmx.nn.QActivation(), bmx.nn.QConv2D(1, 1), bmx.nn.BinaryConv(1, 1).conv, bmx.nn.BinaryDense(1).dense]
        assert bmx.nn.QDense(1, binarizations=1).quantization.activation_quantizer.planes == 1
    assert {layer.quantization.activation_quantizer.planes for layer in layers} == {3}
    assert 'binarizations=3' in repr(layers[0])


def test_float64():
    net = nn.HybridSequential()
    with bmx.nn.config(binarizations=2):
        net.add(bmx.nn.BinaryConv(4, 3, padding=1, in_channels=3), bmx.nn.BinaryDense(2))
    x = mx.nd.array(random((2, 3, 5, 5)))
    expected = initialized(net, x)(x).asnumpy()
    net.cast('float64')
    found = net(x.astype('float64')).asnumpy()
    assert found.dtype == np.float64
    assert_almost_equal(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('hybridize', [False, True])
def test_a_network_trains(hybridize):
    net = nn.HybridSequential()
    with bmx.nn.config(binarizations=2):
        net.add(bmx.nn.BinaryConv(8, 3, padding=1), nn.PReLU(), nn.BatchNorm(), bmx.nn.BinaryDense(3))
    x, y = mx.nd.array(random((30, 2, 5, 5))), mx.nd.arange(30) % 3
    initialized(net, x)
    if hybridize:
        net.hybridize(static_alloc=True, static_shape=True)
    trainer = gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': 0.02})
    losses = []
    for _ in range(30):
        with autograd.record():
            loss = gluon.loss.SoftmaxCrossEntropyLoss()(net(x) / 10, y).mean()
        loss.backward()
        trainer.step(1)
        losses.append(loss.asscalar())
    assert losses[-1] < 0.5 * losses[0]
