"""Packed weights: layout, round trip, errors."""
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
