"""Weight decay, the bipolar regularizer and clipping, of binary weights and of others."""
import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon

import bmx
from bmx.cli.training import plan_of
from bmx.train import CheckpointStore, Training, TrainingError, recipes, regularizers
from bmx.train.plan import build_net
from helpers import arguments, parse, prepare, tiny, train

pytestmark = pytest.mark.usefixtures('tiny_model')


def decays(training):
    """Weight decay of every trained parameter by its name in the structure, as the optimizer gets it."""
    optimizer = training._trainer.optimizer
    found = dict(zip((parameter.name for parameter in training._trainer._params),
                     optimizer._get_wds(range(len(training._trainer._params)))))
    return {name: found[parameter.name] for name, parameter in training.net._collect_params_with_prefix().items()
            if parameter.grad_req != 'null'}


FLOAT_WEIGHTS, BINARY_WEIGHTS = ['0.weight', '6.weight'], ['2.conv.weight']


@pytest.mark.parametrize('more, wd, binary, others', [
    ([], 0.0001, 0.0, 0.0001),
    (['--no-wd'], 0.0001, 0.0, 0.0),
    (['--wd', '0'], 0.0, 0.0, 0.0),
    (['--wd', '0', '--bipolar', '0.25'], 0.0, -0.5, 0.0),
    (['--wd', '0.5', '--binary-wd', '0.125'], 0.5, 0.125, 0.5),
    (['--binary-wd', '0.125', '--bipolar', '0.25', '--no-wd'], 0.0001, 0.125 - 0.5, 0.0),
])
def test_what_decays(folder, tmp_path, more, wd, binary, others):
    training = prepare(arguments(folder, tmp_path, *more))
    for name, found in decays(training).items():
        assert found == (wd if name in FLOAT_WEIGHTS else binary if name in BINARY_WEIGHTS else others), name


def test_k_bit_and_float_weights_are_not_binary(folder, tmp_path):
    for bits in ('2', '32'):
        training = prepare(arguments(folder, tmp_path, '--bits', bits, '--wd', '0.5', '--bipolar', '1'))
        assert set(decays(training).values()) == {0.5}


# How an optimizer takes gradients: a weight after one step, from the weight, its gradient and the rate.
UPDATES = {
    'sgd': lambda w, g, lr: w - lr * g,
    'nag': lambda w, g, lr: w - lr * 1.9 * g,  # momentum 0.9 looks one step ahead
    'adam': lambda w, g, lr: w - lr * g / (np.abs(g) + 1e-8 / np.sqrt(1 - 0.999)),
    'radam': lambda w, g, lr: w - lr * g,  # its first steps are not adaptive
}


@pytest.mark.parametrize('optimizer', list(UPDATES))
@pytest.mark.parametrize('lam, binary_wd', [(0.1, 0.0), (0.1, 0.3), (0.0, 0.3)])
def test_one_step_is_that_of_the_differentiated_sum(optimizer, lam, binary_wd):
    """The loss with both terms written out, differentiated numerically; float weights have their own decay."""
    recipe = recipes.resolve('other', 'folder', dict(optimizer=optimizer, lr=0.01, wd=0.2, bipolar=lam,
                                                     binary_wd=binary_wd))
    net = gluon.nn.HybridSequential()
    net.add(bmx.nn.QDense(3, in_units=4, use_bias=False), gluon.nn.Dense(2, in_units=3, use_bias=False))
    mx.random.seed(1)
    net.initialize(mx.init.Uniform(0.9))
    regularizers.set_decays(net, recipe)
    trainer = gluon.Trainer(net.collect_params(), *recipes.optimizer(recipe, 'float32'))
    x = mx.nd.random.normal(shape=(5, 4))
    with autograd.record():
        loss = (net(x) ** 2).sum()
    loss.backward()
    weights = [layer.weight.data().asnumpy().astype(np.float64) for layer in net]
    gradients = [layer.weight.grad().asnumpy().astype(np.float64) / 5 for layer in net]

    def terms(binary, other):
        return lam * (1 - binary ** 2) + binary_wd / 2 * binary ** 2, 0.2 / 2 * other ** 2

    above, below = (terms(*(weight + shift for weight in weights)) for shift in (1e-5, -1e-5))
    trainer.step(5)
    for layer, weight, gradient, high, low in zip(net, weights, gradients, above, below):
        expected = UPDATES[optimizer](weight, gradient + (high - low) / 2e-5, 0.01)
        np.testing.assert_allclose(layer.weight.data().asnumpy(), expected, atol=1e-6)


def test_pushes_weights_apart(folder, tmp_path):
    """Of a training with nothing else to decide, weights grow until the clipping stops them."""
    found = {}
    for bipolar in ('0', '100'):
        training = prepare(arguments(folder, tmp_path, '--optimizer', 'sgd', '--lr', '0.001', '--bipolar', bipolar,
                                     '--clip-weights', 'yes'))
        batches = list(training.data.train_batches(0))
        for _ in range(10):
            for batch in batches:
                training.train_step(batch)
        found[bipolar] = np.abs(bmx.nn.binary_parameters(training.net)[0].data().asnumpy())
    assert found['0'].mean() < 0.5 < 0.95 < found['100'].mean() and found['100'].max() == 1


@pytest.mark.parametrize('devices', [1, 2])
@pytest.mark.parametrize('clip', [False, True])
def test_clipping(folder, tmp_path, monkeypatch, devices, clip):
    contexts = [mx.cpu(index) for index in range(devices)]
    monkeypatch.setattr(mx, 'cpu', lambda index=0: mx.Context('cpu', index))
    plan = plan_of(parse(arguments(folder, tmp_path, '--optimizer', 'sgd', '--lr', '3', '--clip-weights',
                                   'yes' if clip else 'no')))
    data = plan.open_data()
    training = Training(build_net(plan, len(data.classes), contexts), data, recipe=plan.recipe, options=plan.options,
                        store=CheckpointStore(tmp_path / 'run', 0), contexts=contexts)
    batches = list(data.train_batches(0))
    (binary,) = bmx.nn.binary_parameters(training.net)
    other = training.net[6].weight
    for parameter in (binary, other):
        parameter.set_data(parameter.data(contexts[0]) * 30)
    for batch in batches[:2]:
        training.train_step(batch)
        copies = [array.asnumpy() for array in binary.list_data()]
        assert len(copies) == devices and (np.abs(copies[0]).max() == 1) == clip
        assert all((copy == copies[0]).all() for copy in copies)
        assert max(np.abs(array.asnumpy()).max() for array in other.list_data()) > 1


def test_a_resumed_trainer_keeps_its_decays(folder, tmp_path, no_pictures):
    more = ['--wd', '0.5', '--binary-wd', '0.125', '--bipolar', '0.25', '--clip-weights', 'yes', '--num-epochs', '1',
            '--no-export']
    training = prepare(arguments(folder, tmp_path, *more))
    before = decays(training)
    training.run()
    resumed = prepare(arguments(folder, tmp_path, *more, '--resume-states',
                                str(tmp_path / 'run' / 'checkpoint-0001' / 'trainer.states')))
    assert decays(resumed) == before and len(set(before.values())) == 2


def test_states_of_another_optimizer_do_not_bring_its_decay(folder, tmp_path):
    net = tiny(2)
    net.initialize()
    net(mx.nd.zeros((1, 3, 16, 16)))
    gluon.Trainer(net.collect_params(), 'adam', {'wd': 0.0625}).save_states(str(tmp_path / 'foreign.states'))
    training = prepare(arguments(folder, tmp_path, '--resume-states', str(tmp_path / 'foreign.states')))
    assert set(decays(training).values()) == {0.0001, 0.0}


@pytest.mark.parametrize('more, expected', [
    ([], None),
    (['--bits', '32'], None),
    (['--bits', '32', '--bipolar', '1e-6'], 'no binary weights: without effect are --bipolar'),
    (['--bits', '2', '--binary-wd', '1e-6', '--clip-weights', 'yes'],
     'no binary weights: without effect are --binary-wd, --clip-weights'),
])
def test_what_has_no_effect_is_said(folder, tmp_path, capsys, more, expected):
    assert train(arguments(folder, tmp_path, '--dry-run', *more)) == 0
    out = capsys.readouterr().out
    assert expected in out if expected else 'without effect' not in out


def test_float16_weights_are_not_clipped(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(mx.context, 'num_gpus', lambda: 1)
    more = ['--dtype', 'float16', '--num-gpus', '1', '--clip-weights']
    with pytest.raises(TrainingError, match='give --clip-weights no, or --dtype float32'):
        plan_of(parse(arguments(folder, tmp_path, *more, 'yes')))
    plan_of(parse(arguments(folder, tmp_path, *more, 'no')))


@pytest.mark.parametrize('model', ['nin_binary', 'alexnet_binary'])
@pytest.mark.parametrize('more, clips', [([], True), (['--clip-weights', 'no'], False)])
def test_clipping_of_a_family_can_be_turned_off(folder, tmp_path, model, more, clips):
    recipe = plan_of(parse(arguments(folder, tmp_path, '--model', model, *more))).recipe
    assert recipe.clip_weights is clips and recipe.bipolar == 5e-7
