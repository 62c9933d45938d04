"""The command `evaluate`: what it counts, of every kind of data, and what it refuses."""
import csv
import json

import mxnet as mx
import numpy as np
import pytest

import bmx
from bmx.cli import main
from bmx.io.preprocess import load_inputs
from bmx.train import TrainingError
from bmx.train.evaluation import Evaluation, Totals, labels_in
from helpers import arguments, tiny, train, write_cifar10, write_folder

CLASSES = ('a', 'b', 'c')


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A training's folder, and that of its data."""
    path = tmp_path_factory.mktemp('trained')
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(bmx.models.MODELS, 'tiny', tiny)
        data = write_folder(path / 'data', train=4, val=4, classes=CLASSES)
        assert train(arguments(str(data), path, '--num-epochs', '1')) == 0
        yield path / 'run', data


def evaluate(capsys, *arguments):
    assert main(['evaluate', *map(str, arguments), '--json', '-j', '1']) == 0
    return json.loads(capsys.readouterr().out)


def test_what_is_counted(trained, capsys, tmp_path):
    run, data = trained
    found = evaluate(capsys, run / 'tiny', '--data-dir', data, '--batch-size', '5', '--csv', tmp_path / 'c.csv',
                     '--picture', tmp_path / 'c.png')
    net, metadata = bmx.deploy.load(run / 'tiny')
    paths = [data / 'val' / name / f'{index}.jpg' for name in CLASSES for index in range(4)]
    scores = np.concatenate([net(batch).asnumpy() for batch in load_inputs(paths, metadata.preprocess)]).astype(float)
    label, best = np.repeat(np.arange(3), 4), scores.argmax(1)
    expected = np.zeros((3, 3), int)
    np.add.at(expected, (label, best), 1)
    assert found['confusion'] == expected.tolist() and found['classes'] == list(CLASSES)
    assert (found['images'], found['skipped_images'], found['top5']) == (12, 0, 1)
    assert found['top1'] == (label == best).mean()
    losses = np.log(np.exp(scores - scores.max(1, keepdims=True)).sum(1)) + scores.max(1) - scores[np.arange(12), label]
    assert found['loss'] == pytest.approx(losses.mean(), abs=1e-5)
    assert 0 < found['images_per_s'] <= found['network_images_per_s']
    rows = list(csv.reader((tmp_path / 'c.csv').read_text().splitlines()))
    assert rows[0] == ['class', *CLASSES]
    assert [[int(cell) for cell in row[1:]] for row in rows[1:]] == found['confusion']
    assert (tmp_path / 'c.png').stat().st_size > 5000


def test_the_float_network_and_a_folder_of_classes(trained, capsys):
    run, data = trained
    deployed = evaluate(capsys, run / 'tiny', '--data-dir', data)
    found = evaluate(capsys, run / 'tiny-best.params', '--data-dir', data / 'val')
    assert found['confusion'] == deployed['confusion'] and found['kind'] == 'float'
    assert found['loss'] == pytest.approx(deployed['loss'], abs=1e-5)


def test_some_classes_and_damaged_images(trained, tmp_path, capsys):
    """Labels are found by the names of the folders."""
    run, data = trained
    part = write_folder(tmp_path / 'part', train=1, val=4, classes=CLASSES)
    (part / 'val' / 'a' / '0.jpg').write_bytes(b'no image')
    for path in (part / 'val' / 'b').iterdir():
        path.unlink()
    (part / 'val' / 'b').rmdir()
    assert main(['evaluate', str(run / 'tiny'), '--data-dir', str(part), '-j', '1']) == 0
    out = capsys.readouterr().out
    assert 'tiny, deployed: 7 images in 2 classes' in out and 'left out: 1 images that cannot be read' in out
    found = evaluate(capsys, run / 'tiny', '--data-dir', part)
    assert [sum(row) for row in found['confusion']] == [3, 0, 4]


def test_records(trained, tmp_path, capsys):
    run, data = trained
    writer = mx.recordio.MXIndexedRecordIO(str(tmp_path / 'val.idx'), str(tmp_path / 'val.rec'), 'w')
    with open(str(tmp_path / 'val.lst'), 'w') as lines:
        for label, name in enumerate(CLASSES):
            for index in range(4):
                number, content = 4 * label + index, (data / 'val' / name / f'{index}.jpg').read_bytes()
                writer.write_idx(number, mx.recordio.pack(mx.recordio.IRHeader(0, float(label), number, 0), content))
                lines.write(f'{number}\t{label}\t{name}/{index}.jpg\n')
    writer.close()
    found = evaluate(capsys, run / 'tiny', '--rec-val', tmp_path / 'val.rec')
    assert found['confusion'] == evaluate(capsys, run / 'tiny', '--data-dir', data)['confusion']


def test_other_kinds_of_data(trained, tmp_path, capsys, monkeypatch):
    run, _ = trained
    monkeypatch.setenv('HOME', str(tmp_path))
    for more, known in ((['--data-dir', str(write_cifar10(tmp_path / 'cifar'))], 'airplane'), ([], '0, 1, 2')):
        assert main(['evaluate', str(run / 'tiny'), *more]) == 1
        assert f'the network does not know 10 of the 10 classes of the images ({known}' in capsys.readouterr().err


@pytest.mark.parametrize('network, data, expected', [
    ('abc', 'abc', [0, 1, 2]), ('abc', 'ca', [2, 0]), (['a', 'a', 'b'], ['a', 'a', 'b'], [0, 1, 2]),
    (['a', 'a', 'b'], ['b'], [2]), (['a', 'a', 'b'], ['a', 'b'], 'several classes are called a'),
    ('abc', 'abd', r'does not know 1 of the 3 classes of the images \(d\)')])
def test_labels(network, data, expected):
    if isinstance(expected, list):
        assert labels_in(list(network), list(data)) == expected
    else:
        with pytest.raises(TrainingError, match=expected):
            labels_in(list(network), list(data))


@pytest.mark.parametrize('count', [2, 100])
def test_many_classes_and_odd_names(count, tmp_path):
    classes = ['$x$ and a long name that is cut somewhere', *['twin'] * (count - 1)]
    found = Evaluation(Totals(count, 1.0, 0, 0, 0, 1.0), classes, np.roll(np.eye(count, dtype=int), 1, 1), 1.0)
    found.draw(str(tmp_path / 'c.png'), 'title')
    found.write_csv(str(tmp_path / 'c.csv'))
    header = (tmp_path / 'c.csv').read_text().splitlines()[0].split(',')
    assert len(set(header)) == count + 1
    assert len(str(found).splitlines()) == (5 if count == 2 else 24)
