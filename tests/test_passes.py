"""The exporter's passes: a small graph in, the program's text out; and graphs that must not be fused."""
import mxnet as mx
import numpy as np
import pytest

from bmx.deploy.build import build
from bmx.deploy.fold import fold_steps, postpone_steps
from bmx.deploy.regions import find_regions
from bmx.deploy.shuffles import contract, expand
from bmx.deploy.slots import choose_types, place
from bmx.deploy.variables import Variables
from bmx.graph import Graph

sym = mx.sym


def conv(x, filters=8, kernel=3, name='conv', channels=8):
    weight = sym.var(name + '_weight', shape=(filters, kernel, kernel, (channels + 7) // 8), dtype='uint8')
    return sym.xnor_popcount(x, weight, kernel=(kernel, kernel), pad=(kernel // 2,) * 2, num_filter=filters, name=name)


def norm(x, name='norm'):
    return sym.BatchNorm(x, fix_gamma=False, name=name)


def float_conv(x, name='float', **kwargs):
    return sym.Convolution(x, kernel=(1, 1), num_filter=4, no_bias=True, name=name, **kwargs)


def prelu(x, name='prelu'):
    return sym.channelwise(x, sym.var(name + '_slope', shape=(8,)), kind='prelu', name=name)


def shuffle(x, groups):
    return sym.reshape(sym.swapaxes(sym.reshape(x, shape=(0, -4, groups, -1, -2)), dim1=1, dim2=2), shape=(0, -3, -2))


def read(symbol):
    """The graph of a symbol of data (1, 8, 6, 6), parameters with values between 1 and 2, and the shapes."""
    graph = Graph.from_symbol(symbol, {'data': (1, 8, 6, 6)})
    shapes = graph.infer_shapes()
    random = np.random.RandomState(0)
    params = {node.name: mx.nd.array(random.uniform(1, 2, shapes[node.name, 0]),
                                     dtype='uint8' if 'weight' in node.name and len(shapes[node.name, 0]) == 4
                                     and 'float' not in node.name else 'float32')
              for node in graph.nodes if node.is_variable and node.name != 'data'}
    return graph, params, shapes


# What a region becomes: the symbol of x, then the text after `build`, after `postpone_steps` and `fold_steps`, after
# `choose_types` and after `place`.
PROGRAMS = {
    'concatenation and slice are slices': (
        lambda x: conv(sym.slice_axis(sym.concat(x, conv(x, name='first'), dim=1), axis=1, begin=4, end=12)),
        'conv in=x0[0:8] out=t1 kernel=3,3 pad=1,1 filters=8 weight=p0; '
        'conv in=x0[4:8],t1[0:4] out=y0 kernel=3,3 pad=1,1 filters=8 weight=p1',
        None,
        'conv in=x0[0:8] out=t1:int16 kernel=3,3 pad=1,1 filters=8 weight=p0; '
        'conv in=x0[4:8],t1[0:4] out=y0 kernel=3,3 pad=1,1 filters=8 weight=p1',
        'conv in=x0[0:8] out=s0:int16 kernel=3,3 pad=1,1 filters=8 weight=p0; '
        'conv in=x0[4:8],s0[0:4] out=y0 kernel=3,3 pad=1,1 filters=8 weight=p1'),
    'a sum is a step of the later summand, in place': (
        lambda x: conv(conv(x, name='second') + conv(x, name='first')),
        'conv in=x0[0:8] out=t1 kernel=3,3 pad=1,1 filters=8 weight=p0; '
        'conv in=x0[0:8] out=t2 kernel=3,3 pad=1,1 filters=8 weight=p1 steps=plus:t1[0:8]; '
        'conv in=t2[0:8] out=y0 kernel=3,3 pad=1,1 filters=8 weight=p2',
        None,
        'conv in=x0[0:8] out=t1:int16 kernel=3,3 pad=1,1 filters=8 weight=p0; '
        'conv in=x0[0:8] out=t2:int16 kernel=3,3 pad=1,1 filters=8 weight=p1 steps=plus:t1[0:8]; '
        'conv in=t2[0:8] out=y0 kernel=3,3 pad=1,1 filters=8 weight=p2',
        'conv in=x0[0:8] out=s0:int16 kernel=3,3 pad=1,1 filters=8 weight=p0; '
        'conv in=x0[0:8] out=s0:int16 kernel=3,3 pad=1,1 filters=8 weight=p1 steps=plus:s0[0:8]; '
        'conv in=s0[0:8] out=y0 kernel=3,3 pad=1,1 filters=8 weight=p2'),
    'what a sign alone reads is folded': (
        lambda x: conv(norm(prelu(conv(x, name='first')))),
        'conv in=x0[0:8] out=t1 kernel=3,3 pad=1,1 filters=8 weight=p0 steps=prelu:p1|norm:p2; '
        'conv in=t1[0:8] out=y0 kernel=3,3 pad=1,1 filters=8 weight=p3',
        'conv in=x0[0:8] out=t1 kernel=3,3 pad=1,1 filters=8 weight=p0; '
        'conv in=t1[0:8] out=y0 kernel=3,3 pad=1,1 filters=8 weight=p1 threshold=p2',
        'conv in=x0[0:8] out=t1:int16 kernel=3,3 pad=1,1 filters=8 weight=p0; '
        'conv in=t1[0:8] out=y0 kernel=3,3 pad=1,1 filters=8 weight=p1 threshold=p2',
        'conv in=x0[0:8] out=s0:int16 kernel=3,3 pad=1,1 filters=8 weight=p0; '
        'conv in=s0[0:8] out=y0 kernel=3,3 pad=1,1 filters=8 weight=p1 threshold=p2'),
    'what others read too is not': (
        lambda x: (lambda y: conv(y) + y)(norm(conv(x, name='first'))),
        'conv in=x0[0:8] out=t1 kernel=3,3 pad=1,1 filters=8 weight=p0 steps=norm:p1; '
        'conv in=t1[0:8] out=y0 kernel=3,3 pad=1,1 filters=8 weight=p2 steps=plus:t1[0:8]',
        None,
        'conv in=x0[0:8] out=t1:float32 kernel=3,3 pad=1,1 filters=8 weight=p0 steps=norm:p1; '
        'conv in=t1[0:8] out=y0 kernel=3,3 pad=1,1 filters=8 weight=p2 steps=plus:t1[0:8]',
        'conv in=x0[0:8] out=s0:float32 kernel=3,3 pad=1,1 filters=8 weight=p0 steps=norm:p1; '
        'conv in=s0[0:8] out=y0 kernel=3,3 pad=1,1 filters=8 weight=p2 steps=plus:s0[0:8]'),
    'a copy that signs alone read vanishes': (
        lambda x: conv(norm(x)),
        'map in=x0[0:8] out=t1 steps=norm:p0; conv in=t1[0:8] out=y0 kernel=3,3 pad=1,1 filters=8 weight=p1',
        *['conv in=x0[0:8] out=y0 kernel=3,3 pad=1,1 filters=8 weight=p0 threshold=p1'] * 3),
    'float convolution, pooling, shuffle, dense layer': (
        lambda x: sym.FullyConnected(sym.flatten(sym.Pooling(conv(float_conv(shuffle(sym.relu(
            norm(x)), 2), num_group=2), name='binary', channels=4), pool_type='avg', global_pool=True)), num_hidden=3,
            name='float_dense'),
        'map in=x0[0:8] out=t1 steps=norm:p0|relu shuffle=2; '
        'fconv in=t1[0:8] out=t2 kernel=1,1 filters=4 groups=2 weight=p1; '
        'conv in=t2[0:4] out=t3 kernel=3,3 pad=1,1 filters=8 weight=p2; '
        'map in=t3[0:8] out=t4 pool=avg global=1; '
        'fconv in=t4[0:8] out=y0:flat kernel=1,1 filters=3 whole=1 weight=p3 steps=add:p4',
        None,
        'map in=x0[0:8] out=t1:planar steps=norm:p0|relu shuffle=2; '
        'fconv in=t1[0:8] out=t2:planar kernel=1,1 filters=4 groups=2 weight=p1; '
        'conv in=t2[0:4] out=t3:int16 kernel=3,3 pad=1,1 filters=8 weight=p2; '
        'map in=t3[0:8] out=t4:planar pool=avg global=1; '
        'fconv in=t4[0:8] out=y0:flat kernel=1,1 filters=3 whole=1 weight=p3 steps=add:p4',
        'map in=x0[0:8] out=s0:planar steps=norm:p0|relu shuffle=2; '
        'fconv in=s0[0:8] out=s1:planar kernel=1,1 filters=4 groups=2 weight=p1; '
        'conv in=s1[0:4] out=s0:int16 kernel=3,3 pad=1,1 filters=8 weight=p2; '
        'map in=s0[0:8] out=s1:planar pool=avg global=1; '
        'fconv in=s1[0:8] out=y0:flat kernel=1,1 filters=3 whole=1 weight=p3 steps=add:p4'),
    'steps before maximum pooling come behind it, and into the thresholds': (
        lambda x: conv(sym.Pooling(prelu(norm(conv(x, name='first'))), pool_type='max', kernel=(2, 2), stride=(2, 2))),
        'conv in=x0[0:8] out=t1 kernel=3,3 pad=1,1 filters=8 weight=p0 steps=norm:p1|prelu:p2; '
        'map in=t1[0:8] out=t2 pool=max kernel=2,2 stride=2,2; '
        'conv in=t2[0:8] out=y0 kernel=3,3 pad=1,1 filters=8 weight=p3',
        'conv in=x0[0:8] out=t1 kernel=3,3 pad=1,1 filters=8 weight=p0; '
        'map in=t1[0:8] out=t2 pool=max kernel=2,2 stride=2,2; '
        'conv in=t2[0:8] out=y0 kernel=3,3 pad=1,1 filters=8 weight=p1 threshold=p2',
        'conv in=x0[0:8] out=t1:int16 kernel=3,3 pad=1,1 filters=8 weight=p0; '
        'map in=t1[0:8] out=t2:float32 pool=max kernel=2,2 stride=2,2; '
        'conv in=t2[0:8] out=y0 kernel=3,3 pad=1,1 filters=8 weight=p1 threshold=p2',
        'conv in=x0[0:8] out=s0:int16 kernel=3,3 pad=1,1 filters=8 weight=p0; '
        'map in=s0[0:8] out=s1:float32 pool=max kernel=2,2 stride=2,2; '
        'conv in=s1[0:8] out=y0 kernel=3,3 pad=1,1 filters=8 weight=p1 threshold=p2'),
    'average pooling keeps them before': (
        lambda x: sym.Pooling(norm(conv(x)), pool_type='avg', kernel=(2, 2), stride=(2, 2)),
        'conv in=x0[0:8] out=t1 kernel=3,3 pad=1,1 filters=8 weight=p0 steps=norm:p1; '
        'map in=t1[0:8] out=y0 pool=avg kernel=2,2 stride=2,2',
        None,
        'conv in=x0[0:8] out=t1:float32 kernel=3,3 pad=1,1 filters=8 weight=p0 steps=norm:p1; '
        'map in=t1[0:8] out=y0 pool=avg kernel=2,2 stride=2,2',
        'conv in=x0[0:8] out=s0:float32 kernel=3,3 pad=1,1 filters=8 weight=p0 steps=norm:p1; '
        'map in=s0[0:8] out=y0 pool=avg kernel=2,2 stride=2,2'),
    'steps before a float convolution are applied to what it reads': (
        lambda x: float_conv(sym.relu(norm(conv(x)))) + float_conv(sym.relu(x), name='float_short'),
        'conv in=x0[0:8] out=t1 kernel=3,3 pad=1,1 filters=8 weight=p0 steps=norm:p1|relu; '
        'fconv in=x0[0:8] out=t4 before=relu kernel=1,1 filters=4 weight=p3; '
        'fconv in=t1[0:8] out=y0 kernel=1,1 filters=4 weight=p2 steps=plus:t4[0:4]',
        None,
        'conv in=x0[0:8] out=t1:float32 kernel=3,3 pad=1,1 filters=8 weight=p0 steps=norm:p1|relu; '
        'fconv in=x0[0:8] out=t4:planar before=relu kernel=1,1 filters=4 weight=p3; '
        'fconv in=t1[0:8] out=y0 kernel=1,1 filters=4 weight=p2 steps=plus:t4[0:4]',
        'conv in=x0[0:8] out=s0:float32 kernel=3,3 pad=1,1 filters=8 weight=p0 steps=norm:p1|relu; '
        'fconv in=x0[0:8] out=s1:planar before=relu kernel=1,1 filters=4 weight=p3; '
        'fconv in=s0[0:8] out=y0 kernel=1,1 filters=4 weight=p2 steps=plus:s1[0:4]'),
}


def programs(symbol):
    """The texts after each pass, of a symbol that is one region."""
    graph, params, shapes = read(symbol)
    variables = Variables(params)
    contract(graph, shapes)
    region, = find_regions(graph, shapes, exact=False)
    built = build(graph, region, params, shapes, variables)
    folded = fold_steps(postpone_steps(built, params), params, variables)
    typed = choose_types(folded.program)
    placed = place(typed, [shapes[node.name, index][1:] for node, index in folded.data])
    return [str(program) for program in (built.program, folded.program, typed, placed)]


@pytest.mark.parametrize('name', PROGRAMS)
def test_programs_after_each_pass(name):
    symbol, built, folded, typed, placed = PROGRAMS[name]
    assert programs(symbol(sym.var('data'))) == [built, folded or built, typed, placed]


def sigmoid(x):
    return sym.Activation(x, act_type='sigmoid')


# Graphs, and the operators that stay outside of regions: (symbol, those of exact export, those by default).
LEFT = {
    'an operator that programs do not know': (lambda x: sigmoid(conv(sigmoid(x))), *[['Activation'] * 2] * 2),
    'a float convolution is not exact': (lambda x: conv(float_conv(x), channels=4), ['Convolution'], []),
    'normalisation behind a float convolution is not exact': (
        lambda x: conv(norm(float_conv(x)), channels=4), ['BatchNorm', 'Convolution'], []),
    'weights that are computed': (lambda x: sym.Convolution(
        x, sym.broadcast_mul(sym.var('w', shape=(4, 8, 1, 1)), sym.mean(x, axis=(0, 2, 3), keepdims=True)),
        kernel=(1, 1), num_filter=4, no_bias=True), *[['Convolution', 'broadcast_mul', 'mean']] * 2),
    'weights that are the input': (lambda x: sym.Convolution(
        conv(x), x, kernel=(6, 6), num_filter=1, no_bias=True), *[['Convolution']] * 2),
    'a shift that is the input': (lambda x: (lambda y: sym.broadcast_add(norm(y), y))(x), *[['broadcast_add']] * 2),
    'another axis': (lambda x: sym.concat(conv(x), x, dim=2), *[['Concat']] * 2),
    'normalisation over another axis': (lambda x: sym.BatchNorm(conv(x), axis=2, name='norm'), *[['BatchNorm']] * 2),
    'a dense layer over the last axis': (
        lambda x: sym.FullyConnected(conv(x), num_hidden=3, flatten=False, name='float'), *[['FullyConnected']] * 2),
    'a factor that is not of channels': (
        lambda x: sym.broadcast_mul(conv(x), sym.var('float_factor', shape=(1, 1, 6, 6))), *[['broadcast_mul']] * 2),
    'pooling of another kind': (lambda x: sym.Pooling(conv(x), pool_type='sum', kernel=(2, 2)), *[['Pooling']] * 2),
    'averages of other than 4 are not exact': (
        lambda x: sym.Pooling(conv(x), pool_type='avg', kernel=(3, 3)), ['Pooling'], []),
    'normalisation of flattened pixels': (
        lambda x: norm(sym.flatten(conv(x))), ['BatchNorm', 'Flatten'], ['BatchNorm']),
    'a slope that is computed': (
        lambda x: sym.LeakyReLU(conv(x), sym.mean(x, axis=(0, 2, 3)), act_type='prelu'), *[['LeakyReLU', 'mean']] * 2),
}


@pytest.mark.parametrize('exact', [True, False])
@pytest.mark.parametrize('name', LEFT)
def test_what_is_not_fused(name, exact):
    graph, _, shapes = read(LEFT[name][0](sym.var('data')))
    inside = {id(node) for region in find_regions(graph, shapes, exact) for node in region}
    left = sorted(node.op for node in graph.nodes if not node.is_variable and id(node) not in inside)
    assert left == LEFT[name][1 if exact else 2]


def test_shuffles_that_are_left_become_operators_again():
    x = sym.var('data')
    graph, _, shapes = read(sigmoid(shuffle(sigmoid(x), 4)))
    contract(graph, shapes)
    assert [node.op for node in graph.nodes[1:]] == ['Activation', 'channel_shuffle', 'Activation']
    expand(graph)
    values = mx.nd.random.normal(shape=(1, 8, 6, 6))
    results = [symbol.bind(mx.cpu(), {'data': values}).forward()[0].asnumpy()
               for symbol in (sigmoid(shuffle(sigmoid(x), 4)), graph.to_symbol())]
    assert (results[0] == results[1]).all()


@pytest.mark.parametrize('shape', [(0, -4, 3, -1, -2), (0, -4, 2, -1, 6, 6), (0, -4, -1, 2, -2)])
def test_other_reshapes_are_no_shuffle(shape):
    x = sym.reshape(sym.swapaxes(sym.reshape(sym.var('data'), shape=shape), dim1=1, dim2=2), shape=(0, -3, -2))
    graph = Graph.from_symbol(x, {'data': (1, 8, 6, 6)})
    contract(graph, {('data', 0): (1, 8, 6, 6)})
    assert 'channel_shuffle' not in [node.op for node in graph.nodes]
