"""Layers of signs train through `binary_convolution`: where, and that they learn what the composed operators teach."""
import json

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon
from mxnet.gluon import nn

import bmx
from bmx.graph import Graph
from bmx.nn import layers
from helpers import random, sequential

# Layers behind signs, with the shape of an input.
CASES = {
    'convolution': (lambda: bmx.nn.BinaryConv(8, 3, padding=1, in_channels=5), (2, 5, 7, 6)),
    'own padding': (lambda: sequential(bmx.nn.QActivation(), bmx.nn.QConv2D(8, 3, padding=(0, 1), in_channels=5)),
                    (2, 5, 7, 6)),
    'zeros around': (lambda: bmx.nn.BinaryConv(8, 3, padding=1, in_channels=5, pad_value=0), (2, 5, 7, 6)),
    'groups, strides': (lambda: bmx.nn.BinaryConv(8, 3, 2, 1, groups=4, in_channels=8), (2, 8, 7, 6)),
    'scaled weights': (lambda: bmx.nn.BinaryConv(8, 3, dilation=2, in_channels=5, scaling='constant'), (2, 5, 9, 8)),
    'polynomial gradient': (lambda: bmx.nn.BinaryConv(8, 1, in_channels=5, quantizer='approx_sign'), (2, 5, 7, 6)),
    'binarizations': (lambda: bmx.nn.BinaryConv(8, 3, padding=1, in_channels=5, binarizations=2), (2, 5, 7, 6)),
    'row': (lambda: sequential(bmx.nn.QActivation(), bmx.nn.QConv1D(8, 3, padding=1, in_channels=5)), (2, 5, 9)),
}


def operators(net):
    """The operators of the symbol that MXNet computes, by name."""
    return [node['op'] for node in json.loads(net(mx.sym.var('data')).tojson())['nodes']]


def results(net, x, head):
    """Output, gradient of the input and of each parameter."""
    x = mx.nd.array(x)
    x.attach_grad()
    with autograd.record():
        y = net(x)
    y.backward(mx.nd.array(head))
    return [y.asnumpy(), x.grad.asnumpy()] + [parameter.grad().asnumpy() for parameter in net.collect_params().values()
                                              if parameter.grad_req != 'null']


@pytest.mark.parametrize('name', CASES)
@pytest.mark.parametrize('static', [False, True])
def test_equals_the_composed_operators(name, static, monkeypatch):
    """The numbers exactly, the gradients but for the rounding of at most some hundred summands of float32."""
    make, shape = CASES[name]
    mx.random.seed(1)
    net = make()
    net.initialize(mx.init.Normal(1))
    x = random(shape, 1)
    head = random(net(mx.nd.array(x)).shape, 2)
    assert operators(net).count('binary_convolution') == 1
    net.hybridize(static_alloc=static, static_shape=static)
    packed = results(net, x, head)
    monkeypatch.setattr(layers, 'holds_signs', lambda *given: False)
    net.hybridize(False)
    assert 'binary_convolution' not in operators(net)
    for composed in (results(net, x, head), (net.hybridize(), results(net, x, head))[1]):
        assert np.array_equal(packed[0], composed[0])
        for found, expected in zip(packed[1:], composed[1:]):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize('name', CASES)
def test_graphs_are_those_of_the_composed_operators(name, monkeypatch):
    """What accounting and the exporter read does not depend on how a layer is computed."""
    make, shape = CASES[name]
    net = make()
    net.initialize()

    def read():
        graph = Graph.from_block(net, shape)
        skipped = ('Reshape', 'reshape')  # which bring back MXNet's plain layout
        return [(node.op, node.attr('pad', ()) or (), node.attr('pad_width')) for node in graph.nodes
                if node.op not in skipped]

    found = read()
    monkeypatch.setattr(layers, 'holds_signs', lambda *given: False)
    assert [each[0] for each in found] == [each[0] for each in read()]
    assert bmx.summary(net, shape).bops > 0


def others():
    """Layers whose input or weights are not known to be signs, and those that would not be faster."""
    return {
        'no activation': sequential(bmx.nn.QConv2D(4, 3, in_channels=5)),
        'something in between': sequential(bmx.nn.QActivation(), nn.AvgPool2D(2), bmx.nn.QConv2D(4, 3, in_channels=5)),
        'integers': sequential(bmx.nn.QActivation(activation='dorefa(2)'),
                               bmx.nn.QConv2D(4, 3, in_channels=5, activation='dorefa(2)')),
        'weights of two bits': sequential(bmx.nn.QActivation(),
                                          bmx.nn.QConv2D(4, 3, in_channels=5, weight='dorefa(2)')),
        'depthwise': sequential(bmx.nn.BinaryConv(5, 3, groups=5, in_channels=5)),
        'dense': sequential(bmx.nn.QActivation(), bmx.nn.QDense(4, in_units=5)),
        'float16': sequential(bmx.nn.BinaryConv(4, 3, in_channels=5)),
        'float64': sequential(bmx.nn.BinaryConv(4, 3, in_channels=5)),
    }


@pytest.mark.parametrize('name', others())
def test_stays_composed(name):
    net = others()[name]
    net.initialize()
    if name.startswith('float'):
        net.cast(name)
    assert 'binary_convolution' not in operators(net)


@pytest.mark.parametrize('value', [-1, 0, 1])
@pytest.mark.parametrize('border, padding, binarizations', [
    ((1, 1), 0, 1), ((1, 1), 1, 1), ((1,), 0, 1), ((1, 1), 0, 2), ((1, 1), 1, 2)])
def test_borders_of_signs(border, padding, binarizations, value):
    """Zeros around signs are none, and the padding of a convolution comes on top of them."""
    with bmx.nn.config(binarizations=binarizations, pad_value=value):
        net = sequential(bmx.nn.QActivation(padding=border), bmx.nn.QConv2D(4, 3, padding=padding, in_channels=5))
    net.initialize(mx.init.Normal(1))
    x = mx.nd.array(random((2, 5, 7, 6)))
    expected = net(x).asnumpy()
    net.hybridize()
    assert np.array_equal(net(x).asnumpy(), expected)


def test_a_product_is_no_sign():
    net = sequential(bmx.nn.BinaryConv(4, 3, in_channels=5), bmx.nn.QConv2D(4, 3, in_channels=4))
    net.initialize(mx.init.Normal(1))
    assert operators(net).count('binary_convolution') == 1
    x = mx.nd.array(random((2, 5, 7, 6)))
    expected = net(x).asnumpy()
    net.hybridize()
    assert np.array_equal(net(x).asnumpy(), expected)


def test_on_a_gpu_operators_are_mxnets():
    net = bmx.nn.BinaryConv(4, 3, in_channels=5)
    with mx.gpu(0):
        assert not {'binarize', 'binary_convolution'} & set(operators(net))


def train(steps):
    mx.random.seed(3)
    net = bmx.get_model('resnete18', classes=4, stem='thumbnail', layers=(1, 1, 1, 1))
    net.initialize(mx.init.Xavier())
    net.hybridize(static_alloc=True, static_shape=True)
    x, label = mx.nd.array(random((8, 3, 32, 32), 4)), mx.nd.array([0, 1, 2, 3] * 2)
    loss, losses = gluon.loss.SoftmaxCrossEntropyLoss(), []
    with autograd.pause():
        net(x[:1])
    trainer = gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.01})
    for _ in range(steps):
        with autograd.record():
            value = loss(net(x), label)
        value.backward()
        trainer.step(8)
        losses.append(float(value.mean().asscalar()))
    return losses, {name: parameter.data().asnumpy() for name, parameter in net._collect_params_with_prefix().items()}


def test_training_goes_the_way_of_the_composed_operators(monkeypatch):
    """Until the rounding of a gradient lets a sign flip: then as two trainings in other orders of addition do."""
    losses, _ = train(10)
    early, packed = train(5)
    monkeypatch.setattr(layers, 'holds_signs', lambda *given: False)
    expected, composed = train(5)
    assert losses[-1] < 0.7 * losses[0] and losses[:5] == early
    np.testing.assert_allclose(early, expected, rtol=1e-5)
    for name, values in composed.items():
        np.testing.assert_allclose(packed[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(losses, train(10)[0], rtol=0.1)
