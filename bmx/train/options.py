"""What a person settles beside the recipe."""
from __future__ import annotations

import dataclasses

from .errors import TrainingError


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """What decides a training's result beside its data and its recipe.

    Attributes
    ----------
    model : str
        A name of `bmx.models.MODELS`.
    model_kwargs : dict
        Its keywords.
    use_pretrained : bool
        Whether it starts from the parameters in ~/.mxnet/models.
    dtype : {'float32', 'float16'}
    num_gpus : int
        0: the CPU.
    mixup : bool
    mixup_alpha : float
        Both parameters of the beta distribution that shares are drawn from.
    mixup_off_epoch : int
        How many epochs at the end do without.
    label_smoothing : bool
        By 0.1.
    no_wd : bool
        No weight decay on biases and batch normalisation either.
    freeze : str, optional
        The parameters that this selects (`bmx.io.storage.select_parameters`) do not move.
    seed : int
        Everything random follows from it, 0 to 2^32 - 1.
    last_gamma : bool
        Whether the last batch normalisation before each residual sum begins with a gamma of 0.
    teacher : str, optional
        A model of bmx or GluonCV whose answers are learned, too.
    teacher_params : str, optional
        Path of its parameters; if a description is beside them, `teacher` need not be given. None: ~/.mxnet/models.
    temperature : float
        Divides the scores of teacher and student before their softmax.
    hard_weight : float
        Share of the labels in the loss; the rest is the teacher's.
    """
    model: str
    model_kwargs: dict = dataclasses.field(default_factory=dict)
    use_pretrained: bool = False
    dtype: str = 'float32'
    num_gpus: int = 0
    mixup: bool = False
    mixup_alpha: float = 0.2
    mixup_off_epoch: int = 0
    label_smoothing: bool = False
    no_wd: bool = False
    freeze: str | None = None
    seed: int = 0
    last_gamma: bool = False
    teacher: str | None = None
    teacher_params: str | None = None
    temperature: float = 20.0
    hard_weight: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 32:
            raise TrainingError(f'--seed {self.seed}: a seed is a whole number from 0 to {(1 << 32) - 1}')


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """How a data set is read.

    Attributes
    ----------
    batch_size : int
        Images of a step, on all devices of one worker.
    input_size : int
        Height and width of the network's input.
    crop_ratio : float
        Share of the resized image that evaluation keeps.
    augmentation : str
        A key of `data.AUGMENTATIONS`.
    seed : int
        Decides order and augmentation.
    num_workers : int
        Threads that read images.
    num_parts : int
        Workers of a distributed training, among which each step's images are divided.
    part_index : int
        Which of them this one is, from 0.
    """
    batch_size: int
    input_size: int
    crop_ratio: float
    augmentation: str
    seed: int = 0
    num_workers: int = 4
    num_parts: int = 1
    part_index: int = 0
