"""Knowledge distillation: a trained network, the teacher, whose answers are learned beside the labels.

Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, as in GluonCV's training script.
"""
from __future__ import annotations

import glob
import os
from typing import Any, Sequence

import gluoncv
import mxnet as mx

from ..io.description import Description, description_path, read_description
from ..io.storage import digest, load_parameters, sentence
from ..network import described_network, images_fit
from .errors import TrainingError
from .options import TrainingOptions
from .progress import logger

ROOT = os.path.join('~', '.mxnet', 'models')


class DistillationLoss(gluoncv.loss.DistillationSoftmaxCrossEntropyLoss):
    """GluonCV's loss, less what does not depend on the scores: (1 - hard_weight) T^2 times the teacher's entropy.

    So the same gradients come with a loss that is near 0 where student and teacher agree, not with hundreds.

    Inputs: scores (N, classes); labels, (N,) or (N, classes); the teacher's probabilities (N, classes) at the
    temperature T. Outputs: (N,).
    """

    def hybrid_forward(self, F: Any, output: Any, label: Any, soft_target: Any) -> Any:
        loss = super().hybrid_forward(F, output, label, soft_target)
        entropy = -(soft_target * F.log(F.maximum(soft_target, 1e-30))).sum(axis=-1)
        return loss - (1 - self._hard_weight) * self._temperature ** 2 * entropy


class Teacher:
    """A trained network that answers with probabilities.

    Parameters
    ----------
    net : gluon.HybridBlock
        Initialized, on all devices of the training.
    options : options.TrainingOptions
    digest : str
        SHA-256 of its parameters' file.
    """

    def __init__(self, net: mx.gluon.HybridBlock, options: TrainingOptions, digest: str) -> None:
        self.digest = digest
        self._net = net
        self._options = options

    def __call__(self, x: mx.nd.NDArray) -> mx.nd.NDArray:
        """Probabilities (N, classes), float32, of images (N, 3, H, W), at the temperature."""
        scores = self._net(x.astype(self._options.dtype, copy=False)).astype('float32')
        return mx.nd.softmax(scores / self._options.temperature)

    def loss(self, sparse_labels: bool) -> DistillationLoss:
        """The loss of a student; whether its labels are numbers of classes or distributions."""
        return DistillationLoss(self._options.temperature, self._options.hard_weight, sparse_labels)


def load_teacher(options: TrainingOptions, classes: Sequence[str], shape: Sequence[int],
                 contexts: Sequence[mx.Context]) -> Teacher | None:
    """The teacher that options name; None where they name none, or the labels alone count.

    Parameters
    ----------
    options : options.TrainingOptions
    classes : list of str
        Of the data.
    shape : tuple of int
        Of an image as the networks see it, batch first.
    contexts : list of mx.Context

    Raises
    ------
    TrainingError
        There is no such teacher or parameter file, or it has other classes; LoadError where the file is damaged.
    """
    path = _find_parameters(options)
    if path is None or options.hard_weight == 1:
        return None
    described = read_description(path)
    try:
        net = _build(options.teacher, described, path, classes)
        load_parameters(net, path, ctx=contexts)
        net.collect_params().setattr('grad_req', 'null')
        net.cast(options.dtype)
        with images_fit(net, shape):
            for context in contexts:
                found = net(mx.nd.zeros(shape, ctx=context, dtype=options.dtype)).shape
    except (ValueError, mx.MXNetError) as error:
        raise TrainingError(f'cannot use the teacher {path}: {sentence(error)}') from None
    if found != (1, len(classes)):
        raise TrainingError(f'cannot use the teacher {path}: it answers with shape {found[1:]}, the data has '
                            f'{len(classes)} classes')
    net.hybridize(static_alloc=True, static_shape=True)
    logger.info('teacher: %s of %s, temperature %g, weight of the labels %g', net.model_name, path,
                options.temperature, options.hard_weight)
    return Teacher(net, options, digest(path))


def _find_parameters(options: TrainingOptions) -> str | None:
    """Path of the teacher's parameters: the given one, or a file in ~/.mxnet/models; None without a teacher."""
    if options.teacher_params is not None:
        path = os.path.expanduser(options.teacher_params)
        if not os.path.isfile(path):
            raise TrainingError(f'--teacher-params {options.teacher_params} does not exist')
        return path
    if options.teacher is None:
        return None
    name, root = options.teacher.lower(), os.path.expanduser(ROOT)
    # GluonCV adds the first digits of the file's checksum.
    found = [path for pattern in ('.params', '-' + '[0-9a-f]' * 8 + '.params')
             for path in sorted(glob.glob(os.path.join(glob.escape(root), glob.escape(name) + pattern)))]
    if not found:
        raise TrainingError(f'no parameters of --teacher {options.teacher} in {root}, and nothing is downloaded: give '
                            '--teacher-params')
    return found[0]


def _build(name: str | None, described: Description | None, path: str, classes: Sequence[str]) -> mx.gluon.HybridBlock:
    """The network of a parameter file, not initialized, with a `model_name`."""
    if described is not None:
        if name is not None and name.lower() != described.model:
            raise ValueError(f'{description_path(path)} says that it is {described.model}, not {name}')
        if len(described.classes) != len(classes):
            raise ValueError(f'it knows {len(described.classes)} classes, the data has {len(classes)}')
        if list(described.classes) != list(classes):
            logger.warning('the teacher names its classes otherwise than the data: %s, ... against %s, ...',
                           described.classes[0], classes[0])
        return described_network(described)
    if name is None:
        raise ValueError(f'there is no {description_path(path)} that says what network it is: give --teacher, too')
    known = gluoncv.model_zoo.model_zoo._models  # those of bmx.models among them
    if name.lower() not in known:
        raise ValueError(f'{name} is a model neither of bmx nor of GluonCV')
    net = gluoncv.model_zoo.get_model(name, classes=len(classes), pretrained=False)
    net.model_name = name.lower()
    return net
