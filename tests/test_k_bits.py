"""Weights and activations of several bits: values and gradients in closed form, layers, counting, export."""
import json

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd
from mxnet.gluon import nn
from mxnet.test_utils import assert_almost_equal

import bmx
from bmx import deploy
from bmx.cli import main
from bmx.deploy import files
from bmx.nn import quantizers
from helpers import IDS, LAYERS, arguments, initialized, own, random, randomize, sequential, train, write_folder


def differentiated(function, x, head):
    """A function's value and the gradient of its input, as NumPy arrays."""
    x = mx.nd.array(x, dtype=x.dtype)
    x.attach_grad()
    with autograd.record():
        y = function(x)
    y.backward(head)
    return y.asnumpy(), x.grad.asnumpy()


def levels(x, bits):
    """quantize_k, a half rounded up."""
    steps = 2 ** bits - 1
    return np.floor(np.float64(np.float32(x) * np.float32(steps)) + 0.5) / steps


# Quantizers -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('bits', range(2, 9))
def test_activation(bits):
    one = np.float32(1)
    ends = [0, -0.0, 1, np.nextafter(one, one * 2), np.nextafter(one, one * 0), -1e-30, 1e-30, -3, 7, np.inf, -np.inf]
    halves = (np.arange(2 ** bits - 1) + 0.5) / (2 ** bits - 1)
    x = np.concatenate([ends, halves, np.random.RandomState(0).normal(size=200)]).astype(np.float32)
    head = random(x.shape, 1)
    value, gradient = differentiated(lambda data: quantizers.k_bit_activation(data, bits), x, head)
    assert_almost_equal(value, levels(np.clip(x, 0, 1), bits), rtol=1e-7, atol=0)
    assert len(np.unique(value)) == 2 ** bits and value.min() == 0 and value.max() == 1
    assert_almost_equal(gradient, head.asnumpy() * ((x >= 0) & (x <= 1)), rtol=1e-6, atol=0)


def test_a_half_is_rounded_up():
    assert (quantizers.k_bit_activation(mx.nd.array([2.5 / 3, 1.5 / 3]), 2) == mx.nd.array([1, 2 / 3])).asnumpy().all()


@pytest.mark.parametrize('bits', [2, 3, 8])
def test_weight(bits):
    w = np.random.RandomState(bits).normal(size=(5, 4, 3, 3)).astype(np.float32)
    head = random(w.shape, 1)
    value, gradient = differentiated(lambda data: quantizers.k_bit_weight(data, bits), w, head)
    squashed = np.tanh(np.float64(w))
    largest = np.abs(squashed).max()
    assert_almost_equal(value, 2 * levels(squashed / (2 * largest) + 0.5, bits) - 1, rtol=1e-6, atol=1e-6)
    assert np.abs(value).max() == 1 and (value != 0).all() and (bits == 8 or len(np.unique(value)) == 2 ** bits)
    # d/dw of tanh(w) / m, m = |tanh(w)| of the largest weight, which has a share in every quotient.
    g = head.asnumpy()
    expected = g / largest
    at = np.unravel_index(np.abs(squashed).argmax(), w.shape)
    expected[at] -= np.sign(squashed[at]) * (g * squashed).sum() / largest ** 2
    assert_almost_equal(gradient, expected * (1 - squashed ** 2), rtol=1e-4, atol=1e-5)


def test_weights_of_zero():
    value, gradient = differentiated(lambda data: quantizers.k_bit_weight(data, 2), np.zeros((2, 3), np.float32),
                                     mx.nd.ones((2, 3)))
    assert_almost_equal(value, np.full((2, 3), 1 / 3), rtol=1e-6)
    assert_almost_equal(gradient, np.ones((2, 3)))


@pytest.mark.parametrize('dtype', ['float16', 'float64'])
@pytest.mark.parametrize('quantizer', [quantizers.k_bit_activation, quantizers.k_bit_weight])
def test_dtype_stays(quantizer, dtype):
    x = random((50,))
    found, expected = quantizer(x.astype(dtype), 3), quantizer(x, 3)
    assert found.dtype == np.dtype(dtype)
    assert (np.abs(found.asnumpy() - expected.asnumpy()) < 1e-3).mean() > 0.95  # others are near a boundary


# Layers ---------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('hybridize', [False, True])
@pytest.mark.parametrize('quantized, parent, shape, arguments', LAYERS, ids=IDS)
def test_layer_is_the_gluon_layer_on_levels(quantized, parent, shape, arguments, hybridize):
    """What belongs to signs, padding with other than 0 and scaling, does nothing here."""
    with bmx.nn.config(bits=2, pad_value=1, scaling='constant'):
        layer = initialized(quantized(**arguments), shape, hybridize)
    reference = initialized(parent(**arguments), shape)
    for name, parameter in layer._collect_params_with_prefix().items():
        value = parameter.data()
        reference._collect_params_with_prefix()[name].set_data(
            quantizers.k_bit_weight(value, 2) if name == 'weight' else value)
    x = quantizers.k_bit_activation(random(shape), 2)
    assert_almost_equal(layer(x).asnumpy(), reference(x).asnumpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('hybridize', [False, True])
@pytest.mark.parametrize('bits, activation_bits', [(1, 2), (2, 1), (2, 2), (3, 5), (1, 32), (32, 1), (32, 2), (32, 32)])
def test_binary_convolution_is_its_two_layers(bits, activation_bits, hybridize):
    arguments = dict(channels=4, kernel_size=3, padding=1, in_channels=3)
    block = bmx.nn.BinaryConv(bits=bits, activation_bits=activation_bits, scaling='gradient', **arguments)
    with bmx.nn.config(bits=bits, activation_bits=activation_bits, scaling='gradient'):
        layers = sequential(nn.Activation('relu') if activation_bits == 32 else bmx.nn.QActivation(),
                            bmx.nn.QConv2D(use_bias=False, **arguments))
    block, layers = (initialized(net, (2, 3, 7, 6), hybridize) for net in (block, layers))
    layers[1].weight.set_data(block.conv.weight.data())
    x = random((2, 3, 7, 6), 3).asnumpy()
    results = [differentiated(net, x, random((2, 4, 7, 6), 4)) + (net.collect_params('.*weight').values(),)
               for net in (block, layers)]
    (value, gradient, weights), (expected, expected_gradient, expected_weights) = results
    assert (value == expected).all() and (gradient == expected_gradient).all()
    for one, other in zip(weights, expected_weights):
        assert (one.grad() == other.grad()).asnumpy().all() and one.grad().abs().sum().asscalar() > 0


@pytest.mark.parametrize('quantizer', quantizers.ESTIMATORS)
@pytest.mark.parametrize('scaling', ['constant', 'gradient'])
def test_gradients_of_scaled_weights_in_closed_form(scaling, quantizer):
    """'constant' is Bi-Real-Net's alpha 1_{|w| <= t} dL/dw~, 'gradient' adds XNOR-Net's share of alpha = mean |w|."""
    layer = bmx.nn.QDense(4, use_bias=False, in_units=9, scaling=scaling, quantizer=quantizer, clip_threshold=0.8)
    layer.initialize(mx.init.Normal(1))
    x, head, w = random((5, 9)), random((5, 4), 1), layer.weight.data().asnumpy()
    with autograd.record():
        y = layer(x)
    y.backward(head)
    signs, alpha = np.where(w >= 0, 1, -1), np.abs(w).mean(axis=1, keepdims=True)
    scaled = head.asnumpy().T @ x.asnumpy()  # dL/dw~ of the weights w~ = alpha sign(w) that are multiplied with
    assert_almost_equal(y.asnumpy(), x.asnumpy() @ (alpha * signs).T, rtol=1e-5, atol=1e-5)
    slope = np.abs(w) <= 0.8 if quantizer == 'ste_sign' else np.clip(2 - 2 * np.abs(w), 0, None)
    expected = alpha * slope * scaled
    if scaling == 'gradient':
        expected = expected + np.sign(w) / 9 * (scaled * signs).sum(axis=1, keepdims=True)
    assert_almost_equal(layer.weight.grad().asnumpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('groups', [1, 3, 6])
def test_gradient_of_scaled_filters_numerically(groups):
    """MoBiNet, Equation 5: finite differences of the loss with alpha = mean |w| of a filter, and with a sign that grows
    by as much as its weight where |w| <= 1."""
    layer = bmx.nn.QConv2D(6, 3, in_channels=6, groups=groups, use_bias=False, scaling='gradient', clip_threshold=1.0)
    layer.initialize(mx.init.Normal(1))
    x, head = random((2, 6, 5, 4)).sign(), random((2, 6, 3, 2), 1)
    with autograd.record():
        y = layer(x)
    y.backward(head)
    before = layer.weight.data().asnumpy().astype('float64')

    def loss(w):
        estimate = np.where(before >= 0, 1, -1) + np.clip(w, -1, 1) - np.clip(before, -1, 1)
        filters = np.abs(w).mean(axis=(1, 2, 3), keepdims=True) * estimate
        product = mx.nd.Convolution(x.astype('float64'), mx.nd.array(filters, dtype='float64'), kernel=(3, 3),
                                    num_filter=6, num_group=groups, no_bias=True)
        return (product * head.astype('float64')).sum().asscalar()

    step, expected = 1e-6, np.empty_like(before)
    assert (np.abs(np.abs(before) - 1) > 2 * step).all() and (np.abs(before) > 2 * step).all()
    for index in np.ndindex(*before.shape):
        change = np.zeros_like(before)
        change[index] = step
        expected[index] = (loss(before + change) - loss(before - change)) / (2 * step)
    assert_almost_equal(layer.weight.grad().asnumpy(), expected, rtol=1e-3, atol=1e-4)


def test_which_bits_a_layer_takes():
    x = mx.nd.array([[-0.4, 0.4, 3]])
    with bmx.nn.config(bits=1, activation_bits=2):
        two, conv, both, dense = bmx.nn.QActivation(), bmx.nn.QConv2D(1, 1), bmx.nn.BinaryConv(1, 1), bmx.nn.QDense(1)
        one = bmx.nn.QActivation(bits=1)
        with bmx.nn.config(bits=2):
            inner = bmx.nn.BinaryConv(1, 1)
    assert_almost_equal(two(x).asnumpy(), np.float32([[0, 1 / 3, 1]]))
    assert one(x).asnumpy().tolist() == [[-1, 1, 1]]
    assert {layer.quantization.bits for layer in (conv, dense, both.conv)} == {1}
    assert {str(block.activation.quantization.activation_quantizer) for block in (both, inner)} == {'dorefa(2)'}
    assert inner.conv.quantization.bits == 2
    assert bmx.nn.Config(bits=3).activation_quantizer.bits == 3
    net = sequential(conv, inner, bmx.nn.QConv2D(1, 1, bits=32))
    assert bmx.nn.binary_parameters(net) == [conv.weight]


# Counting and export --------------------------------------------------------------------------------------------------

def quantized_net(**settings):
    with bmx.nn.config(**settings):
        return sequential(nn.BatchNorm(), bmx.nn.BinaryConv(6, 3, padding=1, prefix='float_'),
                          nn.BatchNorm(), bmx.nn.QActivation(), bmx.nn.QConv2D(4, 3, use_bias=False),
                          bmx.nn.QActivation(), bmx.nn.QDense(3, use_bias=False))


def mixed_net():
    return sequential(nn.BatchNorm(), bmx.nn.BinaryConv(6, 3, padding=1, scaling='constant'),
                      nn.BatchNorm(), bmx.nn.BinaryConv(5, 3, bits=2),
                      nn.BatchNorm(), bmx.nn.BinaryConv(6, 3, padding=1, bits=1, activation_bits=4),
                      nn.BatchNorm(), bmx.nn.BinaryConv(4, 1), bmx.nn.QDense(3, use_bias=False))


# Network -> how to build it, bits of its layers, why they stay float.
NETS = {
    '2/2': (lambda: quantized_net(bits=2), ['2/2'] * 3, [None] * 3),
    '1/2': (lambda: quantized_net(bits=1, activation_bits=2, scaling='constant'), ['1/2'] * 3, [None] * 3),
    '1/32': (lambda: quantized_net(bits=1, activation_bits=32, scaling='constant'), ['1/32'] * 3,
             ['its input is not binary'] * 3),
    '2/1': (lambda: quantized_net(bits=2, activation_bits=1), ['2/1'] * 3, [None] * 3),
    '3/3': (lambda: quantized_net(bits=3), ['3/3'] * 3, ['its product would take 9 binary ones'] * 3),
    'mixed': (mixed_net, ['1/1', '2/2', '1/4', '1/1', '1/32'], [None] * 4 + ['its input is not binary']),
}


@pytest.mark.parametrize('exact', [False, True])
@pytest.mark.parametrize('name', NETS)
def test_counted_and_exported(name, exact, tmp_path):
    build, bits, reasons = NETS[name]
    x = random((16, 5, 8, 7), 3)
    net = randomize(build(), x)
    counted = bmx.summary(net, (1, 5, 8, 7))
    products = [layer for layer in counted.layers if layer['bits']]
    assert [layer['bits'] for layer in products] == bits
    for layer in products:
        assert bool(layer['bops']) == ('32' not in layer['bits']) != bool(layer['flops'])
    result = bmx.export(net, str(tmp_path / 'net'), (1, 5, 8, 7), x, exact=exact)
    assert [row.reason for row in result.rows] == reasons
    assert all(reason is None or reason in result.report for reason in reasons)
    if not exact:  # then a dense layer on images is a convolution
        assert [row.bytes_after for row in result.rows] == [layer['bytes_packed'] for layer in products]
    deployed, metadata = deploy.load(str(tmp_path / 'net'))
    deployed.hybridize(static_alloc=True, static_shape=True)
    expected = net(x).asnumpy() if metadata.exact else own(net, x)
    assert np.array_equal(deployed(x).asnumpy(), expected) and np.ptp(expected) > 0
    assert bmx.summary(mx.sym.load(files.symbol_path(str(tmp_path / 'net'))), (1, 5, 8, 7)).bops == counted.bops


def test_a_weight_of_k_bits_counts_k_bits():
    net = sequential(bmx.nn.BinaryConv(8, 3, in_channels=4, bits=3), bmx.nn.BinaryConv(8, 3), bmx.nn.QDense(2, bits=32))
    counted = bmx.summary(net, (2, 4, 6, 6))
    assert (counted.params_quantized, counted.params_binary, counted.params_float) == (8 * 4 * 9, 8 * 8 * 9, 2 * 32 + 2)
    assert counted.size_mib == (3 * 8 * 4 * 9 + 8 * 8 * 9 + 32 * (2 * 32 + 2)) / 8 / 2 ** 20
    assert '576 binary, 288 2 to 8 bits, 66 float' in str(counted)


# MeliusNet paper, Table 3: ResNet-18 with weights of 1 bit (BWN) and of 2 bits (DoReFa-Net).
@pytest.mark.parametrize('bits, activation_bits, size, operations', [(1, 32, '4.0', 18.1), (2, 2, '5.3', None)])
def test_printed_sizes(bits, activation_bits, size, operations):
    with bmx.nn.config(bits=bits, activation_bits=activation_bits):
        counted = bmx.summary(bmx.get_model('resnete18', stem='imagenet'), (1, 3, 224, 224))
    assert f'{counted.size_mib:.1f}' == size
    assert operations is None or round(counted.ops_without_classifier / 1e8, 1) == operations


def test_other_roundings_are_float():
    """How many bits a rounding leaves says the quantizer, not the operator."""
    data = mx.sym.contrib.round_ste(mx.sym.clip(mx.sym.var('data'), 0, 1) * 3)
    symbol = mx.sym.Convolution(data, kernel=(1, 1), num_filter=2, name='conv')
    assert bmx.summary(symbol, (1, 3, 4, 4)).layers[0]['bits'] == '32/32'


# Options --------------------------------------------------------------------------------------------------------------

SMALL = ['--stem', 'thumbnail', '--set', 'classes=3', '--set', 'blocks=(1,1)', '--set', 'reductions=(0.5,)']
OPTIONS = {
    'default': [],
    'DoReFa-Net': ['--bits', '2', '--activation-bits', '2'],
    'mixed': ['--activation-bits', '3', '--scaling', 'constant'],
    'BWN': ['--bits', '1', '--activation-bits', '32', '--scaling', 'constant'],
    'Bi-Real-Net': ['--quantizer', 'approx_sign', '--scaling', 'constant', '--clip-threshold', '0'],
    'keyword': ['--set', 'bits=2'],
}


@pytest.mark.parametrize('name', OPTIONS)
def test_verify_builds_what_was_exported(name, tmp_path, capsys):
    given = dict(zip(*[iter(option.lstrip('-').replace('-', '_') for option in OPTIONS[name])] * 2))
    if given.pop('set', None):
        given['bits'] = 2
    given = {key: value if key in ('quantizer', 'scaling') else int(value) for key, value in given.items()}
    keywords = dict(stem='thumbnail', classes=3, blocks=(1, 1), reductions=(0.5,))
    with bmx.nn.config(**given):
        net = bmx.get_model('meliusnet22', **keywords)
    net.initialize(mx.init.Xavier())
    net(mx.nd.zeros((1, 3, 16, 16)))
    params, prefix = str(tmp_path / 'net.params'), str(tmp_path / 'out')
    net.save_parameters(params)
    assert main(['export', '--model', 'meliusnet22', '--params', params, '--out', prefix, '--input-size', '16']
                + SMALL + OPTIONS[name]) == 0
    _, metadata = deploy.load(prefix)
    assert metadata.layer_defaults == dict(vars(bmx.nn.Config()), **given)
    x = random((8, 3, 16, 16))
    deployed, _ = deploy.load(prefix)
    assert np.array_equal(deployed(x).asnumpy(), net(x).asnumpy() if metadata.exact else own(net, x))
    capsys.readouterr()
    assert main(['verify', prefix, '--params', params]) == 0
    assert 'values on 16 of 16 inputs' in capsys.readouterr().out
    assert main(['verify', prefix, '--params', params, '--bits', '8', '--activation-bits', '8']) == 1


def test_files_from_before_activation_bits(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('bmx.deploy.operators.can_interleave', lambda *_: False)  # nor did programs hold such weights
    net = bmx.get_model('meliusnet22', stem='thumbnail', classes=3, blocks=(1, 1), reductions=(0.5,))
    net.initialize(mx.init.Xavier())
    prefix, params = str(tmp_path / 'net'), str(tmp_path / 'x.params')
    bmx.export(net, prefix, (1, 3, 16, 16), exact=True)
    net.save_parameters(params)
    with open(files.symbol_path(prefix)) as stream:
        symbol = json.load(stream)
    data = next(node for node in symbol['nodes'] if node['name'] == 'data')
    metadata = json.loads(data['attrs']['__bmx__'])
    metadata['format'] = 3
    del metadata['layer_defaults']['activation_bits'], metadata['symbol_sha256'], metadata['exact']
    data['attrs']['__bmx__'] = json.dumps(metadata)
    with open(files.symbol_path(prefix), 'w') as stream:
        json.dump(symbol, stream)
    assert main(['verify', prefix, '--bits', '2']) == 1
    assert 'give its --params' in capsys.readouterr().err
    assert main(['verify', prefix, '--params', params]) == 0
    assert 'values on 16 of 16 inputs' in capsys.readouterr().out


def test_training_takes_and_keeps_them(tiny_model, tmp_path, capsys):
    command = arguments(str(write_folder(tmp_path / 'data', train=3, val=3)), tmp_path)
    given = {'bits': 1, 'activation_bits': 2, 'quantizer': 'approx_sign', 'clip_threshold': 0.0, 'scaling': 'constant'}
    options = [text for key, value in given.items() for text in ('--' + key.replace('_', '-'), str(value))]
    assert train(command + options) == 0
    assert '1 of 3 layers binary' in capsys.readouterr().out
    _, metadata = deploy.load(str(tmp_path / 'run' / 'tiny'))
    assert metadata.layer_defaults == dict(vars(bmx.nn.Config()), **given)
    assert train(command + options + ['--resume']) == 0
    assert train(command + options[2:] + ['--resume', '--activation-bits', '1', '--bits', '2']) == 1
    assert 'activation_bits was 2, is now 1; bits was 1, is now 2' in capsys.readouterr().out


# The model decides, by its name or a keyword: an option that says something else has no effect.
@pytest.mark.parametrize('command, message', [
    (['meliusnet22', '--set', 'bits=32', '--bits', '2'], '--bits 2 contradicts --set bits=32'),
    (['meliusnet_float', '--bits', '1'], 'its layers have bits=32, --bits 1 has no effect'),
    (['mobinet_mid', '--scaling', 'none'], 'its layers have scaling=gradient, --scaling none has no effect'),
    (['densenet_float', '--bits', '2'], 'give --bits 32, or --set bits=2 to change them')])
def test_bits_that_no_layer_would_have_are_refused(command, message, capsys):
    assert main(['summary'] + command) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('command, bits', [
    ([], '1/1'), (['--set', 'bits=2'], '2/2'), (['--bits', '2'], '2/2'), (['--bits', '2', '--set', 'bits=2'], '2/2'),
    (['--set', 'bits=2', '--activation-bits', '3'], '2/3')])
def test_bits_by_option_or_keyword(command, bits, capsys):
    assert main(['summary', 'resnete18', '--json'] + command) == 0
    assert bits in [layer['bits'] for layer in json.loads(capsys.readouterr().out)['layers']]


@pytest.mark.parametrize('option', [
    ['--bits', '0'], ['--bits', '9'], ['--activation-bits', '0'], ['--quantizer', 'tanh'], ['--scaling', 'yes'],
    ['--clip-threshold', '-1']], ids=' '.join)
def test_options_that_argparse_refuses(option, capsys):
    with pytest.raises(SystemExit):
        main(['summary', 'meliusnet22'] + option)
    assert option[0] in capsys.readouterr().err
