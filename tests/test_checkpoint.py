"""Checkpoints: written whole or not at all, and a resumed training equals one that never stopped."""
import errno
import fcntl
import json
import logging
import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon

from bmx.io.storage import LOCK, TEMPORARY, LoadError, digest, lock_to_inherit
from bmx.train import CheckpointStore, TrainingError, states
from bmx.train.checkpoint import Checkpoint, check_same_training
from bmx.train.signals import StopSignals
from helpers import train, write_folder

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


def _list_state(path):
    write('[1, 2]')(os.path.join(path, 'checkpoint.json'))


def _deep_state(path):
    write('[' * 100000)(os.path.join(path, 'checkpoint.json'))


def _files_of_another_kind(path):
    write('{"format": 2, "files": [1]}')(os.path.join(path, 'checkpoint.json'))


DAMAGES = [_cut, _flip, _no_params, _no_state, _cut_state, _other_state, _list_state, _deep_state,
           _files_of_another_kind]


@pytest.mark.parametrize('damage', DAMAGES)
def test_damaged_checkpoints(tmp_path, monkeypatch, damage):
    warnings = []
    monkeypatch.setattr(logging.getLogger('bmx.train'), 'warning', lambda text, *args: warnings.append(text % args))
    store = CheckpointStore(str(tmp_path), 0)
    paths = [store.save(epoch, 0, {}, CONTENT) for epoch in (1, 2)]
    damage(paths[1])
    assert store.latest().path == paths[0]
    assert len(warnings) == 1 and f'checkpoint {paths[1]} is damaged' in warnings[0]
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


# A training, stopped in every way -------------------------------------------------------------------------------------

# Runs the script with the tiny model, and lets the process be hit at a chosen moment.
DRIVER = '''
import os, signal, sys
sys.path[:0] = [{root!r}, {tests!r}]
import bmx
from bmx.train import loop
from helpers import tiny, train
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
    hit_at(loop.Training, 'train_step')
elif event == 'evaluate':
    hit_at(loop.Objective, 'evaluate')
elif event == 'write':  # before the files of a checkpoint
    hit_at(bmx.train.loop.states, 'dump')
elif event == 'file':  # between them
    hit_at(bmx.train.checkpoint, 'write_file')
elif event == 'rename':
    from bmx.train import checkpoint
    hit_at(checkpoint.os, 'rename')
sys.exit(train(sys.argv[3:]))
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

    def start(self, *more, event='none:SIGTERM', when=0, **how):
        how = {'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT, **how}
        return subprocess.Popen([sys.executable, '-W', 'ignore', str(self._driver), event, str(when)] + self.arguments
                                + list(more), universal_newlines=True, env=dict(os.environ, OMP_NUM_THREADS='1'),
                                cwd=str(self.path), **how)

    def run(self, *more, **how):
        process = self.start(*more, **how)
        out, _ = process.communicate()
        return process.returncode, out

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
    runner = Runner(uninterrupted.path.parent / f'{event.replace(":", "-")}-{when}')
    stopped, out = runner.run(event=event, when=when)
    assert stopped == code, out
    found = CheckpointStore(str(runner.save_dir), 1).newest
    assert (os.path.basename(found) if found else None) == newest
    if code == 130:
        assert 'continue with:' in out and out.rstrip().endswith('--resume')
    resumed, out = runner.run('--resume')
    assert resumed == 0, out
    assert_equal_results(runner, uninterrupted)
    assert not [name for name in names(runner.save_dir) if name.startswith(TEMPORARY)]


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
    assert train(uninterrupted.arguments + list(more)) == 1
    assert message in capsys.readouterr().out
    assert names(uninterrupted.save_dir) == before


def wait_for(path):
    deadline = time.time() + 60
    while not path.exists() and time.time() < deadline:
        time.sleep(0.05)


@pytest.mark.parametrize('damage', [
    lambda state: state.pop('arguments'), lambda state: state.update(arguments=[1]), lambda state: state.pop('totals'),
    lambda state: state['totals'].update(other=1), lambda state: state['totals'].update(loss='x'),
    lambda state: state.pop('best'), lambda state: state.update(history=3), lambda state: state.update(history=[{}]),
    lambda state: state['history'][0].update(lr='x'), lambda state: state['sign_flips'].update(flips=[])])
def test_checkpoints_that_no_training_wrote(uninterrupted, tiny_model, tmp_path, capsys, damage):
    shutil.copytree(str(uninterrupted.save_dir), str(tmp_path / 'run'))
    path = tmp_path / 'run' / 'checkpoint-0003' / 'checkpoint.json'
    state = json.loads(path.read_text())
    damage(state)
    path.write_text(json.dumps(state))
    assert train(uninterrupted.arguments + ['--save-dir', str(tmp_path / 'run'), '--resume']) == 1
    out = capsys.readouterr().out
    message = r'error: .*checkpoint-0003 is damaged \(.*\): start anew|cannot resume .* other arguments'
    assert re.search(message, out), out


def test_ctrl_c_from_outside(uninterrupted):
    """A real signal to a running process, and the command line it prints."""
    runner = Runner(uninterrupted.path.parent / 'ctrl-c', '--num-epochs', '100000')
    process = runner.start(preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    wait_for(runner.save_dir / 'metrics.csv')
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert CheckpointStore(str(runner.save_dir), 1).newest in out


def ignore_ctrl_c():
    """As a shell does in the background, and nohup for the end of the terminal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def test_in_the_background_only_sigterm_stops(uninterrupted):
    runner = Runner(uninterrupted.path.parent / 'background', '--num-epochs', '100000')
    process = runner.start(preexec_fn=ignore_ctrl_c)
    wait_for(runner.save_dir / 'metrics.csv')
    for number in (signal.SIGINT, signal.SIGHUP):
        process.send_signal(number)
    epochs = len(CheckpointStore(str(runner.save_dir), 1)._listed())
    wait_for(runner.save_dir / f'checkpoint-{epochs + 2:04d}')
    assert process.poll() is None
    process.terminate()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and out.count('stopping after this step') == 1, out


# Limits of the size of any file, in bytes; exit code, what is said last, newest checkpoint.
FULL = [
    (6500, 1, 'checkpoint-0001: File too large; the checkpoint was not saved, --resume goes on from the one before',
     None),
    (12000, 1, 'curves.png: File too large', 'checkpoint-0003'),  # but no picture
]


@pytest.mark.parametrize('room, code, said, newest', FULL)
def test_full_disk(uninterrupted, room, code, said, newest):
    runner = Runner(uninterrupted.path.parent / f'full-{room}')
    stopped, out = runner.run(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room,) * 2))
    assert stopped == code and said in out.splitlines()[-1] and 'Traceback' not in out, out
    found = CheckpointStore(str(runner.save_dir), 1).newest
    assert (os.path.basename(found) if found else None) == newest
    resumed, out = runner.run('--resume')
    assert resumed == 0, out
    assert_equal_results(runner, uninterrupted)
    assert {'curves.png', 'sign_flips.png'} <= set(names(runner.save_dir))
    assert not [name for name in names(runner.save_dir) if name.startswith(TEMPORARY)]


def test_logs_on_a_full_disk(uninterrupted):
    runner = Runner(uninterrupted.path.parent / 'full-logs', '--logging-file', '/dev/full')
    with open('/dev/full', 'w') as full:
        process = runner.start(stdout=full, stderr=subprocess.PIPE)
        _, said = process.communicate()
    assert process.returncode == 0, said
    assert sorted(said.splitlines()) == [f'{what} lacks lines: [Errno 28] No space left on device'
                                         for what in ('/dev/full', 'the output')]
    assert_equal_results(runner, uninterrupted)


# One training at a time -----------------------------------------------------------------------------------------------

def test_a_second_training_is_refused(uninterrupted, tiny_model, capsys):
    before = names(uninterrupted.save_dir)
    with CheckpointStore(str(uninterrupted.save_dir), 1).locked():
        assert train(uninterrupted.arguments + ['--resume']) == 1
        assert f'error: another process trains in {uninterrupted.save_dir}: wait until' in capsys.readouterr().out
        code, out = uninterrupted.run('--resume')
        assert code == 1 and 'another process trains in' in out
    assert names(uninterrupted.save_dir) == before


def test_the_lock_of_a_store(tmp_path):
    store, other = CheckpointStore(tmp_path / 'run', 0), CheckpointStore(str(tmp_path / 'run'), 0)
    for _ in range(2):
        with store.locked(), store.locked():
            with pytest.raises(TrainingError, match='another process trains in .*run'):
                with other.locked():
                    pass
    with other.locked():
        pass
    assert names(tmp_path / 'run') == [LOCK]


def test_a_killed_training_holds_no_lock(tmp_path):
    program = (f'import os, sys; sys.path.insert(0, {ROOT!r}); from bmx.train import CheckpointStore\n'
               f'with CheckpointStore({str(tmp_path)!r}, 0).locked(): os.kill(os.getpid(), 9)')
    assert subprocess.call([sys.executable, '-W', 'ignore', '-c', program]) == -9
    with CheckpointStore(tmp_path, 0).locked():
        pass


def test_no_locks(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, 'No locks available')
    warnings = []
    monkeypatch.setattr(fcntl, 'flock', flock)
    monkeypatch.setattr(logging.getLogger('bmx.train'), 'warning', lambda text, *args: warnings.append(text % args))
    with CheckpointStore(tmp_path, 0).locked():
        pass
    assert warnings == [f'the file system of {tmp_path} has no locks: start no second training in that folder']


def test_a_process_shares_the_lock_it_is_given(tmp_path):
    program = (f'import sys; sys.path.insert(0, {ROOT!r}); from bmx.train import CheckpointStore\n'
               f'with CheckpointStore({str(tmp_path)!r}, 0).locked(): print("inside")')
    with CheckpointStore(tmp_path, 0).locked() as lock:
        handles, variables = lock_to_inherit(lock)
        shared = subprocess.check_output([sys.executable, '-W', 'ignore', '-c', program], pass_fds=handles,
                                         env=dict(os.environ, **variables), universal_newlines=True)
        assert shared == 'inside\n'
        with pytest.raises(TrainingError):  # the child has closed its own
            with CheckpointStore(tmp_path, 0).locked():
                pass


# Signals --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('ignored', [[], [signal.SIGINT], [signal.SIGINT, signal.SIGHUP]])
def test_signals_are_heard_and_given_back(ignored):
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        inside = {number: signal.getsignal(number) for number in numbers}
        heard = []
        with StopSignals(heard=lambda: heard.append(1)) as stop:
            for number in numbers:
                os.kill(os.getpid(), number)
            assert stop.count == len(heard) == 3 - len(ignored)
        assert {number: signal.getsignal(number) for number in numbers} == inside
        with StopSignals(most=1):
            os.kill(os.getpid(), signal.SIGTERM)
            assert {number: signal.getsignal(number) for number in numbers} == inside
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_training_in_a_thread(uninterrupted, tiny_model, tmp_path):
    arguments = list(uninterrupted.arguments) + ['--num-epochs', '1', '--save-dir', str(tmp_path / 'run')]
    codes = []
    thread = threading.Thread(target=lambda: codes.append(train(arguments)))
    thread.start()
    thread.join()
    assert codes == [0] and 'checkpoint-0001' in names(tmp_path / 'run')


# Optimizer states -----------------------------------------------------------------------------------------------------

class Hostile:
    """Calls something when it is unpickled."""

    def __init__(self, function, *args):
        self._called = function, args

    def __reduce__(self):
        return self._called


def a_trainer(optimizer='adam', units=3, **settings):
    net = gluon.nn.Dense(units, in_units=4)
    net.initialize()
    return net, gluon.Trainer(net.collect_params(), optimizer, dict(settings, learning_rate=0.1))


def step(net, trainer):
    with mx.autograd.record():
        loss = (net(mx.nd.arange(8).reshape((2, 4))) ** 2).sum()
    loss.backward()
    trainer.set_learning_rate(0.01)
    trainer.step(2)


@pytest.mark.parametrize('optimizer', sorted(set(mx.optimizer.Optimizer.opt_registry) - {'groupadagrad', 'test'}))
@pytest.mark.parametrize('saved_by', ['ours', 'mxnet'])
def test_states_of_every_optimizer(tmp_path, optimizer, saved_by):
    settings = {'momentum': 0.9} if optimizer in ('sgd', 'nag', 'signum', 'lbsgd') else {}
    net, trainer = a_trainer(optimizer, **settings)
    again, resumed = a_trainer(optimizer, **settings)
    path = tmp_path / 'trainer.states'
    for _ in range(2):
        step(net, trainer)
    path.write_bytes(states.dump(trainer)) if saved_by == 'ours' else trainer.save_states(str(path))
    again.weight.set_data(net.weight.data())
    again.bias.set_data(net.bias.data())
    states.load(resumed, path)
    for each in ((net, trainer), (again, resumed)):
        mx.random.seed(3)  # SGLD draws
        step(*each)
    np.testing.assert_array_equal(net.weight.data().asnumpy(), again.weight.data().asnumpy())


def _tuple_of(trainer, change):
    """States and optimizer of a trainer, after a change of the dict and the optimizer's attributes."""
    found, optimizer = pickle.loads(states.dump(trainer))
    change(found, vars(optimizer))
    return found, optimizer


def _raw(change):
    def spoil(found, _):
        mean, variance = found[0]

        class Raw:
            def __reduce__(self):
                state = mean.__getstate__()
                state['handle'] = change(state['handle'])
                return mx.nd.NDArray, (None,), state
        found[0] = (Raw(), variance)
    return spoil


# What is in the file, of a trainer; what the message says.
HOSTILE = [
    (lambda trainer: Hostile(os.system, 'touch pwned'), 'it holds posix.system'),
    (lambda trainer: {0: Hostile(os.mkdir, 'pwned')}, 'it holds posix.mkdir'),
    (lambda trainer: Hostile(eval, '1'), 'it holds builtins.eval'),
    (lambda trainer: {0: np.zeros(3)}, 'it holds numpy'),
    (lambda trainer: {0: Hostile(mx.nd.NDArray, 4096)}, "an array of <class 'int'>"),
    (lambda trainer: {0: Hostile(bytearray, 1 << 40)}, "bytes of <class 'int'>"),
    (lambda trainer: pickle.loads(states.dump(a_trainer('sgd')[1])), 'it holds mxnet.optimizer.optimizer.SGD'),
    (lambda trainer: [1, 2], 'AttributeError'),
    (lambda trainer: (1, 2, 3), ''),
    (lambda trainer: _tuple_of(trainer, lambda found, _: found.update({9: None})), 'KeyError: 9'),
    (lambda trainer: _tuple_of(trainer, lambda found, _: found.update({0: None})), 'a state that is no state'),
    (lambda trainer: _tuple_of(trainer, lambda found, _: found.update({0: found[1]})),
     r'a state of shape \(.*\), float32 for a weight of \(.*\)'),
    (lambda trainer: _tuple_of(trainer, lambda _, optimizer: optimizer.update(update=3)), 'an optimizer with .*update'),
    (lambda trainer: _tuple_of(trainer, lambda _, optimizer: optimizer.pop('beta1')), 'an optimizer with .*beta1'),
    (lambda trainer: _tuple_of(trainer, lambda _, optimizer: optimizer.update(beta1='x')), "whose beta1 is 'x'"),
    (lambda trainer: _tuple_of(trainer, lambda _, optimizer: optimizer.update(_all_index_update_counts={0: 1})),
     'whose _all_index_update_counts is'),
    (lambda trainer: _tuple_of(trainer, lambda _, optimizer: optimizer.update(idx2name={0: [1]})), 'whose idx2name is'),
    (lambda trainer: _tuple_of(trainer, _raw(lambda raw: raw[:-1])), r'an array of shape \(.*\) in \d+ bytes'),
    (lambda trainer: _tuple_of(trainer, _raw(lambda raw: raw[:12] + b'\xff' * 8 + raw[20:])), 'an array of shape'),
    (lambda trainer: _tuple_of(trainer, _raw(lambda raw: raw[:8] + b'\xff\xff\xff\x7f' + raw[12:])), 'unknown format'),
    (lambda trainer: _tuple_of(trainer, _raw(lambda raw: b'\0' * len(raw))), 'unknown format'),
]


@pytest.mark.parametrize('content, message', HOSTILE)
def test_hostile_states(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    net, trainer = a_trainer()
    step(net, trainer)
    before = states.dump(trainer)
    with open('trainer.states', 'wb') as out:
        pickle.dump(content(trainer), out)
    with pytest.raises(LoadError, match='cannot load trainer.states, it is damaged or not of .*: .*' + message):
        states.load(trainer, 'trainer.states')
    assert states.dump(trainer) == before and names(tmp_path) == ['trainer.states']


def test_damaged_states(tmp_path):
    net, trainer = a_trainer()
    step(net, trainer)
    whole, path = states.dump(trainer), tmp_path / 'trainer.states'
    random = np.random.RandomState(0)
    for length in list(range(0, len(whole), 37)) + [len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(LoadError, match='cannot load'):
            states.load(trainer, path)
    for _ in range(300):
        content = bytearray(whole)
        content[random.randint(len(content))] ^= 1 << random.randint(8)
        path.write_bytes(content)
        try:
            states.load(trainer, path)
        except LoadError:
            pass


@pytest.mark.parametrize('how', ['--resume', '--resume-states'])
def test_hostile_states_in_a_training(uninterrupted, tiny_model, tmp_path, monkeypatch, capsys, how):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(str(uninterrupted.save_dir), str(tmp_path / 'run'))
    newest = tmp_path / 'run' / 'checkpoint-0003'
    (newest / 'trainer.states').write_bytes(pickle.dumps(Hostile(os.system, 'touch pwned')))
    about = json.loads((newest / 'checkpoint.json').read_text())
    about['files']['trainer.states'] = digest(newest / 'trainer.states')
    (newest / 'checkpoint.json').write_text(json.dumps(about))
    more = ['--save-dir', str(tmp_path / 'run'), '--resume'] if how == '--resume' else [
        '--save-dir', str(tmp_path / 'other'), how, str(newest / 'trainer.states')]
    assert train(uninterrupted.arguments + more) == 1
    assert re.search('error: cannot load .*trainer.states, .*it holds posix.system', capsys.readouterr().out)
    assert not (tmp_path / 'pwned').exists()
