"""Binary products of several planes of bits: the executor and the operator against the reference, bit for bit; how
thresholds of several planes fold; what such layers cost."""
import itertools
import os
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest

import bmx
from bmx import ops
from bmx.deploy.build import Built
from bmx.deploy.fold import fold_steps
from bmx.deploy.slots import choose_types
from bmx.deploy.variables import Variables
from bmx.graph import Graph, Node
from bmx.ops.program import parse
from bmx.structure.texts import instruction_text
from programs import Parameters, call, check, make_data
from test_passes import programs


def nested(random, planes, channels):
    """Thresholds of a counter that grow with the level, or fall where a channel is reversed."""
    t = np.sort(np.round(random.randn(2 ** planes - 1, channels) * 8) / 2, axis=0)
    d = random.choice([-1, 1], channels)
    return np.stack([np.where(d > 0, t, t[::-1]), np.broadcast_to(d, t.shape)], axis=1).astype('float32')


def add_planes(p, channels, filters, planes=1, counted=0, zero_one=0, weight_planes=1, scales=0, weight_scales=0):
    """The words of a conv, whose parameters they add; without planes a sign."""
    words = f'planes={planes} counted={counted} zero_one={zero_one} weight_planes={weight_planes}'
    if counted and planes > 1:
        words += ' threshold=' + p.add(nested(p.random, planes, channels))
    elif planes > 1:
        rows = Parameters(p.random.randint(1000))
        for _ in range(planes):
            rows.threshold(channels)
        words += ' threshold=' + p.add(np.stack(rows.values))
    if scales:
        words += ' scales=' + p.vector(planes)
    if weight_scales:
        words += ' weight_scales=' + p.vector(weight_planes, filters)
    return words


# Channels and filters of a group, groups; kernel, stride, pad, dilate; the image.
SHAPES = [((33, 5, 1), 'kernel=3,3 pad=1,1', (7, 9)), ((64, 64, 1), 'kernel=3,3 pad=1,1 stride=2,2', (9, 8)),
          ((7, 66, 2), 'kernel=1,1', (5, 13)), ((70, 3, 3), 'kernel=2,3 stride=1,2 pad=2,1 dilate=2,1', (6, 11)),
          ((1, 1, 9), 'kernel=3,3 pad=1,1', (8, 5)), ((300, 17, 1), 'kernel=1,3 pad=0,1', (1, 20))]


@pytest.mark.parametrize('weight_planes', [1, 2, 3, 4, 5])
@pytest.mark.parametrize('planes', [1, 2, 3, 4])
def test_convolution(isa, planes, weight_planes):
    table = itertools.product(*[(0, 1)] * 4)
    for seed, (counted, zero_one, scales, weight_scales) in enumerate(table):
        if counted and planes == 1:
            continue
        (channels, filters, groups), window, image = SHAPES[(seed + planes + weight_planes) % len(SHAPES)]
        channels, filters, p = channels * groups, filters * groups, Parameters(seed)
        weight = p.add(ops.pack_weights(p.random.randn(weight_planes * filters, channels // groups, *map(
            int, window.split()[0][len('kernel='):].split(',')))))
        words = add_planes(p, channels, filters, planes, counted, zero_one, weight_planes, scales, weight_scales)
        pad_value = -1 if zero_one else seed % 3 - 1
        check(f'conv in=x0[0:{channels}] out=y0 weight={weight} {window} filters={filters} groups={groups} '
              f'pad_value={pad_value} {words}', [make_data((2, channels) + image, seed)], p.values)


def test_a_quantized_product_is_one_of_its_levels(isa):
    """Unsigned levels of 2 bits times weights of 3 levels (two signs, halved), as integers."""
    random = np.random.RandomState(0)
    levels, weight = random.randint(0, 4, (2, 40, 6, 7)), random.randint(-1, 2, (9, 40, 3, 3))
    thresholds = np.stack([np.full((2, 40), [[t], [1]]) for t in (0.5, 1.5, 2.5)]).astype('float32')
    packed = np.concatenate([ops.pack_weights(np.where(weight > i - 1, 1, -1)) for i in (0, 1)])
    text = ('conv in=x0[0:40] out=y0 weight=p0 threshold=p1 weight_scales=p2 planes=2 counted=1 zero_one=1 '
            'weight_planes=2 kernel=3,3 pad=1,1 filters=9')
    found, = check(text, [levels.astype('float32')], [packed, thresholds, np.full((2, 9), 0.5, 'float32')])
    expected = mx.nd.Convolution(mx.nd.array(levels), mx.nd.array(weight), kernel=(3, 3), pad=(1, 1), num_filter=9,
                                 no_bias=True)
    assert np.array_equal(found, expected.asnumpy())


def test_every_sum_is_rounded_in_its_order():
    """Terms of which another order would lose others."""
    ones, plus = np.ones((1, 1, 1, 1), 'float32'), np.full((3, 2, 1), [[-1], [1]], 'float32')
    packed = np.concatenate([ops.pack_weights(np.ones((1, 1, 1, 1)))] * 2)
    scales, weight_scales = np.array([2 ** 24, 1, 1], 'float32'), np.array([[1], [2 ** -23]], 'float32')
    text = ('conv in=x0[0:1] out=y0 weight=p0 threshold=p1 scales=p2 weight_scales=p3 planes=3 weight_planes=2 '
            'kernel=1,1 filters=1')
    found, = check(text, [ones], [packed, plus, scales, weight_scales])
    assert found.item() == 2 ** 24 + 2


@pytest.mark.parametrize('slot', ['int16', 'float32', 'planar'])
@pytest.mark.parametrize('split', [(64, 64), (5, 33, 26), (32, 31, 1, 70), (300,)], ids=str)
def test_sources_of_every_type(isa, slot, split):
    p, program, parts, total = Parameters(len(split)), [], [], sum(split)
    for index, channels in enumerate(split):
        program.append(f'conv in=x0[0:20] out=s{index}:{slot} weight={p.weight(channels + 2, 20, (1, 1))} kernel=1,1 '
                       f'filters={channels + 2}')
        parts.append(f's{index}[1:{channels + 1}]')
    for planes, counted, groups in ((2, 1, 1), (3, 0, 1), (2, 1, 2), (4, 1, 2)):
        if total % groups:
            continue
        own = Parameters()
        own.values = list(p.values)
        weight = own.weight(3 * 12, total // groups)
        words = add_planes(own, total, 12, planes, counted, counted, 3, 1, 1)
        check(';'.join(program + [f'conv in={",".join(parts)} out=y0 weight={weight} kernel=3,3 pad=1,1 filters=12 '
                                  f'groups={groups} {words} steps=norm:{own.vector(3, 12)}|plus:x1[0:12]']),
              [make_data((2, 20, 6, 7)), make_data((2, 12, 6, 7))], own.values)


def test_one_plane_of_ones_and_zeros_is_an_integer(isa):
    p = Parameters()
    check(f'conv in=x0[0:70] out=s0:int16 weight={p.weight(66, 70)} threshold={p.threshold(70)} kernel=3,3 pad=1,1 '
          f'filters=66 zero_one=1;'
          f'conv in=s0[0:66] out=s0:int16 weight={p.weight(66, 66, (1, 1))} threshold={p.threshold(66)} kernel=1,1 '
          'filters=66 zero_one=1 steps=plus:s0[0:66]; map in=s0[0:66] out=y0', [make_data((2, 70, 7, 6))], p.values)


@pytest.mark.parametrize('groups, channels, filters', [(1, 64, 64), (1, 100, 128), (3, 40, 128)])
@pytest.mark.parametrize('pad_value, zero_one', [(-1, 1), (0, 0)])
def test_interleaved_weights(isa, pad_value, zero_one, groups, channels, filters):
    p = Parameters()
    packed = ops.pack_weights(p.random.randn(2 * groups * filters, channels, 3, 3))
    p.add(packed)
    words = add_planes(p, groups * channels, groups * filters, 2, 1, zero_one, 2, 0, 1)
    text = (f'conv in=x0[0:{groups * channels}] out=y0 weight=p0 kernel=3,3 pad=1,1 filters={groups * filters} '
            f'groups={groups} pad_value={pad_value} {words}')
    data = [make_data((2, groups * channels, 9, 10))]
    expected, = check(text, data, p.values)
    found, = check(text + ' interleaved=1', data, [ops.interleave_weights(packed)] + p.values[1:])
    assert np.array_equal(found, expected)


@pytest.mark.parametrize('pad_value', [-1, 0, 1])
@pytest.mark.parametrize('binarizations, weight_planes, weight_scales', [(1, 3, 0), (2, 2, 1), (3, 1, 1)])
def test_residual_binarizations(isa, binarizations, weight_planes, weight_scales, pad_value):
    p = Parameters()
    weight = p.weight(weight_planes * 6, 20)
    words = add_planes(p, 40, 6, 1, 0, 0, weight_planes, 0, weight_scales)
    check(f'conv in=x0[0:40] out=y0 weight={weight} kernel=3,3 pad=1,1 filters=6 groups=2 pad_value={pad_value} '
          f'binarizations={binarizations} {words}', [make_data((3, 40, 5, 6))], p.values)


def test_not_numbers(isa):
    data, p = make_data((1, 20, 3, 4)), Parameters()
    data[0, ::3, 0], data[0, 1::3, 1], data[0, 2::3, 2] = np.nan, np.inf, -np.inf
    weight = p.weight(2 * 4, 20, (1, 1))
    words = add_planes(p, 20, 4, 2, 1, 1, 2)
    p.values[1][1, 0, :7] = np.nan
    check(f'conv in=x0[0:20] out=y0 weight={weight} kernel=1,1 filters=4 {words}', [data], p.values)


def test_threads():
    """Large enough to be split among them."""
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from bmx import ops
from programs import Parameters, call, check, make_data
from test_planes import add_planes
p, data = Parameters(), [make_data((2, 64, 20, 21))]
program = f'conv in=x0[0:64] out=y0 weight={p.weight(3 * 70, 32)} kernel=3,3 pad=1,1 filters=70 groups=2 '
program += add_planes(p, 64, 70, 3, 1, 1, 3, 1, 1)
expected, = check(program, data, p.values)
for kernel in ops.supported_kernels():
    ops.use_kernel(kernel)
    assert np.array_equal(call(program, data, p.values)[0], expected), kernel
"""
    for threads in ('1', '2', '5'):
        subprocess.run([sys.executable, '-c', code, os.path.dirname(__file__)], check=True,
                       env=dict(os.environ, OMP_NUM_THREADS=threads, OMP_WAIT_POLICY='passive'))


@pytest.mark.parametrize('kernel', [(3, 2), (3,), ()])
@pytest.mark.parametrize('words', [dict(planes=2, counted=1, zero_one=1), dict(planes=3, weight_planes=2, scales=1),
                                   dict(weight_planes=3, weight_scales=1, zero_one=1),
                                   dict(planes=2, counted=1, weight_planes=2, scales=1, weight_scales=1)], ids=str)
def test_operator(isa, kernel, words):
    p, image = Parameters(), (5, 6)[:len(kernel)]
    p.add(ops.pack_weights(p.random.randn(words.get('weight_planes', 1) * 7, 37, *kernel)))
    add_planes(p, 37, 7, **words)
    given = [name for name in ('threshold', 'scales', 'weight_scales')
             if words.get(name) or name == 'threshold' and words.get('planes', 1) > 1]
    own = {name: value for name, value in words.items() if name not in given}
    arguments = dict(own, num_filter=7, **({'kernel': kernel, 'pad': (1,) * len(kernel)} if kernel else {}))
    data = make_data((3, 37) + image)
    expected = ops.reference.xnor_popcount(data, p.values[0], **dict(zip(given, p.values[1:])), **arguments)
    inputs = [mx.nd.array(value, dtype=value.dtype) for value in [data] + p.values]
    found = mx.nd.xnor_popcount(*inputs, **arguments, **dict.fromkeys(given, True)).asnumpy()
    assert found.shape == expected.shape and np.array_equal(found, expected)


@pytest.mark.parametrize('change, message', [
    (dict(planes=9), 'planes must be between 1 and 8, got 9'),
    (dict(planes=2, threshold=False), 'planes 2 need a threshold'),
    (dict(counted=True), 'threshold must have shape (3, 2, 16), got (2, 2, 16)'),
    (dict(planes=1, counted=True), 'a counter has several planes'),
    (dict(zero_one=True, pad_value=0), 'with zero_one the padding holds 0, which is packed as pad_value -1, got 0'),
    (dict(binarizations=2), 'a threshold is of one binarization, got 2'),
    (dict(scales=True), 'Operator xnor_popcount expects 4 inputs, but got 3 instead'),
    (dict(weight_planes=2), 'weight must have shape (16, 3, 3, 2), got (8, 3, 3, 2)'),
    (dict(planes=1), 'threshold must have shape (2, 16), got (2, 2, 16)')])
def test_errors_of_the_operator(change, message):
    arguments = dict(dict(kernel=(3, 3), num_filter=8, planes=2, threshold=True), **change)
    with pytest.raises(mx.MXNetError) as error:
        mx.nd.xnor_popcount(mx.nd.zeros((2, 16, 5, 6)), mx.nd.zeros((8, 3, 3, 2), dtype='uint8'),
                            *[mx.nd.zeros((2, 2, 16))][:int(arguments['threshold'])], **arguments).wait_to_read()
    assert message in str(error.value)


@pytest.mark.parametrize('program, message', [
    ('conv in=x0[0:16] out=s0:int16 weight=p0 kernel=1,1 filters=4 weight_planes=2; map in=s0[0:4] out=y0',
     'instruction 0 (conv): sums of several planes, or with scales, are not int16'),
    ('conv in=x0[0:16] out=s0:int16 weight=p0 kernel=1,1 filters=4 scales=p1; map in=s0[0:4] out=y0',
     'instruction 0 (conv): sums of several planes, or with scales, are not int16'),
    ('conv in=x0[0:16] out=y0 weight=p0 kernel=1,1 filters=4 planes=2 threshold=p1', 'p1 must have shape (2, 2, 16)')])
def test_errors_of_programs(program, message):
    inputs = [mx.nd.zeros((1, 16, 2, 2)), mx.nd.zeros((8 if 'weight_planes' in program else 4, 1, 1, 2), dtype='uint8')]
    with pytest.raises(mx.MXNetError) as error:
        mx.nd.binary_subgraph(*inputs + [mx.nd.zeros((1,))] * ('p1' in program), program=program).wait_to_read()
    assert message in str(error.value)


def test_comparisons_fold_each_by_itself():
    """A chain before a counter and the counter with folded thresholds give the same bits, signs of slopes mixed."""
    p = Parameters()
    first, norm = p.weight(40, 30), p.vector(3, 40)
    second = p.weight(2 * 5, 40)
    words = add_planes(p, 40, 5, 2, 1, 1, 2, 0, 1)
    text = (f'conv in=x0[0:30] out={{}} weight={first} kernel=3,3 pad=1,1 filters=40 steps=norm:{norm}|relu; '
            f'conv in={{}}[0:40] out=y0 weight={second} kernel=3,3 pad=1,1 filters=5 {words}')
    names = [f'v{i}' for i in range(len(p.values))]
    params = {name: mx.nd.array(value, dtype=value.dtype) for name, value in zip(names, p.values)}
    variables = [Node('null', name, {}, []) for name in names]
    built = Built(parse(text.format('s0:float32', 's0')), [], variables, [])
    folded = fold_steps(built, params, Variables(params))
    assert all(not instruction.steps for instruction in folded.program.instructions)
    typed = choose_types(folded.program)
    assert [instruction.out.type for instruction in typed.instructions] == ['int16', None]
    values = [params[node.name].asnumpy() for node in folded.parameters]
    data = [make_data((2, 30, 9, 8))]
    expected, = check(str(built.program), data, p.values)
    assert np.array_equal(call(str(typed), data, values)[0], expected) and len(np.unique(expected)) > 100


def planes_symbol(x):
    def var(name, *shape):
        return mx.sym.var(name, shape=shape)

    weight = mx.sym.var('weight', shape=(3 * 64, 3, 3, 8), dtype='uint8')
    x = mx.sym.xnor_popcount(mx.sym.relu(x), weight, var('threshold', 3, 2, 64), var('scales', 2),
                             var('weight_scales', 3, 64), kernel=(3, 3), pad=(1, 1), num_filter=64, threshold=True,
                             planes=2, counted=True, zero_one=True, scales=True, weight_planes=3, weight_scales=True,
                             name='layer')
    return x


def test_operator_becomes_an_instruction():
    """And the activation before it becomes other thresholds."""
    symbol = mx.sym.relu(planes_symbol(mx.sym.concat(*[mx.sym.var('data')] * 8, dim=1)))
    assert programs(symbol)[-1] == (
        'conv in=' + ','.join(['x0[0:8]'] * 8) + ' out=y0 kernel=3,3 pad=1,1 filters=64 interleaved=1 planes=2 '
        'counted=1 zero_one=1 weight_planes=3 weight=p2 threshold=p3 scales=p0 weight_scales=p1 steps=relu')


@pytest.mark.parametrize('as_program', [False, True])
def test_counts_made_by_hand(as_program):
    symbol = planes_symbol(mx.sym.var('data'))
    if as_program:
        inputs = [mx.sym.var('data')] + [
            mx.sym.var(name, shape=shape, dtype='uint8' if name == 'weight' else 'float32') for name, shape in (
                ('weight', (3 * 64, 3, 3, 8)), ('threshold', (3, 2, 64)), ('scales', (2,)), ('weight_scales', (3, 64)))]
        symbol = mx.sym.binary_subgraph(*inputs, program=(
            'conv in=x0[0:64] out=y0 kernel=3,3 pad=1,1 filters=64 planes=2 counted=1 zero_one=1 weight_planes=3 '
            'weight=p0 threshold=p1 scales=p2 weight_scales=p3'))
    counted = bmx.summary(symbol, (1, 64, 7, 6))
    row = next(layer for layer in counted.layers if layer['bops'])
    weights = 64 * 64 * 9
    assert row['bits'] == '3/2' and counted.bops == 3 * 2 * weights * 7 * 6 and counted.flops == 0
    assert (counted.params_binary, counted.params_quantized, counted.params_float) == (0, weights, 3 * 128 + 2 + 3 * 64)
    assert row['size_bits'] == 3 * weights and row['bytes_packed'] == 3 * weights // 8
    assert parse('conv in=x0[0:64] out=y0 kernel=3,3 filters=64 planes=2 weight_planes=3 weight=p0 threshold=p1'
                 ).instructions[0].multiply_accumulates == 6 * weights


def test_texts():
    base = 'conv in=x0[0:64] out=y0 kernel=3,3 filters=64 weight=p0 '
    for words, text in (('planes=2 counted=1 threshold=p1', '4 levels, conv 3\u00d73'),
                        ('planes=3 threshold=p1 weight_planes=2', '3 thresholds, conv 3\u00d73, weights of 2 bits'),
                        ('weight_planes=5', 'sign, conv 3\u00d73, weights of 5 bits')):
        assert instruction_text(parse(base + words).instructions[0]) == text


def test_format_of_nodes():
    from bmx.deploy.files import _youngest
    assert _youngest(Graph.from_symbol(planes_symbol(mx.sym.var('data')))) == 5
    assert _youngest(Graph.from_symbol(mx.sym.xnor_popcount(mx.sym.var('data'), mx.sym.var('w'), num_filter=3))) == 1
