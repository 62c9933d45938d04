"""RecordIO: single files and several, damaged ones, their indices and class names; the parts of several workers."""
import io
import logging
import struct

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from bmx.io import preprocess
from bmx.train import TrainingError
from bmx.train.data import find_data, open_data, recordio
from helpers import data_options as options

MAGIC = 0xced7230a


def picture(index, form='JPEG', shape=(40, 40, 3)):
    """A flat picture as the content of a file; its value is 20 * index."""
    data = io.BytesIO()
    Image.fromarray(np.full(shape, 20 * index, np.uint8)).save(data, form)
    return data.getvalue()


def record(label=0., image=b'', flag=0, more=b''):
    """The content of a record: IRHeader, more labels, image."""
    return struct.pack('<IfQQ', flag, label, 0, 0) + more + image


def framed(content, kind=0, magic=MAGIC, length=None):
    return (struct.pack('<II', magic, kind << 29 | (len(content) if length is None else length)) + content
            + b'\0' * (-len(content) % 4))


def write_records(folder, parts, index=None, name='val'):
    """Write framed records and their index; returns what `find_data` takes, the same for both parts."""
    offsets = np.cumsum([0] + [len(part) for part in parts])[:-1]
    lines = [f'{index}\t{offset}' for index, offset in enumerate(offsets)]
    (folder / (name + '.rec')).write_bytes(b''.join(parts))
    (folder / (name + '.idx')).write_text('\n'.join(lines if index is None else index(lines)) + '\n')
    return both(folder / (name + '.rec'))


def both(*paths):
    """The same files, with the indices beside them, as both parts."""
    return {part: list(map(str, paths)) for part in ('train', 'val')}


def good_records(count=6):
    return [framed(record(index % 3, picture(index))) for index in range(count)]


def read_records(files, **given):
    data = open_data(find_data(records=files), options(**dict({'augmentation': 'none'}, **given)))
    return data, list(data.val_batches())


@pytest.mark.parametrize('label', [np.float32(2), [2], np.array([2.])])
def test_labels_by_number_and_by_array(label, tmp_path):
    """As `pack` and `pack_img` of MXNet write them."""
    writer = mx.recordio.MXIndexedRecordIO(str(tmp_path / 'x.idx'), str(tmp_path / 'x.rec'), 'w')
    for index, each in enumerate(([0], 1., label)):
        writer.write_idx(index, mx.recordio.pack(mx.recordio.IRHeader(0, each, index, 0), picture(index, 'PNG')))
    writer.close()
    data, (batch,) = read_records(both(tmp_path / 'x.rec'))
    assert batch.label.tolist() == [0, 1, 2] and len(data.classes) == 3 and batch.skipped == 0
    assert [round(float(image[0, 0, 0] * 0.229 + 0.485) * 255) for image in batch.data] == [0, 20, 40]


def test_a_record_in_parts(tmp_path):
    """Where its content holds a magic number, the writer of MXNet splits a record there."""
    image = picture(5, 'BMP')
    start = (24 + len(image)) // 8 * 4 - 24
    image = image[:start] + struct.pack('<I', MAGIC) + image[start + 4:]
    writer = mx.recordio.MXIndexedRecordIO(str(tmp_path / 'val.idx'), str(tmp_path / 'val.rec'), 'w')
    writer.write_idx(0, record(0., image))
    writer.close()
    content = (tmp_path / 'val.rec').read_bytes()
    assert struct.unpack_from('<I', content, 4)[0] >> 29 == 1  # the first of several parts
    _, (batch,) = read_records(both(tmp_path / 'val.rec'), input_size=40, crop_ratio=1.0)
    expected = np.asarray(Image.open(io.BytesIO(image)).convert('RGB')).transpose(2, 0, 1)
    mean, std = (np.array(values)[:, None, None] for values in (preprocess.IMAGENET_MEAN, preprocess.IMAGENET_STD))
    np.testing.assert_array_equal((255 * (batch.data[0] * std + mean)).round(), expected)


def test_an_index_may_leave_records_out(tmp_path):
    for kept in ([0, 1, 2, 4, 5], [5, 4, 3, 2, 1, 0], [2]):
        files = write_records(tmp_path, good_records(), lambda lines: [lines[index] for index in kept])
        data, batches = read_records(files, batch_size=10)
        assert data.val_size == len(kept) and batches[0].label.tolist() == [index % 3 for index in kept]


NAN, INF = float('nan'), float('inf')
# What stands in the place of one record, and what is said of it before the training.
BAD_RECORDS = {
    'no magic number': (framed(record(), magic=1), 'val.rec has no record at byte'),
    'longer than the file': (framed(record(), length=1 << 28), 'val.rec has no record at byte'),
    'a later part first': (framed(record(), kind=2), 'val.rec has no record at byte'),
    'a kind that is none': (framed(record(), kind=5), 'val.rec has no record at byte'),
    'a part without the next': (framed(b'', kind=1), 'val.rec has no part of a record at byte'),
    'empty': (framed(b''), 'too short for a label'),
    'short': (framed(b'x' * 10), 'too short for a label'),
    'no label behind the header': (framed(record(flag=1)), 'too short for a label'),
    'two labels': (framed(record(flag=2, more=struct.pack('<ff', 1, 2))), 'has 2 labels: there must be one'),
    'too many labels': (framed(record(flag=0xffffffff)), 'has 4294967295 labels'),
    'label NaN': (framed(record(NAN)), 'has the label nan: labels are whole numbers from 0'),
    'label NaN in an array': (framed(record(flag=1, more=struct.pack('<f', NAN))), 'has the label nan'),
    'label inf': (framed(record(INF)), 'has the label inf'),
    'label 1e9': (framed(record(1e9)), r'has the label 1e\+09'),
    'label -1': (framed(record(-1.)), 'has the label -1'),
    'label 0.5': (framed(record(0.5)), 'has the label 0.5'),
}


@pytest.mark.parametrize('name', BAD_RECORDS)
def test_bad_records_are_told_before_the_training(name, tmp_path):
    bad, message = BAD_RECORDS[name]
    parts = good_records()
    files = write_records(tmp_path, parts[:4] + [bad] + parts[5:])
    with pytest.raises(TrainingError, match=message + '.*leave the record out of .*val.idx'):
        read_records(files)
    _, batches = read_records(write_records(tmp_path, parts[:4] + [bad] + parts[5:],
                                            lambda lines: lines[:4] + lines[5:]))
    assert np.concatenate([batch.label for batch in batches]).tolist() == [0, 1, 2, 0, 2]


@pytest.mark.parametrize('name', BAD_RECORDS)
def test_bad_records_that_were_not_checked_are_skipped(name, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(recordio, 'CHECK_SECONDS', -1)
    monkeypatch.setattr(logging.getLogger('bmx.train'), 'propagate', True)
    parts = good_records()
    (tmp_path / 'train').mkdir()
    train = write_records(tmp_path / 'train', parts[:4] + [BAD_RECORDS[name][0]] + parts[5:])
    files = dict(write_records(tmp_path, parts), train=train['train'])
    with caplog.at_level(logging.INFO, 'bmx.train'):
        data = open_data(find_data(records=files), options())
    assert 'the first 1 of 6 records of ' in caplog.text and 'skipped where they are damaged' in caplog.text
    batches = list(data.train_batches(0))
    assert sum(len(batch.label) for batch in batches) == 5 and sum(batch.skipped for batch in batches) == 1


JPEG = picture(4)
BAD_IMAGES = {'none': b'', 'text': b'no image at all', 'zeros': bytes(500), 'header of a JPEG': JPEG[:30],
              'half a JPEG': JPEG[:len(JPEG) // 2], 'half a PNG': picture(4, 'PNG')[:60],
              'EPS': b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n'}


@pytest.mark.parametrize('name', BAD_IMAGES)
@pytest.mark.parametrize('augmentation', ['paper', 'crop', 'none'])
def test_records_without_an_image_are_skipped(name, augmentation, tmp_path):
    """MXNet's own reader ends the process at most of these, and reads half a JPEG as a whole one."""
    parts = good_records()
    files = write_records(tmp_path, parts[:4] + [framed(record(1., BAD_IMAGES[name]))] + parts[5:])
    data, val = read_records(files, augmentation=augmentation)
    for batches in (val, list(data.train_batches(0))):
        assert sum(len(batch.label) for batch in batches) == 5 and sum(batch.skipped for batch in batches) == 1


@pytest.mark.parametrize('form', ['PNG', 'BMP', 'GIF', 'PPM', 'WEBP'])
def test_records_of_any_format(form, tmp_path):
    _, batches = read_records(write_records(tmp_path, [framed(record(index, picture(index, form)))
                                                       for index in range(3)]))
    assert batches[0].label.tolist() == [0, 1, 2] and batches[0].skipped == 0


BAD_INDICES = {
    'text': (lambda lines: ['what is this'], 'is not the index of a RecordIO file'),
    'nothing': (lambda lines: [], 'lists no records'),
    'keys that are no numbers': (lambda lines: ['a' + line for line in lines], 'is not the index'),
    'fractions': (lambda lines: [line + '.5' for line in lines], 'is not the index'),
    'three columns': (lambda lines: [line + '\tx' for line in lines], 'is not the index'),
    'one column': (lambda lines: lines[:2] + ['7'], 'is not the index'),
    'negative': (lambda lines: lines + ['9\t-4'], 'is not the index'),
    'huge': (lambda lines: lines + ['9\t' + '9' * 30], 'is not the index'),
    'huger': (lambda lines: lines + ['9\t' + '9' * 5000], 'is not the index'),
    'not ASCII': (lambda lines: lines + ['\u20ac\t1'], 'is not the index'),
    'beyond the end': (lambda lines: lines + ['9\t1000000'], 'val.rec has no record at byte 1000000: it is damaged, or '
                       '.*val.idx belongs to another file'),
    'inside of a record': (lambda lines: lines + ['9\t4'], 'val.rec has no record at byte 4'),
}


@pytest.mark.parametrize('name', BAD_INDICES)
def test_bad_indices(name, tmp_path):
    index, message = BAD_INDICES[name]
    with pytest.raises(TrainingError, match=message):
        read_records(write_records(tmp_path, good_records(), index))


def test_cut_files(tmp_path):
    files = write_records(tmp_path, good_records())
    content = (tmp_path / 'val.rec').read_bytes()
    for length in (0, 6, len(content) - 5, len(content) - 300):
        (tmp_path / 'val.rec').write_bytes(content[:length])
        with pytest.raises(TrainingError, match='val.rec has no record at byte'):
            read_records(files)


def test_training_labels_beyond_the_validation_labels(tmp_path):
    """im2rec numbers class by class."""
    files = write_records(tmp_path, good_records())
    (tmp_path / 'first.idx').write_text('0\t0\n')
    with pytest.raises(TrainingError, match='val.rec has the label 1: labels are whole numbers from 0 to 0, those of '
                                            '.*val.rec'):
        open_data(find_data(records=dict(files, val_idx=[str(tmp_path / 'first.idx')])), options())


LISTED = ['0\t0\tcat/1.jpg', '1\t1\tn01440764/1.jpg', '2\t2\towl/1.jpg', '3\t0\tcat/2.jpg']
NUMBERS = ['0', '1', '2']
LISTS = {
    'plain': ('\n'.join(LISTED), ['cat', 'tench', 'owl']),
    'comments and blank lines': ('# made by hand\n\n' + '\n\n'.join(LISTED) + '\n  \n', ['cat', 'tench', 'owl']),
    'latin-1': ('\n'.join(LISTED).replace('cat', 'ch\u00e2t').encode('latin-1'), NUMBERS),
    'UTF-8': ('\n'.join(LISTED).replace('cat', 'ch\u00e2t').encode('utf-8'), ['ch\u00e2t', 'tench', 'owl']),
    'one column': ('cat\nowl\n', NUMBERS),
    'labels that are no numbers': ('\n'.join(LISTED).replace('\t0\t', '\tcat\t'), NUMBERS),
    'NaN': ('\n'.join(LISTED + ['4\tnan\tx/1.jpg']), NUMBERS),
    'inf': ('\n'.join(LISTED + ['4\tinf\tx/1.jpg']), NUMBERS),
    'no folders': ('\n'.join(LISTED).replace('/', '-'), NUMBERS),
    'two folders of a label': ('\n'.join(LISTED + ['4\t0\tdog/1.jpg']), NUMBERS),
    'two labels of a folder': ('\n'.join(LISTED).replace('owl', 'cat'), NUMBERS),
    'classes that no record has': ('\n'.join(LISTED + ['4\t3\tdog/1.jpg']), NUMBERS),
    'nothing': ('', NUMBERS),
    'bytes': (bytes(range(256)), NUMBERS),
}


@pytest.mark.parametrize('name', LISTS)
def test_names_from_lists(name, tmp_path, monkeypatch, caplog):
    content, expected = LISTS[name]
    files = write_records(tmp_path, good_records())
    (tmp_path / 'val.lst').write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setattr(logging.getLogger('bmx.train'), 'propagate', True)
    data, _ = read_records(files)
    assert data.classes == expected
    assert ('val.lst does not tell the names of the 3 classes' in caplog.text) == (expected == NUMBERS)


# Several files --------------------------------------------------------------------------------------------------------

def write_parts(folder, counts=(2, 3, 1), name='x'):
    """Files NAME_0.rec, NAME_1.rec, ... of so many records each, with the pictures and labels of `good_records`."""
    parts = good_records(sum(counts))
    for number, end in enumerate(np.cumsum(counts)):
        write_records(folder, parts[end - counts[number]:end], name=f'{name}_{number}')
    return folder


def values(batches):
    """What `picture` drew in each image, in the order of reading."""
    return [int(round(float(image[0, 0, 0]) * 0.229 * 255 + 0.485 * 255)) // 20
            for batch in batches if len(batch.label) for image in batch.data]


@pytest.mark.parametrize('names', [['x_*.rec'], ['x_0.rec', 'x_1.rec', 'x_2.rec'], ['x_2.rec', 'x_[01].rec']])
def test_several_files_are_read_as_one(names, tmp_path):
    whole, _ = read_records(write_records(tmp_path, good_records()))
    data, batches = read_records(both(*(write_parts(tmp_path) / name for name in names)))
    assert values(batches) == [0, 1, 2, 3, 4, 5] and data.train_size == 6 and data.identity == whole.identity
    for (batch, other) in zip(data.train_batches(1), whole.train_batches(1)):
        np.testing.assert_array_equal(batch.data, other.data)
        np.testing.assert_array_equal(batch.label, other.label)


def test_names_that_are_patterns(tmp_path):
    """A file of that very name comes first."""
    for name in ('a[1]', 'a1'):
        write_records(tmp_path, good_records(2 if name == 'a1' else 3), name=name)
    data, _ = read_records(both(tmp_path / 'a[1].rec'))
    assert data.val_size == 3


def test_indices_elsewhere(tmp_path):
    write_parts(tmp_path)
    (tmp_path / 'far').mkdir()
    for number in range(3):
        (tmp_path / f'x_{number}.idx').rename(tmp_path / 'far' / f'{number}.idx')
    files = both(tmp_path / 'x_*.rec')
    with pytest.raises(TrainingError, match='no such index of a RecordIO file: .*x_0.idx and 2 more .*--rec-train-idx'):
        find_data(records=files)
    files.update(train_idx=[str(tmp_path / 'far' / '*')],
                 val_idx=[str(tmp_path / 'far' / f'{number}.idx') for number in range(3)])
    assert values(read_records(files)[1]) == [0, 1, 2, 3, 4, 5]
    files['val_idx'].reverse()
    with pytest.raises(TrainingError, match=r'x_\d.rec has no record at byte \d+: .* belongs to another file'):
        read_records(files)


MISFITS = {
    'nothing': (lambda path: ['y_*.rec'], 'no such RecordIO file: --rec-train .*y_'),
    'a folder': (lambda path: [''], 'no such RecordIO file: --rec-train'),
    'one that is missing': (lambda path: ['x_0.rec', 'x_3.rec'], 'no such RecordIO file: --rec-train .*x_3.rec'),
    'a part that is missing': (lambda path: (path / 'x_1.rec').unlink(),
                               'x_1.rec is missing of 3 parts, .*x_0.rec to .*x_2.rec'),
    'a part with a list alone': (lambda path: (path / 'x_3.lst').touch(), 'x_3.rec is missing of 4'),
    'twice': (lambda path: ['x_*.rec', 'x_1.rec'], '--rec-train has a file twice: .*x_1.rec$'),
    'twice by a link': (lambda path: (path / 'x_3.rec').symlink_to('x_0.rec'), 'a file twice: .*x_3.rec is .*x_0.rec'),
    'indices, too': (lambda path: ['x_*'], 'x_0.idx is an index or a list, no RecordIO file'),
    'no index': (lambda path: (path / 'x_2.idx').unlink(), 'no such index of a RecordIO file: .*x_2.idx '),
    'damage in the last': (lambda path: (path / 'x_2.rec').write_bytes(b'damaged') and None, 'x_2.rec has no record'),
    'an index that lists nothing': (lambda path: (path / 'x_1.idx').write_text('') and None, 'x_1.idx lists no rec'),
}


@pytest.mark.parametrize('name', MISFITS)
def test_files_that_do_not_fit(name, tmp_path):
    spoil, message = MISFITS[name]
    names = spoil(write_parts(tmp_path)) or ['x_*.rec']
    files = {'train': [str(tmp_path / name) for name in names],
             'val': write_records(tmp_path, good_records(), name='val')['val']}
    with pytest.raises(TrainingError, match=message):
        open_data(find_data(records=files), options())


def test_one_part_alone(tmp_path):
    assert values(read_records(both(write_parts(tmp_path) / 'x_1.rec'))[1]) == [2, 3, 4]


def test_as_many_indices_as_files(tmp_path):
    files = dict(both(write_parts(tmp_path) / 'x_*.rec'), train_idx=[str(tmp_path / 'x_0.idx')])
    with pytest.raises(TrainingError, match='--rec-train has 3 files and --rec-train-idx 1: each needs an index'):
        find_data(records=files)


def test_each_file_is_checked_in_time(tmp_path, monkeypatch):
    """However large the first one is."""
    monkeypatch.setattr(recordio, 'CHECK_SECONDS', -1)
    write_parts(tmp_path)
    (tmp_path / 'x_2.rec').write_bytes(b'damaged')
    files = dict(both(tmp_path / 'x_*.rec'), val=write_records(tmp_path, good_records())['val'])
    with pytest.raises(TrainingError, match='x_2.rec has no record at byte 0'):
        open_data(find_data(records=files), options())


def test_names_from_several_lists(tmp_path):
    write_parts(tmp_path)
    for number, lines in enumerate((LISTED[:2], LISTED[2:3], LISTED[3:])):
        (tmp_path / f'x_{number}.lst').write_text('\n'.join(lines))
    assert read_records(both(tmp_path / 'x_*.rec'))[0].classes == ['cat', 'tench', 'owl']


# Several workers ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('batch_size, parts, steps', [(1, 2, 3), (2, 2, 2), (1, 4, 2), (1, 5, 2), (3, 4, 1), (4, 1, 2)])
def test_every_image_once_over_all_parts(batch_size, parts, steps, tmp_path):
    """Together workers read what one with as large a step reads; where images are fewer, some get none."""
    files = both(write_parts(tmp_path) / 'x_*.rec')

    def read(batches_of, **given):
        data, val = read_records(files, **given)
        return list(data.train_batches(1)) if batches_of == 'train' else val

    for part in ('train', 'val'):
        workers = [read(part, batch_size=batch_size, num_parts=parts, part_index=index) for index in range(parts)]
        assert [len(batches) for batches in workers] == [steps] * parts
        whole = read(part, batch_size=batch_size * parts)
        for step, batch in enumerate(whole):
            shares = [batches[step] for batches in workers]
            assert values(shares) == values([batch])
            assert np.concatenate([share.label for share in shares]).tolist() == batch.label.tolist()
            assert all((share.data is None) == (len(share.label) == 0) and share.skipped == 0 for share in shares)
        assert sorted(values(whole)) == [0, 1, 2, 3, 4, 5]


def test_parts_of_an_epoch_are_drawn_by_seed_epoch_and_part(tmp_path):
    files = both(write_parts(tmp_path, (20, 30)) / 'x_*.rec')

    def order(epoch=0, **given):
        data, _ = read_records(files, **dict(dict(num_parts=2, part_index=0), **given))
        return [label for batch in data.train_batches(epoch) for label in batch.label]

    assert order() == order(num_workers=0)
    for other in (order(epoch=1), order(seed=8), order(part_index=1)):
        assert other != order()


def test_a_worker_continues_in_the_middle(tmp_path):
    data, _ = read_records(both(write_parts(tmp_path) / 'x_*.rec'), batch_size=1, num_parts=2, part_index=1)
    assert values(data.train_batches(3, 1)) == values(list(data.train_batches(3))[1:])
