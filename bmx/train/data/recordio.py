"""Images in RecordIO files, as `python -m mxnet.tools.im2rec` writes them.

They are read here and not by MXNet's `ImageRecordIter`: that ends the process where a record is damaged or an image
cannot be decoded, reads truncated images as whole, and what an index leaves out as well.
"""
from __future__ import annotations

import array
import bisect
import glob
import io
import itertools
import logging
import os
import re
import struct
import time
from collections import defaultdict
from typing import Any, Callable, Mapping, Sequence

from ...io.images import decode_image
from ...io.preprocess import IMAGENET_MEAN, IMAGENET_STD
from ..errors import TrainingError
from ..options import DataOptions
from .samples import SampleData, class_names

_logger = logging.getLogger('bmx.train')

# Each part of a record (dmlc-core, recordio.h): magic number; in one word its kind and the length of what follows,
# which is padded to whole words. Where the content holds a magic number, it is split there.
_PART = struct.Struct('<II')
_MAGIC = 0xced7230a
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)

# Before the image (IRHeader): number of labels behind this header, or 0; the label then; two ids.
_HEADER = struct.Struct('<IfQQ')
_LABEL = struct.Struct('<f')

# A label beyond is no number of a class.
MAX_CLASSES = 1 << 20
# For so long the labels of the training images are checked before the training, the others as they are read.
CHECK_SECONDS = 60


# How im2rec calls the files of a list that it was told to cut into chunks: PREFIX_0.rec, PREFIX_1.rec, ...
_NUMBERED = re.compile(r'(.*_)(\d+)((?:_train|_val|_test)?\.rec)')


class RecordSamples:
    """The images of RecordIO files which their indices list, in the order of these; decoded when asked for.

    Parameters
    ----------
    files : sequence
        Pairs of paths: a RecordIO file, its index.

    Raises
    ------
    TrainingError
        An index is not one.
    """

    def __init__(self, files: Sequence[tuple[str, str]]) -> None:
        self.name = _several([path for path, _ in files])
        self._files = [_RecordFile(*paths) for paths in files]
        self._ends = list(itertools.accumulate(len(file.offsets) for file in self._files))

    def __len__(self):
        return self._ends[-1]

    def __getitem__(self, index):
        """Image and label; OSError if the record is damaged."""
        number = bisect.bisect_right(self._ends, index)
        file = self._files[number]
        offset = file.offsets[index - self._ends[number]]
        label, start, content = file.record(offset, None)
        return decode_image(io.BytesIO(content[start:]), f'the record at byte {offset} of {file.path}'), label

    def limit(self, num_classes: int, why: str) -> None:
        """From now on records of other labels are damaged; `why` ends the sentence that says so."""
        for file in self._files:
            file.num_classes, file.why = num_classes, why

    def labels(self, seconds: float = float('inf')) -> list[int]:
        """The labels of the first records of each file, without their images: of as many as some seconds allow.

        Raises
        ------
        TrainingError
            There is no record where the index says, or one without a label within the limit.
        """
        return [label for file in self._files for label in file.labels(seconds / len(self._files))]


class _RecordFile:
    """One file and its index; `offsets` are the bytes where records begin."""

    def __init__(self, path, index_path):
        self.path = path
        self.num_classes, self.why = MAX_CLASSES, ''
        self.offsets = _offsets(index_path)
        self._index_path = index_path
        self._file = open(path, 'rb', buffering=0)
        self._size = os.fstat(self._file.fileno()).st_size

    def labels(self, seconds):
        found, end = [], time.monotonic() + seconds
        for offset in self.offsets:
            try:
                found.append(self.record(offset, _HEADER.size + _LABEL.size)[0])
            except OSError as error:
                raise TrainingError(f'{error}; correct the file, or leave the record out of {self._index_path}'
                                    ) from None
            if time.monotonic() > end:
                break
        return found

    def record(self, offset, length):
        """Label of a record, where its image starts, and its content, of which no more than `length` is needed."""
        content = self._content(offset, length)
        where = f'the record at byte {offset} of {self.path}'
        count, label = _HEADER.unpack_from(content)[:2] if len(content) >= _HEADER.size else (None, None)
        if count == 1 and len(content) >= _HEADER.size + _LABEL.size:
            label, = _LABEL.unpack_from(content, _HEADER.size)
        elif count == 1 or count is None:
            raise OSError(f'{where} is too short for a label')
        elif count > 1:
            raise OSError(f'{where} has {count} labels: there must be one, the number of its class')
        if not 0 <= label < self.num_classes or label != int(label):
            raise OSError(f'{where} has the label {label:g}: labels are whole numbers from 0 to '
                          f'{self.num_classes - 1}{self.why}')
        return int(label), _HEADER.size + count * _LABEL.size, content

    def _content(self, offset, length):
        parts, allowed = [], (_WHOLE, _FIRST)
        while True:
            head = os.pread(self._file.fileno(), _PART.size, offset)
            magic, word = _PART.unpack(head) if len(head) == _PART.size else (None, 0)
            kind, size = word >> 29, word & (1 << 29) - 1
            start = offset + _PART.size
            if magic != _MAGIC or kind not in allowed or start + size > self._size:
                raise OSError(f'{self.path} has no {"part of a record" if parts else "record"} at byte {offset}: it is '
                              f'damaged, or {self._index_path} belongs to another file')
            parts.append(os.pread(self._file.fileno(), size if length is None else min(size, length), start))
            if kind in (_WHOLE, _LAST) or length is not None and size >= length:
                return struct.pack('<I', _MAGIC).join(parts)
            offset, allowed = start + size + -size % 4, (_MIDDLE, _LAST)


def _offsets(index_path):
    """Byte offsets of the records, from an index file."""
    offsets = array.array('q')
    try:
        with open(index_path, encoding='ascii') as lines:
            for line in lines:
                if line.strip():
                    _, offset = map(int, line.split())
                    if not 0 <= offset < 1 << 62:
                        raise ValueError
                    offsets.append(offset)
    except ValueError:
        raise TrainingError(f'{index_path} is not the index of a RecordIO file: its lines are "key offset", in whole '
                            'numbers') from None
    if not offsets:
        raise TrainingError(f'{index_path} lists no records')
    return offsets


def _several(paths):
    """How files are named in a sentence."""
    return paths[0] if len(paths) == 1 else f'{paths[0]} and {len(paths) - 1} more'


def _folder_names(record_paths, num_classes):
    """Class names from the .lst files which im2rec leaves beside the records; None where they do not tell them."""
    lists = [os.path.splitext(path)[0] + '.lst' for path in record_paths]
    names = {}
    try:
        for path in lists:
            with open(path, encoding='utf-8') as lines:
                for line in lines:
                    if line.strip() and not line.startswith('#'):
                        fields = line.rstrip('\n').split('\t')
                        label, name = int(float(fields[1])), os.path.dirname(fields[-1])
                        if not name or names.setdefault(label, name) != name:
                            raise ValueError
    except FileNotFoundError:
        return None
    except (OSError, ValueError, IndexError, OverflowError):
        names = {}
    if set(names) != set(range(num_classes)) or len(set(names.values())) != num_classes:
        _logger.warning('%s does not tell the names of the %d classes: they are called by their numbers',
                        _several(lists), num_classes)
        return None
    return class_names([names[label] for label in range(num_classes)])


def find_records(given: Mapping[str, Sequence[str] | None]) -> dict[str, list[tuple[str, str]]]:
    """The files that a user means.

    Parameters
    ----------
    given : dict
        ``train``, ``val``, or one of them: paths or glob patterns of RecordIO files; ``train_idx``, ``val_idx``: of
        their indices in the same order, or None for those beside the files.

    Returns
    -------
    dict
        ``train``, ``val``: pairs of paths, a RecordIO file and its index; in the order of the former's names, so that
        the order in which they were given has no part in a training.

    Raises
    ------
    TrainingError
        A file is missing, or given twice, or without an index of its own.
    """
    return {part: _find(f'--rec-{part}', given[part], given.get(part + '_idx')) for part in ('train', 'val')
            if part in given}


def _find(option, records, indices):
    paths = _expand(option, records)
    for path in paths:
        if path.endswith(('.idx', '.lst')):
            raise TrainingError(f'{option}: {path} is an index or a list, no RecordIO file; patterns of these end with '
                                '.rec')
    _check_complete(option, paths)
    if indices is None:
        index_paths = [os.path.splitext(path)[0] + '.idx' for path in paths]
        missing = [path for path in index_paths if not os.path.isfile(path)]
        if missing:
            raise TrainingError(f'no such index of a RecordIO file: {_several(missing)} (im2rec writes it beside '
                                f'the file; {option}-idx names one elsewhere)')
    else:
        index_paths = _expand(option + '-idx', indices)
    if len(index_paths) != len(paths):
        raise TrainingError(f'{option} has {len(paths)} files and {option}-idx {len(index_paths)}: each needs an index '
                            'of its own')
    return sorted(zip(paths, index_paths))


def _expand(option, given):
    """The paths of files that are given by path or pattern, each once."""
    paths, missing, seen = [], [], {}
    for name in given:
        path = os.path.expanduser(name)
        found = [path] if os.path.isfile(path) else [each for each in sorted(glob.glob(path)) if os.path.isfile(each)]
        paths += found
        missing += [] if found else [f'{option} {path}']
    if missing:
        raise TrainingError(f'no such RecordIO file: {", ".join(missing)} (make it with: python -m '
                            'mxnet.tools.im2rec)')
    for path in paths:
        status = os.stat(path)
        first = seen.setdefault((status.st_dev, status.st_ino), path)
        if first is not path:
            raise TrainingError(f'{option} has a file twice: {path}' + ('' if first == path else f' is {first}'))
    return paths


def _check_complete(option, paths):
    """Refuse some of the parts of a numbered set where others are missing; one that is given alone may be so."""
    numbers = defaultdict(set)
    for path in paths:
        numbered = _NUMBERED.fullmatch(path)
        if numbered:
            numbers[numbered.group(1, 3)].add(int(numbered.group(2)))
    for (start, end), known in numbers.items():
        last = max(known)
        while os.path.isfile(f'{start}{last + 1}{end[:-len("rec")]}lst'):
            last += 1
        missing = [path for path in (f'{start}{number}{end}' for number in range(last + 1) if number not in known)
                   if not os.path.isfile(path)]
        if missing and len(paths) > 1:
            raise TrainingError(f'{option}: {_several(missing)} is missing of {last + 1} parts, {start}0{end} to '
                                f'{start}{last}{end}')


def open_records(files: Mapping[str, Sequence[tuple[str, str]]], options: DataOptions,
                 make_preprocess: Callable[..., dict[str, Any]]) -> SampleData:
    """RecordIO files with their indices; the labels of the validation images tell how many classes there are."""
    train, val = (RecordSamples(files[part]) for part in ('train', 'val'))
    num_classes = max(val.labels()) + 1
    for samples in (train, val):
        samples.limit(num_classes, f', those of {val.name}')
    checked = len(train.labels(CHECK_SECONDS))
    if checked < len(train):
        _logger.info('the first %d of %d records of %s are in order; the others are checked as they are read, and '
                     'skipped where they are damaged', checked, len(train), train.name)
    names = _folder_names([path for path, _ in files['val']], num_classes) or list(map(str, range(num_classes)))
    return SampleData('recordio', train, val, names, make_preprocess(IMAGENET_MEAN, IMAGENET_STD), options)


def open_validation_records(files: Mapping[str, Sequence[tuple[str, str]]], options: DataOptions,
                            preprocess: Mapping[str, Any]) -> SampleData:
    """The validation images alone."""
    val = RecordSamples(files['val'])
    num_classes = max(val.labels()) + 1
    val.limit(num_classes, '')
    names = _folder_names([path for path, _ in files['val']], num_classes) or list(map(str, range(num_classes)))
    return SampleData('recordio', [], val, names, preprocess, options)
