"""Checkpoints: written whole or not at all, and a resumed training equals one that never stopped."""
import errno
import json
import logging
import os
import signal
import subprocess
import sys
import time

import mxnet as mx
import numpy as np
import pytest
from test_data import write_folder
from test_train import tiny_model  # noqa: F401

import train_imagenet
from bmx.storage import write_file
from bmx.train import CheckpointStore, TrainingError
from bmx.train.checkpoint import Checkpoint, check_same_training

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def write(text):
    """A writer of one file."""
    def writer(path):
        with open(path, 'w') as out:
            out.write(text)
    return writer


CONTENT = {'net.params': [b'weights']}


def names(directory):
    return sorted(os.listdir(str(directory)))


# The store ------------------------------------------------------------------------------------------------------------

def test_saved_and_read(tmp_path):
    store = CheckpointStore(str(tmp_path / 'run'), 0)
    assert store.newest is None and store.latest() is None
    path = store.save(3, 17, {'seed': 5, 'best': 0.1 + 0.2}, CONTENT)
    found = store.latest()
    assert (found.path, found.epoch, found.batch) == (path, 3, 17) == (store.newest, 3, 17)
    assert os.path.basename(path) == 'checkpoint-0003-000017'
    assert found.state['seed'] == 5 and found.state['best'] == 0.1 + 0.2
    assert names(path) == ['checkpoint.json', 'net.params']


@pytest.mark.parametrize('frequency, saved, kept', [
    (0, [(1, 0), (2, 0), (3, 0)], ['0002', '0003']),
    (2, [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0)], ['0002', '0004', '0005']),
    (1, [(1, 0), (2, 0), (3, 0)], ['0001', '0002', '0003']),
    (2, [(1, 0), (2, 3), (2, 9), (3, 0)], ['0002-000009', '0003']),
    (0, [(0, 3), (0, 3), (0, 1000000)], ['0000-000003', '0000-1000000']),
    (0, [(9999, 0), (10000, 0), (10001, 0)], ['10000', '10001']),
])
def test_which_are_kept(tmp_path, frequency, saved, kept):
    store = CheckpointStore(str(tmp_path), frequency)
    for epoch, batch in saved:
        store.save(epoch, batch, {}, CONTENT)
    assert names(tmp_path) == ['checkpoint-' + name for name in kept]
    assert (store.latest().epoch, store.latest().batch) == saved[-1]


def _cut(path):
    with open(os.path.join(path, 'net.params'), 'r+') as content:
        content.truncate(3)


def _flip(path):
    write('Weights')(os.path.join(path, 'net.params'))


def _no_params(path):
    os.unlink(os.path.join(path, 'net.params'))


def _no_state(path):
    os.unlink(os.path.join(path, 'checkpoint.json'))


def _cut_state(path):
    with open(os.path.join(path, 'checkpoint.json'), 'r+') as content:
        content.truncate(20)


def _other_state(path):
    write('{"a": 1}')(os.path.join(path, 'checkpoint.json'))


DAMAGES = [_cut, _flip, _no_params, _no_state, _cut_state, _other_state]


@pytest.mark.parametrize('damage', DAMAGES)
def test_damaged_checkpoints(tmp_path, monkeypatch, damage):
    warnings = []
    monkeypatch.setattr(logging.getLogger('bmx.train'), 'warning', lambda text, *args: warnings.append(text % args))
    store = CheckpointStore(str(tmp_path), 0)
    paths = [store.save(epoch, 0, {}, CONTENT) for epoch in (1, 2)]
    damage(paths[1])
    assert store.latest().path == paths[0]
    assert len(warnings) == 1 and 'checkpoint %s is damaged' % paths[1] in warnings[0]
    damage(paths[0])
    with pytest.raises(TrainingError, match='every checkpoint in .* is damaged'):
        store.latest()
    store.save(2, 0, {}, CONTENT)
    assert store.latest().path == paths[1]


def test_foreign_format(tmp_path):
    store = CheckpointStore(str(tmp_path), 0)
    path = store.save(1, 0, {}, {})
    state = json.loads(open(os.path.join(path, 'checkpoint.json')).read())
    write(json.dumps(dict(state, format=99)))(os.path.join(path, 'checkpoint.json'))
    with pytest.raises(TrainingError, match='has checkpoint format 99, this version of bmx reads 2'):
        store.latest()


def test_a_failed_write_changes_nothing(tmp_path):
    store = CheckpointStore(str(tmp_path), 0)
    path = store.save(1, 0, {}, CONTENT)

    def fail():
        yield b'half'
        raise OSError(errno.ENOSPC, 'No space left on device')

    with pytest.raises(OSError, match='No space left on device; the checkpoint was not saved, --resume goes on from '
                                      'the one before: .*checkpoint-0002') as raised:
        store.save(2, 0, {}, dict(CONTENT, **{'trainer.states': fail()}))
    assert raised.value.errno == errno.ENOSPC
    assert store.latest().path == path and names(tmp_path) == ['checkpoint-0001']


def test_what_a_killed_save_left_is_removed(tmp_path):
    store = CheckpointStore(str(tmp_path), 0)
    (tmp_path / '.partial-checkpoint-abcdefgh').mkdir()
    (tmp_path / '.partial-model-0000.params').touch()  # an export's
    store.save(2, 0, {}, CONTENT)
    assert names(tmp_path) == ['.partial-model-0000.params', 'checkpoint-0002']


@pytest.mark.parametrize('now, message', [
    (dict(lr=0.1, kwargs={'stem': 'grouped'}), None),
    (dict(lr=0.2, kwargs={'stem': 'grouped'}), 'lr was 0.1, is now 0.2'),
    (dict(lr=0.1, kwargs={'stem': 'thumbnail'}), 'kwargs was {"stem": "grouped"}, is now {"stem": "thumbnail"}'),
    (dict(lr=0.1), 'kwargs was {"stem": "grouped"}, is now null'),
    (dict(lr=0, kwargs={}, new=1), 'kwargs was .*; lr was 0.1, is now 0; new was null, is now 1'),
])
def test_only_the_same_training_is_continued(now, message):
    checkpoint = Checkpoint('path', 1, 0, {'arguments': {'lr': 0.1, 'kwargs': {'stem': 'grouped'}}})
    if message is None:
        check_same_training(checkpoint, now)
    else:
        with pytest.raises(TrainingError, match='cannot resume path with other arguments: ' + message):
            check_same_training(checkpoint, now)


# The script, stopped in every way -------------------------------------------------------------------------------------

# Runs the script with the tiny model, and lets the process be hit at a chosen moment.
DRIVER = '''
import os, signal, sys
sys.path[:0] = [{root!r}, {tests!r}]
import bmx, train_imagenet
from bmx.train import loop
from test_train import tiny
bmx.models.MODELS['tiny'] = tiny
event, number = sys.argv[1].split(':')

def hit_at(owner, name):
    """Send this process the signal at the beginning of the `when`-th call."""
    original, calls = getattr(owner, name), []
    when = int(sys.argv[2])
    def wrapped(*args, **kwargs):
        calls.append(1)
        if len(calls) == when:
            os.kill(os.getpid(), getattr(signal, number))
        return original(*args, **kwargs)
    setattr(owner, name, wrapped)

if event == 'step':
    hit_at(loop.Training, '_train_step')
elif event == 'evaluate':
    hit_at(loop.Training, '_evaluate')
elif event == 'write':  # before the files of a checkpoint
    hit_at(bmx.train.loop.states, 'dump')
elif event == 'file':  # between them
    hit_at(bmx.train.checkpoint, 'write_file')
elif event == 'rename':
    from bmx.train import checkpoint
    hit_at(checkpoint.os, 'rename')
sys.exit(train_imagenet.main(sys.argv[3:]))
'''


class Runner:
    """The script in a process of its own: 3 epochs of 5 batches of 4 images, 2 validation batches."""

    def __init__(self, path, *more):
        self.path = path
        self.save_dir = path / 'run'
        self._driver = path / 'driver.py'
        path.mkdir(parents=True, exist_ok=True)
        self._driver.write_text(DRIVER.format(root=ROOT, tests=os.path.join(ROOT, 'tests')))
        data = write_folder(path.parent / 'data', train=9, val=3) if not (path.parent / 'data').exists() \
            else path.parent / 'data'
        self.arguments = ['--model', 'tiny', '--data-dir', str(data), '--save-dir', str(self.save_dir), '--input-size',
                          '16', '--batch-size', '4', '--num-epochs', '3', '--warmup-epochs', '0', '-j', '2', '--mixup',
                          '--optimizer', 'radam', '--lr', '0.2', '--lr-mode', 'plateau', '--lr-decay', '0.5',
                          '--bipolar', '0.001', '--clip-weights', 'yes', '--no-export', '--save-frequency',
                          '1'] + list(more)

    def run(self, *more, event='none:SIGTERM', when=0):
        process = subprocess.run([sys.executable, str(self._driver), event, str(when)] + self.arguments + list(more),
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
                                 env=dict(os.environ, OMP_NUM_THREADS='1'), cwd=str(self.path))
        return process.returncode, process.stdout

    def result(self):
        """Final parameters, metrics without the ones that measure time, and signs that changed."""
        store = CheckpointStore(str(self.save_dir), 1)
        newest = store.latest()
        params = mx.nd.load(os.path.join(newest.path, 'net.params'))
        rows = [line.split(',') for line in (self.save_dir / 'metrics.csv').read_text().splitlines()]
        return (newest.epoch, newest.batch), {name: value.asnumpy() for name, value in params.items()}, \
            [row[:7] + row[9:] for row in rows], (self.save_dir / 'sign_flips.csv').read_text()


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
    runner = Runner(tmp_path_factory.mktemp('runs') / 'whole')
    code, out = runner.run()
    assert code == 0, out
    rates = [row[1] for row in runner.result()[2][1:]]
    assert len(set(rates)) > 1, 'this training is to have a plateau'
    return runner


def assert_equal_results(left, right):
    (position, params, rows, flips), (other_position, other_params, other_rows, other_flips) = (
        each.result() for each in (left, right))
    assert position == other_position == (3, 0)
    assert rows == other_rows and [row[0] for row in rows] == ['epoch', '1', '2', '3']
    assert flips == other_flips and len(flips.splitlines()) == 4
    assert params.keys() == other_params.keys()
    for name in params:
        np.testing.assert_allclose(params[name], other_params[name], rtol=1e-6, atol=1e-7, err_msg=name)


# Event, at which of its calls, exit code, newest checkpoint afterwards.
STOPS = [
    ('step:SIGKILL', 3, -9, None),
    ('step:SIGKILL', 8, -9, 'checkpoint-0001'),
    ('write:SIGKILL', 2, -9, 'checkpoint-0001'),
    ('file:SIGKILL', 5, -9, 'checkpoint-0001'),
    ('rename:SIGKILL', 2, -9, 'checkpoint-0001'),
    ('step:SIGINT', 8, 130, 'checkpoint-0001-000003'),
    ('step:SIGTERM', 10, 130, 'checkpoint-0001-000005'),
    ('evaluate:SIGINT', 3, 130, 'checkpoint-0001-000005'),
]


@pytest.mark.parametrize('event, when, code, newest', STOPS)
def test_resumed_equals_uninterrupted(uninterrupted, event, when, code, newest):
    runner = Runner(uninterrupted.path.parent / ('%s-%d' % (event.replace(':', '-'), when)))
    stopped, out = runner.run(event=event, when=when)
    assert stopped == code, out
    found = CheckpointStore(str(runner.save_dir), 1).newest
    assert (os.path.basename(found) if found else None) == newest
    if code == 130:
        assert 'continue with:' in out and out.rstrip().endswith('--resume')
    resumed, out = runner.run('--resume')
    assert resumed == 0, out
    assert_equal_results(runner, uninterrupted)
    assert not [name for name in names(runner.save_dir) if name.startswith('.')]


def test_a_truncated_checkpoint_falls_back(uninterrupted):
    runner = Runner(uninterrupted.path.parent / 'truncated')
    assert runner.run(event='step:SIGKILL', when=13)[0] == -9
    with open(str(runner.save_dir / 'checkpoint-0002' / 'net.params'), 'r+b') as params:
        params.truncate(100)
    code, out = runner.run('--resume')
    assert code == 0 and 'is damaged (net.params is not what was written); falling back' in out, out
    assert_equal_results(runner, uninterrupted)


@pytest.mark.parametrize('more, message', [
    (('--resume', '--lr', '0.5'), 'lr was 0.2, is now 0.5'),
    (('--resume', '--set', 'channels=16'), '{"channels": 16'),
    ((), 'already has checkpoint-0003 of a training: add --resume'),
])
def test_what_cannot_be_resumed(uninterrupted, tiny_model, capsys, more, message):
    before = names(uninterrupted.save_dir)
    assert train_imagenet.main(uninterrupted.arguments + list(more)) == 1
    assert message in capsys.readouterr().out
    assert names(uninterrupted.save_dir) == before


def test_ctrl_c_from_outside(uninterrupted):
    """A real signal to a running process, and the command line it prints."""
    runner = Runner(uninterrupted.path.parent / 'ctrl-c', '--num-epochs', '100000')
    process = subprocess.Popen([sys.executable, str(runner._driver), 'none:SIGINT', '0'] + runner.arguments,
                               stdout=subprocess.PIPE, universal_newlines=True)
    deadline = time.time() + 60
    while not (runner.save_dir / 'metrics.csv').exists() and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert CheckpointStore(str(runner.save_dir), 1).newest in out
