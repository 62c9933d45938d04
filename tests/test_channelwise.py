"""The operator `channelwise`, and the layers that use it, against MXNet's broadcasting operators."""
import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd
from mxnet.gluon import nn

import bmx
from bmx import ops
from bmx.nn import channelwise

# Of the data; the last ones are more than a thread computes alone, and more than is summed up in float32.
SHAPES = [(2, 5), (1, 1, 1), (3, 7, 4), (2, 3, 5, 6), (4, 16, 9, 7), (2, 8, 80, 40), (1, 3, 2500)]


def column(shape):
    return (1, -1) + (1,) * (len(shape) - 2)


REFERENCES = {
    'scale': lambda x, values: mx.nd.broadcast_mul(x, values.reshape(column(x.shape))),
    'prelu': lambda x, values: mx.nd.LeakyReLU(x, gamma=values, act_type='prelu'),
}


def arrays(shape, channels, dtype, seed=0):
    random = np.random.RandomState(seed)
    x = random.normal(size=shape)
    x.flat[::3] = random.choice([0.0, -0.0, 1.0, -1.0], size=x.flat[::3].shape)
    return [mx.nd.array(each, dtype=dtype) for each in (x, random.normal(size=channels), random.normal(size=shape))]


def results(function, x, values, upstream, grad_req='write', times=1):
    for each in (x, values):
        each.attach_grad(grad_req)
    for _ in range(times):
        with autograd.record():
            y = function(x, values)
        y.backward(upstream)
    return y.asnumpy(), x.grad.asnumpy(), values.grad.asnumpy()


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
@pytest.mark.parametrize('shape', SHAPES, ids=str)
@pytest.mark.parametrize('kind, single', [('scale', False), ('prelu', False), ('prelu', True)])
def test_equals_the_broadcasting_operator(kind, single, shape, dtype):
    inputs = arrays(shape, 1 if single else shape[1], dtype)
    expected = results(REFERENCES[kind], *inputs)
    found = results(lambda x, values: mx.nd.channelwise(x, values, kind=kind), *inputs)
    for one, other in zip(found[:2], expected):  # MXNet's PReLU rounds float64 to float32
        assert np.array_equal(one, other) or dtype == 'float64' and np.allclose(one, other, rtol=1e-6)
    exact = [each.asnumpy().astype('float64') for each in inputs]
    product = np.where(exact[0] > 0, 0, exact[0]) * exact[2] if kind == 'prelu' else exact[0] * exact[2]
    product = product.swapaxes(0, 1).reshape(shape[1], -1).sum(axis=1)
    tolerance = 1e-5 if dtype == 'float32' else 1e-12
    assert np.allclose(found[2], product.sum() if single else product, rtol=tolerance,
                       atol=tolerance * np.sqrt(np.prod(shape)))


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
@pytest.mark.parametrize('shape', SHAPES, ids=str)
@pytest.mark.parametrize('single', [False, True])
@pytest.mark.parametrize('kind', ['scale', 'prelu'])
def test_equals_the_reference(kind, single, shape, dtype):
    inputs = arrays(shape, 1 if single else shape[1], dtype)
    x, values, upstream = (each.asnumpy() for each in inputs)
    found = results(lambda x, values: mx.nd.channelwise(x, values, kind=kind), *inputs)
    expected = (ops.reference.channelwise(x, values, kind),) + ops.reference.channelwise_gradients(
        upstream, x, values, kind)
    for one, other in zip(found, expected):
        assert one.shape == other.shape and one.dtype == other.dtype == dtype
    assert np.array_equal(found[0], expected[0]) and np.array_equal(found[1], expected[1])
    tolerance = 1e-5 if dtype == 'float32' else 1e-12
    assert np.allclose(found[2], expected[2], rtol=tolerance, atol=tolerance * np.sqrt(x.size))


@pytest.mark.parametrize('dtype', ['float32', 'float64'])
@pytest.mark.parametrize('kind', ['scale', 'prelu'])
def test_bits_are_those_of_every_kernel(kind, dtype):
    inputs, before, found = arrays((3, 4, 33, 41), 4, dtype), ops.isa(), []
    try:
        for kernel in ops.supported_kernels():
            ops.use_kernel(kernel)
            found.append(results(lambda x, values: mx.nd.channelwise(x, values, kind=kind), *inputs))
    finally:
        ops.use_kernel(before)
    assert all(np.array_equal(one, other) for others in found[1:] for one, other in zip(found[0], others))


@pytest.mark.parametrize('channels', [1, 6])
def test_prelu_is_gluons(channels):
    x, _, upstream = arrays((3, 6, 5, 4), 1, 'float32')
    layers = [kind(mx.init.Uniform(1), in_channels=channels) for kind in (nn.PReLU, bmx.nn.PReLU)]
    for layer in layers:
        layer.initialize()
        layer.hybridize()
    layers[1].alpha.set_data(layers[0].alpha.data())
    found = []
    for layer in layers:
        x.attach_grad()
        layer.alpha.grad_req = 'add'
        for _ in range(2):
            with autograd.record():
                y = layer(x)
            y.backward(upstream)
        found.append((y.asnumpy(), x.grad.asnumpy(), layer.alpha.grad().asnumpy()))
    for expected, other in zip(*found):
        assert np.allclose(other, expected, rtol=1e-5, atol=1e-4)
    assert np.array_equal(found[0][0], found[1][0])


@pytest.mark.parametrize('use', ['scale_channels', 'PReLU'])
def test_other_devices_get_built_in_operators(use, monkeypatch):
    x, values, upstream = arrays((2, 3, 4, 5), 3, 'float32')

    def function(x, values):
        if use == 'scale_channels':
            return bmx.nn.scale_channels(x, values, (1, -1, 1, 1))
        return bmx.nn.PReLU(in_channels=3).hybrid_forward(mx.nd, x, values)
    with_operator = results(function, x, values, upstream)
    monkeypatch.setattr(channelwise, 'has_operator', lambda x: False)
    composed = results(function, x, values, upstream)
    assert 'channelwise' not in bmx.nn.scale_channels(mx.sym.var('x'), mx.sym.var('v'), (1, -1, 1, 1)).tojson()
    for one, other in zip(with_operator, composed):
        assert np.allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('shape, values, dtypes, kind, message', [
    ((2, 3, 4), (2,), ('float32',) * 2, 'scale', r'values must have shape \(1\) or \(3\), got \(2\)'),
    ((2, 3, 4), (3, 1), ('float32',) * 2, 'scale', r'values must have shape \(1\) or \(3\), got \(3, 1\)'),
    ((3,), (3,), ('float32',) * 2, 'scale', 'data must have at least 2 dimensions'),
    ((2, 3), (3,), ('float32', 'float64'), 'scale', 'data and values must have one dtype'),
    ((2, 3), (3,), ('int32',) * 2, 'scale', 'data must be float32 or float64'),
    ((2, 3), (3,), ('float32',) * 2, 'shift', "kind must be 'scale' or 'prelu', got 'shift'")])
def test_bad_calls(shape, values, dtypes, kind, message):
    x, values = (mx.nd.zeros(each, dtype=dtype) for each, dtype in zip((shape, values), dtypes))
    with pytest.raises(mx.MXNetError, match=message):
        mx.nd.channelwise(x, values, kind=kind).wait_to_read()
