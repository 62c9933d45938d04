"""What the operators mean, in NumPy. It is read and compared with, never optimised."""
from __future__ import annotations

import functools
from typing import Callable, Sequence

import numpy as np

from .packing import deinterleave_weights, pack_float_weights, unpack_float_weights, unpack_weights
from .program import Conv, FloatConv, Map, parse


def xnor_popcount(data: np.ndarray, weight: np.ndarray, threshold: np.ndarray | None = None,
                  kernel: tuple[int, ...] = (), stride: tuple[int, ...] = (), pad: tuple[int, ...] = (),
                  dilate: tuple[int, ...] = (), num_filter: int | None = None, num_group: int = 1, pad_value: int = -1,
                  binarizations: int = 1, planes: int = 1, counted: bool = False, zero_one: bool = False,
                  scales: np.ndarray | None = None, weight_planes: int = 1,
                  weight_scales: np.ndarray | None = None) -> np.ndarray:
    """Convolution, or without `kernel` a dense layer, of sign(data) with packed binary weights.

    With several planes the sum of b_i * (the sum of a_j * D_ij over the planes j of activations) over the planes i of
    weights, D_ij being the product of planes j and i; in float32, in the order of j and of i. With several
    binarizations plane j holds the signs H_j of `residual_binarize`, and a_j is alpha_j of the sample.

    Parameters
    ----------
    data : numpy.ndarray
        float32, shape (N, C, H, W), (N, C, W), or (N, C) for a dense layer.
    weight : numpy.ndarray
        uint8, as `bmx.ops.pack_weights` makes it, plane after plane.
    threshold : numpy.ndarray, optional
        float32, shape (2, C): thresholds t and directions d, +1 or -1. Channel c is +1 where ``d*x >= d*t``.
        Default t = 0, d = +1. With several planes (T, 2, C), T such comparisons.
    kernel, stride, pad, dilate : tuple of int
        As in MXNet's Convolution, one number for each spatial dimension.
    num_filter : int, optional
        O; that of `weight` by default, without its planes.
    num_group : int
        Groups of channels.
    pad_value : int
        Value of the padding after binarization: -1, +1 or 0.
    binarizations : int
        1 to 8; above 1 without `threshold`, `planes`, `zero_one` and `scales`.
    planes : int
        N, 1 to 8; above 1 with `threshold`, of T = N comparisons, one for each plane.
    counted : bool
        Whether T = 2^N - 1 instead: plane j is bit j of the number of comparisons that hold, which are nested: of the
        comparisons 1, 2, ..., T the exclusive or of those that 2^j divides.
    zero_one : bool
        Whether a bit of a plane counts 1 or 0, not +1 or -1; then padding holds 0.
    scales : numpy.ndarray, optional
        a_j: float32, shape (N,); 2^j by default.
    weight_planes : int
        M, 1 to 8.
    weight_scales : numpy.ndarray, optional
        b_i, for each filter: float32, shape (M, O); 2^i by default.

    Returns
    -------
    numpy.ndarray
        float32 (integers of one product without scales), shape (N, O, H', W'), (N, O, W') or (N, O).
    """
    filters = len(weight) // weight_planes if num_filter is None else num_filter
    if binarizations > 1:
        signs, alphas = residual_binarize(data, binarizations)
        terms = list(zip(np.split(signs, binarizations), alphas))
    else:
        powers = [np.float32(2 ** plane) for plane in range(planes)]
        terms = list(zip(_planes(data, threshold, planes, counted, zero_one), powers if scales is None else scales))
    if weight_scales is None:
        weight_scales = [np.full(filters, 2 ** plane, np.float32) for plane in range(weight_planes)]
    sums = []
    for weights, factor in zip(np.split(weight, weight_planes), weight_scales):
        products = [_multiply(signs, weights, filters, kernel, stride, pad, dilate, num_group,
                              0 if zero_one else pad_value) for signs, _ in terms]
        inner = _add_up([np.reshape(scale, (-1,) + (1,) * (product.ndim - 1)) * product
                         for product, (_, scale) in zip(products, terms)])
        sums.append(_along_channels(factor, inner) * inner)
    return _add_up(sums)


def _add_up(terms):
    """One by one, in their order."""
    return functools.reduce(np.add, terms)


def _planes(data, threshold, planes, counted, zero_one):
    """The planes of activations by thresholds: +1 and -1, or 1 and 0."""
    if threshold is None:
        bits = [data >= 0]
    else:
        bits = []
        for t, d in threshold.reshape(-1, 2, data.shape[1]):
            t, d = _along_channels(t, data), _along_channels(d, data)
            # a NaN counts as -1 before the direction reverses it: kernels compare with >= only and flip the bit
            bits.append(np.where(d < 0, (data <= t) | np.isnan(data), data >= t))
    if counted:
        bits = [np.logical_xor.reduce(bits[2 ** plane - 1::2 ** plane]) for plane in range(planes)]
    return [np.where(plane, 1, 0 if zero_one else -1) for plane in bits]


def _multiply(sign, weight, num_filter, kernel, stride, pad, dilate, num_group, pad_value):
    """The product of one plane of activations, integers, and one of packed weights."""
    channels, spatial = sign.shape[1], len(kernel)
    stride, dilate, pad = stride or (1,) * spatial, dilate or (1,) * spatial, pad or (0,) * spatial
    sign = np.pad(sign, [(0, 0), (0, 0)] + [(p, p) for p in pad], mode='constant', constant_values=pad_value)
    weight = unpack_weights(weight, channels // num_group).astype(np.int64)

    size = [(sign.shape[i + 2] - dilate[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in range(spatial)]
    out = np.zeros([len(sign), num_filter] + size, np.float32)
    for group in range(num_group):
        inputs = slice(group * channels // num_group, (group + 1) * channels // num_group)
        outputs = slice(group * num_filter // num_group, (group + 1) * num_filter // num_group)
        for tap in np.ndindex(*kernel):
            window = tuple(slice(tap[i] * dilate[i], tap[i] * dilate[i] + stride[i] * (size[i] - 1) + 1, stride[i])
                           for i in range(spatial))
            x, w = sign[(slice(None), inputs) + window], weight[(outputs, slice(None)) + tap]
            out[:, outputs] += np.einsum('nc...,oc->no...', x, w)
    return out


def residual_binarize(data: np.ndarray, binarizations: int, pad: tuple[int, ...] = (),
                      pad_value: int = -1) -> tuple[np.ndarray, np.ndarray]:
    """Several binarizations of each sample (Tang et al. 2017, Equation 4).

    E_1 = data, H_i = sign(E_i), alpha_i = mean |E_i| over the sample, E_(i+1) = E_i - alpha_i H_i. A mean is added up
    in float64, each channel's values in their order, then the channels, and rounded to float32 (and float16); a
    residual is rounded to the data's dtype.

    Parameters
    ----------
    data : numpy.ndarray
        float16, float32 or float64, shape (N, C, ...).
    binarizations : int
        m.
    pad : tuple of int
        Border around the last axes of the signs.
    pad_value : int
        What it holds: -1, +1 or 0.

    Returns
    -------
    (numpy.ndarray, numpy.ndarray)
        The signs, shape (m * N, C, ...), term by term, and the scales alpha, shape (m, N), of the data's dtype.
    """
    pad = (pad,) if isinstance(pad, int) else tuple(pad)
    width = [(0, 0)] * (data.ndim - len(pad)) + [(p, p) for p in pad]
    residual, signs, scales = data, [], []
    for _ in range(binarizations):
        sign = np.where(residual >= 0, 1, -1).astype(data.dtype)
        values = np.abs(residual.astype(np.float64)).reshape(len(data), data.shape[1], -1)
        channels = np.add.accumulate(values, axis=2)[:, :, -1]  # accumulate adds one by one, sum does not
        alpha = np.add.accumulate(channels, axis=1)[:, -1] / values[0].size
        if data.dtype != np.float64:
            alpha = alpha.astype(np.float32).astype(data.dtype)
        residual = residual - alpha.reshape((-1,) + (1,) * (data.ndim - 1)) * sign
        signs.append(np.pad(sign, width, mode='constant', constant_values=pad_value))
        scales.append(alpha)
    return np.concatenate(signs), np.stack(scales)


def channelwise(data: np.ndarray, values: np.ndarray, kind: str) -> np.ndarray:
    """A product with one value a channel: of all data, or of what is not positive.

    Parameters
    ----------
    data : numpy.ndarray
        float32 or float64, shape (N, C, ...).
    values : numpy.ndarray
        Of the data's dtype, shape (C,), or (1,) for all channels.
    kind : str
        'scale' or 'prelu'.

    Returns
    -------
    numpy.ndarray
        Of the data's shape and dtype.
    """
    product = data * _along_channels(values, data)
    return product if kind == 'scale' else np.where(data > 0, data, product)


def expand_weights(levels: np.ndarray, codes: np.ndarray, shape: Sequence[int], bits: int = 1,
                   groups: int = 0) -> np.ndarray:
    """Float weights of their codes.

    Parameters
    ----------
    levels, codes : numpy.ndarray
        As `bmx.ops.pack_levels` makes them.
    shape : tuple of int
        Of the weights, filters first.
    bits : int
        Of a code.
    groups : int
        0: the result has that shape; else it is what `bmx.ops.pack_float_weights` makes of it.

    Returns
    -------
    numpy.ndarray
        float32.
    """
    size = int(np.prod(shape))
    planes = np.unpackbits(codes, axis=-1, count=size, bitorder='little').astype(np.int64)
    code = (planes << np.arange(bits)[:, None]).sum(0).reshape(shape)
    weight = np.take_along_axis(np.broadcast_to(levels, (1 << bits,) + tuple(shape)), code[None], 0)[0]
    return pack_float_weights(weight.reshape(shape[0], -1), groups) if groups else weight


def channelwise_gradients(gradient: np.ndarray, data: np.ndarray, values: np.ndarray,
                          kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The gradients of `channelwise` that arise of one of its result.

    Parameters
    ----------
    gradient : numpy.ndarray
        Of the result, and of its shape and dtype.
    data, values, kind
        As of `channelwise`.

    Returns
    -------
    (numpy.ndarray, numpy.ndarray)
        Of the data, and of the values: sums in float64, rounded once. The operator adds up runs of numbers in the
        data's dtype, so that its sums may differ in the last digits.
    """
    product = gradient * _along_channels(values, data)
    own = data.astype(np.float64) * gradient
    if kind == 'prelu':
        product, own = np.where(data > 0, gradient, product), np.where(data > 0, 0, own)
    sums = own.sum(axis=(0,) + tuple(range(2, data.ndim)))
    return product, (sums if len(values) > 1 else sums.sum(keepdims=True)).astype(data.dtype)


def _along_channels(values, data):
    return values.reshape((1, -1) + (1,) * (data.ndim - 2))


def float_convolution(data: np.ndarray, weight: np.ndarray, num_filter: int, kernel: tuple[int, ...],
                      stride: tuple[int, ...] = (1, 1), pad: tuple[int, ...] = (0, 0), dilate: tuple[int, ...] = (1, 1),
                      num_group: int = 1) -> np.ndarray:
    """Convolution in float32 as a program's `fconv` has it: one chain of fused multiply-adds for each output.

    It begins with +0 and takes, for each channel of the group, row and column of the window, ``fma(x, w, sum)``.

    Parameters
    ----------
    data : numpy.ndarray
        float32, shape (N, C, H, W).
    weight : numpy.ndarray
        float32, as `bmx.ops.pack_float_weights` makes it.
    num_filter, kernel, stride, pad, dilate, num_group
        As in MXNet's Convolution; padding is +0.

    Returns
    -------
    numpy.ndarray
        float32, shape (N, O, H', W').
    """
    channels = data.shape[1] // num_group
    weight = unpack_float_weights(weight, num_filter, (channels,) + tuple(kernel))
    data = np.pad(data, [(0, 0), (0, 0)] + [(p, p) for p in pad], mode='constant')
    size = [(data.shape[i + 2] - dilate[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in range(2)]
    out = np.zeros([len(data), num_filter] + size, np.float32)
    for group in range(num_group):
        outputs = slice(group * num_filter // num_group, (group + 1) * num_filter // num_group)
        for c, i, j in np.ndindex(channels, *kernel):
            window = tuple(slice(tap * dilate[k], tap * dilate[k] + stride[k] * (size[k] - 1) + 1, stride[k])
                           for k, tap in enumerate((i, j)))
            x = data[(slice(None), slice(group * channels + c, group * channels + c + 1)) + window]
            out[:, outputs] = _fma(x, weight[outputs, c, i, j][:, None, None], out[:, outputs])
    return out


def _fma(x, w, total):
    """x * w + total of float32 arrays, rounded once."""
    with np.errstate(all='ignore'):
        product, total = x.astype(np.float64) * w, total.astype(np.float64)  # the product is exact
        rounded = product + total
        back = rounded - product
        rest = (product - (rounded - back)) + (total - back)  # what the sum lost, exactly
        # Rounded to odd, the sum rounds to float32 as the exact one would: an even one moves towards what it lost.
        bits = rounded.view(np.int64)
        move = np.isfinite(rounded) & np.isfinite(rest) & (rest != 0) & (bits & 1 == 0)
        bits += np.where(move, np.where((rest > 0) == (rounded > 0), 1, -1), 0)
        return rounded.astype(np.float32)


def binary_subgraph(program: str, data: Sequence[np.ndarray], parameters: Sequence[np.ndarray],
                    num_outputs: int = 1) -> list[np.ndarray]:
    """Run a program: a chain of convolutions and elementwise maps (`bmx.ops.program`).

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
        y0, y1, ...: float32, shape (N, C, H, W), flat ones (N, C * H * W).
    """
    tensors = {f'x{i}': x for i, x in enumerate(data)}

    def channels(piece):
        return tensors[piece.tensor][:, piece.begin:piece.end]

    for instruction in parse(program, len(data), num_outputs).instructions:
        x = np.concatenate([channels(piece) for piece in instruction.sources], axis=1)
        x = _steps(instruction.before, x, channels, parameters)
        x = _MEANINGS[type(instruction)](instruction, x, *[parameters[number] for number in instruction.own_parameters])
        x = _steps(instruction.steps, x, channels, parameters)
        if isinstance(instruction, Map):
            n, c, h, w = x.shape
            x = x.reshape(n, instruction.shuffle, -1, h, w).swapaxes(1, 2).reshape(n, c, h, w)
        tensors[instruction.out.tensor] = x.reshape(len(x), -1) if instruction.out.flat else x
    return [tensors[f'y{i}'] for i in range(num_outputs)]


def _filters(conv):
    return dict(num_filter=conv.filters, kernel=conv.kernel, stride=conv.stride, pad=conv.pad, dilate=conv.dilate,
                num_group=conv.groups)


def _conv(conv, x, *parameters):
    named = dict(zip(conv.operands, parameters))
    if conv.interleaved:
        named['weight'] = deinterleave_weights(named['weight'], conv.kernel, conv.channels // conv.groups)
    return xnor_popcount(x, **named, pad_value=conv.pad_value, binarizations=conv.binarizations, planes=conv.planes,
                         counted=conv.counted, zero_one=conv.zero_one, weight_planes=conv.weight_planes,
                         **_filters(conv))


def _float_conv(conv, x, weight):
    return float_convolution(x, weight, **_filters(conv))


def _pool(pooling, x):
    if pooling.pool is None:
        return x
    kernel = x.shape[2:] if pooling.global_ else pooling.kernel
    stride, pad = pooling.stride, pooling.pad
    size = [(x.shape[i + 2] + 2 * pad[i] - kernel[i] + (stride[i] - 1 if pooling.full else 0)) // stride[i] + 1
            for i in range(2)]

    def taps(values, padding, beyond):
        values = np.pad(values, [(0, 0), (0, 0)] + [(p, p) for p in pad], mode='constant', constant_values=padding)
        # as much behind as the last window needs
        values = np.pad(values, [(0, 0), (0, 0)] + [(0, stride[i] * (size[i] - 1) + kernel[i]) for i in range(2)],
                        mode='constant', constant_values=beyond)
        return [values[:, :, i:i + stride[0] * (size[0] - 1) + 1:stride[0],
                       j:j + stride[1] * (size[1] - 1) + 1:stride[1]] for i, j in np.ndindex(*kernel)]

    if pooling.pool == 'max':  # NaN does not count; the lowest float32 where nothing does
        return np.fmax.reduce(taps(x, np.nan, np.nan), axis=0, initial=np.finfo(np.float32).min)
    counts = sum(taps(np.ones_like(x), pooling.count_pad, 0))
    return sum(taps(x, 0, 0), np.float32(0)) / np.maximum(counts, 1)  # added in this order: rows, then columns


_MEANINGS: dict[type, Callable[..., np.ndarray]] = {Conv: _conv, FloatConv: _float_conv, Map: _pool}


def _steps(steps, x, channels, parameters):
    for step in steps:
        if step.word == 'plus':
            x = x + channels(step.operand)
        elif step.word == 'repeat':
            x = x + np.tile(channels(step.operand), (1, x.shape[1] // step.operand.channels, 1, 1))
        elif step.word == 'relu':
            x = np.maximum(x, np.float32(0))
        else:
            values = parameters[step.operand][..., None, None]
            if step.word == 'mul':
                x = x * values
            elif step.word == 'add':
                x = x + values
            elif step.word == 'norm':
                x = (x - values[0]) * values[1] + values[2]
            else:
                assert step.word == 'prelu'
                x = np.where(x > 0, x, x * values)
    return x
