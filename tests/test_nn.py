"""Quantized layers against their Gluon parents, imperative and hybridized, and their gradients against NumPy."""
import dataclasses
import itertools
import json

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon
from mxnet.gluon import nn
from mxnet.test_utils import assert_almost_equal

import bmx
from bmx.graph import Graph
from bmx.graph.products import match_binary_product
from bmx.nn import quantizers
from helpers import IDS, LAYERS, initialized, random


def sign(x):
    return np.where(x >= 0, 1, -1).astype(x.dtype)


@pytest.mark.parametrize('hybridize', [False, True])
@pytest.mark.parametrize('quantized, parent, shape, arguments', LAYERS, ids=IDS)
def test_32_bits_equal_the_gluon_layer(quantized, parent, shape, arguments, hybridize):
    layer = initialized(quantized(bits=32, **arguments), shape, hybridize)
    reference = initialized(parent(**arguments), shape)
    for name, value in layer._collect_params_with_prefix().items():
        reference._collect_params_with_prefix()[name].set_data(value.data())
    assert (layer(random(shape)) == reference(random(shape))).asnumpy().all()


@pytest.mark.parametrize('hybridize', [False, True])
@pytest.mark.parametrize('pad_value', [-1, 1, 0])
@pytest.mark.parametrize('quantized, parent, shape, arguments', LAYERS, ids=IDS)
def test_binary_layer_is_the_gluon_layer_on_signs(quantized, parent, shape, arguments, pad_value, hybridize):
    with bmx.nn.config(pad_value=pad_value):
        layer = initialized(quantized(**arguments), shape, hybridize)
    x = sign(random(shape).asnumpy())
    found = layer(mx.nd.array(x)).asnumpy()
    padding = layer._kwargs['pad'] if parent is not nn.Dense else ()
    if any(padding):
        x = np.pad(x, [(0, 0), (0, 0)] + [(p, p) for p in padding], constant_values=pad_value)
        arguments = dict(arguments, padding=0)
    reference = parent(**dict(arguments, use_bias=False, activation=None))
    reference.initialize()
    reference(mx.nd.array(x))
    reference.weight.set_data(mx.nd.array(sign(layer.weight.data().asnumpy())))
    expected = reference(mx.nd.array(x))
    if layer.bias is not None:
        channels = (1, -1) + (1,) * len(padding) if parent is not nn.Dense else (-1,)
        expected = mx.nd.broadcast_add(expected, layer.bias.data().reshape(channels))
    if 'activation' in arguments:
        expected = mx.nd.Activation(expected, arguments['activation'])
    assert (found == expected.asnumpy()).all()


@pytest.mark.parametrize('scaling', ['constant', 'gradient'])
def test_weight_scaling_and_its_gradient(scaling):
    layer = bmx.nn.QConv2D(3, 2, use_bias=False, scaling=scaling, clip_threshold=0.8, in_channels=2)
    layer.initialize(mx.init.Normal(1))
    plain = bmx.nn.QConv2D(3, 2, use_bias=False, clip_threshold=0.8, in_channels=2)
    plain.initialize()
    weight = layer.weight.data().asnumpy()
    plain.weight.set_data(layer.weight.data())
    x = random((2, 2, 5, 5))
    head = random((2, 3, 4, 4), 3)
    with autograd.record():
        y = layer(x)
    y.backward(head)
    alpha = np.abs(weight).mean(axis=(1, 2, 3))
    dots = plain(x).asnumpy()
    assert_almost_equal(y.asnumpy(), dots * alpha.reshape(1, 3, 1, 1), rtol=1e-6)
    # d/dw of alpha * dot: through the sign (straight through) and, for 'gradient', through alpha = mean |w|.
    with autograd.record():
        z = plain(x)
    z.backward(head * mx.nd.array(alpha.reshape(1, 3, 1, 1)))
    expected = plain.weight.grad().asnumpy()
    if scaling == 'gradient':
        through_alpha = (head.asnumpy() * dots).sum(axis=(0, 2, 3)) / weight[0].size
        expected = expected + through_alpha.reshape(3, 1, 1, 1) * np.sign(weight)
    assert_almost_equal(layer.weight.grad().asnumpy(), expected, rtol=1e-5, atol=1e-5)


EDGES = [0.0, -0.0, 1.3, -1.3, 0.8, -0.8, 1.0, -1.0, 1e-30, -1e-30, 5.0, -5.0, 0.5, -0.25]
SIGNS = {
    'ste_sign': (quantizers.ste_sign, 0.8, lambda x: (np.abs(x) <= np.float32(0.8)).astype(np.float32)),
    'ste_sign at 0': (quantizers.ste_sign, 0, lambda x: (x == 0).astype(np.float32)),
    'approx_sign': (quantizers.approx_sign, None, lambda x: np.where(np.abs(x) <= 1, 2 - 2 * np.abs(x), 0)),
}


@pytest.mark.parametrize('name', SIGNS)
@pytest.mark.parametrize('composed', [False, True])
def test_sign_and_gradient(name, composed):
    quantizer, clip_threshold, gradient = SIGNS[name]
    x = mx.nd.array(np.concatenate([EDGES, random((200,)).asnumpy()]).astype(np.float32))
    head = random(x.shape, 2)
    x.attach_grad()
    with autograd.record():
        y = quantizer(x, clip_threshold=clip_threshold, composed=composed)
    y.backward(head)
    assert (y.asnumpy() == sign(x.asnumpy())).all()
    assert_almost_equal(x.grad.asnumpy(), head.asnumpy() * gradient(x.asnumpy()), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize('hybridize', [False, True])
@pytest.mark.parametrize('pad_value', [-1, 1, 0])
@pytest.mark.parametrize('padding', [1, np.int64(1), (2, 0), (0, 0)], ids=repr)
def test_binary_convolution_is_its_two_layers(padding, pad_value, hybridize):
    """Where the padding is done makes no difference: values and gradients are equal."""
    arguments = dict(channels=4, kernel_size=3, strides=2, padding=padding, in_channels=3, groups=1)
    with bmx.nn.config(pad_value=pad_value, clip_threshold=0.8):
        block = bmx.nn.BinaryConv(**arguments)
        layers = nn.HybridSequential()
        layers.add(bmx.nn.QActivation(), bmx.nn.QConv2D(use_bias=False, **arguments))
    block, layers = (initialized(net, (2, 3, 7, 6), hybridize) for net in (block, layers))
    layers[1].weight.set_data(block.conv.weight.data())
    results = []
    for net in (block, layers):
        x = random((2, 3, 7, 6), 3)
        x.attach_grad()
        with autograd.record():
            y = net(x)
        y.backward(random(y.shape, 4))
        weight = net.collect_params('.*weight').values()
        results.append([y.asnumpy(), x.grad.asnumpy()] + [value.grad().asnumpy() for value in weight])
    assert all((one == other).all() for one, other in zip(*results))
    counted = [bmx.summary(net, (1, 3, 7, 6)) for net in (block, layers)]
    assert counted[0].bops == counted[1].bops > 0 and counted[0].layers[-1]['bits'] == '1/1'


@pytest.mark.parametrize('shape, padding', [((2, 3, 4), (2,)), ((2, 3, 4, 5), (1, 2))])
def test_padded_activation(shape, padding):
    x = random(shape)
    expected = np.pad(sign(x.asnumpy()), [(0, 0)] * 2 + [(width, width) for width in padding], constant_values=1)
    activation = bmx.nn.QActivation(padding=padding, pad_value=1)
    assert (activation(x).asnumpy() == expected).all()


@pytest.mark.parametrize('bits', [2, 32])
def test_only_signs_have_a_border(bits):
    x = random((2, 3, 4, 5))
    assert bmx.nn.QActivation(bits=bits, padding=(0, 0))(x).shape == x.shape
    with pytest.raises(ValueError, match=rf'activations of {bits} bits get no border.* got padding=\(1, 2\)'):
        bmx.nn.QActivation(bits=bits, padding=(1, 2))


def test_float_activation_passes_through():
    x = random((2, 3, 4, 5))
    assert (bmx.nn.QActivation(bits=32)(x).asnumpy() == x.asnumpy()).all()


def product_of(border, pad):
    """What is recognised of a binary convolution with padding 1 or 0 behind an activation with a border."""
    data, weight = mx.sym.var('data'), mx.sym.var('weight', shape=(2, 3, 3, 3))
    padded = mx.sym.binarize(data, pad=border, pad_value=1)
    symbol = mx.sym.Convolution(padded, mx.sym.binarize(weight), kernel=(3, 3), pad=pad, num_filter=2, no_bias=True)
    graph = Graph.from_symbol(symbol)
    return match_binary_product(graph.nodes[-1])


def test_a_border_is_the_padding_of_the_product():
    for border, pad in (((1, 2), (1, 2)), (1, (0, 1)), ((0, 3), (0, 3))):
        product = product_of(border, (0, 0))
        assert product.pad == pad and product.pad_value == 1 and product.activation is not None
    assert product_of((0, 0), (1, 1)).pad_value == 0
    assert product_of((1, 1), (1, 1)).activation is None  # padded twice


@pytest.mark.parametrize('quantizer', quantizers.ESTIMATORS)
def test_gpu_graphs_hold_built_in_operators_only(quantizer):
    net = nn.HybridSequential()
    net.add(bmx.nn.BinaryConv(4, 3, padding=1, in_channels=4, quantizer=quantizer, scaling='gradient'),
            bmx.nn.QDense(2, in_units=16, quantizer=quantizer))
    with mx.gpu(0):
        on_gpu = net(mx.sym.var('data'))
    assert 'binarize' not in on_gpu.tojson()
    on_cpu = net(mx.sym.var('data'))
    assert 'binarize' in on_cpu.tojson()
    net.initialize(mx.init.Normal(1))
    values = {name: value.data() for name, value in net.collect_params().items()}
    results = []
    for symbol in (on_cpu, on_gpu):
        gradients = {name: mx.nd.zeros(value.shape) for name, value in values.items()}
        executor = symbol.bind(mx.cpu(), dict(values, data=random((3, 4, 2, 2))), gradients)
        output = executor.forward(is_train=True)[0]
        executor.backward(random(output.shape, 5))
        results.append([output.asnumpy()] + [gradients[name].asnumpy() for name in sorted(gradients)])
    assert (results[0][0] == results[1][0]).all()
    for operator, composed in zip(results[0][1:], results[1][1:]):
        assert_almost_equal(operator, composed, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('hybridize', [False, True])
@pytest.mark.parametrize('bits', [1, 2, 32])
def test_deferred_shapes_inside_a_network(hybridize, bits):
    net = nn.HybridSequential()
    with bmx.nn.config(bits=bits):
        net.add(bmx.nn.QConv2D(4, 3, padding=1), nn.BatchNorm(), bmx.nn.BinaryConv(6, 3, groups=2, scaling='gradient'),
                bmx.nn.QActivation(), bmx.nn.QDense(5))
    net.initialize()
    if hybridize:
        net.hybridize(static_alloc=True, static_shape=True)
    with autograd.record():
        net(random((2, 3, 6, 6))).sum().backward()
    assert net[0].weight.shape == (4, 3, 3, 3) and net[2].conv.weight.shape == (6, 2, 3, 3)
    assert net[4].weight.shape == (5, 96)
    assert all(np.isfinite(p.grad().asnumpy()).all() for p in net.collect_params('.*weight').values())


def test_hybridized_training_equals_imperative():
    losses = []
    for hybridize in (False, True):
        mx.random.seed(3)
        net = bmx.get_model('meliusnet22', stem='thumbnail', classes=3, blocks=(1, 1), reductions=(0.5,))
        net.initialize(mx.init.Xavier())
        if hybridize:
            net.hybridize(static_alloc=True, static_shape=True)
        net(random((4, 3, 8, 8)))
        for index, value in enumerate(net.collect_params('.*weight').values()):
            value.set_data(random(value.shape, index) * 0.2)
        trainer = gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.1})
        for step in range(3):
            with autograd.record():
                loss = (net(random((4, 3, 8, 8), step)) ** 2).mean()
            loss.backward()
            trainer.step(1)
            losses.append(loss.asscalar())
    assert_almost_equal(np.array(losses[:3]), np.array(losses[3:]), rtol=1e-4)


@pytest.mark.parametrize('hybridize', [False, True])
def test_gradients_accumulate(hybridize):
    layer = initialized(bmx.nn.QConv2D(4, 3, in_channels=2, clip_threshold=9), (1, 2, 5, 5), hybridize)
    gradients = []
    for grad_req, passes in (('write', 1), ('add', 3)):
        layer.collect_params().setattr('grad_req', grad_req)
        for _ in range(passes):
            with autograd.record():
                y = layer(random((1, 2, 5, 5)))
            y.backward()
        gradients.append(layer.weight.grad().asnumpy())
    assert_almost_equal(gradients[1], 3 * gradients[0], rtol=1e-5)


def test_config_is_a_scope_kept_by_what_is_built_in_it():
    with bmx.nn.config(clip_threshold=0, scaling='constant'):
        inside = bmx.nn.QConv2D(1, 1)
        with bmx.nn.config(bits=32):
            nested = bmx.nn.QActivation()
    outside = bmx.nn.QConv2D(1, 1)
    assert inside.quantization == bmx.nn.Config(clip_threshold=0, scaling='constant')
    assert (nested.quantization.bits, nested.quantization.clip_threshold) == (32, 0)
    assert outside.quantization == bmx.nn.Config()
    assert bmx.nn.QActivation(clip_threshold=0).quantization.clip_threshold == 0


@pytest.mark.parametrize('setting, error', [
    (dict(bits=9), ValueError), (dict(bits=0), ValueError), (dict(activation_bits=0), ValueError),
    (dict(quantizer='tanh'), ValueError), (dict(scaling='yes'), ValueError),
    (dict(pad_value=2), ValueError), (dict(clip_threshold=-1), ValueError), (dict(clip_threshold='1'), ValueError),
    (dict(clip=1), TypeError)])
def test_bad_settings(setting, error):
    with pytest.raises(error, match=list(setting)[0]):
        with bmx.nn.config(**setting):
            pass


def test_channels_last_is_refused_where_it_would_be_wrong():
    with pytest.raises(ValueError, match='layout'):
        bmx.nn.QConv2D(4, 3, layout='NHWC')


def test_save_load_cast_and_summary(tmp_path, capsys):
    def build():
        net = nn.HybridSequential()
        net.add(bmx.nn.QConv2D(4, 3, in_channels=2), bmx.nn.BinaryConv(4, 3, in_channels=4))
        return net
    net, again = build(), build()
    net.initialize(mx.init.Normal(1))
    net.save_parameters(str(tmp_path / 'net.params'))
    again.load_parameters(str(tmp_path / 'net.params'))
    x = random((1, 2, 8, 8))
    assert (net(x) == again(x)).asnumpy().all()
    net.summary(x)
    assert 'BinaryConv' in capsys.readouterr().out
    net.cast('float64')
    y = net(x.astype('float64'))
    assert y.dtype == np.float64 and (y.asnumpy()[:, :, 1:, 1:] == again(x).asnumpy()[:, :, 1:, 1:]).all()
    net.cast('float16')
    assert net[0].weight.data().dtype == np.float16
    sign = bmx.nn.QActivation()(x.astype('float16'))
    assert sign.dtype == np.float16 and (sign.astype('float32') == bmx.nn.QActivation()(x)).asnumpy().all()


@pytest.mark.parametrize('groups, height', list(itertools.product((1, 2, 4), (1, 3))))
def test_channel_shuffle(groups, height):
    x = random((2, 8, height, 5))
    expected = x.asnumpy().reshape(2, groups, 8 // groups, height, 5).swapaxes(1, 2).reshape(x.shape)
    block = bmx.nn.ChannelShuffle(groups)
    assert (block(x).asnumpy() == expected).all()
    block.hybridize()
    assert (block(x).asnumpy() == expected).all()


@pytest.mark.parametrize('name, size', [('alexnet', 6), ('grouped', 8), ('imagenet', 8), ('mobilenet', 16),
                                        ('thumbnail', 32)])
def test_stems(name, size):
    stem = bmx.nn.make_stem(name, 64)
    stem.initialize()
    assert stem(random((1, 3, 32, 32))).shape == (1, 64, size, size)


def test_unknown_stem():
    with pytest.raises(ValueError, match='alexnet, grouped, imagenet, mobilenet, quicknet, thumbnail'):
        bmx.nn.make_stem('resnet')


def test_binary_parameters():
    shared = bmx.nn.QConv2D(4, 1, in_channels=4)
    net = nn.HybridSequential()
    net.add(nn.Conv2D(4, 1), shared, bmx.nn.QConv2D(4, 1, bits=32), nn.HybridSequential(), bmx.nn.QDense(2))
    net[3].add(shared)
    assert bmx.nn.binary_parameters(net) == [shared.weight, net[4].weight]


@pytest.mark.parametrize('part', [slice(None, 1), slice(1, None), slice(None, -1), slice(None, None, 2), slice(0, 0)])
@pytest.mark.parametrize('name', bmx.nn.STEMS)
def test_slices_of_stems(name, part):
    """The layers themselves, as of the sequence that a stem is."""
    stem = bmx.nn.make_stem(name)
    plain = nn.HybridSequential()
    plain.add(*stem)
    found = stem[part]
    assert type(found) is nn.HybridSequential and list(found) == list(plain[part])
    assert stem[0] is plain[0] and stem[-1] is plain[-1]
    stem.initialize()
    x = random((1, 3, 32, 32))
    assert_almost_equal(stem[1:](stem[:1](x)), stem(x))


def _layers_of(n):
    """Layers whose arguments are numbers of a type."""
    return [
        (bmx.nn.BinaryConv(n(8), n(3), n(2), n(1), n(1), n(2), n(4), bits=n(1), pad_value=n(1)), (2, 4, 9, 9)),
        (bmx.nn.BinaryConv(n(8), (n(3), n(1)), (n(2), n(1)), (n(1), n(0)), binarizations=n(2)), (2, 4, 9, 9)),
        (bmx.nn.QConv2D(n(8), n(3), padding=n(1), groups=n(2), bits=n(2)), (2, 4, 9, 9)),
        (bmx.nn.QConv1D(n(8), n(3), padding=n(1), dilation=n(2), in_channels=n(4)), (2, 4, 9)),
        (bmx.nn.QDense(n(8), in_units=n(36)), (2, 4, 9)),
        (bmx.nn.BinaryDense(n(8), in_units=n(36), activation_bits=n(2)), (2, 4, 9)),
        (bmx.nn.QActivation(n(1), padding=[n(1), n(2)]), (2, 4, 9, 9)),
        (bmx.nn.PReLU(in_channels=n(4)), (2, 4, 9)),
        (bmx.nn.Scale(n(2)), (2, 4, 9)),
        (bmx.nn.ChannelShuffle(n(2)), (2, 4, 9, 9)),
        (bmx.nn.GroupedStem(n(16)), (2, 3, 32, 32)),
        (bmx.nn.make_stem('alexnet', n(16)), (2, 3, 32, 32)),
    ]


@pytest.mark.parametrize('kind', [np.int64, np.int32, np.uint8])
def test_numbers_of_numpy(kind):
    """They do what Python's do, also in what is written of a layer."""
    for (layer, shape), (expected, _) in zip(_layers_of(kind), _layers_of(int)):
        results = [initialized(each, shape)(random(shape)) for each in (layer, expected)]
        for result, wanted in zip(*[each if isinstance(each, (list, tuple)) else [each] for each in results]):
            assert_almost_equal(result, wanted)
        layer.hybridize()
        layer(random(shape))
        if hasattr(layer, 'quantization'):
            assert layer.quantization == expected.quantization
            json.dumps(dataclasses.asdict(layer.quantization))


@pytest.mark.parametrize('kind', [np.float16, np.float32, np.float64])
def test_fractions_of_numpy(kind):
    assert json.dumps(dataclasses.asdict(bmx.nn.Config(clip_threshold=kind(1.25)))).count('1.25') == 1
    layer = bmx.nn.Scale(kind(1.25))
    layer.initialize()
    assert layer(mx.nd.ones((1, 1))).asscalar() == 1.25


@pytest.mark.parametrize('padding', [1, np.int64(1), None, '11', (-1, 1), (1, 1, 1), (1.5, 1)])
def test_border_that_cannot_be(padding):
    with pytest.raises(ValueError) as error:
        bmx.nn.QActivation(padding=padding, prefix='sign_')
    assert str(error.value) == ('sign: padding must be a tuple of the widths at the last axes, such as (1, 1) for '
                                f'images and (1,) for rows, got {padding!r}')


@pytest.mark.parametrize('padding', [(1,), (1, 1, 1)])
@pytest.mark.parametrize('pad_value', [-1, 0])
def test_padding_of_a_binary_convolution_has_two_axes(padding, pad_value):
    """One number in a tuple was a border of the last axis alone."""
    with pytest.raises(ValueError, match='conv: padding must be one number, or two for height and width, got '):
        bmx.nn.BinaryConv(8, 3, padding=padding, pad_value=pad_value, prefix='conv_')
