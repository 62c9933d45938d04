"""Every quantizer of the registry: its values and gradients by the papers' formulas, and its way through a layer, from
hybridized training to the deployed network."""

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
from quantizer_cases import CASES, circulant, sign

ACTIVATIONS, WEIGHTS, SHAPE = (2, 4, 5, 6), (8, 4, 3, 3), (2, 8, 9, 8)  # the last: of a network's input

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
        return quantizer.finish(total, 2, **learned)
    found = quantizer.quantize_activation(x, **learned)
    if not quantizer.has_scales:
        return found
    pixel = dict(kernel=(1, 1), stride=(1, 1), pad=(0, 0), dilate=(1, 1))
    return quantizer.combine(*found, (-1, 1, 1, 1), pixel)  # a filter that is 1 at one tap


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
    ('syq(3)', lambda: bmx.nn.QDense(10), 'k must be one of 1, 2'),
    ("syq(2, by='tap')", lambda: bmx.nn.QDense(10), "by must be one of 'row', 'pixel', 'layer'"),
    ('syq(2, eta=1)', lambda: bmx.nn.QDense(10), 'eta must be a number of at least 0 and less than 1'),
    ('ttq(1.5)', lambda: bmx.nn.QDense(10), 't must be a number of at least 0 and less than 1'),
    ('ttq(-1)', lambda: bmx.nn.QDense(10), 't must be a number of at least 0'),
    ('xnor(clip=-1)', lambda: bmx.nn.QDense(10), 'clip must be a number of at least 0'),
    ('xnor_pp(side=-1)', lambda: bmx.nn.QDense(10), 'side must be a whole number of at least 0'),
    ('lq(4)', lambda: bmx.nn.QDense(10), 'k must be one of 1, 2, 3'),
    ('abc(0)', lambda: bmx.nn.QDense(10), 'm must be one of 1, 2'),
    ('abc(2, by_filter=1)', lambda: bmx.nn.QDense(10), 'by_filter must be one of False, True')])
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


@pytest.mark.parametrize('kernel, stride, pad, dilate', [
    ((3, 3), (1, 1), (1, 1), (1, 1)), ((3, 2), (2, 1), (0, 1), (1, 1)), ((3, 3), (1, 2), (2, 2), (2, 2)),
    ((1, 1), (1, 1), (1, 1), (1, 1)), ((3,), (2,), (1,), (1,))])
def test_scales_of_windows(kernel, stride, pad, dilate):
    """XNOR-Net's K, the product of A and a filter of equal taps; a border from either block counts 0."""
    x = random((2, 4, 7, 8)[:2 + len(kernel)], 3)
    border = [(0, 0)] * 2 + [(width, width) for width in pad]
    average = mx.nd.array(np.pad(np.abs(x.asnumpy()), border).mean(axis=1, keepdims=True))
    taps = mx.nd.ones((1, 1) + kernel) / np.prod(kernel)
    scales = mx.nd.Convolution(average, taps, num_filter=1, no_bias=True, kernel=kernel, stride=stride, dilate=dilate)
    with bmx.nn.config(activation='xnor', weight='sign', pad_value=1):
        place = dict(strides=stride, dilation=dilate, use_bias=False, in_channels=4)
        layer, behind = ({1: bmx.nn.QConv1D, 2: bmx.nn.QConv2D}[len(kernel)](5, kernel, padding=width, **place)
                         for width in (pad, (0,) * len(pad)))
        activation, bordered = bmx.nn.QActivation(), bmx.nn.QActivation(padding=pad)
    layer.initialize(mx.init.Normal(1))
    behind.initialize(mx.init.Normal(1))
    behind.weight.set_data(layer.weight.data())
    signs = mx.nd.array(np.pad(sign(x.asnumpy()), border, constant_values=1))
    product = mx.nd.Convolution(signs, mx.nd.array(sign(layer.weight.data().asnumpy())), num_filter=5, no_bias=True,
                                kernel=kernel, stride=stride, dilate=dilate)
    for found in (layer(activation(x)), behind(bordered(x))):
        assert_almost_equal(found.asnumpy(), (product * scales).asnumpy(), rtol=1e-5, atol=1e-5)


def learned_layer(layer, x):
    """A layer with learned numbers of no two equal, those by name, and the product of the signs of both operands."""
    layer.initialize(mx.init.Normal(1))
    found = {}
    for name, value in layer.collect_params('.*weight_').items():
        value.set_data(random(value.shape, len(name)))
        found[name.rpartition('_')[2]] = value.data().asnumpy()
    return layer(x).asnumpy(), found


@pytest.mark.parametrize('hybridize', [False, True])
def test_learned_scales_of_the_product(hybridize):
    """XNOR-Net++: products smaller than `side` take the first values, rows and dense layers what they have."""
    with bmx.nn.config(weight='xnor_pp(side=9)', activation='sign'):
        image, row = bmx.nn.QConv2D(5, 3, in_channels=4, use_bias=False), bmx.nn.QConv1D(5, 3, in_channels=4)
        dense = bmx.nn.QDense(5, in_units=4)
    for layer, shape, names_ in ((image, (2, 4, 9, 8), {'channels', 'rows', 'columns'}),
                                 (row, (2, 4, 11), {'channels', 'columns'}), (dense, (2, 4), {'channels'})):
        layer.hybridize(hybridize)
        x = mx.nd.array(sign(random(shape, 3).asnumpy()))
        result, learned = learned_layer(layer, x)
        weight = mx.nd.array(sign(layer.weight.data().asnumpy()))
        if layer is dense:
            expected = mx.nd.dot(x, weight.T).asnumpy() * learned['channels']
        else:
            expected = mx.nd.Convolution(x, weight, num_filter=5, no_bias=True, kernel=weight.shape[2:]).asnumpy()
            expected = expected * learned['channels'].reshape((-1,) + (1,) * (expected.ndim - 2))
            expected = expected * learned['columns'][:expected.shape[-1]]
            if 'rows' in learned:
                expected = expected * learned['rows'][:expected.shape[2], np.newaxis]
        assert set(learned) == names_
        assert_almost_equal(result, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('text', CASES['activation'])
def test_dense_layers_and_rows(text):
    """What a quantizer of activations makes of other shapes than images, hybridized and not."""
    if parse_quantizer(text).by_channel:
        pytest.skip('of images')
    for shape in ((3, 6), (3, 6, 4, 5), (3, 6, 9)):
        with bmx.nn.config(activation=text, weight='sign'):
            layers = [bmx.nn.QActivation(), bmx.nn.QConv1D(4, 3, padding=1, in_channels=6) if len(shape) == 3
                      else bmx.nn.QDense(4, in_units=int(np.prod(shape[1:])))]
        net = sequential(*layers)
        net.initialize(mx.init.Normal(1))
        x, found = random(shape), []
        for hybridize in (False, True):
            net.hybridize(hybridize)
            found.append(net(x).asnumpy())
        assert_almost_equal(*found, rtol=1e-5, atol=1e-5)
        assert np.abs(found[0]).sum() > 0


@pytest.mark.parametrize('text', ['lq(2)', 'lq(3)'])
@pytest.mark.parametrize('basis', [[0.4, 0.3, 0.5], [-0.9, 0.2, 0.0], [0.1, 0.1, 0.1], [0.0, 0.0, 0.0]])
def test_levels_of_a_basis_are_in_order(text, basis):
    """Whatever is learned, values never decrease in x, and are its nearest levels."""
    quantizer = parse_quantizer(text)
    x = mx.nd.array(np.linspace(-2, 2, 401)).reshape((401, 1, 1, 1))
    values = quantizer.combine(*quantizer.quantize_activation(x, basis=mx.nd.array(basis[:quantizer.k])), (-1, 1, 1, 1),
                               {}).asnumpy().ravel()
    levels = np.unique(values)
    assert (np.diff(values) >= 0).all() and levels[0] == 0
    plain = x.asnumpy().ravel()
    assert_almost_equal(np.abs(values - plain), np.abs(levels - plain[:, np.newaxis]).min(axis=1), atol=1e-6)


def test_weights_without_signs_apart():
    """Filters of one number: the signs of all planes are the same, and the fit is exact all the same."""
    w = mx.nd.ones(WEIGHTS) * mx.nd.arange(1, 9).reshape((8, 1, 1, 1))
    for text in ('lq(1)', 'lq(2)', 'lq(3)', 'abc(5, by_filter=True)'):
        assert_almost_equal(value_of('weight', parse_quantizer(text), w, {}).asnumpy(), w.asnumpy(), rtol=1e-5)


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
    planes = len(bits) // 2  # a row each
    assert bits == [f'{parse_quantizer(text).bits // planes}/32'] * 2 * planes


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
    planes = len(bits) // 2  # of weights, a row each
    assert bits == [f'{of_weight // planes}/{of_input}'] * 2 * planes


@BY_METHOD
def test_a_text_names_its_quantizer(role, text):
    quantizer = parse_quantizer(text)
    assert parse_quantizer(str(quantizer)) == quantizer == parse_quantizer(quantizer) and quantizer.bits >= 1


@pytest.mark.parametrize('text, message', [
    ('sgin', 'did you mean sign'), ('dorefa', 'the settings of dorefa are: k'), ('dorefa(9)', 'k must be one of'),
    ('sign(clip=-1)', 'clip must be a number'), ('sign(3', 'is no quantizer'), ('a.b()', 'is no quantizer'),
    ('hwgq(4)', 'k must be one of 1, 2, 3'), ("hwgq(2, estimator='tanh')", "estimator must be one of 'clipped'"),
    ('rsign(clip=-1)', 'clip must be a number'), ('rsign', 'learns a number of each channel: give in_channels'),
    ('', 'is no quantizer'), ('sign(clip=x)', 'is no quantizer'), ('sign(step=1)', 'the settings of sign are'),
    ('residual(1)', 'binarizations must be one of 2')])
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


class Function(mx.gluon.HybridBlock):
    """A function of its input, and of a parameter of some shape."""

    def __init__(self, function, shape=(1, 4, 1, 1)):
        super().__init__()
        self._function = function
        with self.name_scope():
            self.own = self.params.get('own', shape=shape, init=mx.init.Normal(3))

    def hybrid_forward(self, F, x, own):
        return self._function(F, x, own)


def conv(**settings):
    return bmx.nn.QConv2D(8, 3, in_channels=4, use_bias=False, **settings)


# What people put before, behind and in the place of a quantizer: the network, and whether its product is binary.
AROUND = {
    'no quantizer': (lambda: [Function(lambda F, x, own: x * .1 + .5), conv(activation='dorefa(3)')], False),
    'relu alone': (lambda: [Function(lambda F, x, own: F.relu(x) * .2), conv(activation='dorefa(4)')], False),
    'another quantizer': (lambda: [bmx.nn.QActivation(activation='hwgq(2)'), conv(activation='dorefa(2)')], False),
    'a sign': (lambda: [bmx.nn.QActivation(activation='sign'), conv(activation='dorefa(2)')], False),
    'doubled': (lambda: [bmx.nn.QActivation(activation='dorefa(2)'), Function(lambda F, x, own: x * 2),
                         conv(activation='dorefa(2)')], False),
    'pooled': (lambda: [bmx.nn.QActivation(activation='dorefa(2)'), nn.MaxPool2D(2, 1), conv(activation='dorefa(2)')],
               False),
    'of a magnitude': (lambda: [Function(lambda F, x, own: F.abs(x)), bmx.nn.QActivation(activation='hwgq(1)'),
                                conv(activation='hwgq(1)')], True),
    'of a product': (lambda: [Function(lambda F, x, own: x * F.clip(x + 3, 0, 6) / 6),
                              bmx.nn.BinaryConv(8, 3, in_channels=4, activation='abc(3)')], True),
    'far from 0': (lambda: [Function(lambda F, x, own: x + 6), bmx.nn.BinaryConv(8, 3, in_channels=4,
                                                                                activation='lq(2)')], True),
    'upside down': (lambda: [Function(lambda F, x, own: 1 - x), bmx.nn.BinaryConv(8, 3, in_channels=4,
                                                                                 activation='lq(2)')], True),
    'by pixels': (lambda: [Function(lambda F, x, own: F.broadcast_add(x, own), (1, 1, 6, 6)),
                           bmx.nn.BinaryConv(8, 3, in_channels=4, activation='dorefa(2)')], True),
    'of a sum': (lambda: [Function(lambda F, x, own: x + F.sin(x)),
                          bmx.nn.BinaryConv(8, 3, in_channels=4, activation='dorefa(2)')], True),
    'planes with weights of two bits': (lambda: [bmx.nn.BinaryConv(8, 3, in_channels=4, activation='lq(2)',
                                                                   weight='twn')], False),
}


@pytest.mark.parametrize('name', AROUND)
def test_what_is_around_a_quantizer(name, tmp_path):
    blocks, is_binary = AROUND[name]
    net = sequential(*blocks(), bmx.nn.BinaryConv(4, 1, in_channels=8, activation='sign', weight='sign'),
                     nn.GlobalAvgPool2D(), nn.Flatten())
    net.initialize(mx.init.Normal(1))
    net(random((1, 4, 6, 6)))
    found = bmx.export(net, str(tmp_path / 'net'), (1, 4, 6, 6))
    assert [row.reason is None for row in found.rows] == [is_binary, True]
    loaded, _ = bmx.deploy.load(str(tmp_path / 'net'))
    for factor in (1, 10):
        x = random((4, 4, 6, 6), 3) * factor
        assert np.array_equal(loaded(x).asnumpy(), own(net, x))


@pytest.mark.parametrize('name', [name for name in names(True)])
def test_integers_are_exact(name):
    for text in CASES['activation']:
        quantizer = parse_quantizer(text)
        if quantizer.name == name and not quantizer.signs and not quantizer.has_scales and quantizer.bits < 32:
            found = quantizer.integers(quantizer.quantize_activation(random((1, 4, 200, 200)) * 2)).asnumpy()
            assert set(np.unique(found)) == set(range(2 ** quantizer.bits))


@pytest.mark.parametrize('k', range(1, 9))
def test_integers_of_dorefa_are_exact(k):
    quantizer = parse_quantizer(f'dorefa({k})')
    found = quantizer.integers(quantizer.quantize_activation(mx.nd.array(np.linspace(-1, 2, 5000)))).asnumpy()
    assert set(np.unique(found)) == set(range(2 ** k))


@pytest.mark.parametrize('build, message', [
    (lambda: bmx.nn.BinaryConv(4, 3, bits=2, weight='sign'), "bits=2 and weight='sign' both tell how weights"),
    (lambda: bmx.nn.BinaryConv(4, 3, activation_bits=2, activation='sign'), "activation_bits=2 and activation='sign'"),
    (lambda: bmx.nn.QActivation(binarizations=2, activation='sign'), "binarizations=2 and activation='sign'"),
    (lambda: bmx.nn.QActivation(clip_threshold=0.5, activation='sign'), "clip_threshold=0.5 and activation='sign'"),
    (lambda: bmx.nn.QDense(4, scaling='constant', weight='sign'), "scaling='constant' and weight='sign'"),
    (lambda: bmx.nn.QDense(4, quantizer='approx_sign', weight='twn'), "quantizer='approx_sign' and weight='twn'"),
    (lambda: bmx.get_model('resnete18', bits=1, weight='dorefa(2)'), r"bits=1 and weight='dorefa\(2\)'"),
    (lambda: bmx.get_model('mobinet_mid', scaling='constant', weight='twn'), "scaling='constant' and weight='twn'")])
def test_a_quantizer_is_told_once(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_nearer_shorthand_replaces_a_name():
    with bmx.nn.config(weight='sign', activation='sign(clip=1.0)'):
        scaled, clipped, other = (bmx.nn.BinaryConv(4, 3, **given).conv.quantization for given in (
            {'scaling': 'gradient'}, {'clip_threshold': 0.5}, {'quantizer': 'approx_sign'}))
    assert (str(scaled.weight_quantizer), str(scaled.activation_quantizer)) == ("sign(scaling='gradient')",
                                                                                'sign(clip=1.0)')
    assert str(clipped.weight_quantizer) == str(clipped.activation_quantizer) == 'sign(clip=0.5)'
    assert str(other.weight_quantizer) == str(other.activation_quantizer) == 'approx_sign'


def test_a_name_inside_shorthand_is_built_again():
    with bmx.nn.config(clip_threshold=1.0, scaling='constant'):
        net = bmx.get_model('resnete18', classes=3, stem='thumbnail', weight='twn')
    with bmx.nn.config(**net.layer_defaults):
        again = bmx.get_model(net.model_name, **net.model_kwargs)
    first, second = (bmx.nn.quantized_layers(each)[0].quantization for each in (net, again))
    assert first == second
    assert (str(first.weight_quantizer), str(first.activation_quantizer)) == ('twn', 'sign(clip=1.0)')


@pytest.mark.parametrize('name', ['mobinet_mid', 'quicknet'])
def test_names_go_before_the_defaults_of_a_model(name):
    with bmx.nn.config(weight='twn'):
        net = bmx.get_model(name, classes=3)
    assert {str(layer.quantization.weight_quantizer) for layer in bmx.nn.quantized_layers(net)} == {'twn'}


@pytest.mark.parametrize('given, error, message', [
    ('dorfa(2)', ValueError, 'did you mean dorefa'), ('DoReFa(2)', ValueError, 'did you mean dorefa'),
    (QUANTIZERS['dorefa'], TypeError, 'a quantizer is told by'), (3, TypeError, 'a quantizer is told by')])
def test_what_names_neither_function_nor_quantizer(given, error, message):
    for build in (lambda: bmx.nn.QConv2D(4, 3, activation=given), lambda: bmx.nn.QDense(4, activation=given),
                  lambda: bmx.get_model('resnete18', activation=given)):
        with pytest.raises(error, match=message):
            build()
    assert bmx.nn.QDense(4, activation='softrelu').act is not None


def test_settings_are_numbers_of_python():
    for text, made in (('hwgq(2)', QUANTIZERS['hwgq'](2.0)), ('lq(2)', QUANTIZERS['lq'](np.int64(2))),
                       ('sign(clip=1.0)', QUANTIZERS['sign'](clip=np.float32(1))),
                       ('xnor_pp(side=3)', QUANTIZERS['xnor_pp'](np.int32(3))),
                       ('abc(2, by_filter=True)', QUANTIZERS['abc'](2, np.bool_(True))),
                       ('sign(clip=inf)', QUANTIZERS['sign'](clip=np.inf))):
        assert parse_quantizer(text) == made and repr(parse_quantizer(text)) == repr(made)
        assert parse_quantizer(str(made)) == made
    for wrong in (True, np.bool_(True), 1.5, 'two', np.nan):
        with pytest.raises(ValueError, match='k must be one of 1, 2, 3'):
            QUANTIZERS['lq'](wrong)


@pytest.mark.parametrize('text', ['lq(2)', 'abc(2)', 'xnor', 'residual(2)'])
def test_scales_are_for_quantized_weights(text):
    for build in (bmx.nn.BinaryConv, bmx.nn.QConv2D):
        with pytest.raises(ValueError, match='are for quantized weights, but these are float'):
            build(4, 3, activation=text, weight='float')


@pytest.mark.parametrize('text', ['rsign', 'rsign(clip=1)'])
def test_rsign_is_of_images(text):
    for hybridize, error in ((False, ValueError), (True, mx.MXNetError)):
        layer = bmx.nn.QActivation(activation=text, in_channels=5)
        layer.initialize()
        layer.hybridize(hybridize)
        with pytest.raises(error):
            layer(mx.nd.ones((2, 5))).wait_to_read()
    with pytest.raises(ValueError, match='is for the channels of images'):
        bmx.nn.BinaryDense(3, in_units=5, activation=text)


@pytest.mark.parametrize('dtype', ['float16', 'float64'])
def test_filters_are_drawn_in_any_dtype(dtype):
    with autograd.record():
        term, = parse_quantizer('sq_bwn').quantize_weight(random(WEIGHTS).astype(dtype))
    assert term.values.dtype == term.scale.dtype == np.dtype(dtype)
    whole = (np.abs(term.values.asnumpy()) == 1).all(axis=(1, 2, 3))
    assert whole.sum() == WEIGHTS[0] // 2


@pytest.mark.parametrize('hybridize, error, message', [(False, ValueError, 'give side=7'),
                                                       (True, mx.MXNetError, 'side_of_rows')])
def test_a_product_larger_than_its_factors(hybridize, error, message):
    layer = bmx.nn.QConv2D(4, 3, weight='xnor_pp(2)', in_channels=3)
    layer.initialize()
    layer.hybridize(hybridize)
    with pytest.raises(error, match=message):
        layer(mx.nd.ones((1, 3, 7, 9)))
