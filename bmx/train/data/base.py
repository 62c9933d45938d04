"""The interface of every data set."""
from __future__ import annotations

import dataclasses
from typing import Any, Iterator, Mapping, Sequence

from ..options import DataOptions


@dataclasses.dataclass(frozen=True)
class Batch:
    """Images float32 ``(N, 3, H, W)`` (None if N = 0), labels float32 ``(N,)``, number of unreadable images.

    Arrays are NumPy's or MXNet's, on the CPU.
    """
    data: Any
    label: Any
    skipped: int


class ImageData:
    """Images to train on and to validate with.

    Parameters
    ----------
    kind : str
        A key of `bmx.train.recipes.DATASETS`.
    train_size, val_size : int
        Numbers of images.
    classes : list of str
        Names of the classes; a label is an index into them.
    preprocess : dict
        How an image becomes an input, see `bmx.io.preprocess`.
    options : options.DataOptions
    """

    def __init__(self, kind: str, train_size: int, val_size: int, classes: Sequence[str], preprocess: Mapping[str, Any],
                 options: DataOptions) -> None:
        self.kind = kind
        self.train_size = train_size
        self.val_size = val_size
        self.classes = classes
        self.preprocess = preprocess
        self.options = options

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one image as the network sees it, ``(3, H, W)``."""
        return (3,) + tuple(self.preprocess['size'])

    @property
    def step_size(self) -> int:
        """Images of a step, of all workers."""
        return self.options.batch_size * self.options.num_parts

    @property
    def num_train_batches(self) -> int:
        """Batches of an epoch, the same number for each worker; the last one may be smaller."""
        return -(-self.train_size // self.step_size)

    @property
    def identity(self) -> dict[str, Any]:
        """What has to be the same when a training is resumed, as a dict for JSON."""
        return {'kind': self.kind, 'train_images': self.train_size, 'val_images': self.val_size,
                'classes': list(self.classes)}

    def train_batches(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        """Iterator over the `Batch` es of one epoch, from `start_batch` on: always the same for the same arguments.

        Of several workers, each gets its part of what one with batches of `step_size` would get; it may be empty.
        """
        raise NotImplementedError

    def val_batches(self) -> Iterator[Batch]:
        """Iterator over the `Batch` es of the validation images, in their order."""
        raise NotImplementedError
