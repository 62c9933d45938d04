"""RAdam, step by step against the published algorithm in float64."""
import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon

import bmx.train  # noqa: F401  (registers the optimizer)


def radam(weight, gradients, lr, beta1=0.9, beta2=0.999, epsilon=1e-8, wd=0.0, rescale=1.0, clip=None):
    """Liu et al. 2020, Algorithm 2; yields the weight after every step, and whether the step was rectified."""
    m, v = np.zeros_like(weight), np.zeros_like(weight)
    rho_inf = 2 / (1 - beta2) - 1
    for t, g in enumerate(gradients, start=1):
        g = g * rescale
        g = g + wd * weight
        if clip is not None:
            g = np.clip(g, -clip, clip)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g ** 2
        m_hat = m / (1 - beta1 ** t)
        rho = rho_inf - 2 * t * beta2 ** t / (1 - beta2 ** t)
        if rho > 4:
            r = np.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
            weight = weight - lr * r * m_hat * np.sqrt(1 - beta2 ** t) / (np.sqrt(v) + epsilon)
        else:
            weight = weight - lr * m_hat
        yield weight, rho > 4


CASES = [
    dict(lr=0.002),
    dict(lr=0.002, wd=0.01),
    dict(lr=0.1, beta1=0.8, beta2=0.9),
    dict(lr=0.01, epsilon=0.1),
    dict(lr=0.01, beta1=0.0, wd=0.001, rescale=1 / 16),
    dict(lr=0.01, rescale=2.0, clip=0.5),
    dict(lr=0.01, wd=0.5, clip=0.5),
    dict(lr=0.0),
]


@pytest.mark.parametrize('case', CASES, ids=str)
@pytest.mark.parametrize('dtype', ['float32', 'float16'])
def test_equals_the_published_algorithm(case, dtype):
    rng = np.random.RandomState(0)
    start = rng.normal(size=(3, 5)).astype(dtype)
    gradients = rng.normal(size=(60, 3, 5)).astype(dtype)
    names = dict(lr='learning_rate', rescale='rescale_grad', clip='clip_gradient')
    optimizer = mx.optimizer.create('radam', multi_precision=dtype == 'float16',
                                    **{names.get(key, key): value for key, value in case.items()})
    weight = mx.nd.array(start, dtype=dtype)
    state = optimizer.create_state_multi_precision(0, weight)
    rectified = []
    expected = radam(start.astype('float64'), gradients.astype('float64'), **case)
    for gradient, (wanted, rectify) in zip(gradients, expected):
        optimizer.update_multi_precision(0, weight, mx.nd.array(gradient, dtype=dtype), state)
        master = state[0] if dtype == 'float16' else weight
        np.testing.assert_allclose(master.asnumpy(), wanted, rtol=2e-5, atol=2e-6)
        rectified.append(rectify)
    assert weight.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(weight.asnumpy(), master.asnumpy().astype(dtype))
    assert not rectified[0] and rectified[-1]  # both branches were taken


def test_counts_the_steps_of_each_parameter_alone():
    optimizer = mx.optimizer.create('radam', learning_rate=0.1)
    weights = {index: mx.nd.ones(2) for index in (0, 1)}
    states = {index: optimizer.create_state(index, weights[index]) for index in weights}
    for index in (0,) * 9 + (1,):
        optimizer.update(index, weights[index], mx.nd.ones(2), states[index])
    wanted = [list(radam(np.ones(2), [np.ones(2)] * count, lr=0.1))[-1][0] for count in (9, 1)]
    np.testing.assert_allclose([weights[0].asnumpy(), weights[1].asnumpy()], wanted, rtol=1e-5)


def test_saved_states_continue_identically(tmp_path):
    data = mx.nd.array(np.random.RandomState(1).normal(size=(20, 4, 6)))

    def build():
        net = gluon.nn.Dense(3, in_units=6)
        net.initialize(mx.init.Constant(0.1))
        return net, gluon.Trainer(net.collect_params(), 'radam', {'learning_rate': 0.05, 'wd': 0.01})

    def train(net, trainer, batches):
        for x in batches:
            with autograd.record():
                loss = (net(x) ** 2 - net(x)).sum()
            loss.backward()
            trainer.step(4)

    whole, trainer = build()
    train(whole, trainer, data)
    first, trainer = build()
    train(first, trainer, data[:11])
    first.save_parameters(str(tmp_path / 'net.params'))
    trainer.save_states(str(tmp_path / 'trainer.states'))
    second, trainer = build()
    second.load_parameters(str(tmp_path / 'net.params'))
    trainer.load_states(str(tmp_path / 'trainer.states'))
    train(second, trainer, data[11:])
    np.testing.assert_array_equal(second.weight.data().asnumpy(), whole.weight.data().asnumpy())
    assert not np.array_equal(first.weight.data().asnumpy(), whole.weight.data().asnumpy())
