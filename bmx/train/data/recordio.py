"""ImageNet as RecordIO, read by MXNet's own multi-threaded reader."""
import math
import os
import struct

import mxnet as mx

from ...preprocess import IMAGENET_MEAN, IMAGENET_STD
from ...storage import sentence
from ..errors import TrainingError
from ..randomness import integer
from .base import Batch, ImageData
from .samples import class_names

# ImageRecordIter's arguments for each augmentation it can do; the numbers are those of transforms.py. With crop and
# crop-flip it resizes the shorter side only, which is the same for the square images that the papers made.
_CROP = dict(random_resized_crop=True, min_random_area=0.08, max_random_area=1.0, min_aspect_ratio=3 / 4,
             max_aspect_ratio=4 / 3)
AUGMENTATIONS = {
    'none': {},
    'paper': dict(_CROP, rand_mirror=True),
    'crop': dict(rand_crop=True),
    'crop-flip': dict(rand_crop=True, rand_mirror=True),
    'gluoncv': dict(_CROP, rand_mirror=True, brightness=0.4, contrast=0.4, saturation=0.4, pca_noise=0.1),
}

# Before the image: magic number and length of the record (dmlc-core, recordio.h); flag, label and two ids (IRHeader).
_RECORD = struct.Struct('<IIIfQQ')
_MAGIC = 0xced7230a


def _offsets(index_path):
    """Byte offsets of the records, from an index file."""
    try:
        with open(index_path) as lines:
            return [int(line.split()[1]) for line in lines if line.strip()]
    except (ValueError, IndexError):
        raise TrainingError('%s is not the index of a RecordIO file (lines of "key offset")' % index_path)


def _labels(record_path, offsets):
    """The label of every record, without reading the images."""
    labels = []
    with open(record_path, 'rb') as record:
        for offset in offsets:
            record.seek(offset)
            header = record.read(_RECORD.size)
            if len(header) < _RECORD.size or _RECORD.unpack(header)[0] != _MAGIC:
                raise TrainingError('%s has no record at byte %d, where its .idx says: the file is damaged or the .idx '
                                    'belongs to another one' % (record_path, offset))
            labels.append(int(_RECORD.unpack(header)[3]))
    return labels


def _folder_names(record_path, num_classes):
    """Class names from the .lst file which im2rec.py leaves beside the records; None where it does not tell them."""
    list_path = os.path.splitext(record_path)[0] + '.lst'
    if not os.path.isfile(list_path):
        return None
    names = {}
    with open(list_path) as lines:
        for line in lines:
            fields = line.rstrip('\n').split('\t')
            names[int(float(fields[1]))] = os.path.dirname(fields[-1])
    return class_names([names[label] for label in range(num_classes)]) if set(names) == set(range(num_classes)) else None


class RecordData(ImageData):
    """Data set in two RecordIO files with their indices.

    Each epoch has a reader of its own, whose seeds follow from the training's seed and the epoch; this also avoids what
    `ImageRecordIter` of MXNet 1.9.1 gets wrong: after `reset`, and without `round_batch`, it miscounts the last batch.
    A resumed epoch is read from its beginning, because the reader can not start in the middle.
    """

    def __init__(self, files, options, make_preprocess):
        if options.augmentation not in AUGMENTATIONS:
            raise TrainingError('--augmentation %s does not exist for RecordIO: choose one of %s'
                                % (options.augmentation, ', '.join(AUGMENTATIONS)))
        self._files = files
        offsets = {part: _offsets(files['%s_idx' % part]) for part in ('train', 'val')}
        for part, found in offsets.items():
            if not found:
                raise TrainingError('%s lists no records' % files['%s_idx' % part])
        # ImageNet's 50000 validation records take seconds; the labels of the training records are checked as they come.
        num_classes = max(_labels(files['val'], offsets['val'])) + 1
        names = _folder_names(files['val'], num_classes) or [str(label) for label in range(num_classes)]
        super().__init__('recordio', len(offsets['train']), len(offsets['val']), names,
                                         make_preprocess(IMAGENET_MEAN, IMAGENET_STD), options)

    @property
    def identity(self):
        # Every thread of the reader has a random generator of its own.
        return dict(super().identity, num_workers=self._options.num_workers)

    def _reader(self, part, **kwargs):
        mean, std = ([255 * value for value in values] for values in (self.preprocess['mean'], self.preprocess['std']))
        return mx.io.ImageRecordIter(
            path_imgrec=self._files[part], path_imgidx=self._files['%s_idx' % part], data_shape=self.image_shape,
            # The reader fails where a batch is more than twice all there is.
            batch_size=min(self._options.batch_size, self.train_size if part == 'train' else self.val_size),
            preprocess_threads=max(1, self._options.num_workers),
            mean_r=mean[0], mean_g=mean[1], mean_b=mean[2], std_r=std[0], std_g=std[1], std_b=std[2],
            verbose=False, **kwargs)

    def _batches(self, part, start_batch, **kwargs):
        try:
            for position, batch in enumerate(self._reader(part, **kwargs)):  # it reads from its construction on
                if position < start_batch:
                    continue
                size = batch.data[0].shape[0] - batch.pad
                label = batch.label[0][:size].asnumpy()
                if label.min() < 0 or label.max() >= len(self.classes):
                    raise TrainingError('%s has the label %g, but the labels of %s go from 0 to %d'
                                        % (self._files[part], label.max(), self._files['val'], len(self.classes) - 1))
                yield Batch(batch.data[0][:size], label, 0)
        except mx.MXNetError as error:  # of the reader: what happens to a batch that was handed out does not come here
            raise TrainingError('%s holds a record that cannot be read, or an image too small for its crop: %s'
                                % (self._files[part], sentence(error))) from None

    def train_batches(self, epoch, start_batch=0):
        seed = integer(self._options.seed, 'reader', epoch)
        kwargs = AUGMENTATIONS[self._options.augmentation]
        if 'random_resized_crop' not in kwargs:
            kwargs = dict(kwargs, resize=self._resize)
        return self._batches('train', start_batch, shuffle=True, seed=seed, seed_aug=seed, **kwargs)

    def val_batches(self):
        return self._batches('val', 0, shuffle=False, resize=self._resize)

    @property
    def _resize(self):
        return math.ceil(min(self.preprocess['size']) / self.preprocess['crop_ratio'])
