"""Which of reading and training limits: measured, told, and in the log of each epoch."""
import re
from types import SimpleNamespace

import pytest

from bmx.train import Training, loop, throughput
from bmx.train import data as train_data
from bmx.train.data.samples import SampleData
from bmx.train.throughput import Throughput, report
from helpers import arguments, data_options, train, write_cifar10
from test_records import both, good_records, write_records

RATES = (r'read [\d.]+ images/s, trained [\d.]+ images/s; both at once: [\d.]+ images/s, of whose time \d+ % pass '
         'waiting for images')


@pytest.fixture
def quick(monkeypatch):
    """Reads the small sets whole, and trains for a moment."""
    monkeypatch.setattr(throughput, 'READING_SECONDS', 1)
    monkeypatch.setattr(throughput, 'TRAINING_SECONDS', 0.05)


def where(kind, tmp_path):
    """The options that name a data set of a kind."""
    if kind == 'recordio':
        files = both(*write_records(tmp_path, good_records())['val'])
        return ['--use-rec', '--rec-train', *files['train'], '--rec-val', *files['val']]
    return {'folder': [], 'cifar10': ['--data-dir', str(write_cifar10(tmp_path / 'cifar'))]}[kind]


@pytest.mark.parametrize('kind', ['folder', 'recordio', 'cifar10'])
def test_each_kind_of_data(kind, folder, tmp_path, tiny_model, quick, capsys):
    assert train(arguments(folder, tmp_path, *where(kind, tmp_path), '--benchmark-input')) == 0
    out = capsys.readouterr().out
    assert f'data: {kind}, ' in out and re.search(RATES + '\n(reading|training) limits: ', out)
    assert not (tmp_path / 'run').exists()


def test_digits(tmp_path, tiny_model, quick, monkeypatch, capsys):
    monkeypatch.setattr(train_data, 'DEFAULT_DIR', str(tmp_path))
    monkeypatch.setattr(throughput, 'READING_SECONDS', 0.01)  # a part of the epoch
    assert train(['--model', 'tiny', '--batch-size', '4', '--benchmark-input', '--save-dir', str(tmp_path / 'x')]) == 0
    assert re.search(RATES, capsys.readouterr().out)


def test_nothing_can_be_read(folder, tmp_path, tiny_model, quick, capsys):
    for path in (tmp_path / 'data' / 'train').glob('*/*.jpg'):
        path.write_bytes(b'broken')
    assert train(arguments(folder, tmp_path, '--benchmark-input')) == 1
    assert re.search(r'error: none of the \d+ training images that were tried can be read', capsys.readouterr().out)


def test_one_of_both_trials(folder, tmp_path, tiny_model):
    with pytest.raises(SystemExit):
        train(arguments(folder, tmp_path, '--benchmark-input', '--dry-run'))


def test_not_of_several_workers(folder, tmp_path, tiny_model, capsys):
    with pytest.raises(SystemExit):
        train(arguments(folder, tmp_path, '--benchmark-input', '--kvstore', 'dist_sync'))
    assert '--benchmark-input measures by time, in which other workers' in capsys.readouterr().err


ADVICE = {
    'training': (Throughput(100., 25., 20., 0.1), 'folder', {}, ['training limits: reading alone is 4 times as fast'],
                 ['What helps', '-j ']),
    'reading': (Throughput(25., 100., 20., 0.8), 'folder', {'num_workers': 2},
                ['reading limits: training alone is 4 times as fast', '-j 8 (there are 8 cores, now it is -j 2)',
                 'im2rec --resize 18', 'several workers', '20.0 images/s, of whose time 80 %'], ['--augmentation']),
    'threads enough': (Throughput(25., 100., 20., 0.8), 'recordio', {'num_workers': 8}, ['im2rec --resize'], ['-j ']),
    'small images': (Throughput(25., 100., 20., 0.8), 'cifar10', {'augmentation': 'gluoncv'},
                     ['--augmentation paper'], ['im2rec']),
}


@pytest.mark.parametrize('name', ADVICE)
def test_what_to_do(name):
    found, kind, given, told, untold = ADVICE[name]
    text = report(found, SimpleNamespace(kind=kind, options=data_options(**given)), cores=8)
    assert all(part in text for part in told) and not any(part in text for part in untold)


@pytest.mark.parametrize('reading, stepping, share', [(3, 1, 75), (1, 3, 25)])
def test_the_log_tells_the_time_of_waiting(reading, stepping, share, folder, tmp_path, tiny_model, no_pictures,
                                           monkeypatch, capsys):
    read, step, clock = SampleData.train_batches, Training.train_step, [0]

    def slow_read(self, epoch, start_batch=0):
        for batch in read(self, epoch, start_batch):
            clock[0] += reading
            yield batch

    def slow_step(self, batch):
        clock[0] += stepping
        step(self, batch)

    monkeypatch.setattr(loop, 'time', SimpleNamespace(time=lambda: clock[0]))
    monkeypatch.setattr(SampleData, 'train_batches', slow_read)
    monkeypatch.setattr(Training, 'train_step', slow_step)
    assert train(arguments(folder, tmp_path, '--no-export')) == 0
    assert re.findall(r'images/s, (\d+) % of the time waiting for images', capsys.readouterr().out) == [str(share)] * 2
