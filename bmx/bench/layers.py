"""`bench layers`: binary and float convolutions, float NCHW in and out, beside MXNet's float convolution."""
from __future__ import annotations

import math
from typing import Any

import mxnet as mx
import numpy as np

from .. import ops
from ..io.text import table
from ..ops.program import Destination, FloatConv, Slice
from .shapes import BIT_SHAPES, BITS, FLOAT_SHAPES, GROUPED_SHAPES, SHAPES, Shape
from .timing import interleave, phase_fields, row

PHASES = tuple(phase for phase in ops.PHASES if phase != 'mapping')  # what is mapped lies between layers


def measure(batch: int, rounds: int) -> tuple[list[dict[str, Any]], str]:
    """Time `xnor_popcount`, or the float convolution of programs (fconv), and `Convolution` on every shape.

    Returns
    -------
    (list of dict, str)
        Rows with the fields products (binary ones of a layer of several bits), gmacs (of all of them), ratio (to
        MXNet's float convolution) and, of `xnor_popcount`, the milliseconds of each phase, of one thread's float
        convolutions their share of the bound of multiply-adds; the tables.
    """
    shapes: dict[str, tuple[Shape, tuple[int, int] | None]] = {
        str(shape): (shape, (1, 1)) for shape in SHAPES + GROUPED_SHAPES + BIT_SHAPES}
    shapes.update((f'{shape} {weights}/{inputs} bits', (shape, (weights, inputs)))
                  for shape in BIT_SHAPES for weights, inputs in BITS)
    shapes.update((str(shape) + ' float', (shape, None)) for shape in FLOAT_SHAPES)
    contestants = {(name, implementation): run for name, (shape, bits) in shapes.items()
                   for implementation, run in _operators(shape, batch, bits).items()}
    profiled = [key for key in contestants if key[1] == 'xnor_popcount']
    seconds, profiles = interleave(contestants, rounds, profiled)
    bound = ops.measure_float_bound(ops.supported_kernels()[-1])  # MXNet's is not that of the kernel in use
    rows, lines, floats = [], [], []
    for (name, implementation), times in seconds.items():
        float_seconds = min(seconds[name, 'float'])
        shape, bits = shapes[name]
        products = math.prod(bits) if bits and implementation == 'xnor_popcount' else 1
        entry = row(name, implementation, batch, times, ops.isa(), reference='float', products=products,
                    ratio=min(times) / float_seconds, gmacs=batch * products * shape.macs / min(times) / 1e9)
        if implementation == 'xnor_popcount':
            fields = phase_fields(PHASES, profiles[name, implementation], times)
            entry.update(fields)
            lines.append([name, products, 1e3 * float_seconds, entry['min_ms'], entry['median_ms'],
                          f'{1 / entry["ratio"]:.1f}', f'{entry["gmacs"]:.0f}'] + list(fields.values()))
        elif entry['threads'] == 1:
            entry.update(bound_gmacs=bound / 1e9, share=1e9 * entry['gmacs'] / bound)
        if implementation == 'fconv':
            floats.append([name, 1e3 * float_seconds, entry['min_ms'], entry['median_ms'],
                           f'{1 / entry["ratio"]:.1f}', f'{entry["gmacs"]:.0f}',
                           f'{1e11 * entry["gmacs"] / bound:.0f}'])
        rows.append(entry)
    header = ['shape', 'products', 'float ms', 'binary ms', 'median', 'times as fast', 'GMAC/s', *PHASES, 'rest']
    float_header = ['shape', "MXNet's ms", 'fconv ms', 'median', 'times as fast', 'GMAC/s', "% of a thread's bound"]
    best = max(entry['gmacs'] for entry in rows if entry['implementation'] == 'float')
    speeds = (f"MXNet's float: at most {best:.0f} GMAC/s; a thread can do {bound / 1e9:.0f} multiply-adds in 1e-9 "
              "seconds")
    return rows, '\n\n'.join([table(header, lines), table(float_header, floats), speeds])


def _operators(shape, batch, bits):
    """Functions that run the shape's operator and MXNet's float one once."""
    data = mx.nd.random.normal(shape=(batch, shape.channels, shape.size, shape.size))
    weight = mx.nd.random.normal(shape=(shape.filters, shape.channels // shape.groups) + (shape.kernel,) * 2)
    attributes = dict(kernel=(shape.kernel,) * 2, pad=(shape.pad,) * 2, stride=(shape.stride,) * 2,
                      num_filter=shape.filters, num_group=shape.groups)
    runs = {'float': lambda: mx.nd.Convolution(data, weight, no_bias=True, **attributes).wait_to_read()}
    if bits:
        inputs, words = _planes(weight, *bits)
        return dict(xnor_popcount=lambda: mx.nd.xnor_popcount(data, *inputs, **words, **attributes).wait_to_read(),
                    **runs)
    ordered = mx.nd.array(ops.pack_float_weights(weight.asnumpy(), shape.groups))
    conv = FloatConv((Slice('x0', 0, shape.channels),), Destination('y0'), weight=0, kernel=attributes['kernel'],
                     stride=attributes['stride'], pad=attributes['pad'], filters=shape.filters, groups=shape.groups)
    return dict(fconv=lambda: mx.nd.binary_subgraph(data, ordered, program=str(conv)).wait_to_read(), **runs)


def _planes(weight, weight_bits, bits):
    """What `xnor_popcount` takes beside the data, and attributes: levels of few bits, or bases with scales."""
    packed = ops.pack_weights(np.concatenate([weight.asnumpy()] + [np.random.RandomState(plane).normal(
        size=weight.shape) for plane in range(1, weight_bits)]).astype(np.float32))
    inputs, words = [mx.nd.array(packed, dtype='uint8')], dict(weight_planes=weight_bits)
    if bits == 1:
        return inputs, words
    counted = bits == 2
    thresholds = np.ones((3 if counted else bits, 2, weight.shape[1]), np.float32)
    thresholds[:, 0] = np.linspace(-1, 1, len(thresholds))[:, None]
    inputs.append(mx.nd.array(thresholds))
    words.update(planes=bits, counted=counted, zero_one=counted, threshold=True)
    if not counted:
        inputs += [mx.nd.ones(bits), mx.nd.ones((weight_bits, len(weight)))]
        words.update(scales=True, weight_scales=True)
    return inputs, words
