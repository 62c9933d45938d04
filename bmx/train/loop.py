"""The training loop: epochs of steps and a validation, checkpoints, and an orderly stop."""
from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
from typing import Iterable, Sequence

import mxnet as mx
from mxnet import gluon

from ..deploy import ExportError, in_memory
from ..io.storage import array_chunks, load_parameters, parameter_arrays, save_arrays
from ..nn import binary_parameters
from . import recipes, regularizers, sign_flips, states
from .checkpoint import Checkpoint, CheckpointStore, check_same_training
from .data import Batch, ImageData
from .devices import average_statistics
from .distillation import Teacher
from .errors import TrainingError
from .gradients import LossScale, all_finite
from .objective import Objective
from .options import TrainingOptions
from .progress import COLUMNS, TRAINING_BAR, draw_curves, duration, logger, progress_bar, write_metrics
from .randomness import stream
from .schedule import learning_rate
from .sign_flips import SignFlips
from .signals import StopSignals
from .tensorboard import Events
from .totals import Totals
from .workers import Workers

# Seconds between two log lines at most.
MAX_SILENCE = 60


class Interrupted(Exception):
    """The training was asked to stop, and saved a checkpoint; `checkpoint` is its path."""

    def __init__(self, checkpoint: str) -> None:
        super().__init__(f'stopped; saved {checkpoint}')
        self.checkpoint = checkpoint


def _unreadable(size, kind):
    return TrainingError(f'none of the {size} {kind} images can be read')


class Training:
    """One training, from its beginning or from a checkpoint to its last epoch.

    Parameters
    ----------
    net : gluon.Block
        Initialized, with settled shapes and the weight decays of `regularizers.set_decays`.
    data : data.ImageData
    recipe : recipes.Recipe
    options : options.TrainingOptions
    store : checkpoint.CheckpointStore
    contexts : list of mx.Context
    log_interval : int
        Batches between two log lines; 0: none.
    teacher : distillation.Teacher, optional
        Whose answers are learned beside the labels.
    tensorboard : bool
        Whether events for TensorBoard are written.
    workers : Workers, optional
        Those of a distributed training; `data` is this one's part.
    """

    def __init__(self, net: gluon.HybridBlock, data: ImageData, *, recipe: recipes.Recipe, options: TrainingOptions,
                 store: CheckpointStore, contexts: Sequence[mx.Context], log_interval: int = 50,
                 teacher: Teacher | None = None, tensorboard: bool = False, workers: Workers | None = None) -> None:
        self.net = net
        self.data = data
        self.history = []
        self.best = -1.0
        self._epoch = 0
        self._batch = 0
        self._totals = Totals()
        self._reported = time.time()
        self._recipe = recipe
        self._options = options
        # What decides the result and has to be the same on resuming.
        self._arguments = dict(dataclasses.asdict(recipe), data=data.identity, **dataclasses.asdict(options))
        self._arguments['teacher_params'] = teacher and teacher.digest  # wherever the file is
        self._store = store
        self._contexts = contexts
        self._log_interval = log_interval
        self._learning_rate = learning_rate(recipe, data.num_train_batches)
        self._clipped = [each for each in binary_parameters(net) if each.grad_req != 'null'] \
            if recipe.clip_weights else []
        self._scale = LossScale(options.dtype)
        self._workers = workers or Workers()
        # Otherwise several devices update the weights in a store of MXNet's, where they cannot be clipped, and sums of
        # scaled gradients cannot be looked at.
        self._trainer = self._workers.trainer(
            net.collect_params(), recipe, options.dtype, batch_size=data.options.batch_size,
            batches=data.num_train_batches, update_here=bool(self._clipped) or self._scale.dynamic)
        self._sign_flips = SignFlips(net)
        self._trained = [each for each in net.collect_params().values() if each.grad_req != 'null']
        self._statistics = list(net.collect_params('.*running_(mean|var)').values())
        self._gradients = [gradient for each in self._trained for gradient in each.list_grad()]
        self._stop = StopSignals(most=1, heard=self._tell_stop)
        self._stopping = False  # whether a worker is asked to stop, as all of them know since they last added up
        self._objective = Objective(net, options, len(data.classes), contexts, teacher)
        self._events = Events(os.path.join(store.directory, 'tensorboard')
                              if tensorboard and self._workers.leads else None,
                              data.num_train_batches)

    # Checkpoints ----------------------------------------------------------------------------------------------------

    def restore(self, checkpoint: Checkpoint, extend: bool = False) -> None:
        """Go to where a `Checkpoint` was saved; `extend` allows one of fewer epochs than are to be trained now."""
        state = checkpoint.state
        try:
            check_same_training(checkpoint, self._arguments, extend)
            totals = Totals(**{name: value + 0 for name, value in state['totals'].items()})
            best, history = state['best'] + 0, [dict(row) for row in state['history']]
            for row in history:
                [row[name] + 0 for name in COLUMNS if (name, row[name]) != ('sign_flips', None)]
            steps, flips = (state['sign_flips'][name] for name in ('steps', 'flips'))
            if not len(flips) == len(self._sign_flips.layers) == len(history[-1]['sign_flips_of_layers'] if history
                                                                     else flips):
                raise ValueError(f'sign_flips of {len(flips)} layers')
            self._scale.restore(state.get('loss_scale'))
            workers = state.get('workers', 1) + 0
            with_optimizer = 'trainer.states' in state['files'] and not self._workers.asynchronous
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise TrainingError(f'{checkpoint.path} is damaged ({error!r}): start anew in another --save-dir') from None
        self.load(os.path.join(checkpoint.path, 'net.params'),
                  os.path.join(checkpoint.path, 'trainer.states') if with_optimizer else None)
        self._sign_flips.restart(steps, flips)
        self._epoch, self._batch = checkpoint.epoch, checkpoint.batch * workers // self._workers.count
        self._totals = totals if self._workers.leads or not self._workers.asynchronous else Totals()
        self.best, self.history = best, history
        logger.info('resuming %s', checkpoint.path)
        if workers != self._workers.count:
            logger.info('%s was saved by a training of %d workers, now there are %d: a step has %g times as many '
                        'images, and what follows is not what it would have been', checkpoint.path, workers,
                        self._workers.count, self._workers.count / workers)
        if not with_optimizer:
            logger.info("the state of the optimizer begins anew: on dist_async's servers it cannot be saved")
        if self._workers.asynchronous:
            self._trainer.optimizer.first_step = self._step
        before = state['arguments'].get('num_epochs')
        if before not in (None, self._recipe.num_epochs):
            logger.info('extended from %d to %d epochs: the learning rate goes on where a training of so many epochs '
                        'has it, at %.3g', before, self._recipe.num_epochs, self._rate(self._batch))

    def load(self, params: str | None = None, optimizer: str | None = None, epoch: int = 0,
             skip: str | None = None) -> None:
        """Load parameters, but for those to `skip`, and optimizer states from single files and start at `epoch`."""
        if params is not None:
            load_parameters(self.net, params, ctx=self._contexts, skip=skip)
            self._sign_flips.restart()
        if optimizer is not None:
            if self._workers.asynchronous:
                raise TrainingError("dist_async has the optimizer's state on the servers: leave out --resume-states")
            states.load(self._trainer, optimizer)
            self._trainer.optimizer.wd = 1.0  # the recipe's, whatever the file says
        if epoch >= self._recipe.num_epochs:
            raise TrainingError(f'nothing to train: --resume-epoch {epoch} of {self._recipe.num_epochs} epochs')
        self._epoch = epoch

    def _save(self):
        """Save a checkpoint; no worker goes on before it is there."""
        path = self._write_checkpoint() if self._workers.leads else self._store.directory
        self._add_up(Totals())
        return path

    def _write_checkpoint(self):
        state = {'seed': self._options.seed, 'step': self._step, 'workers': self._workers.count,
                 'arguments': self._arguments, 'best': self.best, 'totals': vars(self._totals),
                 'sign_flips': self._sign_flips.state, 'loss_scale': self._scale.state, 'history': self.history}
        contents: dict[str, Iterable[bytes]] = {'net.params': array_chunks(parameter_arrays(self.net))}
        if not self._workers.asynchronous:
            contents['trainer.states'] = [states.dump(self._trainer)]
        return self._store.save(self._epoch, self._batch, state, contents)

    @property
    def best_params(self) -> str:
        """Path of the parameters with the best validation top-1 so far."""
        return os.path.join(self._store.directory, f'{self._options.model}-best.params')

    # Epochs ---------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train to the last epoch.

        Raises
        ------
        Interrupted
            After a signal, when the checkpoint is written.
        TrainingError
            The loss is not finite, no image can be read, or another training is in the directory.
        OSError
            A checkpoint cannot be written, for example on a full disk.
        """
        with self._store.locked() if self._workers.leads else contextlib.nullcontext(), self._stop, \
                self._events.opened(self._epoch, self._batch):
            if self.history:  # of a checkpoint; the files may be lost or older
                self._show_history()
            while self._epoch < self._recipe.num_epochs:
                self._train_epoch()
                validation = self._validate()
                self._finish_epoch(validation)
                checkpoint = self._save()
                self._show_history()
                if self._stopping:
                    raise Interrupted(checkpoint)

    @staticmethod
    def _tell_stop():
        logger.info('stopping after this step; once more stops at once, without saving')

    def try_one_step(self) -> None:
        """One step of training and one of validation; saves nothing.

        Raises
        ------
        TrainingError
            The loss is not finite, or no image can be read.
        """
        def first(batches):
            for batch in batches:
                if len(batch.label):
                    break
            return batch  # of a worker without an image an empty one

        self.train_step(first(self.data.train_batches(0)))
        validation = Totals()
        self._objective.evaluate(self._evaluated_net(), first(self.data.val_batches()), validation)
        trained, validated = self._workers.sum([self._totals.images, validation.images])
        if trained == 0:
            raise _unreadable(self.data.train_size, 'training')
        if validated == 0:
            raise _unreadable(self.data.val_size, 'validation')

    def _train_epoch(self):
        with progress_bar(f'epoch {self._epoch + 1}/{self._recipe.num_epochs}', self.data.train_size, TRAINING_BAR,
                          self._totals.images + self._totals.skipped) as bar:
            tic = time.time()
            for batch in self.data.train_batches(self._epoch, self._batch):
                self._totals.waited += time.time() - tic
                self.train_step(batch)
                self._batch += 1
                tic, elapsed = time.time(), time.time() - tic
                self._totals.seconds += elapsed
                self._report_step(bar)
                if self._stopping:
                    break
        if self._workers.asynchronous:
            self._workers.pull(self._trainer)
            counts = self._add_up(self._totals)
            self._totals = Totals(seconds=self._totals.seconds, waited=self._totals.waited)
            self._totals.include(counts)
        average_statistics(self._statistics)
        self._workers.average(self._statistics)
        if self._stopping:
            raise Interrupted(self._save())
        if self._totals.images == 0:
            raise _unreadable(self.data.train_size, 'training')

    def train_step(self, batch: Batch) -> None:
        """One update by the images of a batch, and by those that the other workers have."""
        self._trainer.begin()  # whether or not this worker has an image
        counted = Totals(skipped=batch.skipped)
        # One image for each device at least; of the last batch of an epoch there may be fewer.
        if len(batch.label) >= len(self._contexts):
            random = stream(self._options.seed, 'step', self._epoch, self._batch, *self._workers.position)
            mixes = self._epoch < self._recipe.num_epochs - self._options.mixup_off_epoch
            self._objective.backward(batch, counted, random, mixes, self._scale)
        elif self._workers.distributed:
            self._workers.no_gradients(self._trained)
        if self._workers.asynchronous:  # they add up at the end of the epoch
            counts, self._stopping = counted.counts, self._stop.count > 0
        else:
            counts = self._add_up(counted)
        images, loss = counts[:2]
        if images:
            self._update(loss, images)
            self._sign_flips.count()
        self._totals.include(counts)

    def _add_up(self, totals):
        """The `counts` of totals, summed over the workers, which also hear whether one of them is asked to stop."""
        *counts, asked = self._workers.sum([*totals.counts, self._stop.count])
        self._stopping = asked > 0
        return counts

    def _update(self, loss, images):
        """Make the step, unless scaled gradients overflow; stop before one that would spoil the parameters."""
        self._trainer.set_learning_rate(self._rate(self._batch))
        if self._scale.dynamic:
            self._trainer.allreduce_grads()
        if not math.isfinite(loss):
            raise self._not_finite(f'the loss is {loss}')
        # Signs turn NaN into bits, so the loss of a binary network can stay finite while gradients do not.
        if not all_finite(self._gradients):
            if not self._scale.shrink():
                raise self._not_finite('a gradient is not finite')
            logger.debug('epoch %d batch %d: a gradient overflows, the update is left out, the loss scale now %g',
                         self._epoch + 1, self._batch + 1, self._scale.scale)
            return
        make = self._trainer.update if self._scale.dynamic else self._trainer.step
        make(1 if self._workers.asynchronous else images * self._scale.scale)  # OnServers divides by a batch's images
        self._scale.grow()
        regularizers.clip(self._clipped)

    def _not_finite(self, problem):
        newest = self._store.newest
        last = f'The last checkpoint is {newest}' if newest else 'There is no checkpoint yet'
        return TrainingError(f'{problem} in epoch {self._epoch + 1}, batch {self._batch + 1}; the update was not '
                             f'made. {last}. Try a lower --lr or more --warmup-epochs')

    def _validate(self):
        totals, net = Totals(), self._evaluated_net()
        with progress_bar('validation', self.data.val_size) as bar:
            for batch in self.data.val_batches():
                counted = Totals()
                self._objective.evaluate(net, batch, counted)
                totals.include(self._add_up(counted))
                bar.update(totals.images + totals.skipped - bar.n)
                if self._stopping:
                    raise Interrupted(self._save())
        if totals.images == 0:
            raise _unreadable(self.data.val_size, 'validation')
        return totals

    def _evaluated_net(self):
        """What computes the validation: on the CPU the network as it would be deployed, which is some times as fast."""
        if self._contexts != [mx.cpu()] or self._options.dtype != 'float32':
            return self.net
        try:
            return in_memory(self.net, (1,) + self.data.image_shape) or self.net
        except ExportError as error:
            logger.debug('validated without binary operators: %s', error)
            return self.net

    def _finish_epoch(self, validation):
        train = self._totals
        flips, flips_of_layers = self._sign_flips.percentages()
        row = {'epoch': self._epoch + 1, 'lr': self._rate(0),
               'train_loss': train.mean('loss'), 'train_top1': train.mean('top1'), 'val_loss': validation.mean('loss'),
               'val_top1': validation.mean('top1'), 'val_top5': validation.mean('top5'),
               'images_per_s': train.images_per_s, 'seconds': train.seconds,
               'skipped_images': train.skipped + validation.skipped, 'sign_flips': flips,
               'sign_flips_of_layers': flips_of_layers}
        self.history.append(row)
        text = ('epoch %(epoch)d: lr %(lr).3g, train loss %(train_loss).4f top-1 %(train_top1).4f, validation loss '
                '%(val_loss).4f top-1 %(val_top1).4f top-5 %(val_top5).4f, %(images_per_s).1f images/s, '
                '%(waiting).0f %% of the time waiting for images')
        logger.info(text if flips is None else text + ', %(sign_flips).3g %% of the signs change in a step',
                    dict(row, waiting=100 * train.waiting))
        if row['skipped_images']:
            logger.warning('epoch %(epoch)d: skipped %(skipped_images)d unreadable images', row)
        skipped_steps = self._scale.take_skipped()
        if skipped_steps:
            logger.warning('epoch %d: %d updates left out because gradients overflowed; the loss scale is %g',
                           row['epoch'], skipped_steps, self._scale.scale)
        if row['val_top1'] >= self.best:  # of equal ones the later, which was trained longer
            self.best = row['val_top1']
            if self._workers.leads:
                save_arrays(self.best_params, parameter_arrays(self.net))
        self._epoch, self._batch, self._totals = self._epoch + 1, 0, Totals()
        self._sign_flips.restart()

    def _show_history(self):
        """Write the tables and pictures of the epochs so far.

        They can be made from a checkpoint, so what cannot be written ends no training but one that is complete.
        """
        if not self._workers.leads:
            return
        directory, layers = self._store.directory, self._sign_flips.layers
        height, width = self.data.image_shape[1:]
        title = (f'{self._options.model}: {self.data.train_size} images in {len(self.data.classes)} classes, '
                 f'{height}x{width} pixels')
        try:
            write_metrics(os.path.join(directory, 'metrics.csv'), self.history)
            if layers:
                sign_flips.write(os.path.join(directory, 'sign_flips.csv'), layers, self.history)
            draw_curves(os.path.join(directory, 'curves.png'), self.history, title)
            if layers:
                sign_flips.draw(os.path.join(directory, 'sign_flips.png'), layers, self.history, title)
            self._events.add_epochs(self.history, self._sign_flips.weights, os.path.join(directory, 'curves.png'))
        except OSError as error:
            if self._epoch >= self._recipe.num_epochs:
                raise
            logger.warning('%s; trying again after the next epoch', error)

    # Helpers --------------------------------------------------------------------------------------------------------

    @property
    def _step(self):
        """How many steps there were."""
        return self._epoch * self.data.num_train_batches + self._batch

    def _rate(self, batch):
        """The learning rate of a batch of this epoch."""
        return self._learning_rate(self._epoch * self.data.num_train_batches + batch, self.history)

    def _report_step(self, bar):
        totals, batches = self._totals, self.data.num_train_batches
        steps_left = (self._recipe.num_epochs - self._epoch) * batches - self._batch
        left = duration(steps_left * totals.seconds / self._batch)
        bar.set_postfix_str(f'loss {totals.mean("loss"):.4f}, top-1 {totals.mean("top1"):.4f}, {left} left',
                            refresh=False)
        bar.update(totals.images + totals.skipped - bar.n)
        # Slow steps are reported even before the interval is over.
        due = self._log_interval and self._batch % self._log_interval == 0
        if due:
            self._events.add_loss(self._epoch, self._batch, totals.mean('loss'))
        if due or time.time() - self._reported > MAX_SILENCE:
            self._reported = time.time()
            logger.debug('epoch %d/%d batch %d/%d: lr %.3g, loss %.4f, top-1 %.4f, %.1f images/s, %s left',
                         self._epoch + 1, self._recipe.num_epochs, self._batch, batches, self._trainer.learning_rate,
                         totals.mean('loss'), totals.mean('top1'), totals.images_per_s, left)
