"""The learning rate of every step, as a pure function of the recipe and of the epochs so far."""
from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

from gluoncv.utils import LRScheduler, LRSequential

from .errors import TrainingError
from .recipes import Recipe

LR_MODES = ('constant', 'step', 'linear', 'poly', 'cosine', 'plateau')


def learning_rate(recipe: Recipe, batches_per_epoch: int) -> Callable[[int, Sequence[Mapping[str, Any]]], float]:
    """GluonCV's schedule, linear warm-up and then `lr_mode`; and mode plateau, whose rate the losses decide.

    Parameters
    ----------
    recipe : recipes.Recipe
    batches_per_epoch : int

    Returns
    -------
    callable
        Step of the training, from 0, and the rows of the epochs before it (with `epoch` and `train_loss`; only mode
        plateau looks at them) to learning rate.
    """
    warmup, epochs, mode, decay = recipe.warmup_epochs, recipe.num_epochs, recipe.lr_mode, recipe.lr_decay
    if warmup >= epochs:
        raise TrainingError(f'{warmup} warm-up epochs leave nothing of {epochs} epochs: lower --warmup-epochs '
                            f'({warmup}) or raise --num-epochs')
    if mode == 'plateau' and not 0 < decay < 1:
        raise TrainingError(f'--lr-mode plateau multiplies the rate by --lr-decay, {decay:g}, which would '
                            f'{"end the training at once" if decay == 0 else "never lower it"}: give 0.5, for example')
    if recipe.lr_decay_period > 0:
        decays = tuple(range(recipe.lr_decay_period, epochs, recipe.lr_decay_period))
    else:
        decays = recipe.lr_decay_epoch
    # GluonCV divides by the number of steps less one.
    steps = [max(2, count * batches_per_epoch) for count in (warmup, epochs - warmup)]
    stages = [LRScheduler('constant' if mode == 'plateau' else mode, base_lr=recipe.lr, target_lr=0, niters=steps[1],
                          power=2, step_iter=[(epoch - warmup) * batches_per_epoch for epoch in decays],
                          step_factor=decay)]
    if warmup:
        stages.insert(0, LRScheduler('linear', base_lr=recipe.warmup_lr, target_lr=recipe.lr, niters=steps[0]))
    schedule = LRSequential(stages)
    if mode == 'plateau':
        return lambda step, history: schedule(step) * decay ** plateaus(history, warmup)
    return lambda step, history: schedule(step)


def plateaus(history: Sequence[Mapping[str, Any]], warmup_epochs: float) -> int:
    """How many epochs after the warm-up did not bring the training loss below that of every epoch before them."""
    count, lowest = 0, float('inf')
    for row in history:
        count += row['epoch'] > warmup_epochs and row['train_loss'] >= lowest
        lowest = min(lowest, row['train_loss'])
    return count
