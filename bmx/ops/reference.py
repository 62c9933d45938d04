"""What ``xnor_popcount`` means, in NumPy. It is read and compared with, never optimised."""

import numpy as np

from .packing import unpack_weights


def xnor_popcount(data, weight, threshold=None, kernel=(), stride=(), pad=(), dilate=(), num_filter=None,
                  num_group=1, pad_value=-1):
    """Convolution, or without `kernel` a dense layer, of sign(data) with packed binary weights.

    Parameters
    ----------
    data : numpy.ndarray
        float32, shape (N, C, H, W), (N, C, W), or (N, C) for a dense layer.
    weight : numpy.ndarray
        uint8, as :func:`bmx.ops.pack_weights` makes it.
    threshold : numpy.ndarray, optional
        float32, shape (2, C): thresholds t and directions d. Channel c is +1 where ``d*x >= d*t``.
        Default t = 0, d = +1.
    kernel, stride, pad, dilate : tuple of int
        As in MXNet's Convolution, one number for each spatial dimension.
    num_filter : int
        O.
    num_group : int
        Groups of channels.
    pad_value : int
        Value of the padding after binarization: -1, +1 or 0.

    Returns
    -------
    numpy.ndarray
        float32 (integers), shape (N, O, H', W'), (N, O, W') or (N, O).
    """
    spatial = len(kernel)
    stride, dilate, pad = stride or (1,) * spatial, dilate or (1,) * spatial, pad or (0,) * spatial
    channels = data.shape[1]
    column = (1, channels) + (1,) * spatial
    if threshold is None:
        sign = np.where(data >= 0, 1, -1)
    else:
        t, d = (row.reshape(column) for row in threshold)
        sign = np.where(np.where(d > 0, data >= t, data <= t), 1, -1)
    sign = np.pad(sign, [(0, 0), (0, 0)] + [(p, p) for p in pad], mode='constant', constant_values=pad_value)
    weight = unpack_weights(weight, channels // num_group).astype(np.int64)

    size = [(sign.shape[i + 2] - dilate[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in range(spatial)]
    out = np.zeros([len(data), num_filter] + size, np.float32)
    for group in range(num_group):
        inputs = slice(group * channels // num_group, (group + 1) * channels // num_group)
        outputs = slice(group * num_filter // num_group, (group + 1) * num_filter // num_group)
        for tap in np.ndindex(*kernel):
            window = tuple(slice(tap[i] * dilate[i], tap[i] * dilate[i] + stride[i] * (size[i] - 1) + 1, stride[i])
                           for i in range(spatial))
            x, w = sign[(slice(None), inputs) + window], weight[(outputs, slice(None)) + tap]
            out[:, outputs] += np.einsum('nc...,oc->no...', x, w)
    return out
