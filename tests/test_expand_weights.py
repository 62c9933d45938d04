"""Float weights of few values: the operator `expand_weights`, and files that store them by codes."""
import mxnet as mx
import numpy as np
import pytest

from bmx import ops

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
