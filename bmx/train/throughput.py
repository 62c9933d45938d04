"""How fast images are read and how fast they are trained on: which of the two limits a training, and what to do."""
from __future__ import annotations

import dataclasses
import statistics
import time
from typing import Iterator, Sequence

import mxnet as mx

from .data import Batch, ImageData
from .errors import TrainingError
from .loop import Training
from .progress import logger, progress_bar

# Images are read for so many seconds, or an epoch; and trained on, without reading and with it.
READING_SECONDS = 60
TRAINING_SECONDS = 20
# The first steps allocate and compile, the threads that read may still be at work; so many are counted at least.
FIRST_STEPS = 2
COUNTED_STEPS = 3


@dataclasses.dataclass(frozen=True)
class Throughput:
    """Images/s.

    Attributes
    ----------
    read : float
        By the threads that read images, while nothing is trained.
    trained : float
        In steps on one batch in memory, while nothing is read.
    together : float
        In the steps of a training.
    waiting : float
        Share of the time of these for which the loop waited for images.
    """
    read: float
    trained: float
    together: float
    waiting: float


def measure(training: Training, contexts: Sequence[mx.Context]) -> Throughput:
    """Read, train, do both; at most some two minutes unless single steps are long. The training is spoilt by it.

    Parameters
    ----------
    training : loop.Training
    contexts : list of mx.Context
        Its devices.

    Raises
    ------
    TrainingError
        No image can be read, or the loss is not finite.
    """
    logger.info('reading images for %d seconds or an epoch', READING_SECONDS)
    read, batch = _read(training.data, len(contexts))
    logger.info('%.1f images/s read; training on one batch of %d images for %d seconds', read, len(batch.label),
                TRAINING_SECONDS)
    trained = _train(training, batch)
    logger.info('%.1f images/s trained; reading and training for %d seconds', trained, TRAINING_SECONDS)
    return Throughput(read, trained, *_together(training, len(contexts)))


def _read(data: ImageData, devices: int) -> tuple[float, Batch]:
    """Images/s read, and a batch of them."""
    images, kept, start = 0, None, time.perf_counter()
    for batch in _shown(data, 'reading', READING_SECONDS):
        images += len(batch.label) + batch.skipped
        if kept is None or len(batch.label) > len(kept.label):
            kept = batch
    seconds = time.perf_counter() - start
    if kept is None or len(kept.label) < devices:
        raise TrainingError(f'none of the {images} training images that were tried can be read')
    return images / seconds, kept


def _train(training: Training, batch: Batch) -> float:
    """Images/s of the median step."""
    seconds, start = [], time.perf_counter()
    with progress_bar('training', None) as bar:
        while len(seconds) < FIRST_STEPS + COUNTED_STEPS or time.perf_counter() - start < TRAINING_SECONDS:
            seconds.append(_step(training, batch))
            bar.update(len(batch.label))
    return len(batch.label) / statistics.median(seconds[FIRST_STEPS:])


def _together(training: Training, devices: int) -> tuple[float, float]:
    """Images/s of a training's steps, and the share of their time that passes waiting for images."""
    images, stepped, start = 0, 0.0, time.perf_counter()
    for batch in _shown(training.data, 'both', TRAINING_SECONDS):
        if len(batch.label) >= devices:
            stepped += _step(training, batch)
            images += len(batch.label)
    seconds = time.perf_counter() - start
    return images / seconds, 1 - stepped / seconds


def _step(training: Training, batch: Batch) -> float:
    """Seconds of a step."""
    start = time.perf_counter()
    training.train_step(batch)
    mx.nd.waitall()
    return time.perf_counter() - start


def _shown(data: ImageData, title: str, seconds: float) -> Iterator[Batch]:
    """The batches of an epoch, or of the first seconds of it, under a progress bar."""
    end = time.perf_counter() + seconds
    with progress_bar(title, data.train_size) as bar:
        for batch in data.train_batches(0):
            yield batch
            bar.update(len(batch.label) + batch.skipped)
            if time.perf_counter() > end:
                break


def report(found: Throughput, data: ImageData, cores: int) -> str:
    """What was found, which side limits, and what to do, as lines for people.

    Parameters
    ----------
    found : Throughput
    data : ImageData
    cores : int
        Of this machine.

    Returns
    -------
    str
    """
    options = data.options
    lines = [f'read {found.read:.1f} images/s, trained {found.trained:.1f} images/s; both at once: '
             f'{found.together:.1f} images/s, of whose time {100 * found.waiting:.0f} % pass waiting for images']
    if found.read >= found.trained:
        return '\n'.join(lines + [f'training limits: reading alone is {found.read / found.trained:.3g} times as fast; '
                                  'more threads or smaller images would change little'])
    lines.append(f'reading limits: training alone is {found.trained / found.read:.3g} times as fast. What helps:')
    if options.num_workers < cores:
        lines.append(f'- more threads that read: -j {cores} (there are {cores} cores, now it is -j '
                     f'{options.num_workers})')
    if data.kind in ('folder', 'recordio'):
        stored = round(options.input_size / options.crop_ratio)
        lines.append(f'- images stored smaller, near what the network sees: im2rec --resize {stored}')
    if options.augmentation == 'gluoncv':
        lines.append('- --augmentation paper, which leaves out the colours')
    lines.append('- several workers on machines of their own, each of which reads its part')
    return '\n'.join(lines)
