"""Images that can be read one by one: folders of photographs, CIFAR-10's binary files, scikit-learn's digits."""
from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from typing import Any, Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from gluoncv.data import ImageNet1kAttr
from mxnet import gluon
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from ...io.images import EXTENSIONS, read_image
from ...io.preprocess import IMAGENET_MEAN, IMAGENET_STD, is_hidden, is_image, left_out_kind, prepare
from ...io.text import counted
from ..errors import TrainingError
from ..options import DataOptions
from ..randomness import stream
from .base import Batch, ImageData
from .transforms import augment

_logger = logging.getLogger('bmx.train')

CIFAR10_CLASSES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')


class FileSamples:
    """Image files, decoded when asked for: `items` are pairs of path and label."""

    def __init__(self, items: Sequence[tuple[str, int]]) -> None:
        self._items = items

    def __len__(self):
        return len(self._items)

    def __getitem__(self, index):
        path, label = self._items[index]
        return read_image(path), label


class _Reader(gluon.data.Dataset):
    """What the data workers call: sample `index` of epoch `epoch`, ready for the network, or None if it is unreadable.

    Parameters
    ----------
    samples : sequence
        Pairs of image, uint8 (H, W, 3), and label.
    transform : callable
        (image, epoch, index) to float32 (3, H, W).
    """

    def __init__(self, samples, transform):
        self._samples = samples
        self._transform = transform
        self._reported = set()

    def __len__(self):
        return len(self._samples)

    def __getitem__(self, key):
        epoch, index = key
        try:
            image, label = self._samples[index]
        except OSError as error:
            if index not in self._reported:
                self._reported.add(index)
                _logger.warning('skipped: %s', error)
            return None
        return self._transform(image, epoch, index), label


def _batchify(samples):
    readable = [sample for sample in samples if sample is not None]
    data = np.stack([image for image, _ in readable]) if readable else None
    return Batch(data, np.array([label for _, label in readable], dtype=np.float32), len(samples) - len(readable))


class SampleData(ImageData):
    """Data set of single images, read by threads.

    Threads, because Pillow and NumPy release the interpreter lock while they decode and compute, and because threads,
    unlike forked processes, receive no Ctrl-C of their own and leave nothing behind when the training is killed.
    """

    def __init__(self, kind: str, train: Any, val: Any, classes: Sequence[str], preprocess: Mapping[str, Any],
                 options: DataOptions) -> None:
        super().__init__(kind, len(train), len(val), classes, preprocess, options)
        self._train = _Reader(train, self._augment)
        self._val = _Reader(val, lambda image, epoch, index: prepare(image, preprocess))

    def _augment(self, image, epoch, index):
        return augment(image, self.options.augmentation, stream(self.options.seed, 'sample', epoch, index),
                       self.preprocess)

    def _batches(self, reader, order, epoch, start_batch):
        size, options = self.step_size, self.options
        parts = [np.array_split(order[start:start + size], options.num_parts)[options.part_index]
                 for start in range(start_batch * size, len(order), size)]
        keys = [[(epoch, int(index)) for index in part] for part in parts]
        workers = options.num_workers
        return iter(gluon.data.DataLoader(reader, batch_sampler=keys, batchify_fn=_batchify, num_workers=workers,
                                          prefetch=workers, thread_pool=True, timeout=3600))

    def train_batches(self, epoch: int, start_batch: int = 0) -> Iterator[Batch]:
        order = stream(self.options.seed, 'order', epoch).permutation(self.train_size)
        return self._batches(self._train, order, epoch, start_batch)

    def val_batches(self) -> Iterator[Batch]:
        return self._batches(self._val, range(self.val_size), 0, 0)


def _class_folders(directory):
    """The names of the class folders of a directory, and (path, label) of their images; in order of the names."""
    classes, items, left_out = [], [], Counter()
    for folder in _entries(directory):
        if is_hidden(folder.name) or not folder.is_dir():
            left_out['hidden' if is_hidden(folder.name) else 'outside of the class folders'] += 1
            continue
        for entry in _entries(folder.path):
            if entry.is_dir() or not is_image(entry.name):
                left_out[left_out_kind(entry.name, entry.is_dir())] += 1
                continue
            items.append((entry.path, len(classes)))
        classes.append(folder.name)
    if left_out:
        _logger.info('left out of %s: %s', directory, counted(left_out))
    filled = {label for _, label in items}
    empty = [name for label, name in enumerate(classes) if label not in filled]
    if items and empty:
        _logger.warning('classes of %s without an image: %s%s', directory, ', '.join(empty[:5]),
                        f', ... ({len(empty)} in all)' if empty[5:] else '')
    return classes, items


def _entries(directory):
    return sorted(os.scandir(directory), key=lambda entry: entry.name)


def open_folder(path: str, options: DataOptions, make_preprocess: Callable[..., dict[str, Any]]) -> SampleData:
    """``path/train/CLASS/*.jpg`` and ``path/val/CLASS/*.jpg``, ImageNet's classes by their names."""
    parts = {}
    for part in ('train', 'val'):
        directory = os.path.join(path, part)
        if not os.path.isdir(directory):
            raise TrainingError(f'{path} has no folder {part}/: --data-dir needs train/ and val/, each with one folder '
                                'per class (or data_batch_*.bin and test_batch.bin of CIFAR-10)')
        parts[part] = _class_folders(directory)
        if not parts[part][1]:
            raise TrainingError(f'{directory} holds no images: looked for CLASS/*{", *".join(EXTENSIONS)}')
    (classes, train), (val_classes, val) = parts['train'], parts['val']
    if classes != val_classes:
        only = [f'{", ".join(sorted(names)[:5])} only in {part}/' for part, names in
                (('train', set(classes) - set(val_classes)), ('val', set(val_classes) - set(classes))) if names]
        raise TrainingError(f'train/ and val/ of {path} have different class folders: {"; ".join(only)}')
    return SampleData('folder', FileSamples(train), FileSamples(val), class_names(classes),
                      make_preprocess(IMAGENET_MEAN, IMAGENET_STD), options)


def open_validation_folder(path: str, options: DataOptions, preprocess: Mapping[str, Any]) -> SampleData:
    """``path/val/CLASS/*.jpg``, or ``path/CLASS/*.jpg`` where there is no val/, without images to train on."""
    directory = os.path.join(path, 'val')
    directory = directory if os.path.isdir(directory) else path
    classes, items = _class_folders(directory)
    if not items:
        raise TrainingError(f'{directory} holds no images: looked for CLASS/*{", *".join(EXTENSIONS)}')
    return SampleData('folder', FileSamples([]), FileSamples(items), class_names(classes), preprocess, options)


def class_names(folders: Iterable[str]) -> list[str]:
    """English names of ImageNet's folders (n01440764: tench); other folders are called what they are called."""
    attributes = ImageNet1kAttr()
    known = dict(zip(attributes.synset, attributes.classes))
    return [known.get(folder, folder) for folder in folders]


def _read_cifar10(paths):
    images, labels = [], []
    for path in paths:
        raw = np.fromfile(path, dtype=np.uint8)
        if raw.size == 0 or raw.size % 3073:
            raise TrainingError(f'{path} is not a binary CIFAR-10 file: its {raw.size} bytes are no multiple of 3073')
        records = raw.reshape(-1, 3073)
        if records[:, 0].max() > 9:
            raise TrainingError(f'{path} is not a binary CIFAR-10 file: it has the label {records[:, 0].max()}')
        labels.append(records[:, 0])
        images.append(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return gluon.data.ArrayDataset(np.concatenate(images), np.concatenate(labels))


def open_cifar10(path: str, options: DataOptions, make_preprocess: Callable[..., dict[str, Any]]) -> SampleData:
    """``data_batch_*.bin`` and ``test_batch.bin`` of https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz."""
    test = os.path.join(path, 'test_batch.bin')
    if not os.path.isfile(test):
        raise TrainingError(f'{path} has data_batch_*.bin but no test_batch.bin')
    train = _read_cifar10(sorted(glob.glob(os.path.join(glob.escape(path), 'data_batch_*.bin'))))
    return SampleData('cifar10', train, _read_cifar10([test]), list(CIFAR10_CLASSES),
                      make_preprocess((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)), options)


def open_digits(options: DataOptions, make_preprocess: Callable[..., dict[str, Any]]) -> SampleData:
    """Scikit-learn's 1797 handwritten digits of 8x8 pixels as RGB; a fixed fifth of every class is held out."""
    digits = load_digits()
    pixels = (digits.images * (255 / 16)).round().astype(np.uint8)
    images = np.repeat(pixels[..., None], 3, axis=-1)
    train, val, train_labels, val_labels = train_test_split(images, digits.target, test_size=0.2, random_state=0,
                                                            stratify=digits.target)
    mean, std = train.mean() / 255, train.std() / 255
    return SampleData('digits', gluon.data.ArrayDataset(train, train_labels), gluon.data.ArrayDataset(val, val_labels),
                      [str(name) for name in digits.target_names],
                      make_preprocess((round(mean, 4),) * 3, (round(std, 4),) * 3), options)
