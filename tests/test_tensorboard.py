"""Events for TensorBoard, read by its own reader."""
import builtins
import errno
import io

import numpy as np
import pytest
from PIL import Image

from bmx.train import Interrupted, TrainingError, loop
from helpers import arguments, prepare, read_metrics, train

pytest.importorskip('tensorboardX')
pytestmark = pytest.mark.usefixtures('tiny_model', 'no_pictures')

# Of arguments(): 3 batches an epoch.
MORE = ('--no-export', '--tensorboard', '--num-epochs', '3')


@pytest.fixture(autouse=True)
def small_picture(no_pictures, monkeypatch):
    monkeypatch.setattr(loop, 'draw_curves', lambda path, *_: Image.new('RGB', (6, 4), (200, 0, 0)).save(path))


def read(run):
    """All events: name to [(step, value)], as TensorBoard's reader finds them."""
    accumulator = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    events = accumulator.EventAccumulator(str(run / 'tensorboard'), {'scalars': 0, 'histograms': 0, 'images': 0})
    events.Reload()
    found = {name: [(each.step, each.value) for each in events.Scalars(name)] for name in events.Tags()['scalars']}
    for name in events.Tags()['histograms']:
        found[name] = [(each.step, each.histogram_value) for each in events.Histograms(name)]
    for name in events.Tags()['images']:
        found[name] = [(each.step, each.encoded_image_string) for each in events.Images(name)]
    return found


def steps(found):
    return {name: [step for step, _ in values] for name, values in found.items()}


EXPECTED = dict({name: [3, 6, 9] for name in (
    'loss/train', 'loss/val', 'top1/train', 'top1/val', 'top5/val', 'lr', 'images_per_s', 'sign_flips/all',
    'sign_flips/layers', 'curves')}, **{'loss/train_so_far': [1, 2, 4, 5, 7, 8]})


def without_weights(found):
    layers = [name for name in found if name.startswith('weights/')]  # their numbers are counted in a process
    assert sorted(step for name in layers for step in found.pop(name)) == [3, 6, 9]
    return found


def test_what_is_written(folder, tmp_path):
    assert train(arguments(folder, tmp_path, *MORE)) == 0
    found, run = read(tmp_path / 'run'), tmp_path / 'run'
    assert without_weights(steps(found)) == EXPECTED
    rows = read_metrics(run)
    for name, column in (('loss/train', 'train_loss'), ('top1/val', 'val_top1'), ('sign_flips/all', 'sign_flips')):
        np.testing.assert_allclose([value for _, value in found[name]], [row[column] for row in rows], rtol=1e-5)
    for (_, histogram), row in zip(found['sign_flips/layers'], rows):  # one layer
        assert histogram.bucket_limit == [1.5]
        np.testing.assert_allclose(histogram.bucket, [row['sign_flips']], rtol=1e-5)
    (weights,) = [values for name, values in found.items() if name.startswith('weights/')]
    assert [histogram.num for _, histogram in weights] == [8 * 8 * 9] * 3
    assert Image.open(io.BytesIO(found['curves'][2][1])).size == (6, 4)


@pytest.mark.parametrize('where', [(1, 3), (1, 1), (2, 0), (2, 2)])
def test_resumed_writes_nothing_twice(folder, tmp_path, monkeypatch, where):
    """Stopped at a batch of an epoch, or in its validation, or just after its checkpoint by an error."""
    command = arguments(folder, tmp_path, *MORE)
    _, batch = where
    training = prepare(command)
    if batch in (1, 2):  # the checkpoint is written by hand, as after a signal
        monkeypatch.setattr(training, '_report_step', lambda bar, do=training._report_step: (
            do(bar), stop_at(training, where)))
    elif batch == 3:
        monkeypatch.setattr(training, '_validate', lambda do=training._validate: (
            stop_at(training, where), do())[1])
    else:
        monkeypatch.setattr(training, '_show_history', lambda do=training._show_history: (
            stop_at(training, where), do()))
    with pytest.raises(Interrupted):
        training.run()
    assert steps(read(tmp_path / 'run')) != EXPECTED
    assert train(command + ['--resume']) == 0
    assert without_weights(steps(read(tmp_path / 'run'))) == EXPECTED


def stop_at(training, where):
    if (training._epoch, training._batch) == where:
        training._save()
        raise Interrupted('here')


def test_a_killed_run_s_later_events_are_taken_back(folder, tmp_path):
    command = arguments(folder, tmp_path, *MORE)
    assert train(command) == 0
    for path in (tmp_path / 'run').glob('checkpoint-0003'):
        path.rename(tmp_path / 'lost')
    assert train(command + ['--resume']) == 0
    assert without_weights(steps(read(tmp_path / 'run'))) == EXPECTED


def test_asked_for_later_it_has_all_epochs(folder, tmp_path):
    command = arguments(folder, tmp_path, *[each for each in MORE if each != '--tensorboard'])
    assert train(command) == 0
    assert train(command + ['--resume', '--tensorboard']) == 0
    assert steps(read(tmp_path / 'run'))['loss/val'] == [3, 6, 9]


def test_missing(folder, tmp_path, monkeypatch, capsys):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith('tensorboardX'):
            raise ImportError('No module named tensorboardX')
        return real(name, *rest)
    monkeypatch.setattr(builtins, '__import__', without)
    assert train(arguments(folder, tmp_path, *MORE)) == 1
    assert "pip install 'bmx[tensorboard]'" in capsys.readouterr().out
    assert not list((tmp_path / 'run').glob('checkpoint*'))


def test_a_full_disk_ends_no_training(folder, tmp_path, monkeypatch, capsys):
    from tensorboardX.event_file_writer import EventsWriter

    def full(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')
    monkeypatch.setattr(EventsWriter, 'write_event', lambda self, event, do=EventsWriter.write_event: (
        full() if event.step >= 4 else do(self, event)))
    assert train(arguments(folder, tmp_path, *MORE)) == 0
    out = capsys.readouterr().out
    assert out.count('cannot write for TensorBoard any more') == 1 and 'No space left' in out
    assert steps(read(tmp_path / 'run'))['loss/val'] == [3]


def test_a_file_in_its_place(folder, tmp_path):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'tensorboard').write_text('')
    with pytest.raises(TrainingError, match='cannot write for TensorBoard: .*tensorboard'):
        prepare(arguments(folder, tmp_path, *MORE)).run()
