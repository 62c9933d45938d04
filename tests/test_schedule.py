"""The learning rate of every step."""
import math

import numpy as np
import pytest

from bmx.train import TrainingError, recipes
from bmx.train.schedule import learning_rate
from helpers import arguments, prepare, read_metrics

pytestmark = pytest.mark.usefixtures('tiny_model')


def _cosine(t, total):
    return (1 + math.cos(math.pi * t / (total - 1))) / 2


SCHEDULES = [
    (dict(lr_mode='constant', warmup_epochs=0), lambda t: 0.5),
    (dict(lr_mode='cosine', warmup_epochs=0), lambda t: 0.5 * _cosine(t, 60)),
    (dict(lr_mode='cosine', warmup_epochs=2, warmup_lr=0.1),
     lambda t: 0.1 + 0.4 * t / 19 if t < 20 else 0.5 * _cosine(t - 20, 40)),
    (dict(lr_mode='linear', warmup_epochs=0), lambda t: 0.5 * (1 - t / 59)),
    (dict(lr_mode='poly', warmup_epochs=0), lambda t: 0.5 * (1 - t / 59) ** 2),
    (dict(lr_mode='step', warmup_epochs=0, lr_decay_epoch=(2, 5), lr_decay=0.3),
     lambda t: 0.5 * 0.3 ** ((t >= 20) + (t >= 50))),
    (dict(lr_mode='step', warmup_epochs=1, lr_decay_period=2, lr_decay=0.3),
     lambda t: 0.5 * t / 9 if t < 10 else 0.5 * 0.3 ** ((t >= 20) + (t >= 40))),
]


@pytest.mark.parametrize('given, expected', SCHEDULES)
def test_learning_rate(given, expected):
    recipe = recipes.resolve('other', 'folder', dict(given, lr=0.5, num_epochs=6))
    schedule = learning_rate(recipe, batches_per_epoch=10)
    np.testing.assert_allclose([schedule(t, []) for t in range(60)], [expected(t) for t in range(60)], atol=1e-12)


@pytest.mark.parametrize('warmup', [0, 1])
def test_learning_rate_of_single_steps(warmup):
    recipe = recipes.resolve('other', 'folder', dict(num_epochs=1 + warmup, warmup_epochs=warmup))
    assert learning_rate(recipe, 1)(warmup, []) == recipe.lr


def rows(*losses, first=1):
    """History with these training losses."""
    return [dict(epoch=epoch, train_loss=loss) for epoch, loss in enumerate(losses, first)]


@pytest.mark.parametrize('warmup, history, decays', [
    (0, [], 0),
    (0, rows(5.0), 0),
    (0, rows(5.0, 4.0, 3.0), 0),
    (0, rows(5.0, 5.0), 1),                 # equal is no progress
    (0, rows(5.0, 4.0, 4.5, 4.2, 3.9), 2),  # below the one before is not enough
    (0, rows(5.0, 6.0, 7.0, 5.5), 3),
    (2, rows(5.0, 6.0), 0),                 # the warm-up does not count,
    (2, rows(5.0, 4.0, 4.5), 1),            # but its losses do
    (0, rows(5.0, 6.0, first=4), 1),        # started at a later epoch
    (4, rows(5.0, 6.0, first=4), 1),
])
def test_plateau(warmup, history, decays):
    recipe = recipes.resolve('other', 'folder', dict(lr=0.5, num_epochs=9, lr_mode='plateau', lr_decay=0.25,
                                                     warmup_epochs=warmup))
    schedule = learning_rate(recipe, batches_per_epoch=10)
    for step in (10 * max(warmup, len(history)), 89):
        assert schedule(step, history) == 0.5 * 0.25 ** decays
    if warmup:
        assert schedule(5, []) == pytest.approx(0.5 * 5 / (10 * warmup - 1))


@pytest.mark.parametrize('decay', [1.0, 2.0])
def test_plateau_that_would_not_lower_the_rate(decay):
    recipe = recipes.resolve('other', 'folder', dict(lr_mode='plateau', lr_decay=decay))
    with pytest.raises(TrainingError, match=f'--lr-mode plateau multiplies the rate by --lr-decay, {decay:g}, which'):
        learning_rate(recipe, 10)


def test_the_rate_that_is_logged_is_the_trainers(folder, tmp_path, no_pictures):
    """A rate this high makes the loss jump, so the rate falls."""
    command = arguments(folder, tmp_path, '--lr-mode', 'plateau', '--lr-decay', '0.5', '--lr', '0.5', '--num-epochs',
                        '5', '--no-export')
    used = []
    training = prepare(command)
    step = training._trainer.step
    training._trainer.step = lambda size: used.append(training._trainer.learning_rate) or step(size)
    training.run()
    logged = [row['lr'] for row in read_metrics(tmp_path / 'run')]
    assert used == [rate for rate in logged for _ in range(3)]
    losses = [row['train_loss'] for row in training.history]
    assert logged == [0.5 * 0.5 ** sum(losses[i] >= min(losses[:i]) for i in range(1, epoch))
                      for epoch in range(5)]
    assert logged[-1] < 0.5
