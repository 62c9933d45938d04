"""The operator binary_subgraph: programs on every kernel of the table against the reference, exactly."""
import fractions
import itertools
import os
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest

from bmx import ops
from programs import Parameters, call, check, make_data, meliusnet_stage


def sizes(**named):
    """The words of an instruction that hold two integers each."""
    return ' '.join(f'{name}={size[0]},{size[1]}' for name, size in named.items())


@pytest.mark.parametrize('channels, growth, size, batch', [
    (64, 64, (8, 8), 1), (64, 64, (7, 9), 3), (40, 24, (5, 6), 2), (37, 19, (6, 5), 2), (3, 65, (9, 4), 1)])
def test_meliusnet_stage(isa, channels, growth, size, batch):
    p = Parameters(channels)
    check(meliusnet_stage(p, 3, channels, growth), [make_data((batch, channels) + size)], p.values)


CHAINS = [
    # a residual in float32, added in place, with everything that can come before it
    'conv in=x0[0:C] out=s0:float32 weight={w} threshold={t} kernel=3,3 pad=1,1 filters=C steps=norm:{n}|prelu:{v};'
    'conv in=s0[0:C] out=s0:float32 weight={w} threshold={t} kernel=3,3 pad=1,1 filters=C '
    'steps=mul:{v}|add:{v}|plus:s0[0:C]|plus:x0[0:C]|relu;'
    'map in=s0[0:C] out=y0 steps=norm:{n}|prelu:{one}',
    # planar slots
    'map in=x0[0:C] out=s1:planar steps=norm:{n}|relu;'
    'conv in=s1[0:C] out=s1:planar weight={w} kernel=3,3 pad=1,1 filters=C steps=plus:s1[0:C];'
    'conv in=s1[0:C] out=y0 weight={w} kernel=3,3 pad=1,1 filters=C steps=plus:s1[0:C]|plus:x0[0:C]',
    # a slot of another type and size takes the place of one that nobody reads any more
    'conv in=x0[0:C] out=s0:int16 weight={w} kernel=3,3 pad=1,1 filters=C;'
    'conv in=s0[0:C] out=s0:float32 weight={w} kernel=3,3 stride=2,2 filters=C steps=mul:{v};'
    'conv in=s0[0:C] out=s0:planar weight={w} kernel=3,3 pad=2,2 filters=C;'
    'map in=s0[0:C] out=y0 steps=plus:s0[0:C]',
    # added before pooling
    'conv in=x0[0:C] out=s0:int16 weight={w} kernel=3,3 pad=1,1 filters=C;'
    'map in=x0[0:C] out=y0 before=plus:s0[0:C]|norm:{n}|plus:x0[0:C] pool=max kernel=3,3 stride=2,2 pad=1,1 '
    'steps=norm:{n}|relu',
    # one channel for all, two images side by side
    'conv in=x0[0:C] out=s0:float32 weight={w} kernel=3,3 pad=1,1 filters=C steps=repeat:x0[0:1];'
    'map in=s0[0:C],x0[0:C] out=s1:float32 before=repeat:s0[0:C] pool=avg kernel=1,1 '
    'steps=repeat:s0[0:C]|repeat:s0[0:1];'
    'map in=s1[0:C] out=y0 steps=repeat:s1[0:C]',
]


@pytest.mark.parametrize('channels', [1, 15, 16, 17, 64, 80, 130])
@pytest.mark.parametrize('chain', CHAINS, ids=range(len(CHAINS)))
def test_chains(isa, chain, channels):
    p = Parameters(channels)
    names = dict(w=p.weight(channels, channels), t=p.threshold(channels), n=p.vector(3, channels),
                 v=p.vector(channels), one=p.vector(1))
    used = sorted({name for name in names if f'{{{name}}}' in chain}, key=lambda name: int(names[name][1:]))
    program = chain.replace('C', str(channels)).format(**{name: f'p{i}' for i, name in enumerate(used)})
    check(program, [make_data((2, channels, 9, 10))], [p.values[int(names[name][1:])] for name in used])


@pytest.mark.parametrize('groups, channels, filters', [(1, 64, 64), (1, 100, 128), (1, 5, 64), (3, 40, 128)])
@pytest.mark.parametrize('options', ['kernel=1,1', 'kernel=3,2 stride=2,1 pad=1,1 dilate=1,2',
                                     'kernel=3,3 pad=1,1 pad_value=0', 'kernel=3,3 pad=1,1 binarizations=2'])
def test_interleaved_weights(isa, options, groups, channels, filters):
    p = Parameters(channels)
    kernel = tuple(map(int, options[len('kernel='):].split()[0].split(',')))
    packed = ops.pack_weights(p.random.randn(groups * filters, channels, *kernel))
    text = f'conv in=x0[0:{groups * channels}] out=y0 weight=p0 filters={groups * filters} groups={groups} {options}'
    data = [make_data((2, groups * channels, 9, 10))]
    expected, = check(text, data, [packed])
    assert np.array_equal(check(text + ' interleaved=1', data, [ops.interleave_weights(packed)])[0], expected)


SPLITS = [(5, 33, 26), (64, 64), (32, 31, 1, 64), (1, 1, 1), (100, 300, 7), (31, 300), (96, 32, 64), (32, 33, 32)]


@pytest.mark.parametrize('split', SPLITS, ids=str)
@pytest.mark.parametrize('types', [('x',), ('int16',), ('float32',), ('planar',), ('x', 'int16', 'float32', 'planar')],
                         ids=str)
def test_sources_begin_at_any_bit(isa, split, types):
    p = Parameters(len(split))
    data = [make_data((2, channels + 3, 6, 7), seed) for seed, channels in enumerate(split)]
    program, parts = [], []
    for index, channels in enumerate(split):
        kind = types[index % len(types)]
        if kind != 'x':
            program.append(f'conv in=x{index}[0:{channels + 3}] out=s{index}:{kind} '
                           f'weight={p.weight(channels + 3, channels + 3, (1, 1))} kernel=1,1 filters={channels + 3}')
        parts.append(f'{"x" if kind == "x" else "s"}{index}[2:{channels + 2}]')
    total = sum(split)
    for pad_value in (-1, 0, 1):
        text = (f'conv in={",".join(parts)} out=y0 weight={p.weight(5, total)} threshold={p.threshold(total)} '
                f'kernel=3,3 pad=1,1 filters=5 pad_value={pad_value}')
        parameters = list(p.values)
        check(';'.join(program + [text]), data, parameters)
        del p.values[-2:]
    if total % 2 == 0:
        check(';'.join(program + [f'conv in={",".join(parts)} out=y0 weight={p.weight(6, total // 2)} kernel=3,3 '
                                  'pad=1,1 filters=6 groups=2']), data, p.values)
    del p.values[len(program):]
    check(';'.join(program + [f'map in={",".join(parts)} out=y0 steps=norm:{p.vector(3, total)}']), data,
          p.values)


@pytest.mark.parametrize('groups', [1, 2, 4, 64])
@pytest.mark.parametrize('slot', ['int16', 'float32', 'planar'])
def test_groups(isa, groups, slot):
    p = Parameters(groups)
    check(f'conv in=x0[0:64] out=s0:{slot} weight={p.weight(128, 64 // groups)} threshold={p.threshold(64)} kernel=3,3 '
          f'pad=1,1 filters=128 groups={groups};'
          f'conv in=s0[0:128] out=y0 weight={p.weight(64, 128 // groups)} threshold={p.threshold(128)} kernel=3,3 '
          f'stride=2,2 pad=1,1 filters=64 groups={groups} pad_value=0',
          [make_data((3, 64, 7, 8))], p.values)


@pytest.mark.parametrize('filters', [1, 15, 16, 17, 63, 64, 65, 128, 200])
@pytest.mark.parametrize('slot', ['int16', 'float32', 'planar'])
def test_filters(isa, filters, slot):
    p = Parameters(filters)
    check(f'conv in=x0[0:33] out=s0:{slot} weight={p.weight(filters, 33)} kernel=3,3 pad=1,1 stride=1,2 '
          f'filters={filters};'
          f'conv in=s0[0:{filters}] out=s0:{slot} weight={p.weight(filters, filters, (1, 1))} '
          f'threshold={p.threshold(filters)} kernel=1,1 filters={filters} steps=plus:s0[0:{filters}];'
          f'map in=s0[0:{filters}] out=y0',
          [make_data((1, 33, 7, 11))], p.values)


@pytest.mark.parametrize('size', [(1, 1), (3, 5), (7, 7), (14, 14), (13, 40), (1, 150), (70, 3)])
@pytest.mark.parametrize('kernel, stride, pad', [((3, 3), (2, 2), (1, 1)), ((2, 2), (2, 2), (0, 0)),
                                                 ((1, 1), (1, 1), (0, 0)), ((3, 2), (1, 3), (2, 1)),
                                                 ((1, 5), (1, 1), (0, 4)), ((5, 1), (7, 7), (4, 0)),
                                                 ((2, 2), (5, 5), (0, 0))])  # full: windows without any pixel
@pytest.mark.filterwarnings('ignore:overflow')  # of the norm of their maximum
@pytest.mark.parametrize('kind, full', [('max', 0), ('max', 1), ('avg', 0), ('avg', 1)])
def test_pooling(isa, kind, full, size, kernel, stride, pad):
    if any(size[i] + 2 * pad[i] < kernel[i] for i in range(2)):
        pytest.skip('nothing to pool')
    p = Parameters()
    data = make_data((2, 21) + size)
    window = f'pool={kind} {sizes(kernel=kernel, stride=stride, pad=pad)} full={full}'
    out, = check(f'map in=x0[0:21] out=y0 {window} steps=norm:{p.vector(3, 21)}|relu', [data], p.values)
    check(f'conv in=x0[0:21] out=s0:int16 weight={p.weight(21, 21, (1, 1))} kernel=1,1 filters=21;'
          f'map in=x0[2:9],s0[1:20] out=y0 before=norm:{p.vector(3, 26)} {window}'
          .replace('p1', 'p0').replace('p2', 'p1'), [data], p.values[1:])
    pooled, = check(f'map in=x0[0:21] out=y0 {window}', [data], [])
    expected = mx.nd.Pooling(mx.nd.array(data), kernel=kernel, stride=stride, pad=pad, pool_type=kind,
                             pooling_convention='full' if full else 'valid', count_include_pad=False).asnumpy()
    assert out.shape == pooled.shape == expected.shape
    # only what is divided by 1, 2 or 4 is fused
    assert np.array_equal(pooled, expected) or kind == 'avg' and kernel != (2, 2) and np.allclose(
        pooled, expected, rtol=1e-5, atol=1e-5)


def test_the_references_fma_rounds_once():
    """Products next to the middle between two numbers, which a sum in float64 alone takes for the middle."""
    x, w = np.float32(8) * (1 + np.array([2, -2, 2], 'float32') ** -18), np.float32(8)
    w = w * (1 - np.array([2, -2, -2], 'float32') ** -18)
    total = np.array([2 ** 30 + 128, -2 ** 30 - 128, 2 ** 30], 'float32')
    exact = [fractions.Fraction(float(a)) * fractions.Fraction(float(b)) + fractions.Fraction(float(c))
             for a, b, c in zip(x, w, total)]
    found = ops.reference._fma(x, w, total)
    assert not np.array_equal((x.astype('float64') * w + total).astype('float32'), found)
    for value, wanted in zip(found, exact):
        nearest = min((np.nextafter(value, np.float32(-np.inf)), value, np.nextafter(value, np.float32(np.inf))),
                      key=lambda each: abs(fractions.Fraction(float(each)) - wanted))
        assert value == nearest


FLOAT_SHAPES = [  # channels, filters, groups, kernel, stride, pad, dilate, size
    (3, 20, 1, (3, 3), (2, 2), (1, 1), (1, 1), (9, 10)), (24, 6, 2, (3, 3), (1, 1), (1, 1), (1, 1), (7, 13)),
    (12, 12, 12, (3, 3), (1, 1), (1, 1), (1, 1), (6, 7)), (19, 33, 1, (1, 1), (1, 1), (0, 0), (1, 1), (8, 9)),
    (8, 10, 1, (5, 6), (1, 1), (0, 0), (1, 1), (5, 6)), (6, 9, 3, (2, 3), (3, 1), (2, 0), (1, 2), (8, 9)),
    (4, 17, 1, (3, 1), (1, 1), (3, 0), (2, 1), (4, 70))]


@pytest.mark.parametrize('slot', ['int16', 'float32', 'planar', None])
@pytest.mark.parametrize('shape', FLOAT_SHAPES, ids=str)
def test_float_convolutions(isa, shape, slot):
    channels, filters, groups, kernel, stride, pad, dilate, size = shape
    p, data = Parameters(filters), np.random.RandomState(channels).randn(2, channels + 2, *size).astype('float32')
    window = sizes(kernel=kernel, stride=stride, pad=pad, dilate=dilate)
    words = f'{window} filters={filters} groups={groups} weight={p.float_weight(filters, channels, kernel, groups)}'
    if slot is None:
        check(f'fconv in=x0[2:{channels}],x0[0:2] out=y0 {words} before=norm:{p.vector(3, channels)}|relu '
              f'steps=prelu:{p.vector(1)}', [data], p.values)
        return
    check(f'conv in=x0[0:{channels}] out=s0:{slot} weight={p.weight(channels, channels, (1, 1))} kernel=1,1 '
          f'filters={channels};'
          f'fconv in=s0[1:{channels}],x0[0:1] out=s1:{"float32" if slot == "int16" else slot} {words} '
          f'before=mul:{p.vector(channels)} steps=norm:{p.vector(3, filters)};'
          f'fconv in=s1[0:{filters}] out=y0:flat weight={p.float_weight(5, filters, (1, 1))} kernel=1,1 '
          'filters=5', [data], p.values)


def test_float_convolutions_sum_in_place(isa):
    p = Parameters()
    check(f'map in=x0[0:12] out=s0:planar steps=relu; map in=x0[0:12] out=s1:float32 steps=mul:{p.vector(12)};'
          f'fconv in=x0[0:12] out=s0:planar weight={p.float_weight(12, 12, (3, 3))} kernel=3,3 pad=1,1 filters=12 '
          f'before=plus:s1[0:12] steps=mul:{p.vector(12)}|plus:s0[0:12]|relu; '
          'map in=s0[0:12] out=y0', [make_data((3, 12, 8, 9))], p.values)


@pytest.mark.parametrize('size', [(1, 1), (7, 7), (5, 90)])
@pytest.mark.parametrize('kind', ['max', 'avg'])
def test_global_pooling(isa, kind, size):
    p, data = Parameters(), make_data((2, 21) + size)
    out, = check(f'map in=x0[0:21] out=y0:flat pool={kind} global=1', [data], [])
    expected = mx.nd.Pooling(mx.nd.array(data), global_pool=True, kernel=(1, 1), pool_type=kind).asnumpy()
    assert out.shape == (2, 21) and np.allclose(out, expected[:, :, 0, 0], rtol=1e-5, atol=1e-5)
    check(f'map in=x0[3:21],x0[0:3] out=y0 before=norm:{p.vector(3, 21)} pool={kind} global=1 steps=relu '
          'shuffle=3', [data], p.values)


@pytest.mark.parametrize('size', [(7, 9), (1, 40), (12, 12)])
@pytest.mark.parametrize('kernel, stride, pad, full', [((3, 3), (2, 2), (1, 1), 0), ((3, 2), (1, 3), (2, 1), 1),
                                                       ((1, 5), (1, 1), (0, 4), 0), ((2, 3), (5, 4), (1, 2), 1)])
def test_padding_counts_in_averages(isa, size, kernel, stride, pad, full):
    if any(size[i] + 2 * pad[i] < kernel[i] for i in range(2)):
        pytest.skip('nothing to pool')
    data = make_data((2, 21) + size)
    window = sizes(kernel=kernel, stride=stride, pad=pad)
    out, = check(f'map in=x0[0:21] out=y0 pool=avg {window} full={full} count_pad=1', [data], [])
    # Otherwise MXNet divides by 0 where a window begins behind the padding.
    if all(stride[i] <= kernel[i] for i in range(2)):
        expected = mx.nd.Pooling(mx.nd.array(data), kernel=kernel, stride=stride, pad=pad, pool_type='avg',
                                 pooling_convention='full' if full else 'valid', count_include_pad=True).asnumpy()
        assert out.shape == expected.shape and np.allclose(out, expected, rtol=1e-5, atol=1e-5)


def test_shuffle_into_a_slot(isa):
    p = Parameters()
    check(f'map in=x0[0:24] out=s0:planar steps=norm:{p.vector(3, 24)} shuffle=4; conv in=s0[2:24] out=y0 '
          f'weight={p.weight(5, 22)} threshold={p.threshold(22)} kernel=3,3 filters=5 steps=plus:x1[0:5]',
          [make_data((2, 24, 6, 7)), make_data((2, 5, 4, 5))], p.values)


@pytest.mark.parametrize('pool', ['', 'pool=max kernel=2,2 stride=2,2'])
@pytest.mark.parametrize('channels, groups', [(24, 1), (24, 3), (24, 24), (80, 4), (96, 2), (130, 5)])
def test_shuffle(channels, groups, pool):
    data, parameters = make_data((2, channels, 6, 10)), Parameters()
    norm = parameters.vector(3, channels)
    out, = check(f'map in=x0[3:{channels}],x0[0:3] out=y0 before=norm:{norm} {pool} steps=relu '
                 f'shuffle={groups}', [data], parameters.values)
    assert out.shape[1] == channels


@pytest.mark.parametrize('t', [-40000, -32769, -32768.5, -32768, -3.5, -3, -0.0, 0, 0.5, 3, 32767, 32767.5, 32768, 1e30,
                               -1e30, np.inf, -np.inf])
@pytest.mark.parametrize('d', [-1, 1])
@pytest.mark.parametrize('value', [-3, 3])
def test_thresholds_of_int16(isa, t, d, value):
    """Three channels of one value, then one of its sign."""
    p = Parameters()
    weight = p.add(ops.pack_weights(np.full((40, 3, 1, 1), value)))
    chain = (f'conv in=x0[0:3] out=s0:int16 weight={weight} kernel=1,1 filters=40;'
             f'conv in=s0[0:1],s0[3:40] out=y0 weight={p.weight(1, 38, (1, 1))} '
             f'threshold={p.add(np.full((2, 38), [[t], [d]], "float32"))} kernel=1,1 filters=1')
    check(chain, [np.ones((1, 3, 2, 2), 'float32')], p.values)


def test_extreme_values_of_int16(isa):
    """The largest sums that int16 holds, -32767 and 32767, against thresholds next to them."""
    p = Parameters()
    weight = p.add(ops.pack_weights(np.repeat([[1.0], [-1.0]], 32767, axis=1).reshape(2, 32767, 1, 1)))
    for t, d in itertools.product([-32768, -32767, -32766, 32766, 32767, 32768], [-1, 1]):
        threshold = np.full((2, 2), [[t], [d]], 'float32')
        check(f'conv in=x0[0:32767] out=s0:int16 weight={weight} kernel=1,1 filters=2;'
              'conv in=s0[0:2] out=y0 weight=p1 threshold=p2 kernel=1,1 filters=3',
              [np.ones((1, 32767, 1, 2), 'float32')],
              p.values + [ops.pack_weights(np.array([[1, 1], [1, -1], [-1, 1]]).reshape(3, 2, 1, 1)), threshold])


def test_infinities_at_infinite_thresholds(isa):
    data = np.array([-np.inf, -1, 1, np.inf], 'float32').reshape(1, 1, 2, 2)
    for t, d in itertools.product([-np.inf, np.inf], [-1, 1]):
        check('conv in=x0[0:1] out=y0 weight=p0 threshold=p1 kernel=1,1 filters=1', [data],
              [np.ones((1, 1, 1, 1), 'uint8'), np.array([[t], [d]], 'float32')])


def test_several_data_and_outputs(isa):
    p = Parameters()
    check(f'conv in=x1[0:20],x0[3:8] out=y1 weight={p.weight(12, 25)} kernel=3,3 pad=1,1 filters=12 '
          'steps=plus:x2[0:12];'
          'map in=x2[1:2],x0[0:8] out=y0 steps=relu;'
          f'conv in=x2[0:12] out=y2 weight={p.weight(70, 12, (2, 2))} kernel=2,2 stride=2,2 filters=70',
          [make_data((3, 8, 6, 6)), make_data((3, 20, 6, 6)), make_data((3, 12, 6, 6))], p.values, num_outputs=3)


@pytest.mark.parametrize('channels', [64, 70])
def test_norm_is_batchnorm(channels):
    random = np.random.RandomState(channels)
    data = (random.randn(2, channels, 9, 11) * 30).astype('float32')
    gamma, beta, mean = (random.randn(channels).astype('float32') for _ in range(3))
    variance = random.rand(channels).astype('float32') * 9
    norm = np.stack([mean, gamma / np.sqrt(variance + np.float32(1e-5)), beta]).astype('float32')
    expected = mx.nd.BatchNorm(*map(mx.nd.array, (data, gamma, beta, mean, variance)), eps=1e-5, fix_gamma=False,
                               use_global_stats=True)
    out, = call(f'map in=x0[0:{channels}] out=y0 steps=norm:p0', [data], [norm])
    assert np.array_equal(out, expected.asnumpy())


def test_threads():
    """Large enough to be split; the same whatever the number of threads."""
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from programs import Parameters, check, make_data, meliusnet_stage
from bmx import ops
p = Parameters()
program = meliusnet_stage(p, 2, 64, 64)
for kernel in ops.kernels():
    try:
        ops.use_kernel(kernel)
    except ValueError:
        continue
    for batch, size in ((3, 28), (1, 7), (1, 9)):
        check(program, [make_data((batch, 64, size, size))], p.values)
"""
    for threads in ('1', '2', '5'):
        subprocess.run([sys.executable, '-c', code, os.path.dirname(__file__)], check=True,
                       env=dict(os.environ, OMP_NUM_THREADS=threads))


@pytest.mark.parametrize('threads', ['1', '2'])
def test_bands(threads):
    """Images so large that instructions of one pixel's kernel run band by band, and their sources stay."""
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from programs import Parameters, check, make_data
from bmx import ops
for kernel in ops.supported_kernels():
    ops.use_kernel(kernel)
    for kind in 'int16', 'float32', 'planar':
        p = Parameters()
        program = ('conv in=x0[0:32] out=s0:{0} kernel=3,3 pad=1,1 filters=64 weight={1};'
                   'conv in=s0[0:64] out=s1:{0} kernel=1,1 filters=128 weight={2} threshold={3};'
                   'conv in=s1[0:128] out=s1:{0} kernel=1,1 filters=128 weight={4} steps=plus:s1[0:128];'
                   'map in=s1[0:128] out=s2:float32 pool=avg kernel=2,2 stride=2,2 steps=norm:{5};'
                   'conv in=s2[0:128] out=s2:float32 kernel=1,1 filters=128 groups=2 weight={6} steps=plus:s2[0:128];'
                   'map in=s2[0:128] out=y0 steps=relu;'
                   'map in=s0[0:64] out=y1').format(
            kind, p.weight(64, 32), p.weight(128, 64, (1, 1)), p.threshold(64), p.weight(128, 128, (1, 1)),
            p.vector(3, 128), p.weight(128, 64, (1, 1)))
        check(program, [make_data((2, 32, 64, 66))], p.values, 2)
"""
    subprocess.run([sys.executable, '-c', code, os.path.dirname(__file__)], check=True,
                   env=dict(os.environ, OMP_NUM_THREADS=threads))


def test_a_new_call_uses_new_weights():
    data, weight = mx.nd.ones((1, 8, 1, 1)), mx.nd.zeros((1, 1, 1, 1), dtype='uint8')
    program = 'conv in=x0[0:8] out=y0 weight=p0 kernel=1,1 filters=1'
    assert mx.nd.binary_subgraph(data, weight, program=program).asscalar() == -8
    weight[:] = 255
    assert mx.nd.binary_subgraph(data, weight, program=program).asscalar() == 8


EXAMPLE = ('conv in=x0[0:16] out=s0:int16 weight=p0 threshold=p1 kernel=3,3 pad=1,1 filters=8;'
           'map in=s0[0:8],x0[0:4] out=y0 steps=norm:p2|prelu:p3')


# MXNet writes beyond its own memory where several inputs have no shape at all, so a parameter comes with one, which may
# be unknown in all its dimensions.
UNKNOWN = dict(weight=(0, 0, 0, 0), threshold=(0, 0), norm=(0, 0), slope=(0,))


def example_inputs(**shapes):
    return [mx.sym.var('data')] + [mx.sym.var(name, shape=shapes.get(name, shape))
                                   for name, shape in UNKNOWN.items()]


def example_symbol(**shapes):
    return mx.sym.binary_subgraph(*example_inputs(**shapes), program=EXAMPLE)


def test_shapes_and_types_are_inferred():
    arguments, out, _ = example_symbol().infer_shape(data=(2, 16, 5, 6))
    assert arguments == [(2, 16, 5, 6), (8, 3, 3, 2), (2, 16), (3, 12), (12,)] and out == [(2, 12, 5, 6)]
    arguments, out, _ = example_symbol().infer_type(data='float32')
    assert arguments == [np.float32, np.uint8] + 3 * [np.float32] and out == [np.float32]
    assert example_symbol(slope=(1,)).infer_shape(data=(2, 16, 5, 6))[0][4] == (1,)


def test_unknown_batch():
    assert example_symbol().infer_shape_partial(data=(0, 16, 5, 6))[1] == [(0, 12, 5, 6)]
    assert example_symbol().infer_shape_partial(data=(2, 16, 0, 6))[1] == [()]
    with pytest.raises(mx.MXNetError, match='give the shape of data, which'):  # MXNet would write beyond its memory
        example_symbol().infer_shape_partial(norm=(3, 12))


@pytest.mark.parametrize('flags', [{}, {'static_alloc': True, 'static_shape': True}], ids=str)
def test_symbol_block(flags):
    p = Parameters()
    p.weight(8, 16), p.threshold(16), p.vector(3, 12), p.vector(12)
    names = list(UNKNOWN)
    inputs = example_inputs(**{name: value.shape for name, value in zip(names, p.values)})
    net = mx.gluon.SymbolBlock(mx.sym.binary_subgraph(*inputs, program=EXAMPLE), inputs[:1])
    for name, value in zip(names, p.values):
        parameter = net.collect_params()[name]
        parameter.dtype = value.dtype
        parameter.initialize()
        parameter.set_data(mx.nd.array(value, dtype=value.dtype))
    net.hybridize(**flags)
    for batch in (1, 3, 2):
        data = make_data((batch, 16, 5, 6))
        expected, = ops.reference.binary_subgraph(EXAMPLE, [data], p.values)
        for _ in range(2):
            assert np.array_equal(net(mx.nd.array(data)).asnumpy(), expected)


CONV = 'conv in=x0[0:16] out=y0 weight=p0 kernel=3,3 filters=8'
FCONV = 'fconv in=x0[0:16] out=y0 weight=p0 kernel=3,3 filters=8'
# Programs over (2, 16, 5, 6) and (2, 4, 5, 6), and what their errors must say.
PROGRAM_ERRORS = [
    ('', 'program has no instructions'),
    (' ; ;', 'program has no instructions'),
    ('pool in=x0[0:16] out=y0', "instruction 0: unknown operation 'pool'; valid operations: conv, fconv, map"),
    (CONV + ' colour=red', "instruction 0 (conv): unknown key 'colour'; valid keys: in, out, weight, threshold, "
                           'scales, weight_scales, kernel, stride, pad, dilate, filters, groups, whole, pad_value, '
                           'binarizations, planes, counted, zero_one, weight_planes, interleaved, steps'),
    ('map in=x0[0:16] out=y0 weight=p0', "instruction 0 (map): unknown key 'weight'; valid keys: in, out, shuffle, "
                                         'pool, before, steps'),
    ('map in=x0[0:16] out=y0 shuffle=3', 'shuffle 3 does not divide the 16 channels'),
    ('map in=x0[0:16] out=y0 shuffle=0', 'shuffle must be between 1 and 2147483647, got 0'),
    ('map in=x0[0:16] out=s0:float32 shuffle=4', 'only a planar result can be shuffled'),
    ('map in=x0[0:16] out=y0 kernel=3,3', "instruction 0 (map): unknown key 'kernel'"),
    ('map in=x0[0:16] in=x0[0:16] out=y0', 'instruction 0 (map): two values of in'),
    ('map in=x0[0:16] out', "instruction 0 (map): 'out' is not key=value"),
    ('map in=x0[0:16]', 'instruction 0 (map): out is required'),
    ('map out=y0', 'instruction 0 (map): in is required'),
    ('map in= out=y0', "'' is not a slice like s0[0:64]"),
    ('map in=x0 out=y0', "'x0' is not a slice like s0[0:64]"),
    ('map in=x0[0:16], out=y0', "'' is not a slice like s0[0:64]"),
    ('map in=x0]0:16[ out=y0', 'is not a slice like s0[0:64]'),
    ('map in=x0:[16] out=y0', 'is not a slice like s0[0:64]'),
    ('map in=y0[0:16] out=y0', "'y0[0:16]' is neither a data input (x0) nor a slot (s0)"),
    ('map in=x[0:16] out=y0', "number of a data input must be an integer, got ''"),
    ('map in=x2[0:16] out=y0', 'instruction 0 (map): there are 2 data inputs, no x2'),
    ('map in=x99999999999999999999[0:16] out=y0', 'number of a data input must be between 0 and 65535'),
    ('map in=x0[16:16] out=y0', "'x0[16:16]' has no channels"),
    ('map in=x0[-1:16] out=y0', 'first channel must be between 0 and 2147483647, got -1'),
    ('map in=x0[0:17] out=y0', 'instruction 0 (map): x0[0:17] is out of range, there are 16 channels'),
    ('map in=x0[0:16] out=z0', "'z0' is neither an output (y0, y0:flat) nor a slot with its type (s0:int16)"),
    ('map in=x0[0:16] out=s0', "'s0' is neither an output"),
    ('map in=x0[0:16] out=', "'' is neither an output"),
    ('map in=x0[0:16] out=y0:int16', "'y0:int16' is neither an output"),
    ('map in=x0[0:16] out=y1', 'instruction 0 (map): there are 1 outputs, no y1'),
    ('map in=x0[0:16] out=s0:int8', "unknown type 'int8' of a slot; valid types: int16, float32, planar"),
    ('map in=x0[0:16] out=s70000:planar', 'number of a slot must be between 0 and 65535, got 70000'),
    ('map in=x0[0:16] out=s0:planar', 'no instruction writes output y0'),
    ('map in=x0[0:16] out=y0;map in=x0[0:16] out=y0', 'instruction 1 (map): y0 was written by instruction 0 already'),
    ('map in=s3[0:16] out=y0', 'instruction 0 (map): reads s3, which no instruction has written'),
    ('map in=x0[0:16] out=y0 steps=plus:s0[0:16]', 'reads s0, which no instruction has written'),
    ('map in=x0[0:16] out=y0 steps=square',
     "unknown step 'square'; valid steps: mul, add, norm, relu, prelu, plus, repeat"),
    ('map in=x0[0:16] out=y0 steps=', "unknown step ''"),
    ('map in=x0[0:16] out=y0 steps=relu|', "unknown step ''"),
    ('map in=x0[0:16] out=y0 steps=relu:p0', "'relu:p0' is not a step"),
    ('map in=x0[0:16] out=y0 steps=mul', "'mul' is not a step"),
    ('map in=x0[0:16] out=y0 steps=mul:3', "'3' is not a parameter (p0)"),
    ('map in=x0[0:16] out=y0 steps=mul:', "'' is not a parameter (p0)"),
    ('map in=x0[0:16] out=y0 steps=mul:p1', 'parameter p0 is not used, but a higher one is'),
    ('map in=x0[0:16] out=y0 steps=plus:x1[0:4]', 'instruction 0 (map): plus:x1[0:4] adds 4 channels of 5x6 pixels to '
                                                  '16 of 5x6'),
    ('map in=x0[0:16] out=y0 steps=repeat:x0[0:5]', 'instruction 0 (map): repeat:x0[0:5] adds 5 channels of 5x6 pixels '
                                                    'to 16 of 5x6'),
    ('map in=x0[0:16] out=s0:float32;map in=x0[0:16] out=s0:float32 steps=repeat:s0[0:8];map in=s0[0:16] out=y0',
     'adds s0[0:8] in place, but s0 changes its type or channels'),
    ('map in=x0[0:16] out=y0 pool=max kernel=3,3 steps=plus:x0[0:16]',
     'plus:x0[0:16] adds 16 channels of 5x6 pixels to 16 of 3x4'),
    ('map in=x0[0:16] out=s0:planar pool=max kernel=2,2;map in=x0[0:16],s0[0:16] out=y0',
     'instruction 1 (map): s0[0:16] of 4x5 pixels is concatenated with one of 5x6'),
    ('map in=x0[0:16] out=y0 pool=min kernel=2,2', "pool must be max or avg, got 'min'"),
    ('map in=x0[0:16] out=y0 pool=max', 'kernel is required'),
    ('map in=x0[0:16] out=y0 pool=max kernel=2,2 pad=2,0', 'pad 2,0 must be smaller than kernel 2,2'),
    ('map in=x0[0:16] out=y0 pool=max kernel=6,2', 'kernel spans 6x2 but the padded data only 5x6'),
    ('map in=x0[0:16] out=s0:int16;map in=x0[0:16] out=y0', 'only a conv writes int16'),
    (CONV.replace('=3,3', '=3'), "kernel must be two integers, got '3'"),
    (CONV.replace('=3,3', '=0,3'), 'kernel must be between 1 and 2147483647, got 0'),
    (CONV.replace('=3,3', '=a,3'), "kernel must be an integer, got 'a'"),
    (CONV.replace('=3,3', '=2000000000,2000000000'), 'sums of more than 16777216 products are not exact in float32'),
    (CONV.replace('=3,3', '=9,3'), 'kernel spans 9x3 but the padded data only 5x6'),
    (CONV + ' pad=2147483647,1', 'padded data of 16 channels and 4294967299x8 pixels is too large'),
    (CONV + ' stride=0,1', 'stride must be between 1 and 2147483647, got 0'),
    (CONV + ' dilate=0,1', 'dilate must be between 1 and 2147483647, got 0'),
    (CONV + ' pad_value=2', 'pad_value must be between -1 and 1, got 2'),
    (CONV + ' groups=3', 'groups must divide filters, got groups 3 and filters 8'),
    (CONV.replace('x0[0:16]', 'x0[0:15]') + ' groups=2', 'groups 2 do not divide the 15 channels'),
    (CONV.replace('filters=8', 'filters=0'), 'filters must be between 1 and 2147483647, got 0'),
    (CONV.replace('filters=8', 'filters=2147483647'),
     'weights of 2147483647 filters, 16 channels and kernel 3x3 are too large'),
    ('conv in=x1[0:4] out=y0 weight=p0 kernel=1,1 filters=2147483647',
     'a result of 2147483647 channels and 5x6 pixels is too large'),
    (CONV.replace('weight=p0', ''), 'weight is required'),
    (FCONV.replace('weight=p0', ''), 'weight is required'),
    (FCONV + ' pad_value=0', "instruction 0 (fconv): unknown key 'pad_value'; valid keys: in, out, weight, kernel, "
                             'stride, pad, dilate, filters, groups, whole, before, steps'),
    (FCONV + ' groups=3', 'groups must divide filters, got groups 3 and filters 8'),
    (FCONV.replace('x0[0:16]', 'x0[0:15]') + ' groups=2', 'groups 2 do not divide the 15 channels'),
    (FCONV.replace('=3,3', '=9,3'), 'kernel spans 9x3 but the padded data only 5x6'),
    (FCONV.replace('=3,3', '=2000000000,2000000000') + ' pad=1000000000,1000000000',
     'padded data of 16 channels and 2000000005x2000000006 pixels is too large'),
    (FCONV + ' pad=6000,6000', 'padded data of 16 channels and 12005x12006 pixels is too large'),
    (FCONV.replace('filters=8', 'filters=2147483647'),
     'weights of 2147483647 filters, 16 channels and kernel 3x3 are too large'),
    (FCONV.replace('out=y0', 'out=s0:int16') + ';map in=x0[0:16] out=y0', 'only a conv writes int16'),
    (FCONV + ';map in=x0[0:8] out=s0:planar steps=mul:p0',
     'p0 must have shape (8), an earlier use needs (1, 1, 144, 8)'),
    ('map in=x0[0:16] out=s0:planar;fconv in=s0[0:16] out=s0:planar weight=p0 kernel=1,1 filters=16;'
     'map in=x0[0:16] out=y0', 'instruction 1 (fconv): writes s0 while it reads it'),
    ('map in=x0[0:16] out=y0 pool=avg global=1 kernel=2,2', "unknown key 'kernel'; valid keys: in, out, shuffle, pool, "
                                                           'before, global, steps'),
    ('map in=x0[0:16] out=y0 pool=max kernel=2,2 count_pad=1', "unknown key 'count_pad'"),
    (CONV + ' threshold=p0', 'p0 is both a weight and something else'),
    (CONV + ' steps=mul:p1;map in=x0[0:16] out=s0:planar steps=mul:p1',
     'instruction 1 (map): p1 must have shape (16), an earlier use needs (8)'),
    ('conv in=x0[0:16] out=s0:int16 weight=p0 kernel=3,3 filters=8 steps=relu;map in=x0[0:16] out=y0',
     'a result of type int16 takes no steps but plus of int16 slots'),
    ('conv in=x0[0:16] out=s0:int16 weight=p0 kernel=1,1 filters=4 steps=plus:x1[0:4];map in=x0[0:16] out=y0',
     'a result of type int16 takes no steps but plus of int16 slots'),
    ('conv in=x0[0:16] out=s0:int16 weight=p0 kernel=60,60 pad=60,60 filters=8;map in=x0[0:16] out=y0',
     'sums of more than 32767 products are not exact in int16, got 16 channels and kernel 60x60'),
    ('conv in=x0[0:16] out=s0:int16 weight=p0 kernel=41,41 pad=20,20 filters=8;'
     'conv in=x0[0:16] out=s0:int16 weight=p0 kernel=41,41 pad=20,20 filters=8 steps=plus:s0[0:8];'
     'map in=x0[0:16] out=y0', 'instruction 1 (conv): values of up to 53792 do not fit int16'),
    ('map in=x0[0:16] out=s0:planar;map in=s0[0:16] out=s0:planar;map in=x0[0:16] out=y0',
     'instruction 1 (map): writes s0 while it reads it'),
    ('map in=x0[0:16] out=s0:planar;map in=x0[0:16] out=s0:planar before=plus:s0[0:16] pool=max kernel=1,1;'
     'map in=x0[0:16] out=y0', 'instruction 1 (map): writes s0 while it reads it'),
    ('map in=x0[0:16] out=s0:planar;map in=x0[0:8] out=s0:planar steps=plus:s0[8:16];map in=x0[0:16] out=y0',
     'instruction 1 (map): adds s0[8:16] in place, but s0 changes its type or channels'),
    ('map in=x0[0:16] out=s0:planar;map in=x0[0:16] out=s0:planar steps=plus:s0[0:16] shuffle=2;map in=x0[0:16] out=y0',
     'instruction 1 (map): adds s0[0:16] in place, but shuffles'),
    ('map in=x0[0:16] out=s0:planar;map in=x0[0:16] out=s0:float32 steps=plus:s0[0:16];map in=x0[0:16] out=y0',
     'instruction 1 (map): adds s0[0:16] in place, but s0 changes its type or channels'),
]


def program_error(program, data=((2, 16, 5, 6), (2, 4, 5, 6)), **attributes):
    inputs = [mx.sym.var(f'x{i}') for i in range(len(data))]
    inputs += [mx.sym.var(f'p{i}', shape=(1,)) for i in range(attributes.pop('parameters', 0))]
    symbol = mx.sym.binary_subgraph(*inputs, program=program, **dict({'num_data': len(data)}, **attributes))
    symbol.infer_shape(**{f'x{i}': shape for i, shape in enumerate(data)})


@pytest.mark.parametrize('program, message', PROGRAM_ERRORS, ids=[message for _, message in PROGRAM_ERRORS])
def test_errors_of_programs(program, message):
    count = 1 + max([int(word[1:]) for word in program.replace(':', ' ').replace('=', ' ').replace(';', ' ')
                     .replace('|', ' ').split() if word[0] == 'p' and word[1:].isdigit()], default=-1)
    with pytest.raises(mx.MXNetError) as error:
        program_error(program, parameters=count)
    assert message in str(error.value)


@pytest.mark.parametrize('arguments, message', [
    (dict(num_data=0), 'num_data must be between 1 and 65536, got 0'),
    (dict(num_data='two'), "num_data must be an integer, got 'two'"),
    (dict(num_outputs=0), 'num_outputs must be between 1 and 65536, got 0'),
    (dict(num_outputs=2), 'no instruction writes output y1'),
    (dict(colour='red'), "unknown attribute 'colour'; valid names: program, num_data, num_outputs"),
    (dict(data=[(2, 16, 5)]), 'x0 must have 4 dimensions, got shape (2, 16, 5)'),
    (dict(data=[(2, 16, 5, 6), (3, 16, 5, 6)]), 'data inputs have batches of 2 and 3 images'),
    (dict(program=EXAMPLE), 'Not enough argument to call operator binary_subgraph'),
])
def test_errors_of_calls(arguments, message):
    with pytest.raises(mx.MXNetError) as error:
        program_error(**dict(dict(program='map in=x0[0:16] out=y0', data=[(2, 16, 5, 6)]), **arguments))
    assert message in str(error.value)


@pytest.mark.parametrize('change, message', [
    ({1: ((8, 3, 3, 3), 'uint8')}, 'p0 must have shape (8, 3, 3, 2), got (8, 3, 3, 3)'),
    ({1: ((8, 3, 3, 2), 'float32')}, 'p0 must be uint8 (packed bits)'),
    ({2: ((2, 15), 'float32')}, 'p1 must have shape (2, 16), got (2, 15)'),
    ({2: ((1,), 'float32')}, 'p1 must have shape (2, 16), got (1)'),
    ({3: ((3, 12), 'float64')}, 'p2 must be float32'),
    ({4: ((2,), 'float32')}, 'p3 must have shape (12), got (2)'),
    ({0: ((2, 16, 5, 6), 'float64')}, 'x0 must be float32'),
])
def test_errors_of_inputs(change, message):
    inputs = {0: ((2, 16, 5, 6), 'float32'), 1: ((8, 3, 3, 2), 'uint8'), 2: ((2, 16), 'float32'),
              3: ((3, 12), 'float32'), 4: ((12,), 'float32')}
    inputs.update(change)
    with pytest.raises(mx.MXNetError) as error:
        mx.nd.binary_subgraph(*[mx.nd.zeros(shape, dtype=dtype) for _, (shape, dtype) in sorted(inputs.items())],
                              program=EXAMPLE).wait_to_read()
    assert message in str(error.value)


def test_backward_is_refused():
    data = mx.nd.ones((1, 8, 2, 2))
    data.attach_grad()
    with mx.autograd.record():
        out = mx.nd.binary_subgraph(data, program='map in=x0[0:8] out=y0 steps=relu')
    with pytest.raises(mx.MXNetError, match='has no gradient, it is for deployment only'):
        out.backward()
        data.grad.wait_to_read()


def test_damaged_programs_are_errors():
    """Damage at random places ends in an error or in a program that runs."""
    random = np.random.RandomState(0)
    p = Parameters()
    p.weight(8, 16), p.threshold(16), p.vector(3, 12), p.vector(12)
    data, ran = [make_data((1, 16, 5, 6))], 0
    alphabet = list('0123456789[]:;,=| xspyconvmaplus-')
    for _ in range(1500):
        text = list(EXAMPLE)
        for _ in range(random.randint(1, 4)):
            at = random.randint(len(text))
            text[at:at + random.randint(0, 3)] = random.choice(alphabet, random.randint(0, 3))
        try:
            call(''.join(text), data, p.values)
            ran += 1
        except mx.MXNetError as error:
            assert 'binary_subgraph' in str(error)
    assert 0 < ran < 1500


def test_concurrent_calls():
    """MXNet runs independent calls at once; each has a workspace of its own."""
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import mxnet as mx, numpy as np
from bmx import ops
from programs import Parameters, make_data, meliusnet_stage
calls = []
for seed, size in enumerate((6, 14, 9, 20)):
    p = Parameters(seed)
    program = meliusnet_stage(p, 2, 40, 24)
    data = make_data((2, 40, size, size), seed)
    inputs = [mx.nd.array(x, dtype=x.dtype) for x in [data] + p.values]
    calls.append((program, inputs, ops.reference.binary_subgraph(program, [data], p.values)[0]))
mx.nd.waitall()
for _ in range(10):
    outputs = [mx.nd.binary_subgraph(*inputs, program=program) for program, inputs, _ in calls for _ in range(5)]
    expected = [expected for _, _, expected in calls for _ in range(5)]
    for out, wanted in zip(outputs, expected):
        assert np.array_equal(out.asnumpy(), wanted)
"""
    subprocess.run([sys.executable, '-c', code, os.path.dirname(__file__)], check=True,
                   env=dict(os.environ, MXNET_CPU_WORKER_NTHREADS='4', OMP_NUM_THREADS='2'))
