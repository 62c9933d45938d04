"""The operator binarize: forward and gradient, exactly as NumPy computes them in the same dtype."""
import mxnet as mx
import numpy as np
import pytest

from bmx import ops  # noqa: F401  (loads the operator)
from helpers import DTYPES, gradient

ESTIMATORS = [{}, {'clip_threshold': 0}, {'clip_threshold': 1.3}, {'clip_threshold': 0.7},
              {'clip_threshold': float('inf')}, {'estimator': 'polynomial'}]


def values(dtype, size=3000):
    """Random values, and all those next to which something changes."""
    scalar = np.dtype(dtype).type
    edges = [scalar(edge) for edge in (0, 0.7, 1, 1.3)]
    edges += [np.nextafter(edge, scalar(to)) for edge in edges for to in (-9, 9)]
    edges += [np.finfo(dtype).max, np.finfo(dtype).tiny, scalar('inf')]
    edges = np.array(edges, dtype)
    random = np.random.RandomState(0).randn(size).astype(dtype)
    return np.concatenate([edges, -edges, random])


def run(x, arguments):
    data = mx.nd.array(x, dtype=x.dtype)
    data.attach_grad()
    head = np.random.RandomState(1).randn(*x.shape).astype(x.dtype)
    with mx.autograd.record():
        out = mx.nd.binarize(data, **arguments)
    out.backward(mx.nd.array(head, dtype=x.dtype))
    return out.asnumpy(), data.grad.asnumpy(), head


@pytest.mark.parametrize('arguments', ESTIMATORS, ids=str)
@pytest.mark.parametrize('dtype', DTYPES)
def test_equals_numpy(dtype, arguments):
    x = values(dtype)
    out, grad, head = run(x, arguments)
    assert out.dtype == grad.dtype == np.dtype(dtype)
    assert np.array_equal(out, np.where(x >= 0, 1, -1))
    assert np.array_equal(grad, gradient(x, **arguments) * head)


def test_float16_covers_every_value():
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    for arguments in ESTIMATORS:
        with np.errstate(all='ignore'):
            out, grad, head = run(x, arguments)
            slope = gradient(x, **arguments)
            assert np.array_equal(out, np.where(x >= 0, 1, -1))
            assert np.array_equal(grad, np.where(slope == 0, 0, slope * head))


@pytest.mark.parametrize('dtype', DTYPES)
def test_zeros_are_plus_one(dtype):
    out, _, _ = run(np.array([0.0, -0.0], dtype), {})
    assert np.array_equal(out, [1, 1])


@pytest.mark.parametrize('dtype', DTYPES)
def test_nan_is_minus_one_without_gradient(dtype):
    for arguments in ESTIMATORS:
        out, grad, _ = run(np.array([np.nan, -np.nan], dtype), arguments)
        assert np.array_equal(out, [-1, -1]) and np.array_equal(grad, [0, 0])


@pytest.mark.parametrize('shape', [(1,), (3, 5), (2, 3, 4, 5), (2, 1, 1, 2, 3), (1 << 17,)])
def test_shapes(shape):
    x = np.random.RandomState(2).randn(*shape).astype('float32')
    out, grad, head = run(x, {})
    assert out.shape == grad.shape == shape
    assert np.array_equal(out, np.where(x >= 0, 1, -1))
    assert np.array_equal(grad, gradient(x) * head)


@pytest.mark.parametrize('shape, pad', [
    ((5,), (2,)), ((2, 3, 4), (1,)), ((2, 3, 4), 3), ((2, 3, 5, 7), (1, 2)), ((3, 5, 7), (0, 1)), ((3, 5, 7), (2, 0)),
    ((3, 5, 7), (0, 0)), ((3, 5, 7), (0,)), ((40, 30, 29), (1, 1))], ids=str)
@pytest.mark.parametrize('pad_value', [None, -1, 0, 1])
@pytest.mark.parametrize('dtype', DTYPES)
def test_border(shape, pad, pad_value, dtype):
    """The signs with a border, and the gradient of what is inside of it."""
    arguments = dict(pad=pad) if pad_value is None else dict(pad=pad, pad_value=pad_value)
    x = np.random.RandomState(2).randn(*shape).astype(dtype)
    x[np.abs(x) < 0.1] = 0
    border = pad if isinstance(pad, tuple) else (pad,)
    widths = [(0, 0)] * (len(shape) - len(border)) + [(width, width) for width in border]
    expected = np.pad(np.where(x >= 0, 1, -1), widths, constant_values=-1 if pad_value is None else pad_value)
    inside = tuple(slice(before, before + size) for (before, _), size in zip(widths, shape))
    head = np.random.RandomState(1).randn(*expected.shape).astype(dtype)
    for estimator in ({'clip_threshold': 0.7}, {'estimator': 'polynomial'}):
        data = mx.nd.array(x, dtype=dtype)
        data.attach_grad()
        with mx.autograd.record():
            out = mx.nd.binarize(data, **arguments, **estimator)
        out.backward(mx.nd.array(head, dtype=dtype))
        assert out.shape == expected.shape and np.array_equal(out.asnumpy(), expected)
        assert np.array_equal(data.grad.asnumpy(), gradient(x, **estimator) * head[inside])


@pytest.mark.parametrize('flags', [None, {}, {'static_alloc': True, 'static_shape': True}], ids=str)
def test_in_a_block(flags):
    class Net(mx.gluon.HybridBlock):
        def hybrid_forward(self, F, x):
            return F.binarize(x * 2, clip_threshold=0.5) * 3

    net = Net()
    if flags is not None:
        net.hybridize(**flags)
    x = mx.nd.array([-1, -0.25, -0.1, 0, 0.25, 0.3])
    x.attach_grad()
    for _ in range(2):
        with mx.autograd.record():
            out = net(x)
        out.backward()
        assert np.array_equal(out.asnumpy(), [-3, -3, -3, 3, 3, 3])
        assert np.array_equal(x.grad.asnumpy(), [0, 6, 6, 6, 6, 0])


def test_symbol_infers_shape_and_type():
    symbol = mx.sym.binarize(mx.sym.var('x'))
    assert symbol.infer_shape(x=(2, 3))[1] == [(2, 3)]
    assert symbol.infer_shape_partial(x=(0, 3))[1] == [(0, 3)]
    padded = mx.sym.binarize(mx.sym.var('x'), pad=(1, 2))
    assert padded.infer_shape(x=(2, 3, 4))[1] == [(2, 5, 8)]
    assert padded.infer_shape_partial(x=(2, 0, 4))[1] == [(2, 0, 8)]
    assert symbol.infer_type(x='float16')[1] == [np.float16]


@pytest.mark.parametrize('consumers', [1, 2, 7, 8, 9, 20])
def test_gradients_of_many_consumers_add_up(consumers):
    x = mx.sym.var('x')
    out = mx.sym.add_n(*[mx.sym.binarize(x) * (i + 1) for i in range(consumers)])
    executor = out.simple_bind(mx.cpu(), x=(3,), grad_req='write')
    executor.arg_dict['x'][:] = [-0.5, 0.5, 2]
    executor.forward(is_train=True)
    executor.backward(mx.nd.ones(3))
    total = consumers * (consumers + 1) // 2
    assert np.array_equal(executor.grad_dict['x'].asnumpy(), [total, total, 0])


def test_border_needs_axes():
    with pytest.raises(mx.MXNetError, match='binarize: pad of 2 axes for data of 1'):
        mx.nd.binarize(mx.nd.zeros(3), pad=(1, 1))


@pytest.mark.parametrize('dtype, arguments, message', [
    ('float32', {'estimator': 'none'}, "estimator must be 'clip' or 'polynomial', got 'none'"),
    ('float32', {'clip_threshold': -1}, 'clip_threshold must be at least 0, got -1'),
    ('float32', {'clip_threshold': float('nan')}, 'clip_threshold must be at least 0, got nan'),
    ('float32', {'clip_threshold': 'a'}, "clip_threshold must be a number, got 'a'"),
    ('float32', {'threshold': 1}, "unknown attribute 'threshold'; valid names: estimator, clip_threshold, pad, "),
    ('float32', {'pad': (1, -1)}, 'pad must be between 0 and 2147483647, got -1'),
    ('float32', {'pad': (2 ** 31,) * 2}, 'pad must be between 0 and 2147483647, got 2147483648'),
    ('float32', {'pad': (2 ** 31 - 1,)}, 'padded data of 4294967297 pixels is too large, pad (2147483647)'),
    ('float32', {'pad': (30000, 30000)}, 'padded data of 3600300006 pixels is too large, pad (30000, 30000)'),
    ('float32', {'pad': (1, 1, 1)}, 'pad must have one or two numbers, got 3'),
    ('float32', {'pad': 1, 'pad_value': 2}, 'pad_value must be -1, 0 or 1, got 2'),
    ('int32', {}, 'data must be float16, float32 or float64'),
])
def test_errors(dtype, arguments, message):
    with pytest.raises(mx.MXNetError) as error:
        mx.nd.binarize(mx.nd.zeros((2, 3), dtype=dtype), **arguments)
    assert 'binarize: ' + message in str(error.value)
