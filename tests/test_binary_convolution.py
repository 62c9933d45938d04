"""The operator binary_convolution against MXNet's Convolution and FullyConnected on signs."""
import itertools
import os
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest

from bmx import ops

EPSILON = 2.0 ** -24  # of the rounding of a float32 sum


def signs(random, shape):
    return mx.nd.array(np.where(random.rand(*shape) < 0.5, -1, 1))


def composed(data, weight, pad_value=-1, pad=(), **arguments):
    """The float product. MXNet pads 4-D arrays only."""
    if not arguments.get('kernel'):
        return mx.nd.FullyConnected(data, weight, num_hidden=arguments['num_filter'], no_bias=True)
    if any(pad):
        row = len(pad) == 1
        height, width = (0, pad[0]) if row else pad
        data = mx.nd.Pad(mx.nd.expand_dims(data, 2) if row else data, mode='constant', constant_value=pad_value,
                         pad_width=(0, 0, 0, 0, height, height, width, width))
        data = mx.nd.squeeze(data, axis=2) if row else data
    return mx.nd.Convolution(data, weight, no_bias=True, **arguments)


def gradients(product, data, weight, above, **arguments):
    """The result and the gradients of data and weight, of a gradient of the result."""
    data.attach_grad()
    weight.attach_grad()
    with mx.autograd.record():
        result = product(data, weight, **arguments)
    result.backward(above)
    return [array.asnumpy() for array in (result, data.grad, weight.grad)]


def check(seed, shape, filters, integers, **arguments):
    """Equal products; equal gradients where they are small integers, else within the rounding of both sums."""
    random = np.random.RandomState(seed)
    data = signs(random, shape)
    kernel, groups = arguments.get('kernel', ()), arguments.get('num_group', 1)
    channels = shape[1] // groups if kernel else int(np.prod(shape[1:]))
    weight = signs(random, (filters, channels) + kernel)
    arguments['num_filter'] = filters
    form = composed(data, weight, **arguments).shape
    above = random.randint(-3, 4, form) if integers else random.randn(*form)
    above = mx.nd.array(above)
    expected = gradients(composed, data, weight, above, **arguments)
    found = gradients(mx.nd.binary_convolution, data, weight, above, **arguments)
    assert [value.shape for value in found] == [value.shape for value in expected]
    assert np.array_equal(found[0], expected[0]), arguments
    if integers:
        assert all(map(np.array_equal, found[1:], expected[1:])), arguments
        return
    # Every gradient is a sum of so many values with signs, which both may add up in any order; padding that does not
    # count is added and taken out again.
    values = np.abs(above.asnumpy())
    counts = (int(np.prod(kernel)) * filters // groups, 3 * values.size // filters)
    for count, one, other in zip(counts, found[1:], expected[1:]):
        bound = 2 * count * EPSILON * count * values.max()
        assert np.abs(one - other).max() <= bound, arguments


WINDOWS = [((3, 3), (1, 1), (1, 1), (1, 1)), ((3, 3), (2, 2), (1, 1), (1, 1)), ((1, 1), (1, 1), (0, 0), (1, 1)),
           ((1, 1), (2, 2), (0, 0), (1, 1)), ((5, 5), (1, 1), (2, 2), (1, 1)), ((3, 2), (2, 3), (0, 2), (2, 1)),
           ((2, 4), (3, 1), (1, 4), (1, 2)), ((3, 3), (1, 1), (4, 4), (1, 1)), ((2, 2), (3, 3), (0, 0), (1, 1))]
# Channels and filters of a group, groups.
SIZES = [(1, 1, 1), (1, 1, 19), (3, 2, 1), (2, 8, 3), (8, 8, 4), (17, 33, 1), (31, 5, 2), (64, 64, 1), (130, 40, 1)]


@pytest.mark.parametrize('channels, filters, groups', SIZES)
def test_convolution(channels, filters, groups):
    for seed, (window, pad_value) in enumerate(itertools.product(WINDOWS, (-1, 0, 1))):
        arguments = dict(zip(('kernel', 'stride', 'pad', 'dilate'), window))
        check(seed, (1 + seed % 3, groups * channels, 9 + seed % 4, 11), groups * filters, seed % 2, num_group=groups,
              pad_value=pad_value, **arguments)


@pytest.mark.parametrize('channels, filters, groups', SIZES)
def test_row(channels, filters, groups):
    for seed, (kernel, stride, pad, dilate, value) in enumerate(itertools.product(
            [1, 3], [1, 2], [0, 2], [1, 2], (-1, 0, 1))):
        check(seed, (2, groups * channels, 13), groups * filters, seed % 2, kernel=(kernel,), stride=(stride,),
              pad=(pad,), dilate=(dilate,), num_group=groups, pad_value=value)


@pytest.mark.parametrize('shape', [(1, 1), (1, 70), (3, 5), (8, 64), (37, 200), (130, 33), (3, 4, 5), (2, 3, 2, 5)])
@pytest.mark.parametrize('filters', [1, 5, 64, 70])
def test_dense(shape, filters):
    for integers in (False, True):
        check(filters, shape, filters, integers)


def test_zero_and_values_in_between_are_signs():
    data, weight = mx.nd.array([[0, -0.0, 0.3, -0.3]]), mx.nd.array([[1, 1, 1, 1], [-0.0, -1, 0.5, 1]])
    assert mx.nd.binary_convolution(data, weight, num_filter=2).asnumpy().tolist() == [[2, 0]]
    result = gradients(mx.nd.binary_convolution, data, weight, mx.nd.array([[1, 2]]), num_filter=2)
    assert result[1].tolist() == [[3, -1, 3, 3]] and result[2].tolist() == [[1, 1, 1, -1], [2, 2, 2, -2]]


# Layers whose gradients are computed in every way: by look-ups, of one and several blocks and chunks, and without.
LAYERS = [((3, 70, 13, 13), 70, dict(kernel=(3, 3), pad=(1, 1))), ((3, 70, 14, 14), 40, dict(kernel=(3, 3), pad=(1, 1),
                                                                                        stride=(2, 2), pad_value=0)),
          ((5, 24, 10, 10), 24, dict(kernel=(3, 3), num_group=24, pad=(1, 1))), ((65, 130), 70, {})]


def bits(shape, filters, arguments):
    random = np.random.RandomState(0)
    channels = shape[1] // arguments.get('num_group', 1)
    data, weight = signs(random, shape), signs(random, (filters, channels) + arguments.get('kernel', ()))
    result = mx.nd.binary_convolution(data, weight, num_filter=filters, **arguments)
    found = gradients(mx.nd.binary_convolution, data, weight, mx.nd.array(random.randn(*result.shape)),
                      num_filter=filters, **arguments)
    return b''.join(value.tobytes() for value in found)


def test_same_bits_of_all_kernels():
    before = ops.isa()
    try:
        for layer in LAYERS:
            found = set()
            for name in ops.supported_kernels():
                ops.use_kernel(name)
                found.add(bits(*layer))
            assert len(found) == 1, layer
    finally:
        ops.use_kernel(before)


def test_same_bits_of_any_number_of_threads():
    script = ('import sys; sys.path.insert(0, "tests")\n'
              'import hashlib, test_binary_convolution as t\n'
              'print(hashlib.sha1(b"".join(t.bits(*layer) for layer in t.LAYERS)).hexdigest())')
    found = {subprocess.run([sys.executable, '-W', 'ignore', '-c', script], stdout=subprocess.PIPE, check=True,
                            env=dict(os.environ, OMP_NUM_THREADS=str(threads))).stdout
             for threads in (1, 2, 3)}
    assert len(found) == 1


@pytest.mark.parametrize('flags', [{}, {'static_alloc': True, 'static_shape': True}])
def test_hybridized(flags):
    class Net(mx.gluon.HybridBlock):
        def __init__(self):
            super().__init__()
            self.weight = self.params.get('weight', shape=(6, 5, 3, 3))

        def hybrid_forward(self, F, x, weight):
            return F.binary_convolution(F.binarize(x), F.binarize(weight), kernel=(3, 3), pad=(1, 1), num_filter=6) * 2

    net = Net()
    net.initialize(mx.init.Normal(1))
    random = np.random.RandomState(0)
    x, above = mx.nd.array(random.randn(2, 5, 6, 6)), mx.nd.array(random.randn(2, 6, 6, 6))
    found = []
    for hybridized in (False, True, True):
        if hybridized:
            net.hybridize(**flags)
        x.attach_grad()
        with mx.autograd.record():
            result = net(x)
        result.backward(above)
        found.append([array.asnumpy() for array in (result, x.grad, net.weight.grad())])
    for later in found[1:]:
        assert all(map(np.array_equal, found[0], later))


def test_infers_the_weight():
    symbol = mx.sym.binary_convolution(mx.sym.var('data'), mx.sym.var('weight'), kernel=(3, 1), num_filter=8,
                                       num_group=2, stride=(2, 1), name='conv')
    assert symbol.list_arguments() == ['data', 'weight']
    arguments, outputs, _ = symbol.infer_shape(data=(2, 6, 9, 4))
    assert arguments[1] == (8, 3, 3, 1) and outputs == [(2, 8, 4, 4)]
    dense = mx.sym.binary_convolution(mx.sym.var('data'), mx.sym.var('weight'), num_filter=8)
    assert dense.infer_shape(data=(2, 3, 4))[:2] == ([(2, 3, 4), (8, 12)], [(2, 8)])


@pytest.mark.parametrize('shape, weight, arguments, message', [
    ((2, 3, 4, 4), (8, 3, 3, 3), dict(kernel=(3, 3)), 'num_filter is required'),
    ((2, 3, 4, 4), (8, 2, 3, 3), dict(kernel=(3, 3), num_filter=8), 'weight must have shape (8, 3, 3, 3), got (8, 2,'),
    ((2, 3, 4), (8, 3, 3, 3), dict(kernel=(3, 3), num_filter=8), 'data must have 4 dimensions for kernel (3, 3), got'),
    ((2, 3, 4, 4), (8, 3, 3, 3), dict(kernel=(3, 3), num_filter=8, num_group=3), 'num_group 3 and num_filter 8'),
    ((2, 3, 4, 4), (8, 3, 3, 3), dict(kernel=(3, 3), num_filter=8, pad_value=2), 'pad_value must be -1, 0 or 1, got 2'),
    ((2, 3, 4, 4), (8, 3, 3, 3), dict(kernel=(3, 3), num_filter=8, stride=(1,)), 'stride (1) must have as many'),
    ((2, 3, 2, 4), (8, 3, 3, 3), dict(kernel=(3, 3), num_filter=8), '2x4'),
    ((2,), (8, 2), dict(num_filter=8), 'needs 2 or more dimensions, got (2)'),
    ((2, 3), (8, 3), dict(num_filter=8, no_bias=True), 'no_bias'),
])
def test_errors(shape, weight, arguments, message):
    with pytest.raises(mx.MXNetError) as error:
        mx.nd.binary_convolution(mx.nd.ones(shape), mx.nd.ones(weight), **arguments).wait_to_read()
    assert message in str(error.value)


def test_float32_only():
    with pytest.raises(mx.MXNetError, match='float32'):
        mx.nd.binary_convolution(mx.nd.ones((2, 3), dtype='float64'), mx.nd.ones((4, 3), dtype='float64'),
                                 num_filter=4).wait_to_read()
