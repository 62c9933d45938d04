"""What ``xnor_popcount`` and ``binary_subgraph`` mean, in NumPy. It is read and compared with, never optimised."""

import re

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
        float32, shape (2, C): thresholds t and directions d, +1 or -1. Channel c is +1 where ``d*x >= d*t``.
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
        # a NaN counts as -1 before the direction reverses it: kernels compare with >= only and flip the bit
        sign = np.where(np.where(d < 0, (data <= t) | np.isnan(data), data >= t), 1, -1)
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


def binary_subgraph(program, data, parameters, num_outputs=1):
    """Run a program: a chain of binary convolutions and elementwise maps (``bmx/ops/src/program.h``).

    Parameters
    ----------
    program : str
        Instructions between semicolons.
    data : list of numpy.ndarray
        x0, x1, ...: float32, shape (N, C, H, W).
    parameters : list of numpy.ndarray
        p0, p1, ...
    num_outputs : int
        How many outputs the program writes.

    Returns
    -------
    list of numpy.ndarray
        y0, y1, ...: float32, shape (N, C, H, W).
    """
    tensors = {'x%d' % i: x for i, x in enumerate(data)}

    def channels(text):
        name, begin, end = re.match(r'(\w+)\[(\d+):(\d+)\]$', text).groups()
        return tensors[name][:, int(begin):int(end)]

    def parameter(text):
        return parameters[int(text[1:])]

    for instruction in filter(None, program.split(';')):
        kind, *fields = instruction.split()
        fields = dict(field.split('=') for field in fields)
        window = {key: tuple(map(int, fields[key].split(','))) for key in ('kernel', 'stride', 'pad', 'dilate')
                  if key in fields}
        x = np.concatenate([channels(text) for text in fields['in'].split(',')], axis=1)
        if kind == 'conv':
            threshold = parameter(fields['threshold']) if 'threshold' in fields else None
            x = xnor_popcount(x, parameter(fields['weight']), threshold, num_filter=int(fields['filters']),
                              num_group=int(fields.get('groups', 1)), pad_value=int(fields.get('pad_value', -1)),
                              **window)
        else:
            x = _steps(fields.get('before'), x, channels, parameter)
            if 'pool' in fields:
                x = _pool(fields['pool'], x, full=fields.get('full') == '1', **window)
        x = _steps(fields.get('steps'), x, channels, parameter)
        if 'shuffle' in fields:
            n, c, h, w = x.shape
            x = x.reshape(n, int(fields['shuffle']), -1, h, w).swapaxes(1, 2).reshape(n, c, h, w)
        tensors[fields['out'].split(':')[0]] = x
    return [tensors['y%d' % i] for i in range(num_outputs)]


def _steps(text, x, channels, parameter):
    for step in text.split('|') if text else []:
        kind, _, argument = step.partition(':')
        if kind == 'plus':
            x = x + channels(argument)
        elif kind == 'relu':
            x = np.maximum(x, np.float32(0))
        else:
            values = parameter(argument)[..., None, None]
            if kind == 'mul':
                x = x * values
            elif kind == 'add':
                x = x + values
            elif kind == 'norm':
                x = (x - values[0]) * values[1] + values[2]
            elif kind == 'prelu':
                x = np.where(x > 0, x, x * values)
            else:
                raise ValueError('unknown step {}'.format(step))
    return x


def _pool(kind, x, kernel, stride=(1, 1), pad=(0, 0), full=False):
    size = [(x.shape[i + 2] + 2 * pad[i] - kernel[i] + (stride[i] - 1 if full else 0)) // stride[i] + 1
            for i in range(2)]
    # as much behind as the last window needs
    border = [(0, 0), (0, 0)] + [(pad[i], stride[i] * (size[i] - 1) + kernel[i]) for i in range(2)]

    def taps(values, missing):
        values = np.pad(values, border, mode='constant', constant_values=missing)
        return [values[:, :, i:i + stride[0] * (size[0] - 1) + 1:stride[0],
                       j:j + stride[1] * (size[1] - 1) + 1:stride[1]] for i, j in np.ndindex(*kernel)]

    if kind == 'max':
        return np.max(taps(x, -np.inf), axis=0)
    return sum(taps(x, 0), np.float32(0)) / sum(taps(np.ones_like(x), 0))
