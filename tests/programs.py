"""Random programs and their parameters; the operator beside the reference."""
import mxnet as mx
import numpy as np

from bmx import ops


class Parameters:
    """Random parameters of a program; each method adds one and returns its name, p0, p1, ..."""

    def __init__(self, seed=0):
        self.random, self.values = np.random.RandomState(seed), []

    def add(self, value):
        self.values.append(value)
        return f'p{len(self.values) - 1}'

    def weight(self, filters, channels, kernel=(3, 3)):
        return self.add(ops.pack_weights(self.random.randn(filters, channels, *kernel)))

    def threshold(self, channels, spread=4):
        """Thresholds on, between and beyond the values, in both directions."""
        t = np.round(self.random.randn(channels) * spread * 2) / 2
        t[self.random.rand(channels) < 0.1] = self.random.choice([np.inf, -np.inf, 1e9, -1e9, -0.0])
        return self.add(np.stack([t, self.random.choice([-1, 1], channels)]).astype('float32'))

    def float_weight(self, filters, channels, kernel, groups=1):
        """Of all bits, so that every sum rounds."""
        return self.add(ops.pack_float_weights(self.random.randn(filters, channels // groups, *kernel), groups))

    def vector(self, *shape):
        return self.add(self.random.randn(*shape).astype('float32'))


def make_data(shape, seed=0):
    """Values on and around the thresholds, and both zeros."""
    random = np.random.RandomState(seed)
    data = (np.round(random.randn(*shape) * 8) / 2).astype('float32')
    data[(data == 0) & (random.rand(*shape) < 0.5)] = -0.0
    return data


def call(program, data, parameters, **attributes):
    inputs = [mx.nd.array(x, dtype=x.dtype) for x in list(data) + list(parameters)]
    out = mx.nd.binary_subgraph(*inputs, program=program, num_data=len(data), **attributes)
    return [y.asnumpy() for y in (out if isinstance(out, list) else [out])]


def check(program, data, parameters, num_outputs=1):
    """Compares with the reference; returns the outputs."""
    expected = ops.reference.binary_subgraph(program, data, parameters, num_outputs)
    outputs = call(program, data, parameters, num_outputs=num_outputs)
    assert len(outputs) == len(expected)
    for y, wanted in zip(outputs, expected):
        assert y.dtype == np.float32 and y.shape == wanted.shape
        assert np.array_equal(y, wanted), program
    return outputs


def meliusnet_stage(p, blocks, channels, growth):
    """Dense and improvement blocks with integer features in slots, then the transition's map."""
    program, widths = [], [channels]

    def features():
        return ','.join(('x0' if i == 0 else f's{i}') + f'[0:{width}]' for i, width in enumerate(widths))

    def conv(out, steps=''):
        total = sum(widths)
        program.append(f'conv in={features()} out={out} weight={p.weight(growth, total)} '
                       f'threshold={p.threshold(total, 8)} kernel=3,3 pad=1,1 filters={growth} {steps}')

    for index in range(1, blocks + 1):
        conv(f's{index}:int16')
        widths.append(growth)
        conv(f's{index}:int16', f'steps=plus:s{index}[0:{growth}]')
    total = sum(widths)
    program.append(f'map in={features()} out=y0 before=norm:{p.vector(3, total)} pool=max kernel=2,2 stride=2,2 '
                   'steps=relu')
    return ' ; '.join(program)
