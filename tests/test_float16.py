"""Training in float16, as far as a CPU goes: it has no products of float16, but sums, optimizers and overflows."""
import json

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon

from bmx.models import MODELS
from bmx.train import CheckpointStore, TrainingError, TrainingOptions, loop, states
from bmx.train.data import Source
from bmx.train.gradients import LossScale, all_finite
from bmx.train.plan import begin, settle
from helpers import arguments, prepare, train

pytestmark = pytest.mark.usefixtures('tiny_model')


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('place', [0, 199, 200, 401, 449])
def test_all_finite(value, place):
    """More arrays than MXNet's operator has room for, of two data types, on two devices."""
    arrays = [mx.nd.ones((3,), dtype=('float32', 'float16')[index % 2], ctx=mx.cpu(index % 3 == 0))
              for index in range(450)]
    assert all_finite(arrays) and all_finite([])
    arrays[place][1] = value
    assert not all_finite(arrays)


def test_the_scale(monkeypatch):
    monkeypatch.setattr(LossScale, 'GROWTH_STEPS', 3)
    scale = LossScale('float16')
    assert scale.scale == 65536 and scale.shrink() and scale.scale == 32768
    scale.grow(), scale.grow(), scale.shrink()  # 3 steps in a row it takes
    for expected in (16384, 16384, 32768, 32768, 32768, 65536):
        scale.grow()
        assert scale.scale == expected
    for _ in range(60):
        scale.grow()
    assert scale.scale == LossScale.MOST
    assert [scale.shrink() for _ in range(25)] == [True] * 24 + [False] and scale.scale == 1
    assert (scale.take_skipped(), scale.take_skipped()) == (26, 0)


def test_float32_has_no_scale():
    scale = LossScale('float32')
    for _ in range(3000):
        scale.grow()
    assert scale.scale == 1 and not scale.shrink() and scale.head_gradients([mx.nd.ones((2,))]) is None


def test_the_state_of_a_scale():
    scale, other = LossScale('float16'), LossScale('float16')
    scale.shrink()
    scale.grow()
    other.restore(json.loads(json.dumps(scale.state)))
    assert vars(other) == vars(scale)
    other.restore(None)
    assert vars(other) == vars(scale)
    for damage in ({'scale': 0}, {'scale': float('nan')}, {'scale': 'x'}, {'good_steps': -1}, {'skipped': None}):
        with pytest.raises((TypeError, ValueError)):
            LossScale('float16').restore(dict(scale.state, **damage))


# Trainings in float32 with a scale ------------------------------------------------------------------------------------

@pytest.fixture
def scaled(monkeypatch):
    """A loop that scales losses of float32, too, and finds in gradients the overflows that float16 would have."""
    monkeypatch.setattr(loop, 'LossScale', lambda dtype: LossScale('float16'))
    monkeypatch.setattr(loop, 'all_finite', lambda arrays: all_finite(each.astype('float16') for each in arrays))


def parameters(net):
    return {name: each.data().asnumpy() for name, each in net._collect_params_with_prefix().items()}


def one_epoch(training):
    for batch in training.data.train_batches(0):
        training.train_step(batch)
        training._batch += 1
    return parameters(training.net)


@pytest.mark.parametrize('optimizer', ['sgd', 'adam', 'radam'])
def test_scaled_steps_are_the_steps(folder, tmp_path, monkeypatch, optimizer):
    command = arguments(folder, tmp_path, '--optimizer', optimizer)
    expected = one_epoch(prepare(command))
    monkeypatch.setattr(loop, 'LossScale', lambda dtype: LossScale('float16'))
    training = prepare(command)
    found = one_epoch(training)
    assert training._scale.scale == 65536 and training._scale.skipped == 0
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-7, err_msg=name)


def test_an_overflow_leaves_the_update_out(scaled, folder, tmp_path):
    training = prepare(arguments(folder, tmp_path))
    learned = [name for name, each in training.net._collect_params_with_prefix().items() if each.grad_req != 'null']
    before = parameters(training.net)
    batch = next(training.data.train_batches(0))
    training._scale.scale = 2.0 ** 24
    training.train_step(batch)
    after = parameters(training.net)
    assert all((before[name] == after[name]).all() for name in learned)
    assert training._scale.scale == 2.0 ** 23 and training._scale.skipped == 1
    assert training._trainer.optimizer.num_update == 0
    training._scale.scale = 2.0 ** 10
    training.train_step(batch)
    after = parameters(training.net)
    assert any((before[name] != after[name]).any() for name in learned) and training._scale.skipped == 1


def test_broken_is_not_overflown(scaled, folder, tmp_path):
    training = prepare(arguments(folder, tmp_path))
    batch = next(training.data.train_batches(0))
    batch.data[0] = np.nan  # the sign makes bits of it, so the loss stays finite
    before = training.net[0].weight.data().asnumpy()
    with pytest.raises(TrainingError, match='a gradient is not finite in epoch 1, batch 1; the update was not made'):
        for _ in range(40):
            training.train_step(batch)
    assert training._scale.scale == 1 and training._scale.skipped == 16
    np.testing.assert_array_equal(training.net[0].weight.data().asnumpy(), before)


def test_the_scale_is_saved_and_told(scaled, folder, tmp_path, monkeypatch, no_pictures):
    monkeypatch.setattr(LossScale, 'START', 2.0 ** 24)
    command = arguments(folder, tmp_path, '--no-export')
    assert train(command) == 0
    log = (tmp_path / 'run' / 'train.log').read_text()
    assert 'epoch 1 batch 1: a gradient overflows, the update is left out, the loss scale now 8.38861e+06' in log
    assert 'updates left out because gradients overflowed; the loss scale is' in log
    for path in (tmp_path / 'run').glob('checkpoint-0002'):
        path.rename(tmp_path / 'later')
    training = prepare(command + ['--resume'])
    state = json.loads((tmp_path / 'run' / 'checkpoint-0001' / 'checkpoint.json').read_text())
    assert training._scale.state == state['loss_scale'] and training._scale.scale < LossScale.START
    del state['loss_scale']  # of an earlier version
    (tmp_path / 'run' / 'checkpoint-0001' / 'checkpoint.json').write_text(json.dumps(state))
    assert prepare(command + ['--resume'])._scale.scale == LossScale.START


# float16 --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('name, more', [('sgd', {'momentum': 0.9}), ('adam', {}), ('radam', {})])
def test_small_steps_add_up(tmp_path, name, more):
    """Steps below the resolution of float16, in the copy of float32 that the optimizer keeps and a file holds."""
    def make(dtype):
        parameter = gluon.Parameter('weight', shape=(2,), dtype=dtype, init=mx.init.One())
        parameter.initialize()
        return parameter, gluon.Trainer([parameter], name, dict(more, learning_rate=1e-5, wd=0.0,
                                                                multi_precision=dtype == 'float16'))

    def step(parameter, trainer, scale):
        with autograd.record():
            loss = (parameter.data() * mx.nd.array([1, 0.5], dtype=parameter.dtype)).sum() * scale
        loss.backward()
        trainer.step(scale)

    half, single = make('float16'), make('float32')
    for count in range(60):
        step(*half, scale=256)
        step(*single, scale=1)
        if count == 30:
            (tmp_path / 'states').write_bytes(states.dump(half[1]))
            half = (half[0], gluon.Trainer([half[0]], name, dict(more, learning_rate=1e-5, wd=0.0,
                                                                 multi_precision=True)))
            states.load(half[1], str(tmp_path / 'states'))
    expected = single[0].data().asnumpy()
    assert half[0].data().dtype == np.float16 and (expected < 1).all()
    np.testing.assert_array_equal(half[0].data().asnumpy(), expected.astype('float16'))


class Halves(gluon.HybridBlock):
    """A classifier of an image's mean colour without a product of matrices, which MXNet's CPU has not in float16."""

    def __init__(self, classes):
        super().__init__()
        with self.name_scope():
            self.norm = gluon.nn.BatchNorm()
            self.weight = self.params.get('weight', shape=(classes, 3), init=mx.init.Normal(0.1))

    def hybrid_forward(self, F, x, weight):
        colour = self.norm(x).mean(axis=(2, 3)).expand_dims(1)
        return F.broadcast_mul(colour, weight.expand_dims(0)).sum(axis=2)


def test_a_training(folder, tmp_path, monkeypatch, no_pictures):
    monkeypatch.setitem(MODELS, 'halves', lambda classes: Halves(classes))
    source = Source('folder', folder)
    plan = settle(source, TrainingOptions(model='halves'), dict(
        batch_size=2, num_epochs=4, warmup_epochs=0, input_size=8, optimizer='sgd', lr=0.3))
    plan = type(plan)(source, plan.recipe, TrainingOptions(model='halves', dtype='float16'))  # which settle refuses
    training = begin(plan, plan.open_data(1), CheckpointStore(str(tmp_path / 'run'), 0))
    assert {str(np.dtype(each.dtype)) for each in training.net.collect_params().values()} == {'float16', 'float32'}
    training._scale.scale = 2.0 ** 20  # at which the first gradients overflow
    training.run()
    losses = [row['train_loss'] for row in training.history]
    assert losses[-1] < 0.8 * losses[0] and 2 ** 10 < training._scale.scale < 2 ** 20
    assert training.net.weight.data().dtype == np.float16
