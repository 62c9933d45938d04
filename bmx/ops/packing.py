"""Packed weights: one bit a weight, 1 for +1 and 0 for -1, least significant bit first along the input channel."""

import numpy as np


def pack_weights(weight):
    """Binarize and pack weights of Gluon's layout.

    Parameters
    ----------
    weight : numpy.ndarray
        Any real dtype, shape (O, C/groups, kh, kw), (O, C/groups, kw) or (O, C).

    Returns
    -------
    numpy.ndarray
        uint8, shape (O, kh, kw, B), (O, kw, B) or (O, B) with B = ceil(C/groups / 8); unused bits are 0.

    Raises
    ------
    ValueError
        The weight has another number of dimensions, or holds a NaN, which has no sign.
    """
    weight = np.asarray(weight)
    if weight.ndim not in (2, 3, 4):
        raise ValueError('weight must have 2, 3 or 4 dimensions, got shape {}'.format(weight.shape))
    if np.isnan(weight).any():
        raise ValueError('weight of shape {} holds {} NaN; a NaN has no sign, the training that made it has failed'
                         .format(weight.shape, int(np.isnan(weight).sum())))
    return np.packbits(np.moveaxis(weight, 1, -1) >= 0, axis=-1, bitorder='little')


def unpack_weights(packed, channels):
    """Inverse of :func:`pack_weights` up to the sign.

    Parameters
    ----------
    packed : numpy.ndarray
        uint8, as :func:`pack_weights` returns it.
    channels : int
        Input channels of a group, C/groups.

    Returns
    -------
    numpy.ndarray
        float32 of -1 and +1, shape (O, C/groups, kh, kw), (O, C/groups, kw) or (O, C).

    Raises
    ------
    ValueError
        `packed` is not uint8, has another number of dimensions, or does not hold `channels` channels.
    """
    packed = np.asarray(packed)
    if packed.dtype != np.uint8 or packed.ndim not in (2, 3, 4):
        raise ValueError('packed weights are uint8 with 2, 3 or 4 dimensions, got {} of shape {}'
                         .format(packed.dtype, packed.shape))
    if channels < 1 or (channels + 7) // 8 != packed.shape[-1]:
        raise ValueError('packed weights of shape {} hold up to {} channels, not {}'
                         .format(packed.shape, 8 * packed.shape[-1], channels))
    bits = np.unpackbits(packed, axis=-1, count=channels, bitorder='little')
    return np.ascontiguousarray(np.moveaxis(bits, -1, 1)).astype(np.float32) * 2 - 1


def pack_float_weights(weight, groups=1):
    weight = np.asarray(weight, np.float32)
    filters = weight.shape[0] // groups
    lanes = next(lanes for lanes in (1, 2, 4, 8, 16) if lanes >= min(filters, 16))
    blocks = -(-filters // lanes)
    packed = np.zeros((groups, blocks * lanes, int(np.prod(weight.shape[1:]))), np.float32)
    packed[:, :filters] = weight.reshape(groups, filters, -1)
    return np.ascontiguousarray(packed.reshape(groups, blocks, lanes, -1).swapaxes(2, 3))
