"""Every quantizer of the registry: its values and gradients by the papers' formulas, and its way through a layer, from
hybridized training to the deployed network."""
import dataclasses
import importlib.util
from pathlib import Path
from typing import Callable

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd
from mxnet.gluon import nn
from mxnet.test_utils import assert_almost_equal

import bmx
from bmx.nn import QUANTIZERS, parse_quantizer
from bmx.nn.quantizers import names
from helpers import initialized, own, random, sequential

METHODS = Path(__file__).resolve().parent.parent / 'docs' / 'methods.py'
ACTIVATIONS, WEIGHTS, SHAPE = (2, 4, 5, 6), (8, 4, 3, 3), (2, 8, 9, 8)  # the last: of a network's input


@dataclasses.dataclass(frozen=True)
class Case:
    """What a quantizer makes of float64 arrays, and the gradients of its input and of what it learns, by name.

    `values` takes x and the learned parameters, a dict; `gradients` these and the gradient of the values, and gives a
    dict, of which 'x' is the input's; None where it is to equal that of `values`, numerically.
    """
    values: Callable
    gradients: Callable


def sign(x):
    return np.where(x >= 0, 1.0, -1.0)


def alpha(w):
    return np.abs(w).mean(axis=(1, 2, 3), keepdims=True)


def residual(x, m):
    """The sum of m scaled signs of each sample."""
    total = np.zeros_like(x)
    for _ in range(m):
        left = x - total
        total = total + sign(left) * np.abs(left).mean(axis=(1, 2, 3), keepdims=True)
    return total


def through(estimator):
    """Gradients of a quantizer that learns nothing: the head where an estimator, of x, lets it through."""
    return lambda x, learned, head: {'x': head * estimator(x)}


def inside(t):
    return through(lambda x: np.abs(x) <= t)


def xnor_gradient(w, learned, head):
    """d/dw of sign(w) alpha, both of its factors (XNOR-Net, section 3.2)."""
    return {'x': head * alpha(w) * (np.abs(w) <= 1.3) + sign(w) * (head * sign(w)).mean(axis=(1, 2, 3), keepdims=True)}


def grid(x, k):
    steps = 2 ** k - 1
    return np.floor(x * steps + 0.5) / steps


def dorefa_weight(w, learned, k=2):
    squashed = np.tanh(w)
    return 2 * grid(squashed / (2 * np.abs(squashed).max()) + 0.5, k) - 1


def dorefa_weight_gradient(w, learned, head):
    squashed = np.tanh(w)
    largest = np.abs(squashed).max()
    found = head / largest
    at = np.unravel_index(np.abs(squashed).argmax(), w.shape)
    found[at] -= np.sign(squashed[at]) * (head * squashed).sum() / largest ** 2
    return {'x': found * (1 - squashed ** 2)}


def xnor_gradient_of_the_paper(w, learned, head):
    """d/dw of sign(w) alpha as XNOR-Net's section 3.1 writes it, without the other weights' part of alpha."""
    return {'x': head * (1 / w[0].size + alpha(w) * (np.abs(w) <= 1))}


def ternary(w, threshold):
    return np.where(w > threshold, 1.0, np.where(w < -threshold, -1.0, 0.0))


def twn(axes):
    """TWN with a threshold and an alpha of what these axes are."""
    def values(w, learned):
        size = np.abs(w)
        codes = ternary(w, 0.7 * size.mean(axis=axes, keepdims=True))
        above = np.abs(codes)
        return codes * (size * above).sum(axis=axes, keepdims=True) / above.sum(axis=axes, keepdims=True)
    return Case(values, through(np.ones_like))


def ttq_codes(w):
    return ternary(w, 0.05 * np.abs(w).max())


def ttq(w, learned):
    codes = ttq_codes(w)
    return np.where(codes > 0, learned['positive'], np.where(codes < 0, -learned['negative'], 0))


def ttq_gradient(w, learned, head):
    codes = ttq_codes(w)
    return {'x': head * np.where(codes > 0, learned['positive'], np.where(codes < 0, learned['negative'], 1)),
            'positive': head[codes > 0].sum().reshape((1, 1, 1, 1)),
            'negative': -head[codes < 0].sum().reshape((1, 1, 1, 1))}


def syq(codes, axes):
    """SYQ, whose alphas are shared along these axes."""
    def gradients(w, learned, head):
        return {'x': head * learned['alpha'], 'alpha': (head * codes(w)).sum(axis=axes, keepdims=True)}
    return Case(lambda w, learned: codes(w) * learned['alpha'], gradients)


def circulant(w):
    """Each fourth filter and its rotations, clockwise by 90 degrees."""
    return np.stack([np.rot90(w[::4], -count, axes=(2, 3)) for count in range(4)], axis=1).reshape(w.shape)


def circulant_gradient(w, learned, head):
    """The sum of what comes back to the rotations, turned back, where the learned filters let it through."""
    found = np.zeros_like(w)
    for count in range(4):
        found[::4] += np.rot90(head[count::4], count, axes=(2, 3))
    return {'x': found * (np.abs(w) <= 1)}


POLYNOMIAL = through(lambda x: np.where(np.abs(x) <= 1, 2 - 2 * np.abs(x), 0))

CASES = {
    'activation': {
        'float': Case(lambda x, learned: x, through(np.ones_like)),
        'sign': Case(lambda x, learned: sign(x), inside(1.3)),
        'sign(clip=0.5)': Case(lambda x, learned: sign(x), inside(0.5)),
        'approx_sign': Case(lambda x, learned: sign(x), POLYNOMIAL),
        'dorefa(1)': Case(lambda x, learned: grid(np.clip(x, 0, 1), 1), through(lambda x: (x >= 0) & (x <= 1))),
        'dorefa(2)': Case(lambda x, learned: grid(np.clip(x, 0, 1), 2), through(lambda x: (x >= 0) & (x <= 1))),
        'residual(3)': Case(lambda x, learned: residual(x, 3), inside(1.3)),
    },
    'weight': {
        'float': Case(lambda x, learned: x, through(np.ones_like)),
        'sign': Case(lambda x, learned: sign(x), inside(1.3)),
        "sign(scaling='gradient')": Case(lambda x, learned: sign(x) * alpha(x), xnor_gradient),
        "sign(scaling='constant')": Case(lambda x, learned: sign(x) * alpha(x),
                                         through(lambda x: alpha(x) * (np.abs(x) <= 1.3))),
        'approx_sign': Case(lambda x, learned: sign(x), POLYNOMIAL),
        'dorefa(1)': Case(lambda x, learned: sign(x) * np.abs(x).mean(), through(np.ones_like)),
        'dorefa(2)': Case(dorefa_weight, dorefa_weight_gradient),
        'xnor': Case(lambda x, learned: sign(x) * alpha(x), xnor_gradient_of_the_paper),
        'twn': twn((0, 1, 2, 3)),
        "twn(by='channel')": twn((1, 2, 3)),
        'ttq': Case(ttq, ttq_gradient),
        'syq(1)': syq(sign, (0, 1, 3)),
        "syq(2, by='pixel')": syq(ttq_codes, (0, 1)),
        "syq(1, by='layer')": syq(sign, (0, 1, 2, 3)),
        "syq(2, by='layer')": syq(ttq_codes, (0, 1, 2, 3)),
        'sq_bwn(1)': Case(lambda x, learned: sign(x) * alpha(x), through(np.ones_like)),
        'circulant': Case(lambda x, learned: sign(circulant(x)), circulant_gradient),
    },
}
ALL = [(role, text) for role, cases in CASES.items() for text in cases]
BY_METHOD = pytest.mark.parametrize('role, text', ALL, ids=[f'{role}-{text}' for role, text in ALL])


def test_every_quantizer_has_a_case():
    for role, cases in CASES.items():
        assert {parse_quantizer(text).name for text in cases} == set(names(role == 'activation'))


def learned_values(parameters):
    """Arrays of what a quantizer learns, near to what they begin with."""
    state = np.random.RandomState(7)
    return {name: mx.nd.array(np.broadcast_to(initial, shape) + 0.01 * state.randn(*shape))
            for name, (shape, initial) in parameters.items()}


def value_of(role, quantizer, x, learned):
    """What stands for x, from all parts of it."""
    if role == 'weight':
        total = 0
        for term in quantizer.quantize_weight(x, **learned):
            scale = 1 if term.scale is None else term.scale.reshape((-1, 1, 1, 1))
            total = total + mx.nd.broadcast_mul(term.values, scale * term.step * mx.nd.ones((1, 1, 1, 1)))
        return total
    found = quantizer.quantize_activation(x, **learned)
    if not quantizer.has_scales:
        return found
    values, scales = found
    planes = values.reshape((quantizer.planes, -1) + x.shape[1:])
    return mx.nd.broadcast_mul(planes, scales.reshape((quantizer.planes, -1, 1, 1, 1))).sum(axis=0)


@BY_METHOD
def test_values_and_gradients(role, text):
    quantizer, case = parse_quantizer(text), CASES[role][text]
    shape = ACTIVATIONS if role == 'activation' else WEIGHTS
    x, head = random(shape, 3), random(shape, 4)
    parameters = (quantizer.activation_parameters(shape[1]) if role == 'activation'
                  else quantizer.weight_parameters(shape))
    learned = learned_values(parameters)
    for array in [x] + list(learned.values()):
        array.attach_grad()
    with autograd.record():
        value = value_of(role, quantizer, x, learned)
    value.backward(head)
    exact = {name: array.asnumpy().astype(np.float64) for name, array in learned.items()}
    plain = x.asnumpy().astype(np.float64)
    assert_almost_equal(value.asnumpy(), case.values(plain, exact), rtol=1e-5, atol=1e-5)
    expected = case.gradients(plain, exact, head.asnumpy().astype(np.float64))
    assert set(expected) == {'x'} | set(learned)
    for name, array in {'x': x, **learned}.items():
        assert_almost_equal(array.grad.asnumpy(), expected[name], rtol=1e-4, atol=1e-4, names=(name, 'expected'))


@pytest.mark.parametrize('quantizer, ratio', [('sq_bwn', 0.5), ('sq_bwn(0.75)', 0.75), ('sq_bwn(0.2)', 2 / 8)])
def test_stochastic_quantization(quantizer, ratio):
    """In training some filters are drawn to be signs, the others float; else all are signs."""
    quantizer, w, head = parse_quantizer(quantizer), random(WEIGHTS, 3), random(WEIGHTS, 4)
    w[0] = mx.nd.sign(w[0])  # without an error
    binary = value_of('weight', parse_quantizer('sq_bwn(1)'), w, {}).asnumpy()
    assert (value_of('weight', quantizer, w, {}).asnumpy() == binary).all()
    w.attach_grad()
    mx.random.seed(1)
    times = np.zeros(len(w))
    for _ in range(10):
        with autograd.record():
            value = value_of('weight', quantizer, w, {})
        value.backward(head)
        assert_almost_equal(w.grad.asnumpy(), head.asnumpy(), rtol=1e-5, atol=1e-6)
        is_binary = (value.asnumpy() == binary).all(axis=(1, 2, 3))
        is_float = (value.asnumpy() == w.asnumpy()).all(axis=(1, 2, 3))
        assert (is_binary | is_float).all()
        is_float[0] = not is_binary[1:].sum() == ratio * len(w) - 1  # the first is the same either way
        assert (~is_float).sum() == ratio * len(w)
        times += ~is_float
    # The first's 1 / 1e-7 stands against numbers of some 2.
    assert times[0] == 10 and (times % 10).any()


def test_probability_of_stochastic_quantization():
    """A few of many filters, half with the error 0.2, half with 0.6: the first are drawn three times as often."""
    w = mx.nd.array([[1, 1.5], [1, 4]] * 2000)
    mx.random.seed(3)
    with autograd.train_mode():
        term, = parse_quantizer('sq_bwn(0.05)').quantize_weight(w)
    drawn = (term.values.abs() == 1).asnumpy().all(axis=1)
    assert drawn.sum() == 200 and abs(drawn[::2].mean() / (2 * drawn.mean()) - 0.75) < 0.1


def test_rotations_by_45_degrees():
    w = random(WEIGHTS, 3)
    term, = parse_quantizer('circulant(8)').quantize_weight(w)
    found, turned = term.values.asnumpy(), sign(circulant(np.repeat(w[:1].asnumpy(), 4, axis=0)))
    assert (found[::2] == turned).all()
    kernel = mx.nd.array([[1, 1, -1], [-1, 1, -1], [-1, -1, -1]]).reshape((1, 1, 3, 3)).repeat(8, axis=0)
    term, = parse_quantizer('circulant(8)').quantize_weight(kernel)
    assert (term.values[1, 0].asnumpy() == [[-1, 1, 1], [-1, 1, -1], [-1, -1, -1]]).all()


@pytest.mark.parametrize('text, layer, message', [
    ('circulant', lambda: bmx.nn.QConv2D(6, 3), 'a multiple of 4 output channels, got a weight of shape'),
    ('circulant', lambda: bmx.nn.QConv2D(8, 1), 'kernels of 3x3 pixels'),
    ('circulant(5)', lambda: bmx.nn.QConv2D(10, 3), 'rotations must be one of 4, 8'),
    ('sq_bwn(0)', lambda: bmx.nn.QDense(10), 'ratio must be above 0 and at most 1'),
    ('sq_bwn(2)', lambda: bmx.nn.QDense(10), 'ratio must be above 0 and at most 1'),
    ("twn(by='row')", lambda: bmx.nn.QDense(10), "by must be one of 'layer', 'channel'"),
    ('syq(3)', lambda: bmx.nn.QDense(10), 'bits must be one of 1, 2'),
    ("syq(2, by='tap')", lambda: bmx.nn.QDense(10), "by must be one of 'row', 'pixel', 'layer'"),
    ('ttq(-1)', lambda: bmx.nn.QDense(10), 't must be a number of at least 0'),
    ('xnor(clip=-1)', lambda: bmx.nn.QDense(10), 'clip must be a number of at least 0')])
def test_refused_settings_of_weights(text, layer, message):
    with pytest.raises(ValueError, match=message), bmx.nn.config(weight=text):
        layer()


@pytest.mark.parametrize('layer, shapes', [
    (lambda: bmx.nn.QDense(3, weight='ttq'), {'negative': (1, 1), 'positive': (1, 1)}),
    (lambda: bmx.nn.QDense(3, weight='syq(1)'), {'alpha': (1, 1)}),
    (lambda: bmx.nn.QDense(3, weight="syq(2, by='pixel')"), {'alpha': (1, 1)}),
    (lambda: bmx.nn.QConv1D(4, 3, weight='syq(1)'), {'alpha': (1, 1, 1)}),
    (lambda: bmx.nn.QConv1D(4, 3, weight="syq(2, by='pixel')"), {'alpha': (1, 1, 3)}),
    (lambda: bmx.nn.QConv2D(4, (5, 3), weight='syq(1)'), {'alpha': (1, 1, 5, 1)}),
    (lambda: bmx.nn.QConv2D(4, (5, 3), weight="syq(2, by='pixel')"), {'alpha': (1, 1, 5, 3)}),
    (lambda: bmx.nn.QConv2D(4, (5, 3), weight="syq(2, by='layer')"), {'alpha': (1, 1, 1, 1)})])
def test_shapes_of_learned_scales(layer, shapes):
    found = {name.rpartition('_')[2]: value.shape for name, value in layer().collect_params('.*weight_').items()}
    assert found == shapes


def test_zero_weights():
    """A layer of zeros stays finite, and so does its gradient."""
    for text in CASES['weight']:
        w = mx.nd.zeros(WEIGHTS)
        w.attach_grad()
        with autograd.record():
            value = value_of('weight', parse_quantizer(text), w, learned_values(
                parse_quantizer(text).weight_parameters(WEIGHTS)))
        value.backward()
        assert np.isfinite(value.asnumpy()).all() and np.isfinite(w.grad.asnumpy()).all(), text


def net_of(role, text, **settings):
    """A small network whose middle is quantized by a method, the other operand by a sign, or float."""
    given = {role: text, **settings}
    if text == 'float':
        given.setdefault('weight' if role == 'activation' else 'activation', 'float')
    with bmx.nn.config(**given):
        net = sequential(nn.BatchNorm(in_channels=8), bmx.nn.BinaryConv(16, 3, padding=1, in_channels=8),
                         nn.BatchNorm(in_channels=16), bmx.nn.BinaryConv(12, 3, strides=2, in_channels=16),
                         nn.BatchNorm(in_channels=12), nn.GlobalAvgPool2D(), nn.Flatten(), nn.Dense(5, in_units=12))
    return net


def prepared(net, hybridize=False):
    """A network with weights of some size, and normalisations of every kind."""
    initialized(net, SHAPE, hybridize)
    state = np.random.RandomState(1)
    for name, parameter in net.collect_params().items():
        if name.endswith(('gamma', 'beta', 'running_mean', 'running_var')):
            value = state.normal(size=parameter.shape)
            if name.endswith('gamma'):
                value[::3] = 0
            parameter.set_data(mx.nd.array(np.abs(value) + 0.1 if name.endswith('var') else value))
        elif '_weight_' in name:  # what a quantizer of weights learns, which begins with whole numbers
            parameter.set_data(parameter.data() + mx.nd.array(0.1 * state.normal(size=parameter.shape)))
    return net


def trained(net):
    """Its loss, and the parameters after a step."""
    trainer = mx.gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.1})
    with autograd.record():
        loss = (net(random(SHAPE, 5)) ** 2).mean()
    loss.backward()
    trainer.step(1)
    return loss.asscalar(), [value.data().asnumpy() for value in net.collect_params().values()]


@BY_METHOD
def test_hybridized_training_equals_imperative(role, text):
    (loss, one), (other_loss, other) = (trained(prepared(net_of(role, text), hybridize)) for hybridize in (False, True))
    assert loss == pytest.approx(other_loss, rel=1e-5) and np.isfinite(loss)
    for left, right in zip(one, other):
        assert_almost_equal(left, right, rtol=1e-4, atol=1e-5)


@BY_METHOD
def test_every_parameter_learns(role, text):
    net = prepared(net_of(role, text))
    with autograd.record():
        loss = (net(random(SHAPE, 5)) ** 2).mean()
    loss.backward()
    for name, parameter in net.collect_params().items():
        if parameter.grad_req != 'null':
            assert parameter.grad().abs().sum().asscalar() > 0, name


@BY_METHOD
def test_deployed_equals_float(role, text, tmp_path):
    net = prepared(net_of(role, text), True)
    bmx.export(net, str(tmp_path / 'net'), SHAPE, inputs=random((4,) + SHAPE[1:], 6))
    loaded, metadata = bmx.deploy.load(str(tmp_path / 'net'))
    x = random((3,) + SHAPE[1:], 8)
    assert np.array_equal(loaded(x).asnumpy(), net(x).asnumpy() if metadata.exact else own(net, x))


@pytest.mark.parametrize('text', CASES['weight'])
def test_weights_behind_float_activations(text, tmp_path):
    (loss, one), (other_loss, other) = (trained(prepared(net_of('weight', text, activation='float'), hybridize))
                                        for hybridize in (False, True))
    assert loss == pytest.approx(other_loss, rel=1e-5)
    for left, right in zip(one, other):
        assert_almost_equal(left, right, rtol=1e-4, atol=1e-5)
    found = bmx.summary(net_of('weight', text, activation='float'), SHAPE)
    bits = [layer['bits'] for layer in found.layers if layer['op'] == 'Convolution']
    assert bits == [f'{parse_quantizer(text).bits}/32'] * 2


@pytest.mark.parametrize('text', list(CASES['weight']) + ['sq_bwn(0.5)'])
def test_channels_are_inferred(text):
    with bmx.nn.config(weight=text):
        net = sequential(nn.BatchNorm(), bmx.nn.BinaryConv(8, 3), nn.BatchNorm(), bmx.nn.BinaryConv(16, 3))
    net.initialize(mx.init.Normal(1))
    net.hybridize()
    assert net(random(SHAPE)).shape == (2, 16, 5, 4)
    assert [layer.weight.shape for layer in bmx.nn.quantized_layers(net)] == [(8, 8, 3, 3), (16, 8, 3, 3)]


@BY_METHOD
def test_summary_tells_the_bits(role, text):
    quantizer = parse_quantizer(text)
    found = bmx.summary(net_of(role, text), SHAPE)
    bits = [layer['bits'] for layer in found.layers if layer['op'] == 'Convolution']
    other = 32 if text == 'float' else 1
    of_weight, of_input = (other, quantizer.bits) if role == 'activation' else (quantizer.bits, other)
    assert bits == [f'{of_weight}/{of_input}'] * 2


@BY_METHOD
def test_a_text_names_its_quantizer(role, text):
    quantizer = parse_quantizer(text)
    assert parse_quantizer(str(quantizer)) == quantizer == parse_quantizer(quantizer) and quantizer.bits >= 1


@pytest.mark.parametrize('text, message', [
    ('sgin', 'did you mean sign'), ('dorefa', 'the settings of dorefa are: k'), ('dorefa(9)', 'bits must be one of'),
    ('sign(clip=-1)', 'clip must be a number'), ('sign(3', 'is no quantizer'), ('a.b()', 'is no quantizer'),
    ('', 'is no quantizer'), ('sign(clip=x)', 'is no quantizer'), ('sign(step=1)', 'the settings of sign are')])
def test_texts_that_name_none(text, message):
    with pytest.raises(ValueError, match=message):
        bmx.nn.QActivation(activation=text)


def test_roles():
    with pytest.raises(ValueError, match='weight: residual does not quantize weights; those that do: float, sign'):
        bmx.nn.QConv2D(4, 3, weight='residual(2)')
    assert all(found.quantizes_activations() or found.quantizes_weights() for found in QUANTIZERS.values())


def test_what_is_nearer_goes_before():
    with bmx.nn.config(activation='dorefa(2)', weight='dorefa(3)'):
        inner, plain = bmx.nn.BinaryConv(4, 3), bmx.nn.QConv2D(4, 3, bits=32)
        relu, other = bmx.nn.QConv2D(4, 3, activation='relu'), bmx.nn.QConv2D(4, 3, activation='sign(clip=1)')
        with bmx.nn.config(bits=1):
            one = bmx.nn.BinaryConv(4, 3)
    assert str(inner.conv.quantization.weight_quantizer) == 'dorefa(3)' and plain.quantization.weight is None
    assert relu.act is not None and str(relu.quantization.activation_quantizer) == 'dorefa(2)'
    assert other.act is None and str(other.quantization.activation_quantizer) == 'sign(clip=1)'
    assert str(one.activation.quantization.activation_quantizer) == 'sign'


def test_keywords_of_a_model():
    net = bmx.get_model('resnete18', classes=10, stem='thumbnail', activation='dorefa(2)', weight='dorefa(1)')
    layer = bmx.nn.quantized_layers(net)[0]
    assert str(layer.quantization.weight_quantizer) == 'dorefa(1)' and net.layer_defaults['activation'] == 'dorefa(2)'
    with bmx.nn.config(**net.layer_defaults):
        again = bmx.get_model(net.model_name, **net.model_kwargs)
    assert bmx.nn.quantized_layers(again)[0].quantization == layer.quantization


def test_the_table_in_the_documents_is_that_of_the_registry():
    spec = importlib.util.spec_from_file_location('methods', METHODS)
    methods = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(methods)
    page = methods.PAGE.read_text()
    assert methods.written(page) == page
