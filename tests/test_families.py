"""ReActNet and QuickNet: their blocks, and what is printed of them."""
import json

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

import bmx
from bmx.ops import program
from helpers import random

FAMILIES = ['reactnet_a', 'reactnet_b', 'reactnet_c', 'quicknet_small', 'quicknet', 'quicknet_large']


def values(layer, name, channels):
    """Random values in a layer's parameter, (C,)."""
    parameter, = layer.collect_params(f'.*{name}').values()
    parameter.set_data(mx.nd.random.normal(shape=parameter.shape))
    return parameter.data().asnumpy().reshape(1, channels, 1, 1)


# BOPs 1e9, FLOPs 1e8 and OPs 1e8 as the ReActNet paper prints them (Table 1).
REACTNET = {'reactnet_a': (4.82, 0.12, 0.87), 'reactnet_b': (4.69, 0.44, 1.17), 'reactnet_c': (4.69, 1.40, 2.14)}


@pytest.mark.parametrize('name', REACTNET)
def test_operations_of_reactnet(name):
    """For B the paper prints 1.63e8 OPs, which is not its BOPs / 64 + FLOPs: 1.17e8."""
    counted = bmx.summary(bmx.get_model(name), (1, 3, 224, 224))
    assert (round(counted.bops / 1e9, 2), round(counted.flops / 1e8, 2), round(counted.ops / 1e8, 2)) == REACTNET[name]


# Parameters and MiB as Larq Zoo's documentation prints them: of a normalisation two values a channel.
QUICKNET = {'quicknet_small': (12655688, 4.00), 'quicknet': (13234088, 4.17), 'quicknet_large': (23342248, 5.40)}


@pytest.mark.parametrize('name', QUICKNET)
def test_parameters_of_quicknet(name):
    counted = bmx.summary(bmx.get_model(name), (1, 3, 224, 224))
    assert (counted.params_binary + counted.params_float, round(counted.size_mib, 2)) == QUICKNET[name]


@pytest.mark.parametrize('name', FAMILIES)
def test_hybridized_equals_imperative_and_gradients_flow(name):
    mx.random.seed(0)
    net = bmx.get_model(name, classes=5, stem='thumbnail')
    net.initialize(mx.init.Xavier())
    x = random((2, 3, 32, 32))
    net(x)
    for parameter in net.collect_params('.*shift').values():
        values(net, f'{parameter.name}$', parameter.shape[1])
    found = []
    for hybridize in (False, True):
        net.hybridize(hybridize)
        with autograd.record():
            loss = (net(x) * mx.nd.arange(5)).sum()
        loss.backward()
        found.append((loss.asnumpy(), {name: parameter.grad().asnumpy() for name, parameter in
                                       net.collect_params().items() if parameter.grad_req != 'null'}))
    assert np.allclose(found[0][0], found[1][0], rtol=1e-4)
    assert all(np.abs(gradient).max() > 0 for gradient in found[1][1].values())
    fixed = [key for key, value in net.collect_params().items() if value.grad_req == 'null' and 'running' not in key]
    assert len(fixed) == (3 if name.startswith('quicknet') else 0)


@pytest.mark.parametrize('pad_value', [-1, 0, 1])
@pytest.mark.parametrize('hybridize', [False, True])
def test_rsign(hybridize, pad_value):
    with bmx.nn.config(pad_value=pad_value):
        layer = bmx.nn.QActivation(activation='rsign', in_channels=3, padding=(1, 2))
    layer.initialize()
    layer.hybridize(hybridize)
    x = random((2, 3, 4, 5))
    shift = values(layer, 'shift', 3)
    expected = np.where(x.asnumpy() + shift >= 0, 1, -1)
    expected = np.pad(expected, [(0, 0), (0, 0), (1, 1), (2, 2)], constant_values=pad_value)
    assert np.array_equal(layer(x).asnumpy(), expected)


@pytest.mark.parametrize('hybridize', [False, True])
def test_rprelu(hybridize):
    layer = bmx.nn.RPReLU(3)
    layer.initialize()
    layer.hybridize(hybridize)
    x = random((2, 3, 4, 5))
    before, slope, after = (values(layer[index], '.*', 3) for index in range(3))
    shifted = x.asnumpy() + before
    assert np.array_equal(layer(x).asnumpy(), np.where(shifted > 0, shifted, shifted * slope) + after)


def test_two_convolutions_side_by_side_are_one():
    """Of the same signs, as the paper has them where the channels are doubled."""
    net = bmx.get_model('reactnet_a', channels=(64,), halving=(), classes=3)
    net.initialize(mx.init.Xavier())
    segment, x = net.features[2][1], random((2, 32, 6, 6))
    segment(x)
    for parameter in segment.collect_params('.*(beta|running_mean|shift|alpha)').values():
        parameter.set_data(mx.nd.random.normal(shape=parameter.shape))
    data = {name.rpartition('.')[2] if name.startswith('norm') else name: value.data()
            for name, value in segment._collect_params_with_prefix().items()}
    signs = mx.nd.where(x + data['conv.0.shift'] >= 0, mx.nd.ones_like(x), -mx.nd.ones_like(x))
    halves = []
    for half in (slice(0, 32), slice(32, 64)):
        out = mx.nd.Convolution(signs, mx.nd.sign(data['conv.1.conv.weight'][half]), kernel=(1, 1), num_filter=32,
                                no_bias=True)
        norm = [data[key][half] for key in ('gamma', 'beta', 'running_mean', 'running_var')]
        halves.append(x + mx.nd.BatchNorm(out, *norm, eps=1e-5, fix_gamma=False, use_global_stats=True))
    expected = segment.activation(mx.nd.concat(*halves, dim=1)).asnumpy()
    assert np.allclose(segment(x).asnumpy(), expected, rtol=1e-4, atol=1e-4)


def test_the_blur_is_kept():
    """A fixed kernel: no initializer replaces it and no training changes it."""
    net = bmx.get_model('quicknet_small', classes=3)
    net.initialize(mx.init.Xavier())
    net(random((1, 3, 64, 64)))
    blurs = [parameter for parameter in net.collect_params().values() if parameter.grad_req == 'null'
             and parameter.name.endswith('weight')]
    row = np.array([1, 2, 1]) / 4
    assert [parameter.shape for parameter in blurs] == [(32, 1, 3, 3), (64, 1, 3, 3), (256, 1, 3, 3)]
    assert all(np.array_equal(kernel[0], np.outer(row, row)) for parameter in blurs
               for kernel in parameter.data().asnumpy())


@pytest.mark.parametrize('name', FAMILIES)
def test_deployed_at_64_pixels(name, tmp_path):
    """The shift before a sign is in the threshold: nothing but pooling is computed beside convolutions."""
    mx.random.seed(0)
    net, x = bmx.get_model(name, classes=5), random((2, 3, 64, 64))
    net.initialize(mx.init.Xavier())
    net(x)
    for parameter in net.collect_params('.*(shift|alpha|beta|gamma|running_mean)').values():
        parameter.set_data(mx.nd.random.normal(shape=parameter.shape))  # slopes below 0, too
    exported = bmx.export(net, str(tmp_path / name), (1, 3, 64, 64), x)
    assert exported.comparison.max_difference == 0
    nodes = json.loads((tmp_path / (name + '-symbol.json')).read_text())['nodes']
    node, = [node for node in nodes if node['op'] != 'null']
    assert (node['op'], node['attrs']['num_data']) == ('binary_subgraph', '1')
    if name in ('reactnet_a', 'quicknet'):
        maps = [instruction for instruction in program.parse(node['attrs']['program']).instructions
                if isinstance(instruction, program.Map)]
        assert all(each.pool for each in maps)


@pytest.mark.parametrize('name, kwargs, message', [
    ('reactnet_a', dict(channels=(48,), halving=()),
     'channels of block 0 must be a multiple of the 32 before it, got 48'),
    ('reactnet_b', dict(groups=3), 'groups=3 do not divide 32 channels'),
    ('reactnet_a', dict(halving=(13,)), r'halving names blocks from 0 to 12, of which there are 13: got \(13,\)'),
    ('quicknet', dict(layers=(1, 2)), 'as many sections, got 2 and 4')])
def test_impossible_networks_are_refused(name, kwargs, message):
    with pytest.raises(ValueError, match=message):
        bmx.get_model(name, **kwargs)
