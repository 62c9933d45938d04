"""Every registered model, through everything that a model has to do."""
import collections
import gc
import json
import os
import subprocess
import sys

import gluoncv
import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon

import bmx
from bmx.bench import split
from bmx.deploy.fuse import fuse
from bmx.deploy.lower import lower
from bmx.models import MODELS
from bmx.nn import STEMS
from helpers import assert_costs_the_same, own


def images(size, count=2, seed=0):
    return mx.nd.array(np.random.RandomState(seed).normal(size=(count, 3, size, size)))


# Of the largest models, what makes them smaller and changes nothing else.
SMALLER = {'alexnet_xnor': dict(width=0.5), 'alexnet_binary': dict(width=0.5), 'groupnet34': dict(bases=2),
           'groupnet18': dict(bases=3), 'ensemble_resnete18': dict(members=2)}


@pytest.fixture(autouse=True)
def memory():
    """Networks hold themselves in cycles: without a collection some are there until the end."""
    yield
    gc.collect()


def initialized(name, **kwargs):
    mx.random.seed(0)
    net = bmx.get_model(name, **dict(SMALLER.get(name, {}), **kwargs))
    net.initialize(mx.init.Xavier())
    return net


@pytest.mark.parametrize('name', sorted(MODELS))
def test_trains_and_deploys(name, tmp_path):
    net = initialized(name, classes=7, stem='thumbnail')
    net.hybridize(static_alloc=True, static_shape=True)
    x, label = images(16), mx.nd.array([1, 3])
    net(x)  # settles shapes
    trainer = gluon.Trainer(net.collect_params(), 'adam', {'learning_rate': 0.01})
    before = {p.name: p.data(mx.cpu()).copy() for p in bmx.nn.binary_parameters(net)}
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    for _ in range(2):
        with autograd.record():
            value = loss(net(x), label)
        value.backward()
        trainer.step(2)
    assert np.isfinite(value.asnumpy()).all()
    assert bool(before) != name.endswith('_float')
    assert all((p.data() != before[p.name]).sum().asscalar() > 0 for p in bmx.nn.binary_parameters(net))
    inputs = images(16, 8, 1)
    exported = bmx.export(net, str(tmp_path / name), x.shape, inputs)
    assert exported.comparison.equal and exported.comparison.images == 8
    counted = bmx.summary(net, x.shape)
    assert sum(row.reason is None for row in exported.rows) == sum(row['bits'] == '1/1' for row in counted.layers)
    # size_mib, but for bits that fill bytes up; beside it what is no threshold, normalisations and scaling factors
    packed = sum(row['bytes_packed'] for row in counted.layers)
    saved = mx.nd.load(str(tmp_path / name) + '-0000.params')
    packed += sum(4 * value.shape[-1] for key, value in saved.items() if key.endswith('_norm'))
    packed += sum(4 * value.size for key, value in saved.items() if key.endswith('_constant'))
    # names, shapes, filters that fill lanes up
    assert exported.params_bytes == pytest.approx(packed, rel=0.03, abs=2048)
    assert_costs_the_same(net, x.shape, str(tmp_path / name))
    layers = split._layers(str(tmp_path / name), x.shape, net.prefix)
    assert sum(layer['ops'] for layer in layers) == (counted.ops if before else 0)
    assert sorted(layer['name'] + '_fwd' for layer in layers if layer['ops']) == sorted(
        layer['name'] for layer in counted.layers if before and (layer['bops'] or layer['flops']))
    deployed, _ = bmx.deploy.load(str(tmp_path / name))
    assert np.array_equal(deployed(inputs).asnumpy(), own(net, inputs) if before else net(inputs).asnumpy())


BINARY = sorted(name for name in MODELS if not name.endswith('_float'))
SIZES = {'alexnet_binary': 56, 'alexnet_xnor': 56, 'nin_binary': 56, 'nin_binary_expanded': 56}  # others 33
# Answers of models in a process of a number of threads: SHA-256 for each image, by model, kernel and batch.
ANSWERS = '''
import hashlib, json, sys
import bmx, mxnet as mx
from bmx import deploy, ops
answers = {}
for name in sys.argv[2:]:
    net, _ = deploy.load('%s/%s' % (sys.argv[1], name))
    images = mx.nd.load('%s/%s.images' % (sys.argv[1], name))[0]
    for kernel in ops.supported_kernels():
        ops.use_kernel(kernel)
        for batch in (1, 8):
            found = [hashlib.sha256(scores.tobytes()).hexdigest() for scores in net(images[:batch]).asnumpy()]
            answers['%s %s %d' % (name, kernel, batch)] = found
print(json.dumps(answers))
'''


@pytest.fixture(scope='module')
def answers(tmp_path_factory):
    """All models deployed in a folder; what each answers, by number of threads, kernel and batch."""
    folder, found = tmp_path_factory.mktemp('models'), {}
    for name in BINARY:
        net, x = initialized(name, classes=7), images(SIZES.get(name, 33), 8)
        with autograd.train_mode():
            net(x)  # running statistics
        generator = np.random.RandomState(0)
        for parameter in net.collect_params('.*gamma').values():
            parameter.set_data(mx.nd.array(generator.choice([-1, 0.5, 1], parameter.shape)))
        for parameter in net.collect_params('.*beta').values():
            parameter.set_data(mx.nd.array(generator.normal(scale=0.1, size=parameter.shape)))
        bmx.export(net, str(folder / name), x.shape, x[:2])
        mx.nd.save(str(folder / name) + '.images', x)
    for threads in (1, 2, 4):
        printed = subprocess.run([sys.executable, '-W', 'ignore', '-c', ANSWERS, str(folder)] + BINARY, check=True,
                                 stdout=subprocess.PIPE, env=dict(
                                     os.environ, OMP_NUM_THREADS=str(threads), OMP_WAIT_POLICY='passive'))
        found[threads] = json.loads(printed.stdout.decode())
    return folder, found


@pytest.mark.parametrize('name', BINARY)
def test_one_node_of_one_answer(name, answers):
    """From data to scores; the same bits with every kernel, number of threads and batch."""
    folder, found = answers
    nodes = json.loads((folder / (name + '-symbol.json')).read_text())['nodes']
    program, = [node for node in nodes if node['op'] != 'null']
    assert program['op'] == 'binary_subgraph' and program['attrs']['num_data'] == '1'
    assert [nodes[source]['name'] for source, _, _ in program['inputs']].index('data') == 0
    kept = mx.nd.load(str(folder / name) + '-0000.params')
    assert {node['name'] for node in nodes if node['op'] == 'null'} - {'data'} == {
        key.split(':')[1] for key in kept}
    digests = {(threads, key): value for threads, each in found.items() for key, value in each.items()
               if key.startswith(name + ' ')}
    assert len(digests) == 3 * 2 * len(bmx.ops.supported_kernels())
    whole = next(value for value in digests.values() if len(value) == 8)
    assert len(set(whole)) == 8
    assert all(value == whole[:len(value)] for value in digests.values()), digests


@pytest.mark.parametrize('stem', STEMS)
@pytest.mark.parametrize('name', ['meliusnet_c', 'resnete18', 'mobinet_mid', 'nin_binary'])
def test_every_stem_is_part_of_the_node(name, stem):
    graph, params = bmx.deploy.trace(initialized(name, classes=7, stem=stem), (1, 3, 64, 64))
    params, _ = lower(graph, params, graph.infer_shapes())
    fuse(graph, params, graph.infer_shapes())
    assert [node.op for node in graph.nodes if not node.is_variable] == ['binary_subgraph']


@pytest.mark.parametrize('stem', STEMS)
@pytest.mark.parametrize('name', sorted(MODELS))
def test_every_stem_counts(name, stem):
    net = bmx.get_model(name, classes=10, stem=stem)
    assert bmx.summary(net, (1, 3, 64, 64)).layers[-1]['output_shape'][:2] == [1, 10]


def test_through_gluoncv():
    net = gluoncv.model_zoo.get_model('MeliusNet29', classes=5, stem='thumbnail')
    assert net.model_name == 'meliusnet29' and net.model_kwargs == dict(classes=5, stem='thumbnail')
    assert 'resnet18_v1' in gluoncv.model_zoo.get_model_list()


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="unknown model 'meliusnet'; choose from .*meliusnet22.*meliusnet_a"):
        bmx.get_model('meliusnet')


def test_other_blocks_and_reductions():
    net = bmx.get_model('meliusnet22', blocks=(1, 2), reductions=(0.5,), growth=32, classes=4, stem='thumbnail')
    binary = [p.shape for p in bmx.nn.binary_parameters(net)]
    assert binary == [(32, 64, 3, 3), (32, 96, 3, 3),
                      (32, 64, 3, 3), (32, 96, 3, 3), (32, 96, 3, 3), (32, 128, 3, 3)]
    with pytest.raises(ValueError, match='2 stages need 1 reductions, got 3'):
        bmx.get_model('meliusnet22', blocks=(1, 2))


def operators(name, **kwargs):
    nodes = json.loads(bmx.get_model(name, **kwargs)(mx.sym.var('data')).tojson())['nodes']
    return collections.Counter(node['op'] for node in nodes if node['op'] != 'null')


@pytest.mark.parametrize('stem', STEMS)
@pytest.mark.parametrize('depth', ['18', '34'])
def test_resnete_is_bireal_net_with_one_batchnorm_and_one_relu_more(depth, stem):
    resnete, birealnet = (operators(family + depth, stem=stem) for family in ('resnete', 'birealnet'))
    assert resnete - birealnet == {'BatchNorm': 1, 'Activation': 1} and not birealnet - resnete


@pytest.mark.parametrize('name', ['resnete18', 'resnete18_v2', 'birealnet18'])
def test_a_shortcut_around_every_convolution_also_at_odd_sizes(name, tmp_path):
    net = initialized(name, stem='thumbnail', classes=5)
    x = mx.nd.array(np.random.RandomState(0).normal(size=(3, 3, 19, 13)))
    assert operators(name)['elemwise_add'] == 16
    assert bmx.export(net, str(tmp_path / name), x.shape, x).comparison.equal


@pytest.mark.parametrize('name, blocks, float_convolutions', [
    ('resnet18_binary', 8, 1), ('resnet34_binary', 16, 1), ('birealnet18', 16, 4)])
def test_shortcuts(name, blocks, float_convolutions):
    assert operators(name)['elemwise_add'] == blocks
    bits = [layer['bits'] for layer in bmx.summary(bmx.get_model(name, stem='imagenet'), (1, 3, 64, 64)).layers
            if layer['op'] == 'Convolution']
    assert bits.count('32/32') == float_convolutions and set(bits) == {'1/1', '32/32'}
    if name.startswith('resnet'):
        settings = dict(stem='thumbnail', convolutions=1, layers=(4, 4, 4, 4), shortcut='float')
        assert operators(name, **settings) == operators('resnete18', stem='thumbnail')


@pytest.mark.parametrize('name', ['resnete18', 'resnete18_v2', 'resnet18_binary', 'groupnet18'])
def test_width_multiplies_the_channels_of_all_layers(name):
    narrow, wide = (bmx.summary(bmx.get_model(name, width=width, stem='imagenet', classes=10), (1, 3, 32, 32))
                    for width in (1, 2))
    assert wide.bops == 4 * narrow.bops
    for before, after in zip(narrow.layers[:-1], wide.layers[:-1]):
        assert after['output_shape'][1] == 2 * before['output_shape'][1], before['name']
    assert wide.params_binary == 4 * narrow.params_binary


def bases_net(decomposition, bases=3, **kwargs):
    net = initialized('groupnet18', bases=bases, decomposition=decomposition, layers=(4, 2), channels=(8, 16),
                      stem='thumbnail', classes=5, **kwargs)
    net(images(8))
    return net


@pytest.mark.parametrize('decomposition, scales, gates', [('layer', 3 * 6, 0), ('group', 3 * 3, 3)])
def test_groupnet_has_as_many_binary_layers_as_bases(decomposition, scales, gates):
    net = bases_net(decomposition)
    single = initialized('birealnet18', layers=(4, 2), channels=(8, 16), stem='thumbnail', classes=5)
    several, one = (bmx.summary(each, (1, 3, 8, 8)) for each in (net, single))
    assert (several.bops, several.flops) == (3 * one.bops, one.flops)  # the float shortcuts are shared
    assert len(net.collect_params('.*_scale$').keys()) == scales
    assert len(net.collect_params('.*_theta$').keys()) == gates


@pytest.mark.parametrize('decomposition', ['layer', 'group'])
def test_branches_alike_are_bi_real_net(decomposition):
    """With the same weights in every branch, their average is one of them, whatever the gates."""
    net = bases_net(decomposition)
    single = initialized('birealnet18', layers=(4, 2), channels=(8, 16), stem='thumbnail', classes=5)
    x = images(8)
    single(x)
    weights = [layer.weight for layer in bmx.nn.quantized_layers(single)]
    layers = bmx.nn.quantized_layers(net)
    group = 1 if decomposition == 'layer' else 2
    for index, weight in enumerate(weights):
        for base in range(3):
            place = index // group * 3 * group + base * group + index % group
            layers[place].weight.set_data(weight.data())
    others = [p for p in net.collect_params().values() if p not in {layer.weight for layer in layers}]
    for name in ('conv0_weight', 'dense0_weight'):
        found, = [p for p in others if p.name.endswith(name) and 'shortcut' not in p.name
                  and 'binaryconv' not in p.name]
        source, = [p for p in single.collect_params().values() if p.name.endswith(name) and 'shortcut' not in p.name
                   and 'binaryconv' not in p.name]
        found.set_data(source.data())
    found, = [p for p in others if 'shortcut' in p.name and p.name.endswith('conv0_weight')]
    source, = [p for p in single.collect_params().values() if 'shortcut' in p.name and p.name.endswith('conv0_weight')]
    found.set_data(source.data())
    for theta in net.collect_params('.*_theta$').values():
        theta.set_data(mx.nd.array([2.5]))
    # thirds are rounded: signs of sums next to 0 could differ, but of no value here
    assert np.allclose(net(x).asnumpy(), single(x).asnumpy(), rtol=1e-4, atol=1e-5)


def test_soft_connections_mix_own_and_all():
    net = bases_net('group')
    gate = net.features[1].connections[0]
    own, total = mx.nd.array([[[[1.0]]]]), mx.nd.array([[[[3.0]]]])
    for theta, expected in ((0, 2), (30, 1), (-30, 3)):
        gate.theta.set_data(mx.nd.array([theta]))
        assert gate(own, total).asscalar() == pytest.approx(expected)


@pytest.mark.parametrize('kwargs', [dict(decomposition='layer'), dict(bases=3), dict(bases=1)], ids=str)
def test_groupnet_deploys_to_one_program(kwargs, tmp_path):
    net = initialized('groupnet18', layers=(4, 2), channels=(8, 16), stem='thumbnail', classes=5, **kwargs)
    x = images(9, 3)
    with autograd.record():
        value = net(x).sum()
    value.backward()
    gates = '' if kwargs.get('bases') == 1 else '|theta'  # with one branch there is nothing to mix
    assert all(p.grad().abs().sum().asscalar() > 0 for p in net.collect_params(f'.*_(scale{gates})$').values())
    assert bmx.export(net, str(tmp_path / 'net'), x.shape, x).comparison.equal
    nodes = json.loads((tmp_path / 'net-symbol.json').read_text())['nodes']
    assert [node['op'] for node in nodes if node['op'] != 'null'] == ['binary_subgraph']


def test_an_ensemble_averages_its_members():
    net = initialized('ensemble_resnete18', network='birealnet18', members=3, stem='thumbnail', classes=4,
                      layers=(1, 1), channels=(8, 8))
    x = images(8)
    scores = [member(x).asnumpy() for member in net.members]
    assert len(scores) == 3 and not np.allclose(scores[0], scores[1])
    assert np.allclose(net(x).asnumpy(), sum(scores) / 3, atol=1e-6)
    single = bmx.summary(bmx.get_model('birealnet18'), (1, 3, 64, 64))
    several = bmx.summary(bmx.get_model('ensemble_resnete18', network='birealnet18', members=3), (1, 3, 64, 64))
    assert (several.ops, several.size_mib) == (3 * single.ops, pytest.approx(3 * single.size_mib))


# Edges of the smallest images that the docstrings name.
@pytest.mark.parametrize('name, stem, size', [
    ('meliusnet22', 'thumbnail', 8), ('meliusnet22', 'grouped', 29), ('binarydensenet28', 'imagenet', 29),
    ('resnete18', 'thumbnail', 5), ('resnete18', 'imagenet', 17), ('birealnet18', 'grouped', 17),
    ('resnete18_v2', 'thumbnail', 5), ('groupnet18', 'imagenet', 17),
    ('mobinet_mid', 'thumbnail', 9), ('mobinet_pre', 'mobilenet', 17),
    ('nin_binary', 'thumbnail', 12), ('alexnet_binary', 'thumbnail', 12)])
def test_smallest_images(name, stem, size):
    net = bmx.get_model(name, stem=stem, classes=3)
    assert bmx.summary(net, (1, 3, size, size)).layers[-1]['output_shape'][:2] == [1, 3]
    with pytest.raises(mx.MXNetError, match='exceeds input'):
        bmx.summary(net, (1, 3, size - 1, size))


@pytest.mark.parametrize('name, kwargs, message', [
    ('meliusnet22', dict(improve='some'), "improve must be 'newest' or 'all', got 'some'"),
    ('resnete18', dict(layers=(2, 2)), 'as many stages, got 2 and 4'),
    ('resnete18', dict(layers=(), channels=()), r'layers takes whole numbers from 1 to [0-9]+, got \(\)'),
    ('resnete18', dict(layers=(1, 0), channels=(64, 128)),
     r'layers takes whole numbers from 1 to [0-9]+, got \(1, 0\)'),
    ('resnete18', dict(channels=(64, 64, 64, 1.5)), 'channels takes whole numbers'),
    ('resnete18', dict(width=0), 'width must be a number above 0 and at most 1000, got 0'),
    ('resnete18', dict(width=0.001), 'channels takes whole numbers'),
    ('resnete18', dict(shortcut='given'), "shortcut must be 'float' or 'binary', got 'given'"),
    ('resnete18', dict(convolutions=0), 'convolutions takes whole numbers from 1 to [0-9]+, got 0'),
    ('groupnet18', dict(bases=0), 'bases takes whole numbers from 1 to [0-9]+, got 0'),
    ('groupnet18', dict(decomposition='net'), "decomposition must be one of layer, group, got 'net'"),
    ('groupnet18', dict(layers=(3, 2, 2, 2)), 'layers must be multiples of 2 .* got 3'),
    ('groupnet18', dict(preactivation=True), 'without preactivation='),
    ('ensemble_resnete18', dict(members=0), 'members takes whole numbers from 1 to [0-9]+, got 0'),
    ('ensemble_resnete18', dict(network='resnet'), "unknown model 'resnet'; choose from .*resnete18"),
    ('meliusnet22', dict(blocks=(-1, 1), reductions=(0.5,)), r'blocks takes whole numbers from 1 to [0-9]+, got \(-1'),
    ('meliusnet22', dict(growth=0), 'growth takes whole numbers from 1 to [0-9]+, got 0'),
    ('binarydensenet28', dict(groups='a'), "groups of binarydensenet28 must be a number, as 1 is, got 'a'"),
    ('mobinet_pre', dict(block='last'), "block must be one of plain, pre, mid, post, got 'last'"),
    ('mobinet_mid', dict(activation='elu'), "activation must be one of prelu, relu, got 'elu'"),
    ('mobinet_mid', dict(pool='sum'), "pool must be one of avg, max, min, got 'sum'"),
    ('mobinet_mid', dict(k=-1), 'k must be a whole number from 0 to 16, got -1'),
    ('mobinet_mid', dict(k=6), 'k=6 makes groups of 64 channels, which do not divide 32 channels'),
    ('mobinet_mid', dict(halving=(13,)), r'halving names blocks from 0 to 12, of which there are 13: got \(13,\)'),
    ('mobinet_mid', dict(halving=1), 'halving of mobinet_mid must be a sequence, .*, got 1'),
    ('mobinet_mid', dict(channels=64), 'channels of mobinet_mid must be a sequence, .*, got 64'),
    ('nin_binary', dict(width='a'), "width of nin_binary must be a number, as 1 is, got 'a'"),
    ('nin_binary', dict(width=1e999), 'width must be a number above 0 and at most 1000, got inf'),
    ('alexnet_binary', dict(width=0.33), '2 groups do not divide'),
    ('meliusnet22', dict(reductions=(0.5, 0.5, 1e999)), 'reductions must be shares of channels')])
def test_impossible_networks_are_refused(name, kwargs, message):
    with pytest.raises(ValueError, match=message):
        bmx.get_model(name, **kwargs)


SMALL_MOBINET = dict(channels=(32, 64, 64), halving=(0, 1), stem='thumbnail', classes=5)


# Skip connections of a block, around its first, second and third convolution (Figure 2).
@pytest.mark.parametrize('name, around', [
    ('mobinet_plain', [False, False]), ('mobinet_pre', [False, True, True]), ('mobinet_mid', [True, False, True]),
    ('mobinet_post', [True, True, False])])
def test_skip_connections_of_mobinet(name, around):
    for skip in (True, False):
        net = initialized(name, skip=skip, k=0, **SMALL_MOBINET)
        net(images(16))
        segments = [block for block in net.features[5] if 'segment' in block.name]
        features = mx.nd.random.normal(shape=(1, 64, 8, 8))
        assert len(segments) == len(around)
        for segment, expected in zip(segments, around):
            segment.norm.gamma.set_data(mx.nd.zeros(64))  # what the skip connection adds remains
            kept = features if expected and skip else mx.nd.zeros_like(features)
            assert (segment(features) == kept).asnumpy().all()


@pytest.mark.parametrize('kwargs', [dict(k=k) for k in range(5)] + [
    dict(skip=False), dict(activation='relu'), dict(pool='max'), dict(pool='min'), dict(scaling='none')], ids=str)
@pytest.mark.parametrize('name', ['mobinet_plain', 'mobinet_pre', 'mobinet_mid', 'mobinet_post'])
def test_every_mobinet_deploys_to_one_program(name, kwargs, tmp_path):
    net = initialized(name, **dict(SMALL_MOBINET, **kwargs))
    x = mx.nd.array(np.random.RandomState(0).normal(size=(3, 3, 11, 14)))  # odd edges for the pooling
    with autograd.train_mode():
        net(x)
    exported = bmx.export(net, str(tmp_path / name), x.shape, x)
    assert exported.comparison.max_difference == 0
    nodes = json.loads((tmp_path / (name + '-symbol.json')).read_text())['nodes']
    assert [node['op'] for node in nodes if node['op'] != 'null'] == ['binary_subgraph']


@pytest.mark.parametrize('kwargs', [dict(binarizations=m) for m in (1, 2, 3)] + [
    dict(binary_classifier=False), dict(scale=False), dict(activation='relu'),
    dict(binarizations=2, scaling='constant'), dict(binarizations=2, binary_classifier=False)], ids=str)
@pytest.mark.parametrize('name', ['nin_binary', 'nin_binary_expanded', 'alexnet_binary'])
def test_compact_networks_deploy(name, kwargs, tmp_path):
    kwargs = dict(kwargs)
    with bmx.nn.config(scaling=kwargs.pop('scaling', None)):
        net = initialized(name, width=0.1, classes=7, stem='thumbnail', **kwargs)
    x = images(17, 3)
    with autograd.train_mode():
        net(x)
    exported = bmx.export(net, str(tmp_path / name), x.shape, x)
    assert exported.comparison.max_difference == 0
    floats = [row.name for row in exported.rows if row.reason]
    assert len(floats) == 1 + (not kwargs.get('binary_classifier', True))
    nodes = json.loads((tmp_path / (name + '-symbol.json')).read_text())['nodes']
    assert [node['op'] for node in nodes if node['op'] != 'null'] == ['binary_subgraph']
    # a prediction does not depend on its neighbours in the batch
    alone, among = net(x[1:2]).asnumpy(), net(x)[1:2].asnumpy()
    assert np.array_equal(alone, among) if len(floats) == 1 else np.allclose(alone, among, rtol=1e-5)
    deployed, _ = bmx.deploy.load(str(tmp_path / name))
    assert np.array_equal(deployed(x[1:2]).asnumpy(), deployed(x)[1:2].asnumpy())


def test_widths_of_compact_networks():
    shapes = [p.shape for p in bmx.nn.binary_parameters(bmx.get_model('nin_binary', width=0.25, classes=10))]
    assert shapes[:4] == [(24, 24, 1, 1), (24, 24, 1, 1), (64, 24, 5, 5), (64, 64, 1, 1)]
    assert shapes[-1] == (10, 256, 1, 1)
    with pytest.raises(ValueError, match='width must be a number above 0 and at most 1000, got 0'):
        bmx.get_model('nin_binary', width=0)


def test_scale_begins_small_and_learns():
    layer = bmx.nn.Scale()
    layer.initialize()
    x = images(4)
    with autograd.record():
        y = layer(x)
    y.backward()
    assert np.array_equal(y.asnumpy(), x.asnumpy() * np.float32(0.001))
    assert layer.scale.grad().asscalar() == pytest.approx(x.asnumpy().sum(dtype='float64'), rel=1e-4)


def test_naive_residual_improves_every_channel():
    x = images(8)
    for name, kept in (('meliusnet22', True), ('meliusnet_naive', False)):
        net = initialized(name, stem='thumbnail', classes=3)
        net(x)
        block = net.features[1][1]
        features = mx.nd.random.normal(shape=(1, 128, 8, 8))
        same = (block(features) == features).asnumpy().reshape(128, -1).all(axis=1)
        assert same[:64].all() == kept and not same[64:].any()


@pytest.mark.parametrize('name', ['meliusnet22', 'meliusnet_naive', 'binarydensenet28', 'resnete18', 'birealnet18',
                                  'mobinet_pre', 'nin_binary', 'resnet18_binary', 'groupnet18', 'ensemble_resnete18'])
def test_32_bits_hold_no_sign(name):
    net = bmx.get_model(name, bits=32, classes=4, stem='thumbnail')
    assert not bmx.nn.binary_parameters(net)
    assert 'binarize' not in net(mx.sym.var('data')).tojson()
    counted = bmx.summary(net, (1, 3, 16, 16))
    assert counted.bops == 0 and counted.params_binary == 0


def test_pretrained_parameters_come_from_the_root(tmp_path):
    with pytest.raises(FileNotFoundError, match='meliusnet22.params'):
        bmx.get_model('meliusnet22', pretrained=True, root=str(tmp_path))
    net = initialized('meliusnet22', classes=3, stem='thumbnail')
    x = images(8)
    expected = net(x)
    net.save_parameters(str(tmp_path / 'meliusnet22.params'))
    again = bmx.get_model('meliusnet22', classes=3, stem='thumbnail', pretrained=True, root=str(tmp_path))
    assert (again(x) == expected).asnumpy().all()
