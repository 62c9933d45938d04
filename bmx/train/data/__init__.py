"""Data sets: where they are looked for, how they are opened. Nothing is ever downloaded."""
from __future__ import annotations

import dataclasses
import glob
import os
from typing import Any, Callable, Mapping, Sequence

from ..errors import TrainingError
from ..options import DataOptions
from .base import Batch, ImageData
from .recordio import find_records, open_records, open_validation_records
from .samples import open_cifar10, open_digits, open_folder, open_validation_folder
from .transforms import AUGMENTATIONS

DEFAULT_DIR = os.path.join('~', '.mxnet', 'datasets', 'imagenet')


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set that was found: its kind (key of `recipes.DATASETS`) and its place.

    The latter is a path, the files of RecordIO as `recordio.find_records` returns them, or None.
    """
    kind: str
    location: Any


def find_data(data_dir: str | None = None, records: Mapping[str, Sequence[str] | None] | None = None) -> Source:
    """Find the data set a user means.

    Parameters
    ----------
    data_dir : str, optional
        Folder with ``train/`` and ``val/``, or with CIFAR-10's ``.bin`` files. None looks at GluonCV's default place
        for ImageNet and takes the bundled digits if nothing is there.
    records : dict, optional
        RecordIO files, as `recordio.find_records` takes them; used instead of `data_dir`.

    Returns
    -------
    Source

    Raises
    ------
    TrainingError
        A place that was named does not hold what it should.
    """
    if records is not None:
        return Source('recordio', find_records(records))
    if data_dir is None:
        default = os.path.expanduser(DEFAULT_DIR)
        return Source('folder', default) if os.path.isdir(os.path.join(default, 'train')) else Source('digits', None)
    path = os.path.expanduser(data_dir)
    if not os.path.isdir(path):
        raise TrainingError(f'--data-dir {data_dir} does not exist or is no folder')
    for candidate in (path, os.path.join(path, 'cifar-10-batches-bin')):
        if glob.glob(os.path.join(glob.escape(candidate), 'data_batch_*.bin')):
            return Source('cifar10', candidate)
    return Source('folder', path)


def open_data(source: Source, options: DataOptions) -> ImageData:
    """Open what `find_data` found.

    Parameters
    ----------
    source : Source
    options : options.DataOptions

    Returns
    -------
    ImageData
    """
    if options.augmentation not in AUGMENTATIONS:
        raise TrainingError(f'unknown --augmentation {options.augmentation!r}: choose one of '
                            f'{", ".join(AUGMENTATIONS)}')

    def make_preprocess(mean, std):
        return {'size': [options.input_size] * 2, 'crop_ratio': options.crop_ratio, 'mean': list(mean),
                'std': list(std)}

    if source.kind == 'digits':
        return open_digits(options, make_preprocess)
    openers: dict[str, Callable[..., ImageData]] = {'folder': open_folder, 'recordio': open_records,
                                                    'cifar10': open_cifar10}
    return openers[source.kind](source.location, options, make_preprocess)


def open_validation(source: Source, preprocess: Mapping[str, Any], batch_size: int, num_workers: int) -> ImageData:
    """The validation images alone of what :func:`find_data` found, as a network sees them that was trained already.

    Parameters
    ----------
    source : Source
        Of a folder val/ is enough, or its classes' folders themselves; of records `val` and `val_idx`.
    preprocess : dict
        How an image becomes the network's input, see `bmx.io.preprocess`.
    batch_size, num_workers : int

    Returns
    -------
    ImageData
    """
    options = DataOptions(batch_size=batch_size, input_size=preprocess['size'][0], num_workers=num_workers,
                          crop_ratio=preprocess['crop_ratio'], augmentation='none')
    if source.kind == 'folder':
        return open_validation_folder(str(source.location), options, preprocess)
    if source.kind == 'recordio':
        return open_validation_records(source.location, options, preprocess)
    if source.kind == 'cifar10':
        return open_cifar10(str(source.location), options, lambda *_: dict(preprocess))
    return open_digits(options, lambda *_: dict(preprocess))
