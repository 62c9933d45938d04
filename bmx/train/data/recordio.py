"""Images in RecordIO files, as `python -m mxnet.tools.im2rec` writes them.

They are read here and not by MXNet's `ImageRecordIter`: that ends the process where a record is damaged or an image
cannot be decoded, reads truncated images as whole, and what an index leaves out as well.
"""
from __future__ import annotations

import io
import logging
import os
import struct
import time
from typing import Any, Callable, Mapping

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


class RecordSamples:
    """The images of a RecordIO file which its index lists, in the index's order; decoded when asked for.

    Parameters
    ----------
    path, index_path : str

    Raises
    ------
    TrainingError
        The index is not one.
    """

    def __init__(self, path: str, index_path: str) -> None:
        self.path = path
        self.num_classes, self.why = MAX_CLASSES, ''
        self._index_path = index_path
        self._file = open(path, 'rb', buffering=0)
        self._size = os.fstat(self._file.fileno()).st_size
        self._offsets = _offsets(index_path)

    def __len__(self):
        return len(self._offsets)

    def __getitem__(self, index):
        """Image and label; OSError if the record is damaged."""
        offset = self._offsets[index]
        label, start, content = self._record(offset, None)
        return decode_image(io.BytesIO(content[start:]), f'the record at byte {offset} of {self.path}'), label

    def labels(self, seconds: float = float('inf')) -> list[int]:
        """The labels of the first records, without their images: of as many as can be read in some seconds.

        Raises
        ------
        TrainingError
            There is no record where the index says, or one without a label of `num_classes`.
        """
        found, end = [], time.monotonic() + seconds
        for offset in self._offsets:
            try:
                found.append(self._record(offset, _HEADER.size + _LABEL.size)[0])
            except OSError as error:
                raise TrainingError(f'{error}; correct the file, or leave the record out of {self._index_path}'
                                    ) from None
            if time.monotonic() > end:
                break
        return found

    def _record(self, offset, length):
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
    offsets = []
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


def _folder_names(record_path, num_classes):
    """Class names from the .lst file which im2rec leaves beside the records; None where it does not tell them."""
    list_path = os.path.splitext(record_path)[0] + '.lst'
    names = {}
    try:
        with open(list_path, encoding='utf-8') as lines:
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
        _logger.warning('%s does not tell the names of the %d classes: they are called by their numbers', list_path,
                        num_classes)
        return None
    return class_names([names[label] for label in range(num_classes)])


def open_records(files: Mapping[str, str], options: DataOptions,
                 make_preprocess: Callable[..., dict[str, Any]]) -> SampleData:
    """Two RecordIO files with their indices; the labels of the validation images tell how many classes there are."""
    train, val = (RecordSamples(files[part], files[part + '_idx']) for part in ('train', 'val'))
    val.num_classes = train.num_classes = max(val.labels()) + 1
    val.why = train.why = f', those of {val.path}'
    checked = len(train.labels(CHECK_SECONDS))
    if checked < len(train):
        _logger.info('the first %d of %d records of %s are in order; the others are checked as they are read, and '
                     'skipped where they are damaged', checked, len(train), train.path)
    names = _folder_names(files['val'], val.num_classes) or [str(label) for label in range(val.num_classes)]
    return SampleData('recordio', train, val, names, make_preprocess(IMAGENET_MEAN, IMAGENET_STD), options)
