"""Data sets: what is found, what is refused, what is drawn, what is skipped."""
import logging
import subprocess
import sys
from types import SimpleNamespace

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from bmx import preprocess
from bmx.train import TrainingError
from bmx.train import data as train_data
from bmx.train.data import AUGMENTATIONS, Source, find_data, open_data
from bmx.train.data.transforms import augment

CLASSES = ('n01440764', 'zebra')


def options(**given):
    settings = dict(batch_size=4, num_workers=2, augmentation='paper', seed=7, input_size=16, crop_ratio=0.875)
    return SimpleNamespace(**dict(settings, **given))


def write_folder(path, train=5, val=3, classes=CLASSES, size=(30, 24)):
    """Small photographs-to-be: a hint of one hue per class, under noise."""
    rng = np.random.RandomState(0)
    for part, count in (('train', train), ('val', val)):
        for label, name in enumerate(classes):
            (path / part / name).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                pixels = rng.randint(0, 200, size=size[::-1] + (3,)) + 55 * np.eye(3, dtype=int)[label % 3]
                Image.fromarray(pixels.astype(np.uint8)).save(str(path / part / name / ('%d.jpg' % index)))
    return path


def write_cifar10(path, train=20, test=10):
    path.mkdir(parents=True, exist_ok=True)
    rng = np.random.RandomState(0)
    for name, count in (('data_batch_1.bin', train), ('data_batch_2.bin', train), ('test_batch.bin', test)):
        records = rng.randint(0, 256, size=(count, 3073)).astype(np.uint8)
        records[:, 0] = np.arange(count) % 10
        records.tofile(str(path / name))
    return path


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp('folder'))


@pytest.fixture(scope='module')
def records(tmp_path_factory, folder):
    """RecordIO files made by MXNet's own tool."""
    target = tmp_path_factory.mktemp('records')
    for part in ('train', 'val'):
        tool = [sys.executable, '-m', 'mxnet.tools.im2rec']
        subprocess.run(tool + ['--list', '--recursive', str(target / part), str(folder / part)], check=True)
        subprocess.run(tool + [str(target / (part + '.lst')), str(folder / part)], check=True)
    return {name: str(target / (name.replace('_idx', '') + ('.idx' if '_idx' in name else '.rec')))
            for name in ('train', 'train_idx', 'val', 'val_idx')}


@pytest.fixture
def make(folder, records, tmp_path):
    """Open a data set of a kind."""
    def build(kind, **given):
        sources = {'folder': lambda: find_data(str(folder)), 'recordio': lambda: find_data(records=records),
                   'cifar10': lambda: find_data(str(write_cifar10(tmp_path / 'cifar'))),
                   'digits': lambda: Source('digits', None)}
        return open_data(sources[kind](), options(**given))
    return build


def arrays(batches):
    """All images and labels of some batches as two arrays."""
    images, labels = [], []
    for batch in batches:
        images.append(batch.data if isinstance(batch.data, np.ndarray) else batch.data.asnumpy())
        labels.append(batch.label)
    return np.concatenate(images), np.concatenate(labels)


# What all data sets have in common ------------------------------------------------------------------------------------

SIZES = [('folder', 10, 6, 2), ('recordio', 10, 6, 2), ('cifar10', 40, 10, 10), ('digits', 1437, 360, 10)]


@pytest.mark.parametrize('kind, train, val, classes', SIZES)
@pytest.mark.parametrize('batch_size', [3, 4, 2000])
def test_every_image_once(make, kind, train, val, classes, batch_size):
    data = make(kind, batch_size=batch_size)
    assert (data.kind, data.train_size, data.val_size, len(data.classes)) == (kind, train, val, classes)
    assert data.image_shape == (3, 16, 16)
    for batches, count in ((list(data.train_batches(0)), train), (list(data.val_batches()), val)):
        images, labels = arrays(batches)
        assert images.shape == (count, 3, 16, 16) and images.dtype == np.float32 and np.isfinite(images).all()
        assert [len(batch.label) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
        if kind != 'digits':
            assert np.bincount(labels.astype(int)).tolist() == [count // classes] * classes
    assert len(list(data.train_batches(1))) == data.num_train_batches == -(-train // batch_size)


@pytest.mark.parametrize('kind', [row[0] for row in SIZES])
def test_an_epoch_depends_on_seed_and_epoch_alone(make, kind):
    first, _ = arrays(make(kind).train_batches(2))
    np.testing.assert_array_equal(arrays(make(kind).train_batches(2))[0], first)
    for other in (make(kind).train_batches(3), make(kind, seed=8).train_batches(2)):
        assert not np.array_equal(arrays(other)[0], first)


@pytest.mark.parametrize('kind', ['folder', 'cifar10', 'digits'])
def test_an_epoch_does_not_depend_on_workers(make, kind):
    first, labels = arrays(make(kind, num_workers=0).train_batches(2))
    again, again_labels = arrays(make(kind, num_workers=3).train_batches(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(labels, again_labels)


@pytest.mark.parametrize('kind', [row[0] for row in SIZES])
@pytest.mark.parametrize('start', [1, 2])
def test_an_epoch_continues_in_the_middle(make, kind, start):
    data = make(kind)
    whole, labels = arrays(data.train_batches(1))
    rest, rest_labels = arrays(data.train_batches(1, start))
    np.testing.assert_array_equal(rest, whole[start * 4:])
    np.testing.assert_array_equal(rest_labels, labels[start * 4:])


@pytest.mark.parametrize('kind', ['folder', 'recordio'])
def test_images_carry_their_labels(make, kind):
    images, labels = arrays(make(kind).train_batches(0))
    np.testing.assert_array_equal(images.mean(axis=(2, 3)).argmax(axis=1), labels)  # class 0 is red, class 1 green


def test_validation_equals_deployment(folder, make):
    data = make('folder')
    images, _ = arrays(data.val_batches())
    paths = preprocess.find_images(str(folder / 'val'))
    np.testing.assert_array_equal(images, np.stack([preprocess.prepare(preprocess.read_image(path), data.preprocess)
                                                    for path in paths]))


def test_names(make):
    assert make('folder').classes == make('recordio').classes == ['tench', 'zebra']
    assert make('cifar10').classes[3] == 'cat'
    assert make('digits').classes == list('0123456789')


def test_digits_are_a_fixed_stratified_split(make):
    labels = [arrays(make('digits', seed=seed).val_batches())[1] for seed in (0, 1)]
    np.testing.assert_array_equal(*labels)
    assert set(np.bincount(labels[0].astype(int))) <= {34, 35, 36, 37}


def test_cifar10_planes(tmp_path):
    path = write_cifar10(tmp_path)
    record = np.fromfile(str(path / 'test_batch.bin'), dtype=np.uint8)[3073:2 * 3073]
    data = open_data(find_data(str(path)), options(augmentation='none', input_size=32, crop_ratio=1.0))
    images, labels = arrays(data.val_batches())
    expected = (record[1:].reshape(3, 32, 32) / 255 - np.array([0.4914, 0.4822, 0.4465])[:, None, None])
    np.testing.assert_allclose(images[1] * np.array([0.2023, 0.1994, 0.2010])[:, None, None], expected, atol=1e-6)
    assert labels[1] == record[0]


# Augmentation ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('name', list(AUGMENTATIONS))
@pytest.mark.parametrize('shape', [(20, 30), (30, 20), (16, 16), (5, 90), (3, 3)])
def test_augmentations(name, shape):
    image = np.random.RandomState(0).randint(0, 256, size=shape + (3,)).astype(np.uint8)
    view = {'size': [16, 16], 'crop_ratio': 0.875, 'mean': [0.5] * 3, 'std': [0.25] * 3}
    drawn = [augment(image, name, np.random.RandomState(seed), view) for seed in (1, 1, 2, 3, 4)]
    assert all(array.shape == (3, 16, 16) and array.dtype == np.float32 for array in drawn)
    assert all(np.abs(array).max() <= 2 for array in drawn)
    np.testing.assert_array_equal(drawn[0], drawn[1])
    if name == 'none':
        np.testing.assert_array_equal(drawn[0], preprocess.prepare(image, view))
    else:
        assert any(not np.array_equal(drawn[0], other) for other in drawn[2:])


@pytest.mark.parametrize('name, flips', [('crop', False), ('crop-flip', True)])
@pytest.mark.parametrize('size, ratio, resized', [((14, 14), 0.875, (16, 16)), ((5, 9), 0.5, (10, 18)),
                                                  ((8, 8), 1.0, (8, 8))])
def test_crops_are_windows_of_the_resized_image(name, flips, size, ratio, resized):
    """All windows occur, and mirrored ones only where images are mirrored."""
    image = np.random.RandomState(0).randint(0, 256, size=(20, 30, 3)).astype(np.uint8)
    view = {'size': list(size), 'crop_ratio': ratio, 'mean': [0] * 3, 'std': [1] * 3}
    whole = preprocess.normalise(np.asarray(Image.fromarray(image).resize(resized[::-1], Image.BILINEAR)), [0] * 3,
                                 [1] * 3)
    windows = {window.tobytes(): (top, left, mirrored)
               for top in range(resized[0] - size[0] + 1) for left in range(resized[1] - size[1] + 1)
               for mirrored, window in enumerate(
                   (whole[:, top:top + size[0], left:left + size[1]],
                    whole[:, top:top + size[0], left:left + size[1]][:, :, ::-1]))}
    drawn = {windows[augment(image, name, np.random.RandomState(seed), view).tobytes()] for seed in range(1000)}
    assert drawn == {window for window in windows.values() if flips or not window[2]}


@pytest.mark.parametrize('name', ['crop', 'crop-flip'])
def test_crops_of_records(make, name):
    """Windows of the resized images, which are larger than the windows."""
    data = make('recordio', augmentation=name, num_workers=1)
    (first, _), (again, _), (second, _) = (arrays(data.train_batches(epoch)) for epoch in (0, 0, 1))
    assert first.shape == second.shape == (10, 3, 16, 16)
    np.testing.assert_array_equal(first, again)
    assert not set(map(bytes, first)) & set(map(bytes, second))


# Bad input ------------------------------------------------------------------------------------------------------------

def test_corrupt_images_are_skipped_and_counted(tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(logging.getLogger('bmx.train'), 'warning', lambda text, *args: warnings.append(text % args))
    write_folder(tmp_path)
    truncated = tmp_path / 'train' / 'zebra' / '1.jpg'
    truncated.write_bytes(truncated.read_bytes()[:300])
    (tmp_path / 'val' / 'zebra' / '2.jpg').write_bytes(b'')
    data = open_data(find_data(str(tmp_path)), options())
    for batches, readable in ((data.train_batches, 9), (data.train_batches, 9), (lambda epoch: data.val_batches(), 5)):
        drawn = list(batches(0))
        assert sum(len(batch.label) for batch in drawn) == readable
        assert sum(batch.skipped for batch in drawn) == 1
    assert len(warnings) == 2 and str(truncated) in warnings[0] and '2.jpg' in warnings[1]  # once, not every epoch


def test_a_batch_of_corrupt_images_only(tmp_path):
    write_folder(tmp_path)
    for path in (tmp_path / 'train').glob('*/*.jpg'):
        path.write_bytes(b'no image')
    batches = list(open_data(find_data(str(tmp_path)), options()).train_batches(0))
    assert [(len(batch.label), batch.skipped) for batch in batches] == [(0, 4), (0, 4), (0, 2)]


def _only_train(path):
    write_folder(path)
    (path / 'val').rename(path / 'test')


def _no_images(path):
    for part in ('train', 'val'):
        (path / part / 'zebra').mkdir(parents=True)


def _other_classes(path):
    write_folder(path)
    (path / 'val' / 'zebra').rename(path / 'val' / 'okapi')


def _cut_cifar10(path):
    write_cifar10(path)
    (path / 'data_batch_2.bin').write_bytes(b'x' * 5000)


def _foreign_cifar10(path):
    write_cifar10(path)
    (path / 'data_batch_2.bin').write_bytes(b'x' * 3073)


def _no_test_batch(path):
    write_cifar10(path)
    (path / 'test_batch.bin').unlink()


BAD = [(lambda path: path.rmdir(), 'does not exist or is no folder'),
       (lambda path: None, 'has no folder train/: --data-dir needs train/ and val/'),
       (_only_train, 'has no folder val/'),
       (_no_images, r'train holds no images: looked for CLASS/\*.jpg'),
       (_other_classes, 'different class folders: zebra only in train/; okapi only in val/'),
       (_cut_cifar10, 'data_batch_2.bin is not a binary CIFAR-10 file: its 5000 bytes'),
       (_foreign_cifar10, 'data_batch_2.bin is not a binary CIFAR-10 file: it has the label 120'),
       (_no_test_batch, 'no test_batch.bin')]


@pytest.mark.parametrize('spoil, message', BAD)
def test_bad_folders(tmp_path, spoil, message):
    path = tmp_path / 'data'
    path.mkdir()
    spoil(path)
    with pytest.raises(TrainingError, match=message):
        open_data(find_data(str(path)), options())


def test_bad_records(records, tmp_path):
    with pytest.raises(TrainingError, match=r'no such RecordIO file: --rec-val-idx .*nowhere.idx'):
        find_data(records=dict(records, val_idx=str(tmp_path / 'nowhere.idx')))
    garbage = tmp_path / 'garbage.idx'
    for text, message in (('what is this', 'not the index'), ('', 'lists no records'),
                          ('0\t4\n', 'no record at byte 4')):
        garbage.write_text(text)
        with pytest.raises(TrainingError, match=message):
            open_data(find_data(records=dict(records, val_idx=str(garbage))), options())
    with pytest.raises(TrainingError, match='--augmentation shift does not exist for RecordIO'):
        open_data(find_data(records=records), options(augmentation='shift'))


def test_training_labels_beyond_the_validation_labels(records, tmp_path):
    first = tmp_path / 'first.idx'
    lines = open(records['val_idx']).read().splitlines()
    with open(str(first), 'w') as out:
        out.write('\n'.join(line for line in lines if int(line.split()[0]) < 3))  # im2rec numbers class by class
    data = open_data(find_data(records=dict(records, val_idx=str(first))), options())
    assert len(data.classes) == 1
    with pytest.raises(TrainingError, match='train.rec has the label 1, but the labels of .*val.rec go from 0 to 0'):
        list(data.train_batches(0))


def test_a_record_that_is_no_image(records, tmp_path):
    paths = dict(records, train=str(tmp_path / 'train.rec'), train_idx=str(tmp_path / 'train.idx'))
    writer = mx.recordio.MXIndexedRecordIO(paths['train_idx'], paths['train'], 'w')
    for index in range(4):
        writer.write_idx(index, mx.recordio.pack(mx.recordio.IRHeader(0, 0.0, index, 0), b'not a JPEG'))
    writer.close()
    with pytest.raises(TrainingError, match='train.rec holds a record that cannot be read'):
        list(open_data(find_data(records=paths), options()).train_batches(0))


def test_where_data_is_looked_for(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(train_data, 'DEFAULT_DIR', str(tmp_path / 'imagenet'))
    assert find_data() == ('digits', None)
    (tmp_path / 'imagenet' / 'train').mkdir(parents=True)
    assert find_data() == ('folder', str(tmp_path / 'imagenet'))
    assert find_data(str(folder)) == ('folder', str(folder))
    write_cifar10(tmp_path / 'cifar' / 'cifar-10-batches-bin')
    assert find_data(str(tmp_path / 'cifar')) == ('cifar10', str(tmp_path / 'cifar' / 'cifar-10-batches-bin'))
