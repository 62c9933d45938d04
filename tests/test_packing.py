"""Packed weights, binary and float: layout, round trip, errors."""
import numpy as np
import pytest

from bmx import ops

CHANNELS = [1, 3, 7, 8, 9, 31, 32, 33, 63, 64, 65, 128, 200]


@pytest.mark.parametrize('spatial', [(), (3,), (3, 2)])
@pytest.mark.parametrize('channels', CHANNELS)
def test_round_trip(channels, spatial):
    weight = np.random.RandomState(channels).randn(5, channels, *spatial)
    packed = ops.pack_weights(weight)
    assert packed.dtype == np.uint8
    assert packed.shape == (5,) + spatial + ((channels + 7) // 8,)
    unpacked = ops.unpack_weights(packed, channels)
    assert unpacked.dtype == np.float32
    assert np.array_equal(unpacked, np.where(weight >= 0, 1, -1))


@pytest.mark.parametrize('channel', range(11))
def test_bit_order(channel):
    """Bit c % 8 of byte c // 8, least significant first."""
    weight = -np.ones((1, 11, 1, 2))
    weight[0, channel, 0, 1] = 1
    expected = np.zeros((1, 1, 2, 2), np.uint8)
    expected[0, 0, 1, channel // 8] = 1 << channel % 8
    assert np.array_equal(ops.pack_weights(weight), expected)


@pytest.mark.parametrize('dtype', ['float16', 'float32', 'float64', 'int8'])
def test_unused_bits_are_zero_and_zero_is_plus_one(dtype):
    assert np.array_equal(ops.pack_weights(np.zeros((1, 11), dtype)), [[0xff, 0x07]])
    assert np.array_equal(ops.pack_weights(np.full((1, 3), -0.0).astype(dtype)), [[0x07]])


@pytest.mark.parametrize('weight, message', [
    (np.array([[1.0, np.nan]]), '1 NaN'),
    (np.zeros(3), r'2, 3 or 4 dimensions, got shape \(3,\)'),
    (np.zeros((1,) * 5), '2, 3 or 4 dimensions'),
])
def test_pack_errors(weight, message):
    with pytest.raises(ValueError, match=message):
        ops.pack_weights(weight)


@pytest.mark.parametrize('packed, channels, message', [
    (np.zeros((1, 2), np.float32), 16, 'uint8'),
    (np.zeros(2, np.uint8), 16, 'dimensions'),
    (np.zeros((1, 2), np.uint8), 17, 'hold up to 16 channels, not 17'),
    (np.zeros((1, 2), np.uint8), 8, 'hold up to 16 channels, not 8'),
    (np.zeros((1, 0), np.uint8), 0, 'not 0'),
])
def test_unpack_errors(packed, channels, message):
    with pytest.raises(ValueError, match=message):
        ops.unpack_weights(packed, channels)


@pytest.mark.parametrize('kernel', [(1, 1), (3, 2)], ids=str)
@pytest.mark.parametrize('channels', [1, 64, 100, 288])
@pytest.mark.parametrize('filters', [64, 192])
def test_interleaved_layout_and_round_trip(filters, channels, kernel):
    packed = ops.pack_weights(np.random.RandomState(channels).randn(filters, channels, *kernel))
    interleaved = ops.interleave_weights(packed)
    words, taps = (channels + 63) // 64, kernel[0] * kernel[1]
    assert interleaved.dtype == np.uint8 and interleaved.flags.c_contiguous
    assert interleaved.shape == (filters // 64, taps * words, 64, 8)
    expected = np.zeros(interleaved.shape, np.uint8)
    for o, row, column, byte in np.ndindex(*packed.shape):
        word = (row * kernel[1] + column) * words + byte // 8
        expected[o // 64, word, o % 64, byte % 8] = packed[o, row, column, byte]
    assert np.array_equal(interleaved, expected)
    assert np.array_equal(ops.deinterleave_weights(interleaved, kernel, channels), packed)


@pytest.mark.parametrize('filters, channels, groups, can', [
    (64, 64, 1, True), (64, 1056, 1, True), (64, 544, 1, False), (64, 288, 1, False), (64, 160, 1, False),
    (64, 63, 1, True), (64, 32, 1, False), (160, 64, 1, False), (128, 64, 2, True), (128, 64, 4, False)])
def test_weights_are_interleaved_where_they_hardly_grow(filters, channels, groups, can):
    packed = ops.pack_weights(np.zeros((filters, channels, 3, 3)))
    assert ops.can_interleave(packed.shape, groups) == can
    if can:
        assert ops.interleave_weights(packed).size <= packed.size * 33 / 32


# Filters of a group, and the lanes they get.
LANES = {1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 8: 8, 9: 16, 15: 16, 16: 16, 17: 16, 33: 16}


@pytest.mark.parametrize('shape', [(4,), (1, 1, 1), (3, 2, 5)])
@pytest.mark.parametrize('groups', [1, 3])
@pytest.mark.parametrize('filters', LANES)
def test_float_layout_and_round_trip(filters, groups, shape):
    weight = np.random.RandomState(filters).randn(groups * filters, *shape).astype(np.float32)
    packed = ops.pack_float_weights(weight, groups)
    lanes, depth = LANES[filters], weight[0].size
    blocks = (filters + lanes - 1) // lanes
    assert packed.dtype == np.float32 and packed.flags.c_contiguous
    assert packed.shape == (groups, blocks, depth, lanes)
    expected = np.zeros(packed.shape, np.float32)
    for o, values in enumerate(weight):
        expected[o // filters, o % filters // lanes, :, o % filters % lanes] = values.ravel()
    assert np.array_equal(packed, expected)
    unpacked = ops.unpack_float_weights(packed, groups * filters, shape)
    assert unpacked.dtype == np.float32 and unpacked.shape == weight.shape
    assert np.array_equal(unpacked, weight)


def test_float_values_become_float32():
    weight = np.array([[1 / 3], [-0.0]])
    packed = ops.pack_float_weights(weight)
    assert packed.tobytes() == np.array([1 / 3, -0.0], np.float32).tobytes()


@pytest.mark.parametrize('weight, groups, message', [
    (np.zeros((2, 3, 4)), 1, r'2 or 4 dimensions and values, got shape \(2, 3, 4\)'),
    (np.zeros((0, 3)), 1, r'got shape \(0, 3\)'),
    (np.zeros((4, 3)), 3, 'groups 3 do not divide the 4 filters'),
    (np.zeros((4, 3)), 0, 'groups 0'),
])
def test_float_pack_errors(weight, groups, message):
    with pytest.raises(ValueError, match=message):
        ops.pack_float_weights(weight, groups)


@pytest.mark.parametrize('packed, filters, shape, message', [
    (np.zeros((1, 1, 3, 4)), 4, (3,), 'got float64'),
    (np.zeros((1, 3, 4), np.float32), 4, (3,), r'4 dimensions.* got float32 of shape \(1, 3, 4\)'),
    (np.zeros((3, 1, 3, 4), np.float32), 4, (3,), '4 filters'),
    (np.zeros((1, 1, 3, 4), np.float32), 0, (3,), '0 filters'),
    (np.zeros((1, 1, 3, 4), np.float32), 4, (2, 2, 1), r'shape \(2, 2, 1\) in 1 groups are packed to shape '
                                                       r'\(1, 1, 4, 4\), got \(1, 1, 3, 4\)'),
    (np.zeros((1, 1, 3, 4), np.float32), 5, (3,), r'packed to shape \(1, 1, 3, 8\)'),
])
def test_float_unpack_errors(packed, filters, shape, message):
    with pytest.raises(ValueError, match=message):
        ops.unpack_float_weights(packed, filters, shape)
