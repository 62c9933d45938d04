"""Data sets: what is found, what is refused, what is drawn, what is skipped."""
import logging
import subprocess
import sys

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from bmx.io import images as image_files
from bmx.io import preprocess
from bmx.train import TrainingError
from bmx.train import data as train_data
from bmx.train.data import AUGMENTATIONS, Source, find_data, open_data, samples
from bmx.train.data.transforms import augment
from helpers import data_options as options
from helpers import write_cifar10, write_folder


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp('folder'))


@pytest.fixture(scope='module')
def records(tmp_path_factory, folder):
    """RecordIO files made by MXNet's own tool, three of each part."""
    target = tmp_path_factory.mktemp('records')
    for part in ('train', 'val'):
        tool = [sys.executable, '-m', 'mxnet.tools.im2rec']
        subprocess.run(tool + ['--list', '--recursive', '--chunks', '3', str(target / part), str(folder / part)],
                       check=True)
        subprocess.run(tool + [str(target / part), str(folder / part)], check=True)
    return {part: [str(target / (part + '_*.rec'))] for part in ('train', 'val')}


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


@pytest.mark.parametrize('kind', [row[0] for row in SIZES])
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
    np.testing.assert_array_equal(images, np.stack([preprocess.prepare(image_files.read_image(path), data.preprocess)
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


# Where data is --------------------------------------------------------------------------------------------------------

def test_what_a_folder_holds(tmp_path, monkeypatch, caplog):
    """Every format that prediction reads trains; hidden folders are no classes; what is left out is counted."""
    monkeypatch.setattr(logging.getLogger('bmx.train'), 'propagate', True)
    monkeypatch.setattr(logging.getLogger('bmx.train'), 'handlers', [])
    path = write_folder(tmp_path / 'photos [2020]')
    (tmp_path / 'far').mkdir()
    names = [f'image{extension}' for extension in image_files.EXTENSIONS] + ['UPPER.PNG', 'UPPER.WebP']
    for name in names:
        (tmp_path / 'far' / name).write_bytes((path / 'train/zebra/0.jpg').read_bytes())
    for part in ('train', 'val'):
        (path / part / 'ape').symlink_to(tmp_path / 'far')
        (path / part / '.ipynb_checkpoints').mkdir()
        (path / part / '.ipynb_checkpoints/0.jpg').write_bytes(b'')
        (path / part / 'LICENSE').write_text('')
        (path / part / 'zebra/notes.txt').write_text('')
        (path / part / 'zebra/._0.jpg').write_text('')
        (path / part / 'zebra/raw.jpg').mkdir()
    with caplog.at_level(logging.INFO, 'bmx.train'):
        data = open_data(find_data(str(path)), options(batch_size=100))
    assert [line for line in caplog.messages if 'left out' in line] == [
        f'left out of {path / part}: 1 files that are no images (.jpg, .jpeg, .png, .bmp, .gif, .ppm, .pgm, '
        '.pbm, .pnm, .webp), 1 '
        'folders inside of class folders, 2 hidden, 1 outside of the class folders' for part in ('train', 'val')]
    assert data.classes == ['ape', 'tench', 'zebra'] and data.train_size == len(names) + 10
    batch, = data.val_batches()
    assert batch.skipped == 0 and batch.label.tolist() == [0] * len(names) + [1] * 3 + [2] * 3


@pytest.mark.parametrize('empty, names', [(['ape'], 'ape'), ([f'ape{i}' for i in range(7)],
                                                             'ape0, ape1, ape2, ape3, ape4, ... (7 in all)')])
def test_classes_without_images_are_told_of(empty, names, tmp_path, caplog):
    path = write_folder(tmp_path)
    for part in ('train', 'val'):
        for name in empty:
            (path / part / name).mkdir()
    (path / 'val' / empty[0] / '0.jpg').write_bytes(b'')
    assert len(open_data(find_data(str(path)), options()).classes) == 2 + len(empty)
    assert caplog.messages[0] == f'classes of {path}/train without an image: {names}'
    assert len(caplog.messages) == (2 if empty[1:] else 1)


def test_order_and_labels_of_folders_are_those_of_gluon(folder):
    """So that trainings of before go on."""
    expected = mx.gluon.data.vision.ImageFolderDataset(str(folder / 'train'))
    assert samples._class_folders(str(folder / 'train')) == (expected.synsets, expected.items)


def test_cifar10_in_a_folder_with_brackets(tmp_path):
    assert find_data(str(write_cifar10(tmp_path / 'cifar [10] *'))).kind == 'cifar10'
    assert open_data(find_data(str(tmp_path / 'cifar [10] *')), options()).train_size == 40


def test_where_data_is_looked_for(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(train_data, 'DEFAULT_DIR', str(tmp_path / 'imagenet'))
    assert find_data() == Source('digits', None)
    (tmp_path / 'imagenet' / 'train').mkdir(parents=True)
    assert find_data() == Source('folder', str(tmp_path / 'imagenet'))
    assert find_data(str(folder)) == Source('folder', str(folder))
    write_cifar10(tmp_path / 'cifar' / 'cifar-10-batches-bin')
    assert find_data(str(tmp_path / 'cifar')) == Source('cifar10', str(tmp_path / 'cifar' / 'cifar-10-batches-bin'))
