"""Fusing: chains of binary layers become one node, which computes bit for bit what the float network computes."""
import itertools

import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon
from mxnet.gluon import nn

import bmx
from bmx import deploy
from bmx.deploy.build import build
from bmx.deploy.operators import Context
from bmx.deploy.variables import Variables
from bmx.graph import Graph
from helpers import Net, conv, operators, random, randomize, sequential


def scaled():
    return sequential(bmx.nn.QActivation(), bmx.nn.QConv2D(6, 3, padding=1, scaling='constant'))


def shortcut(F, net, x):
    """A float shortcut leaves the chain and comes back to it."""
    y = net.first(x)
    return net.second(y) + net.norm(net.plain(net.float(y)))


def repeated(F, net, x):
    y = net.first(x)
    return F.concat(y, y, x, dim=1) + net.second(F.concat(y, x, y, dim=1))


def halves(F, net, x):
    """A region of two outputs before another region, which reads the second one."""
    y = net.first(x)
    left, right = y.slice_axis(1, 0, 2), y.slice_axis(1, 2, None)
    return net.third(F.concat(net.pool(left), net.pool(net.second(right)), dim=1).slice_axis(1, 1, 5))


def shuffled(F, net, x):
    """A shuffle that is also an output."""
    y = net.shuffle(F.relu(net.norm(x)))
    return net.float(y), y


# Name -> network, operators that are left of it, numbers of instructions of its programs.
NETS = {
    'one layer': (lambda: conv(), [], [1]),
    'chain with batch normalisation': (lambda: sequential(conv(), nn.BatchNorm(), conv(), nn.BatchNorm()), [], [2]),
    'integer sums': (lambda: Net(lambda F, net, x: net.third(net.first(x) + net.second(x)),
                                 first=conv(), second=conv(kernel=1), third=conv()), [], [3]),
    'integer sum beyond int16': (lambda: Net(lambda F, net, x: net.second(net.first(F.tile(x, (1, 640, 1, 1)))),
                                             first=conv(), second=conv()), ['tile'], [2]),
    'residual of floats': (lambda: Net(lambda F, net, x: net.second(net.norm(net.first(x)) + x),
                                       first=conv(), norm=nn.BatchNorm(), second=conv()), [], [2]),
    'residual, summands in the other order': (lambda: Net(
        lambda F, net, x: net.second(x + net.first(x)) + x, first=conv(), second=conv()), [], [2]),
    'sum of chains': (lambda: Net(lambda F, net, x: net.first(x) + net.second(x),
                                  first=sequential(conv(), nn.BatchNorm()),
                                  second=sequential(conv(), nn.PReLU())), [], [2]),
    'sum of inputs': (lambda: Net(lambda F, net, x: net.conv(x + x), conv=conv()), [], [2]),
    'dense block': (lambda: Net(lambda F, net, x: net.second(F.concat(x, net.first(x), dim=1)),
                                first=conv(5), second=conv()), [], [2]),
    'improvement block': (lambda: Net(
        lambda F, net, x: F.concat(x.slice_axis(1, 0, -4), x.slice_axis(1, -4, None) + net.conv(x), dim=1),
        conv=conv(4)), [], [2]),
    'slice across tensors': (lambda: Net(
        lambda F, net, x: net.second(F.concat(x, net.first(x), dim=1).slice_axis(1, 2, 9)),
        first=conv(5), second=conv()), [], [2]),
    'repeated channels': (lambda: Net(repeated, first=conv(3), second=conv(12)), [], [3]),
    'naive residual': (lambda: Net(lambda F, net, x: (lambda y: y + net.second(y))(F.concat(x, net.first(x), dim=1)),
                                   first=conv(5), second=conv(11)), [], [3]),
    'scaling and bias': (lambda: sequential(scaled(), nn.PReLU(), scaled(), nn.PReLU(in_channels=6)), [], [2]),
    'PReLU in one pass': (lambda: sequential(conv(), bmx.nn.PReLU(), bmx.nn.PReLU(in_channels=6), conv()), [], [2]),
    'pooling': (lambda: sequential(conv(), nn.BatchNorm(), nn.MaxPool2D(3, 2, 1), nn.Activation('relu'), conv(),
                                   nn.MaxPool2D(2, 1)), [], [4]),
    'pooling of the input': (lambda: sequential(nn.MaxPool2D(2, 2), nn.MaxPool2D((2, 1), 1), conv()), [], [3]),
    'padding 0': (lambda: sequential(conv(pad_value=0), conv(pad_value=1)), [], [2]),
    'groups and stride': (lambda: sequential(
        conv(6, groups=2), bmx.nn.BinaryConv(12, 3, 2, 1, groups=6), conv()), [], [3]),
    'float shortcut': (lambda: Net(shortcut, first=conv(), second=conv(), float=nn.Conv2D(6, 1, use_bias=False),
                                   plain=bmx.nn.PlainLayout(), norm=nn.BatchNorm()), ['Convolution'], [1, 2]),
    'two outputs': (lambda: Net(lambda F, net, x: (lambda y: (net.second(y), y, F.relu(y)))(net.first(x)),
                                first=conv(), second=conv()), [], [4]),
    'normalisation of a float convolution': (lambda: sequential(
        nn.Conv2D(6, 1), bmx.nn.PlainLayout(), nn.BatchNorm(), nn.Activation('relu'), bmx.nn.PlainLayout(),
        nn.Conv2D(4, 1)), ['Convolution', 'Convolution'], [1]),
    'alone, a step is not fused': (lambda: sequential(nn.Activation('relu'), nn.Conv2D(4, 1)),
                                   ['Activation', 'Convolution'], []),
    'whole as a slice': (lambda: Net(lambda F, net, x: (lambda y: F.relu(y.slice_axis(1, 0, None)) + y)(net.first(x)),
                                     first=conv()), [], [2]),
    'concatenation of one': (lambda: Net(
        lambda F, net, x: (lambda y: F.concat(y, net.second(net.act(F.concat(y, dim=1))), dim=1))(net.first(x)),
        first=conv(), second=conv(), act=nn.PReLU(in_channels=6)), [], [4]),
    'output and part of an output': (lambda: Net(
        lambda F, net, x: (lambda y: (y, F.concat(y, x, dim=1), y.slice_axis(1, 0, 2)))(net.first(x)), first=conv()),
        [], [4]),
    'one output twice': (lambda: Net(lambda F, net, x: (lambda y: (y, net.plain(y)))(net.first(x)), first=conv(),
                                     plain=bmx.nn.PlainLayout()), [], [3]),
    'summand that is read before': (lambda: Net(
        lambda F, net, x: (lambda y: net.conv(net.pool(F.relu(y) + y) + net.pool(y)))(net.norm(x)),
        norm=nn.BatchNorm(), pool=nn.MaxPool2D(3, 1, 1), conv=conv()), [], [4]),
    'two outputs into another region': (lambda: Net(
        halves, first=conv(), second=conv(4), third=conv(), pool=nn.AvgPool2D(3)), ['Pooling', 'Pooling'], None),
    'pooling with its default stride': (lambda: Net(
        lambda F, net, x: net.conv(F.Pooling(F.Activation(x, act_type='relu'), kernel=(2, 2), pool_type='max')),
        conv=conv()), [], [2]),
    'shuffle': (lambda: Net(lambda F, net, x: net.float(net.shuffle(F.relu(net.norm(x)))), norm=nn.BatchNorm(),
                            shuffle=bmx.nn.ChannelShuffle(3), float=nn.Conv2D(4, 1)), ['Convolution'], [1]),
    'shuffle that is an output': (lambda: Net(shuffled, norm=nn.BatchNorm(), shuffle=bmx.nn.ChannelShuffle(2),
                                              float=nn.Conv2D(4, 1)), ['Convolution'], [1]),
    'average pooling': (lambda: sequential(
        conv(), nn.BatchNorm(), nn.PReLU(), nn.AvgPool2D(2, 2, ceil_mode=True, count_include_pad=False), conv(),
        nn.AvgPool2D(2, 1)), [], [4]),
    'average of windows without any pixel': (lambda: sequential(
        conv(), nn.AvgPool2D(2, (3, 8), ceil_mode=True, count_include_pad=False), conv()), [], [3]),
    'maximum of windows without any pixel': (lambda: sequential(
        conv(), nn.MaxPool2D(2, 5, ceil_mode=True)), [], [2]),
    'average of other counts stays': (lambda: sequential(conv(), nn.AvgPool2D(3, 1), conv()), ['Pooling'], [1, 1]),
    'average that counts padding stays': (lambda: sequential(conv(), nn.AvgPool2D(2, 2, ceil_mode=True), conv()),
                                          ['Pooling'], [1, 1]),
    'min pooling': (lambda: Net(lambda F, net, x: net.second(-net.pool(-net.first(x))), first=conv(), second=conv(),
                                pool=nn.MaxPool2D(2, 2, ceil_mode=True)), [], [3]),
}


def outputs(net, x):
    result = net(x)
    return [part.asnumpy() for part in (result if isinstance(result, (list, tuple)) else [result])]


# What is left where programs compute float layers, too; of all others nothing, and one node.
LEFT = {'integer sum beyond int16': ['tile']}


def own_outputs(net, x):
    """What a float network answers in the arithmetic of programs."""
    return [part.asnumpy() for part in deploy.OwnNetwork(*deploy.trace(net, x.shape))(x)]


@pytest.mark.parametrize('exact', [False, True])
@pytest.mark.parametrize('name', NETS)
def test_fused_equals_float(name, exact, isa, tmp_path):
    build, left, instructions = NETS[name]
    x = random((3, 6, 9, 8), 3)
    net = randomize(build(), x)
    prefix = str(tmp_path / 'net')
    exported = bmx.export(net, prefix, (1,) + x.shape[1:], x, exact=exact)
    assert exported.comparison.max_difference == 0
    deployed, metadata = deploy.load(prefix)
    expected_outputs = outputs if metadata.exact else own_outputs  # a network without binary layers is exact
    expected = expected_outputs(net, x)
    found = operators(prefix)
    programs = [node['attrs']['program'] for node in found if node['op'] == 'binary_subgraph']
    others = [node['op'] for node in found if node['op'] != 'binary_subgraph']
    if metadata.exact:
        assert others == left
        assert instructions in (None, [program.count(';') + 1 for program in programs])
    else:
        assert others == LEFT.get(name, []) and len(programs) == 1
    for static in (False, True):
        deployed.hybridize(static_alloc=static, static_shape=static)
        for one, other in zip(expected, outputs(deployed, x)):
            assert np.array_equal(one, other)
    # another size than the one that was exported
    x = random((2, 6, 13, 17), 4)
    for one, other in zip(expected_outputs(net, x), outputs(deployed, x)):
        assert np.array_equal(one, other)


# Networks of float and binary layers with what is left of them by default; nothing else may be.
FLOATS = {
    'flat and dense, joined': (lambda: Net(
        lambda F, net, x: net.out(F.concat(net.dense(x), F.flatten(net.conv(x)), dim=1)),
        dense=nn.Dense(5), conv=conv(), out=nn.Dense(3)), ['Concat', 'Reshape']),
    'flat and dense, added': (lambda: Net(
        lambda F, net, x: net.out(net.dense(x) + F.flatten(net.conv(x))),
        dense=nn.Dense(432), conv=conv(), out=nn.Dense(3)), ['elemwise_add', 'Reshape']),
    'normalisation of features of pixels before a sign': (lambda: sequential(
        conv(), nn.Flatten(), nn.BatchNorm(), bmx.nn.QActivation(), bmx.nn.QDense(4)),
        ['xnor_popcount', 'broadcast_add']),
    'flat results': (lambda: Net(lambda F, net, x: (lambda y: (F.flatten(y), y))(net.conv(x)), conv=conv()), []),
    'dense layers': (lambda: sequential(
        conv(), nn.Dense(8), nn.BatchNorm(), nn.PReLU(), bmx.nn.QActivation(), bmx.nn.QDense(4),
        nn.Dense(3, activation='relu')), []),
    'dropout': (lambda: sequential(conv(), nn.Dropout(0.5), nn.Conv2D(3, 1), nn.Dropout(0.5), nn.Dense(3)), []),
    'weights read twice': (lambda: (lambda twice: Net(
        lambda F, net, x: net.twice(F.relu(net.twice(net.conv(x)))), conv=conv(), twice=twice))(
            nn.Conv2D(6, 1, in_channels=6)), []),
    'weights that two programs read': (lambda: (lambda shared: Net(
        lambda F, net, x: net.shared(net.second(F.abs(net.shared(net.first(x))))), shared=shared,
        first=sequential(nn.BatchNorm(), nn.BatchNorm()), second=sequential(nn.BatchNorm(), nn.BatchNorm())))(
            conv(in_channels=6)), ['abs']),
    'two heads': (lambda: Net(
        lambda F, net, x: (lambda y: (net.first(y), net.second(y)))(net.pool(net.conv(x))),
        conv=conv(), pool=nn.GlobalAvgPool2D(), first=nn.Dense(3), second=nn.Dense(2)), []),
    'pooling of windows beyond the image': (lambda: sequential(
        conv(), nn.Activation('relu'), nn.MaxPool2D(2, 2, 1, ceil_mode=True), conv()), []),
    'summands that float convolutions write': (lambda: Net(
        lambda F, net, x: (lambda y: net.second(y) + net.conv(y) + y)(net.first(net.conv(x))),
        conv=conv(in_channels=6), first=nn.Conv2D(6, 3, padding=1), second=nn.Conv2D(6, 3, padding=1)), []),
    'the same read by a sign and by a float convolution': (lambda: Net(
        lambda F, net, x: (lambda y: net.float(y) + net.conv(y))(net.norm(net.first(x))),
        first=nn.Conv2D(6, 3, 1, 1), norm=nn.BatchNorm(), float=nn.Conv2D(6, 1, groups=2), conv=conv()), []),
}


@pytest.mark.parametrize('name', FLOATS)
def test_float_layers_in_programs(name, isa, tmp_path):
    build, left = FLOATS[name]
    x = random((2, 6, 9, 8), 3)
    net = randomize(build(), x)
    assert bmx.export(net, str(tmp_path / 'net'), x.shape, x).comparison.max_difference == 0
    assert [node['op'] for node in operators(str(tmp_path / 'net')) if node['op'] != 'binary_subgraph'] == left
    deployed, _ = deploy.load(str(tmp_path / 'net'))
    for one, other in zip(own_outputs(net, x), outputs(deployed, x)):
        assert np.array_equal(one, other)


POOLINGS = [dict(kernel=kernel, stride=stride, pad=pad) for kernel, stride, pad in itertools.product(
    [(1, 1), (2, 2), (3, 3), (2, 3), (5, 4)], [(1, 1), (2, 2), (3, 2), (4, 5)], [(0, 0), (1, 1), (2, 1), (1, 0)])]


@pytest.mark.parametrize('count', [None, True, False])
@pytest.mark.parametrize('convention', ['valid', 'full'])
@pytest.mark.parametrize('kind', ['max', 'avg'])
def test_pooling_equals_that_of_mxnet(kind, convention, count):
    """Of all windows that are fused; those padded as wide as they are stay MXNet's."""
    attrs = dict({} if count is None else {'count_include_pad': count}, pool_type=kind, pooling_convention=convention)
    tried = 0
    for size, window in itertools.product([(6, 7), (9, 5), (4, 4)], POOLINGS + [dict(kernel=(2, 2), global_pool=True)]):
        x = random((2, 3) + size, 1)
        try:
            expected = mx.nd.Pooling(x, **attrs, **window).asnumpy()
        except mx.MXNetError:  # no window of it fits
            continue
        graph = Graph.from_symbol(mx.sym.Pooling(mx.sym.var('data'), **attrs, **window), {'data': x.shape})
        shapes = graph.infer_shapes()
        context = Context(shapes, exact=False)
        context.ask(graph.nodes)
        pad_is_smaller = all(pad < edge for pad, edge in zip(window.get('pad', (0, 0)), window['kernel']))
        assert bool(context.fused) == pad_is_smaller
        if pad_is_smaller:
            program = build(graph, [graph.outputs[0][0]], {}, shapes, Variables({})).program
            found = mx.nd.binary_subgraph(x, program=str(program), num_data=1, num_outputs=1).asnumpy()
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, err_msg=str((size, window)))
            tried += 1
    assert tried > 100


def random_network(seed):
    """A network of random operators on random earlier results, with one to three outputs."""
    generator = np.random.RandomState(seed)
    pick = generator.choice
    layers, plan, made_at = {}, [], [(6, (7, 9))]  # channels and size of each result

    def layer(count, size):
        made, groups = int(pick([count, 4, 6])), int(pick([1, 2]))
        groups = groups if count % groups == 0 else 1
        half = tuple((edge + 1) // 2 for edge in size)
        kind = pick(['binary', 'point', 'norm', 'slope', 'slopes', 'pool', 'float', 'float point', 'dilated', 'strided',
                     'halved', 'plain', 'shuffle', 'depthwise', 'scale', 'unknown'],
                    p=[.16, .06, .14, .03, .03, .08, .1, .06, .05, .05, .05, .03, .06, .03, .03, .04])
        return {
            'binary': lambda: (conv(made, pad_value=int(pick([-1, 0, 1]))), made, size),
            'point': lambda: (conv(made, 1), made, size),
            'norm': lambda: (nn.BatchNorm(), count, size),
            'slope': lambda: (nn.PReLU(), count, size),
            'slopes': lambda: (bmx.nn.PReLU(in_channels=count), count, size),
            'pool': lambda: (pick([nn.MaxPool2D(3, 1, 1), nn.AvgPool2D(3, 1, 1),
                                   nn.AvgPool2D(3, 1, 1, count_include_pad=False)]), count, size),
            'float': lambda: (nn.Conv2D(made, 3, 1, 1, groups=groups, use_bias=bool(made % 4)), made, size),
            'float point': lambda: (nn.Conv2D(made, 1, groups=groups), made, size),
            'dilated': lambda: (nn.Conv2D(made, (3, 1), 1, (2, 0), dilation=(2, 1)), made, size),
            'strided': lambda: (nn.Conv2D(made, 3, 2, 1, groups=groups), made, half),
            'halved': lambda: (pick([nn.MaxPool2D(2, 2, ceil_mode=True), nn.AvgPool2D(2, 2, ceil_mode=True)]), count,
                               half),
            'plain': lambda: (bmx.nn.PlainLayout(), count, size),
            'shuffle': lambda: (bmx.nn.ChannelShuffle(2 - count % 2), count, size),
            'depthwise': lambda: (conv(count, groups=count), count, size),
            'scale': lambda: (bmx.nn.Scale(), count, size),
            'unknown': lambda: (nn.HybridLambda('abs'), count, size),
        }[kind]()

    for index in range(generator.randint(4, 13)):
        name, source = f'layer{index}', int(pick([len(made_at) - 1, generator.randint(len(made_at))]))
        (count, size), other = made_at[source], None
        fitting = [at for at, (_, edges) in enumerate(made_at) if edges == size]
        kind = pick(['layer', 'layer', 'layer', 'add', 'concat', 'slice', 'whole', 'relu'])
        if kind == 'layer':
            layers[name], count, size = layer(count, size)
        elif kind == 'add':
            other = int(pick([at for at in fitting if made_at[at][0] == count]))
        elif kind == 'concat':
            other = int(pick(fitting))
            count += made_at[other][0]
        elif kind == 'slice':
            other = generator.randint(count)
            count -= other
        plan.append((kind, name, source, other))
        made_at.append((count, size))
    outputs_at = sorted({len(plan), *generator.randint(1, len(plan) + 1, pick([0, 0, 1, 2]))})
    heads = {}
    for at in outputs_at:
        head = pick(['none', 'none', 'flat', 'dense', 'pooled'])
        if head != 'none':
            layers[f'head{at}'] = heads[at] = {
                'flat': nn.Flatten, 'dense': lambda: nn.Dense(3),
                'pooled': lambda: sequential(nn.GlobalAvgPool2D(), nn.Dense(5), nn.BatchNorm(), nn.Dense(3))}[head]()

    def forward(F, net, x):
        values = [x]
        for kind, name, source, other in plan:
            y = values[source]
            values.append({'layer': lambda: getattr(net, name)(y), 'relu': lambda: F.relu(y),
                           'add': lambda: y + values[other], 'concat': lambda: F.concat(y, values[other], dim=1),
                           'slice': lambda: F.slice_axis(y, axis=1, begin=other, end=None),
                           'whole': lambda: F.concat(y, dim=1)}[kind]())
        found = [getattr(net, f'head{at}')(values[at]) if at in heads else values[at] for at in outputs_at]
        return found if len(found) > 1 else found[0]

    return Net(forward, **layers)


SEEDS = [pytest.param(seed, marks=[pytest.mark.full] * (seed >= 60)) for seed in range(600)]


@pytest.mark.parametrize('seed', SEEDS)
def test_random_networks(seed, tmp_path):
    """In programs, on whole numbers, which lie on thresholds; the naive interpreter answers the same."""
    x = random((2, 6, 7, 9), seed).round()
    net = randomize(random_network(seed), x)
    for parameter in net.collect_params('.*(beta|running_mean)').values():
        parameter.set_data(parameter.data().round())
    prefix = str(tmp_path / 'net')
    assert bmx.export(net, prefix, x.shape, x).comparison.max_difference == 0
    deployed, metadata = deploy.load(prefix)
    found = outputs(deployed, x)
    for one, other in zip(found, outputs(deployed, x[:1])):
        assert np.array_equal(one[:1], other) or metadata.exact
    node, *others = [node for node in Graph.from_symbol(mx.sym.load(prefix + '-symbol.json')).nodes
                     if not node.is_variable]
    if node.op == 'binary_subgraph' and not others:
        saved = mx.nd.load(prefix + '-0000.params') or {}  # of none it loads a list
        expected = bmx.ops.reference.binary_subgraph(node.attrs['program'], [x.asnumpy()], [
            saved['arg:' + producer.name].asnumpy() for producer, _ in node.inputs[1:]], len(found))
        for one, other in zip(found, expected):
            assert np.array_equal(one, other)


@pytest.mark.parametrize('seed', SEEDS)
def test_random_networks_that_keep_float_operators(seed, tmp_path):
    x = random((2, 6, 7, 9), seed)
    net = randomize(random_network(seed), x)
    assert bmx.export(net, str(tmp_path / 'net'), x.shape, x, exact=True).comparison.equal


def test_a_parameter_whose_name_is_taken(tmp_path):
    class Bias(gluon.HybridBlock):
        def __init__(self):
            super().__init__(prefix='batch_fwd_')
            self.bias = self.params.get('norm', shape=(1, 6, 1, 1))

        def hybrid_forward(self, F, x, bias):
            return F.broadcast_add(x, bias)

    net = randomize(sequential(nn.BatchNorm(prefix='batch_'), Bias(), conv()), random((1, 6, 4, 4)))
    with pytest.raises(bmx.ExportError, match='has a parameter batch_fwd_norm, the name of one that is made here'):
        bmx.export(net, str(tmp_path / 'net'), (1, 6, 4, 4))


def test_normalisation_rounds_as_mxnet_does(tmp_path):
    """Many values, of many magnitudes: one that was rounded otherwise would show."""
    x = mx.nd.array(np.random.RandomState(0).normal(size=(8, 32, 40, 40)) * np.logspace(-3, 3, 40))
    net = randomize(sequential(nn.BatchNorm(), nn.Activation('relu')), x)
    assert bmx.export(net, str(tmp_path / 'net'), x.shape, x).comparison.max_difference == 0
    assert [node['op'] for node in operators(str(tmp_path / 'net'))] == ['binary_subgraph']


@pytest.mark.parametrize('name', ['meliusnet22', 'meliusnet_c'])
def test_features_are_not_copied(name, tmp_path):
    x = random((1, 3, 64, 64))
    net = randomize(bmx.get_model(name, classes=5), x)
    bmx.export(net, str(tmp_path / 'net'), x.shape, x, exact=True)
    found = [node['op'] for node in operators(str(tmp_path / 'net'))]
    assert not {'Concat', 'slice_axis', 'elemwise_add', 'xnor_popcount'} & set(found)
    assert found.count('binary_subgraph') == 5 and found.count('BatchNorm') == 1
