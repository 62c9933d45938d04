"""What a batch of images is to a network: scores, losses and, in training, gradients, on all devices."""
from __future__ import annotations

from typing import Sequence

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon

from .data import Batch
from .distillation import Teacher
from .gradients import LossScale
from .options import TrainingOptions
from .totals import Totals


class Objective:
    """Cross-entropy with the labels, or what mixup, smoothing and a teacher make of it.

    Parameters
    ----------
    net : gluon.Block
        Whose gradients are found.
    options : options.TrainingOptions
    classes : int
        Of the data.
    contexts : list of mx.Context
        The devices, among which a batch is divided.
    teacher : distillation.Teacher, optional
        Whose answers are learned beside the labels.
    """

    def __init__(self, net: gluon.HybridBlock, options: TrainingOptions, classes: int, contexts: Sequence[mx.Context],
                 teacher: Teacher | None = None) -> None:
        self.teacher = teacher
        self._net = net
        self._options = options
        self._classes = classes
        self._contexts = contexts
        self._dense_labels = options.label_smoothing or options.mixup
        self._train_loss = (gluon.loss.SoftmaxCrossEntropyLoss(sparse_label=not self._dense_labels) if teacher is None
                            else teacher.loss(sparse_labels=not self._dense_labels))
        self._val_loss = gluon.loss.SoftmaxCrossEntropyLoss()

    def backward(self, batch: Batch, totals: Totals, random: np.random.RandomState, mixes: bool,
                 scale: LossScale) -> None:
        """Find the gradients of a batch of at least one image for each device, and count it.

        Parameters
        ----------
        batch : data.Batch
        totals : Totals
            To which its images, hits and losses are added.
        random : numpy.random.RandomState
            What is drawn follows from it.
        mixes : bool
            Whether images are mixed in this epoch, if the options want it.
        scale : gradients.LossScale
            By which gradients are multiplied.
        """
        mx.random.seed(int(random.randint(2 ** 31)))
        images, labels = self._split(batch.data), self._split(batch.label)
        targets = labels
        if self._dense_labels:
            alpha = self._options.mixup_alpha
            share = random.beta(alpha, alpha) if mixes and self._options.mixup else 1.0
            images = [share * x + (1 - share) * x[::-1] for x in images]
            targets = [self._dense(y, share) for y in labels]
        soft_targets = [[self.teacher(x)] if self.teacher else [] for x in images]
        with autograd.record():
            scores = [self._scores(self._net, x) for x in images]
            losses = [self._train_loss(score, target, *soft)
                      for score, target, soft in zip(scores, targets, soft_targets)]
        autograd.backward(losses, scale.head_gradients(losses))
        for score, label, loss in zip(scores, labels, losses):
            totals.add(score.asnumpy(), label.asnumpy(), float(loss.sum().asscalar()))

    def evaluate(self, net: gluon.Block, batch: Batch, totals: Totals) -> None:
        """Count a batch of any size by the scores that a network on the devices gives."""
        if len(batch.label):
            for x, label in zip(self._split(batch.data), self._split(batch.label)):
                scores = self._scores(net, x)
                totals.add(scores.asnumpy(), label.asnumpy(), float(self._val_loss(scores, label).sum().asscalar()))
        totals.skipped += batch.skipped

    def _scores(self, net: gluon.Block, x: mx.nd.NDArray) -> mx.nd.NDArray:
        return net(x.astype(self._options.dtype, copy=False)).astype('float32')

    def _split(self, array: mx.nd.NDArray | np.ndarray) -> list[mx.nd.NDArray]:
        contexts = self._contexts[:len(array)]
        return gluon.utils.split_and_load(array, contexts, even_split=False)

    def _dense(self, label: mx.nd.NDArray, share: float) -> mx.nd.NDArray:
        """Labels (N,) as distributions (N, classes): smoothed by 0.1, mixed with the batch in reverse order."""
        smoothing = self._options.label_smoothing
        rest = 0.1 / self._classes if smoothing else 0.0
        on = 1 - 0.1 + rest if smoothing else 1.0
        hot = label.one_hot(self._classes, on_value=on, off_value=rest)
        return share * hot + (1 - share) * hot[::-1]
