"""Packed weights.

Binary: one bit a weight, 1 for +1 and 0 for -1, least significant bit first along the input channel; in programs also
interleaved, words of filters next to each other. Float: filters next to each other, as many as a vector holds; those of
few values are stored as codes of them.
"""
from __future__ import annotations

import math
from typing import Sequence

import numpy as np


def packed_bytes(channels: int) -> int:
    """Bytes that hold a weight of 1 bit for each of so many channels."""
    return (channels + 7) // 8


def pack_weights(weight: np.ndarray) -> np.ndarray:
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
        raise ValueError(f'weight must have 2, 3 or 4 dimensions, got shape {weight.shape}')
    if np.isnan(weight).any():
        raise ValueError(f'weight of shape {weight.shape} holds {int(np.isnan(weight).sum())} NaN; a NaN has no sign, '
                         'the training that made it has failed')
    return np.packbits(np.moveaxis(weight, 1, -1) >= 0, axis=-1, bitorder='little')


def unpack_weights(packed: np.ndarray, channels: int) -> np.ndarray:
    """Inverse of `pack_weights` up to the sign.

    Parameters
    ----------
    packed : numpy.ndarray
        uint8, as `pack_weights` returns it.
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
        raise ValueError(f'packed weights are uint8 with 2, 3 or 4 dimensions, got {packed.dtype} of shape '
                         f'{packed.shape}')
    if channels < 1 or packed_bytes(channels) != packed.shape[-1]:
        raise ValueError(f'packed weights of shape {packed.shape} hold up to {8 * packed.shape[-1]} channels, not '
                         f'{channels}')
    bits = np.unpackbits(packed, axis=-1, count=channels, bitorder='little')
    return np.ascontiguousarray(np.moveaxis(bits, -1, 1)).astype(np.float32) * 2 - 1


# Of interleaved weights: filters whose words are adjacent, and bytes of a word.
BLOCK_FILTERS = 64
WORD_BYTES = 8


def can_interleave(packed_shape: Sequence[int], groups: int = 1) -> bool:
    """Whether blocks are full, and words so nearly that weights become at most a thirty-second larger if interleaved.

    Parameters
    ----------
    packed_shape : tuple of int
        (O, kh, kw, B), of the uint8 weights.
    groups : int

    Returns
    -------
    bool
    """
    return packed_shape[0] % (groups * BLOCK_FILTERS) == 0 and 32 * (-packed_shape[-1] % WORD_BYTES) <= packed_shape[-1]


def interleave_weights(packed: np.ndarray) -> np.ndarray:
    """Order packed weights as the kernels read them.

    Parameters
    ----------
    packed : numpy.ndarray
        uint8, shape (O, kh, kw, B), as `pack_weights` returns it; O a multiple of 64 in each group.

    Returns
    -------
    numpy.ndarray
        uint8, shape (O / 64, kh * kw * ceil(B / 8), 64, 8): blocks of filters, words, filters, bytes of a word; unused
        bits are 0.
    """
    packed = np.pad(packed, [(0, 0)] * 3 + [(0, -packed.shape[-1] % WORD_BYTES)], mode='constant')
    blocks, words = len(packed) // BLOCK_FILTERS, packed[0].size // WORD_BYTES
    return np.ascontiguousarray(packed.reshape(blocks, BLOCK_FILTERS, words, WORD_BYTES).swapaxes(1, 2))


def deinterleave_weights(interleaved: np.ndarray, kernel: tuple[int, ...], channels: int) -> np.ndarray:
    """Inverse of `interleave_weights`.

    Parameters
    ----------
    interleaved : numpy.ndarray
        uint8, as `interleave_weights` returns it.
    kernel : tuple of int
        (kh, kw).
    channels : int
        Input channels of a group.

    Returns
    -------
    numpy.ndarray
        uint8, shape (O, kh, kw, ceil(channels / 8)).
    """
    words = interleaved.swapaxes(1, 2).reshape((len(interleaved) * BLOCK_FILTERS,) + tuple(kernel) + (-1,))
    return words[..., :packed_bytes(channels)]


# Filters whose weights are adjacent, at most.
FLOAT_LANES = 16


def pack_float_weights(weight: np.ndarray, groups: int = 1) -> np.ndarray:
    """Order float weights of Gluon's layout as the kernels read them.

    Parameters
    ----------
    weight : numpy.ndarray
        Any real dtype, shape (O, C/groups, kh, kw) or (O, C).
    groups : int

    Returns
    -------
    numpy.ndarray
        float32, shape (groups, B, K, L): filter o of a group is lane o % L of block o // L. L is the least of 1, 2, 4,
        8, 16 that is at least O/groups, else 16; B = ceil(O/groups / L); K runs over channels, rows, columns. Lanes
        beyond the last filter are 0.

    Raises
    ------
    ValueError
        The weight has another number of dimensions, is empty, or `groups` do not divide its filters.
    """
    weight = np.asarray(weight, dtype=np.float32)
    if weight.ndim not in (2, 4) or not weight.size:
        raise ValueError(f'float weight must have 2 or 4 dimensions and values, got shape {weight.shape}')
    if groups < 1 or len(weight) % groups:
        raise ValueError(f'groups {groups} do not divide the {len(weight)} filters of the weight')
    filters = len(weight) // groups
    lanes = _lanes(filters)
    blocks = -(-filters // lanes)
    padded = np.zeros((groups, blocks * lanes, weight[0].size), np.float32)
    padded[:, :filters] = weight.reshape(groups, filters, -1)
    return np.ascontiguousarray(padded.reshape(groups, blocks, lanes, -1).swapaxes(2, 3))


def unpack_float_weights(packed: np.ndarray, filters: int, shape: tuple[int, ...]) -> np.ndarray:
    """Inverse of `pack_float_weights`.

    Parameters
    ----------
    packed : numpy.ndarray
        float32, as `pack_float_weights` returns it.
    filters : int
        O, of all groups.
    shape : tuple of int
        Of one filter: (C/groups, kh, kw) or (C,).

    Returns
    -------
    numpy.ndarray
        float32, shape (O,) + shape.

    Raises
    ------
    ValueError
        `packed` is not what `pack_float_weights` returns for weights of that shape.
    """
    packed, shape = np.asarray(packed), tuple(shape)
    groups = len(packed) if packed.ndim else 0
    if packed.dtype != np.float32 or packed.ndim != 4 or not groups or filters < 1 or filters % groups:
        raise ValueError(f'packed float weights of {filters} filters are float32 with 4 dimensions, the first of which '
                         f'divides them; got {packed.dtype} of shape {packed.shape}')
    lanes = _lanes(filters // groups)
    expected = (groups, -(-filters // groups // lanes), int(np.prod(shape)), lanes)
    if packed.shape != expected:
        raise ValueError(f'{filters} filters of shape {shape} in {groups} groups are packed to shape {expected}, got '
                         f'{packed.shape}')
    flat = packed.swapaxes(2, 3).reshape(groups, -1, packed.shape[2])[:, :filters // groups]
    return flat.reshape((filters,) + shape).copy()


def _lanes(filters: int) -> int:
    return min(1 << (filters - 1).bit_length(), FLOAT_LANES)


# Weights below which a layer is not stored by codes: names and shapes of two arrays take what is saved.
_FEWEST_CODED = 1024
_MOST_BITS = 8


def level_bytes(shape: Sequence[int], bits: int, by: Sequence[int]) -> int | None:
    """Bytes of weights as `pack_levels` stores them.

    Parameters
    ----------
    shape : tuple of int
        Of the weights, filters first.
    bits : int
    by : tuple of int
        As `pack_levels` takes it.

    Returns
    -------
    int or None
        None where float32 is not larger, or the weights are too few.
    """
    size = math.prod(shape)
    if bits > _MOST_BITS or size < _FEWEST_CODED:
        return None
    stored = bits * packed_bytes(size) + (4 << bits) * math.prod(by)
    return stored if stored < 4 * size else None


def pack_levels(weight: np.ndarray, bits: int, by: Sequence[int]) -> tuple[np.ndarray, np.ndarray] | None:
    """The inputs of `expand_weights`, which gives the same weights, bit for bit.

    Parameters
    ----------
    weight : numpy.ndarray
        float32, filters first.
    bits : int
        Of a code.
    by : tuple of int
        For each axis of the weight 1, or its size where the levels of each index are others.

    Returns
    -------
    (numpy.ndarray, numpy.ndarray) or None
        Levels, float32 of shape (2^bits,) + by, with zeros where there are fewer; and codes, uint8 of shape (bits,
        ceil(size / 8)): plane after plane of the codes' bits, of weights in their order, least significant bit first.
        None where there are more levels.
    """
    weight, by = np.ascontiguousarray(weight, np.float32), tuple(by)
    own = [axis for axis, size in enumerate(by) if size > 1]
    columns = np.moveaxis(weight.view(np.uint32), own, range(len(own))).reshape(math.prod(by), -1)
    levels, codes = np.zeros((len(columns), 1 << bits), np.uint32), np.empty(columns.shape, np.uint8)
    for column, values in enumerate(columns):
        found, inverse = np.unique(values, return_inverse=True)
        if len(found) > 1 << bits:
            return None
        levels[column, :len(found)], codes[column] = found, inverse.reshape(-1)
    moved = [weight.shape[axis] for axis in own] + [size for axis, size in enumerate(weight.shape) if axis not in own]
    codes = np.moveaxis(codes.reshape(moved), range(len(own)), own).reshape(-1)
    planes = np.stack([np.packbits(codes >> bit & 1, bitorder='little') for bit in range(bits)])
    return np.ascontiguousarray(levels.T).view(np.float32).reshape((1 << bits,) + by), planes
