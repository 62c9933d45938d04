"""Distributed training: real workers, servers and schedulers, on this machine and in network namespaces; failures."""
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time

import mxnet as mx
import numpy as np
import pytest
from PIL import Image

from bmx.train import TrainingError, Workers, launcher
from bmx.train.data import find_data, open_data
from bmx.train.launcher import Job, address_for, free_port, read_hosts
from bmx.train.options import DataOptions
from helpers import read_metrics

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# `bmx train` with a network whose batch normalisation takes its running statistics, as those of a batch are a worker's
# own, and without pictures.
TRAIN = '''
import sys
sys.path.insert(0, ROOT)
import bmx
from bmx import cli
from bmx.models import MODELS
from bmx.train import loop
from mxnet.gluon import nn

def frozen(classes, stem='thumbnail'):
    net = nn.HybridSequential()
    net.add(nn.Conv2D(8, 3, padding=1, in_channels=3), nn.BatchNorm(use_global_stats=True),
            bmx.nn.BinaryConv(8, 3, padding=1), nn.GlobalAvgPool2D(), nn.Flatten(), nn.Dense(classes))
    return net

MODELS['frozen'] = frozen
loop.draw_curves = loop.sign_flips.draw = lambda *_: None
sys.exit(cli.main(['train'] + sys.argv[1:]))
'''


# By which binary weights grow, until many are clipped.
REGULARIZERS = ('--optimizer', 'sgd', '--binary-wd', '0.5', '--bipolar', '20', '--clip-weights', 'yes')


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """101 images of noise for training, so that the last step of an epoch has 5 of 32, and 7 for validation."""
    folder, rng = tmp_path_factory.mktemp('images'), np.random.RandomState(0)
    for part, count in (('train', 101), ('val', 7)):
        for index in range(count):
            path = folder / part / 'ab'[index % 2] / f'{index}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.randint(0, 256, (16, 16, 3)).astype(np.uint8)).save(str(path))
    return str(folder)


def training(images, save_dir, *more):
    """The command of a worker."""
    return [sys.executable, '-W', 'ignore', '-c', TRAIN.replace('ROOT', repr(ROOT)), '--model', 'frozen', '--data-dir',
            images, '--input-size', '8', '--lr', '0.001', '--warmup-epochs', '0', '-j', '1', *REGULARIZERS,
            '--save-frequency', '0', '--save-dir', str(save_dir), '--no-export', *more]


# `bmx launch` that gives processes of which another one was killed less time, as they only wait for it.
LAUNCH = '''
import sys
from bmx import cli
from bmx.train import launcher
launcher.GRACE = 3
sys.exit(cli.main(['launch'] + sys.argv[1:]))
'''


def launch(workers, command, *more):
    """A launcher as a process; its output is text."""
    return subprocess.Popen([sys.executable, '-W', 'ignore', '-c', LAUNCH, '-n', str(workers), *more, '--', *command],
                            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            start_new_session=True)


def finish(process, seconds=300):
    """Exit code and output."""
    try:
        out, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(process.communicate()[0]) from None
    return process.returncode, out


# What workers compute -------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def alone(images, tmp_path_factory):
    """The folder of a training of one worker: 20 steps of 32 images."""
    folder = tmp_path_factory.mktemp('alone')
    subprocess.run(training(images, folder, '--batch-size', '32', '--num-epochs', '5'), check=True,
                   stdout=subprocess.DEVNULL)
    (binary,) = [array.asnumpy() for name, array in mx.nd.load(str(folder / 'checkpoint-0005' / 'net.params')).items()
                 if array.shape == (8, 8, 3, 3)]
    assert np.abs(binary).max() == 1 and 0.05 < np.mean(np.abs(binary) == 1) < 0.95
    return folder


def ssh(folder, body):
    """A stand-in for ssh, in a folder for PATH: a shell script that finds the host in $host and the command in $*."""
    folder.mkdir()
    path = folder / 'ssh'
    path.write_text('#!/bin/sh\nwhile [ "$1" = -o ]; do shift 2; done\nhost=$1; shift\n' + body)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return f'{folder}:{os.environ["PATH"]}'


NAMESPACES = '''
set -e
ip netns add {0}; ip netns add {1}
ip link add {0} netns {0} type veth peer name {1} netns {1}
ip -n {0} addr add 10.231.7.1/24 dev {0}; ip -n {1} addr add 10.231.7.2/24 dev {1}
for each in {0} {1}; do ip -n $each link set lo up; ip -n $each link set $each up; done
'''


@pytest.fixture(scope='module')
def namespaces():
    """Two network namespaces with addresses of their own and a wire between them."""
    names = f'bmx{os.getpid()}a', f'bmx{os.getpid()}b'
    if shutil.which('ip') is None or subprocess.run(['sh', '-c', NAMESPACES.format(*names)],
                                                    stderr=subprocess.DEVNULL).returncode:
        for name in names:
            subprocess.run(['ip', 'netns', 'del', name], stderr=subprocess.DEVNULL, check=False)
        pytest.skip('needs ip (Debian, Ubuntu: apt-get install iproute2) and the right to make network namespaces')
    yield names
    for name in names:
        subprocess.run(['ip', 'netns', 'del', name], check=True)


def same(folder, expected, workers, kvstore='dist_sync'):
    """That a training of several workers, and its metrics, are those of one alone, to the rounding of float32."""
    ours, theirs = (mx.nd.load(str(each / 'checkpoint-0005' / 'net.params')) for each in (folder, expected))
    assert set(ours) == set(theirs)
    for name in ours:
        np.testing.assert_allclose(ours[name].asnumpy(), theirs[name].asnumpy(), rtol=0, atol=2e-6, err_msg=name)
    for ours, theirs in zip(read_metrics(folder), read_metrics(expected)):
        for name in set(ours) - {'seconds', 'images_per_s'}:
            assert ours[name] == pytest.approx(theirs[name], abs=1e-5), name
    with open(str(folder / 'train.log')) as log:
        assert f'workers: {workers} by {kvstore}: a step has {workers} x {32 // workers} = 32 images' in log.read()


def test_two_workers_equal_one(images, alone, tmp_path):
    code, out = finish(launch(2, training(images, tmp_path, '--kvstore', 'dist_sync_device', '--batch-size', '16',
                                          '--num-epochs', '5'), '-s', '2'))
    assert code == 0, out
    assert not re.search(r'^\[worker 1\]', out, re.M), out
    same(tmp_path, alone, 2, 'dist_sync_device')


def test_two_hosts(images, alone, namespaces, tmp_path):
    """In two network namespaces, whose ssh is `ip netns exec`; the second does not see the first one's save-dir."""
    (tmp_path / 'hosts').write_text('10.231.7.1\nsomebody@10.231.7.2  # the other\n')
    path = ssh(tmp_path / 'bin', f'case $host in *.1) name={namespaces[0]};; *) name={namespaces[1]};; esac\n'
                                 'exec ip netns exec $name env -i HOME="$HOME" sh -c "$*"')
    command = [shutil.which('ip'), 'netns', 'exec', namespaces[0], sys.executable, '-W', 'ignore', '-m', 'bmx',
               'launch', '-n', '2', '--hosts', str(tmp_path / 'hosts'), '--',
               *training(images, tmp_path / 'run', '--kvstore', 'dist_sync', '--batch-size', '16', '--num-epochs', '5')]
    code, out = finish(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        env=dict(os.environ, PATH=path, OMP_NUM_THREADS='1')))
    assert code == 0, out
    same(tmp_path / 'run', alone, 2)


@pytest.fixture(scope='module')
def two_images(images, tmp_path_factory):
    """A folder of two images for training."""
    folder = tmp_path_factory.mktemp('two')
    shutil.copytree(os.path.join(images, 'val'), str(folder / 'val'))
    for name in ('a/0.png', 'b/1.png'):
        (folder / 'train' / name).parent.mkdir(parents=True)
        shutil.copy(os.path.join(images, 'train', name), str(folder / 'train' / name))
    return str(folder)


@pytest.mark.parametrize('kvstore, more', [('dist_async', ('--clip-weights', 'no')),
                                           pytest.param('dist_sync', (), marks=pytest.mark.full),
                                           pytest.param('dist_sync', ('--dry-run',), marks=pytest.mark.full)])
def test_workers_without_an_image(two_images, tmp_path, kvstore, more):
    """Whichever of them ps-lite chooses to begin the store."""
    code, out = finish(launch(3, training(two_images, tmp_path, '--kvstore', kvstore, '--batch-size', '1',
                                          '--num-epochs', '2', *more)))
    assert code == 0, out
    assert 'one step of training and one of validation went through' in out if more == ('--dry-run',) else (
        len(read_metrics(tmp_path)) == 2)


# Trains in float16 what a CPU can, and writes what the worker has in the end.
HALVES = '''
import sys
sys.path[:0] = [ROOT, ROOT + '/tests']
import bmx
from bmx.models import MODELS
from bmx.train import CheckpointStore, TrainingOptions, Workers, loop
from bmx.train.data import Source
from bmx.train.plan import Plan, begin, settle
from test_float16 import Halves

MODELS['halves'] = Halves
loop.draw_curves = lambda *_: None
source, options = Source('folder', sys.argv[1]), TrainingOptions(model='halves')
recipe = settle(source, options, dict(batch_size=16, num_epochs=3, warmup_epochs=0, input_size=8, optimizer='sgd',
                                      lr=0.3)).recipe
plan = Plan(source, recipe, TrainingOptions(model='halves', dtype='float16'))  # which settle refuses

def main():
    with Workers('dist_sync') as workers:
        training = begin(plan, plan.open_data(1, workers), CheckpointStore(sys.argv[2], 0), workers=workers)
        training._scale.scale = 2.0 ** 24  # at which the first gradients overflow
        training.run()
    return training._scale.scale, training.net.weight.data().asnumpy().tobytes().hex()

print('found', *main())
'''


def test_float16(images, tmp_path):
    """Sums of gradients overflow for all workers or for none."""
    code, out = finish(launch(2, [sys.executable, '-W', 'ignore', '-c', HALVES.replace('ROOT', repr(ROOT)), images,
                                  str(tmp_path / 'run')]))
    assert code == 0, out
    found = re.findall(r'^\[worker \d\] found (\S+) (\w+)', out, re.M)
    assert len(found) == 2 and found[0] == found[1] and 1 < float(found[0][0]) < 2 ** 24, out


ASYNCHRONOUS = ('--kvstore', 'dist_async', '--batch-size', '8', '--optimizer', 'radam', '--clip-weights', 'no',
                '--bipolar', '0')


def test_dist_async(images, tmp_path):
    """Stopped on the way, resumed."""
    command, port = training(images, tmp_path, *ASYNCHRONOUS, '--num-epochs', '8'), free_port('127.0.0.1')
    _, code, out = spoil(launch(2, command, '--port', str(port)), port, 1,
                         lambda process, _: process.send_signal(signal.SIGINT))
    assert code == 130 and 'stopped; saved ' in out, out
    assert not os.path.exists(str(tmp_path / newest(tmp_path) / 'trainer.states'))
    code, out = finish(launch(2, command + ['--resume']))
    assert code == 0, out
    rows = read_metrics(tmp_path)
    assert [row['epoch'] for row in rows] == list(range(1, 9)) and rows[-1]['train_loss'] < rows[0]['train_loss']


@pytest.mark.parametrize('kind', ['folder', 'digits'])
@pytest.mark.parametrize('parts', [2, 3, 7])
def test_every_image_once(images, kind, parts):
    source = find_data(images if kind == 'folder' else None)
    epochs, sizes = [], []
    for part in range(parts):
        data = open_data(source, DataOptions(batch_size=200 if kind == 'digits' else 8, input_size=8, crop_ratio=1.0,
                                             augmentation='none', num_workers=0, num_parts=parts, part_index=part))
        batches = list(data.train_batches(0))
        assert len(batches) == data.num_train_batches
        assert len(list(data.train_batches(0, 1))) == data.num_train_batches - 1
        sizes.append([len(batch.label) for batch in batches])
        epochs.append([batch.data for batch in batches if len(batch.label)])
    assert np.sum(sizes) == data.train_size and len(set(map(len, sizes))) == 1
    assert np.ptp(sizes, axis=0).max() <= 1  # each step is divided evenly
    alone = open_data(source, DataOptions(batch_size=data.train_size, input_size=8, crop_ratio=1.0,
                                          augmentation='none', num_workers=0))
    (whole,) = alone.train_batches(0)
    found = np.concatenate([batch for epoch in epochs for batch in epoch])
    for one in (found, whole.data):
        one.sort(axis=0)
    np.testing.assert_array_equal(found, whole.data)


# Failures of a training -----------------------------------------------------------------------------------------------

def processes(port):
    """Role and rank, or role, to the process that has it in the job of a port."""
    found = {}
    for name in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{name}/environ', 'rb') as content:
                variables = dict(each.split('=', 1) for each in os.fsdecode(content.read()).split('\0') if '=' in each)
        except OSError:
            continue
        if variables.get('DMLC_PS_ROOT_PORT') == str(port) and 'DMLC_ROLE' in variables:
            found[variables['DMLC_ROLE'] + variables.get('BMX_RANK', '')] = int(name)
    return found


def spoil(process, port, epoch, how, delay=0.0):
    """Do something to the processes of a job after an epoch; how long it took to end, exit code and output."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if f' epoch {epoch}: ' in line:
            break
    else:
        raise AssertionError(''.join(lines))
    time.sleep(delay)
    how(process, processes(port))
    begin = time.monotonic()
    code, out = finish(process)
    assert processes(port) == {}
    return time.monotonic() - begin, code, ''.join(lines) + out


def kill(name):
    return lambda process, found: os.kill(found[name], signal.SIGKILL)


def newest(folder):
    return sorted(name for name in os.listdir(str(folder)) if name.startswith('checkpoint-'))[-1]


LONG = '--kvstore', 'dist_sync', '--batch-size', '8', '--num-epochs', '6', '--log-interval', '1'


def test_kills_and_stops(images, tmp_path):
    """The same training: a worker and a server are killed, it is stopped, and ends with other workers."""
    command = training(images, tmp_path, *LONG)
    for epoch, name, what in ((1, 'worker1', 'worker 1'), (2, 'server', 'server 0')):
        port = free_port('127.0.0.1')
        seconds, code, out = spoil(launch(2, command, '--port', str(port)), port, epoch, kill(name))
        assert seconds < 60 and code == 128 + signal.SIGKILL, out
        assert out.splitlines()[-1] == (f'bmx launch: {what} was killed by signal 9 (SIGKILL); all others were ended, '
                                        'with --resume a training goes on from its last checkpoint')
        assert newest(tmp_path) >= f'checkpoint-{epoch:04d}'
        command = training(images, tmp_path, *LONG, '--resume')
    port = free_port('127.0.0.1')
    _, code, out = spoil(launch(2, command, '--port', str(port)), port, 3,
                         lambda process, _: process.send_signal(signal.SIGINT))
    assert code == 130, out
    assert 'the same command and --resume' in out.splitlines()[-1], out
    stopped = newest(tmp_path)
    assert stopped >= 'checkpoint-0003'
    code, out = finish(launch(1, command))
    assert code == 0, out
    assert f'resuming {tmp_path}/{stopped}' in out
    assert 'was saved by a training of 2 workers, now there are 1: a step has 0.5 times as many images' in out
    assert [row['epoch'] for row in read_metrics(tmp_path)] == list(range(1, 7))


@pytest.mark.full
@pytest.mark.parametrize('seed', range(10))
def test_kills_at_random_moments(images, tmp_path, seed):
    random = np.random.RandomState(seed)
    name = ['worker0', 'worker1', 'server', 'scheduler'][random.randint(4)]
    epoch, port = random.randint(1, 5), free_port('127.0.0.1')
    seconds, code, out = spoil(launch(2, training(images, tmp_path, *LONG), '--port', str(port)), port, epoch,
                               kill(name), random.uniform(0, 0.5))
    assert seconds < 60 and code == 128 + signal.SIGKILL and 'was killed by signal 9' in out.splitlines()[-1], out
    assert newest(tmp_path) >= f'checkpoint-{epoch:04d}'
    code, out = finish(launch(2, training(images, tmp_path, *LONG, '--resume')))
    assert code == 0, out
    assert [row['epoch'] for row in read_metrics(tmp_path)] == list(range(1, 7))


# The launcher, with processes of its own kind -------------------------------------------------------------------------

@pytest.fixture
def job(monkeypatch):
    """Runs workers beside a server and a scheduler that only sleep; code, failure and lines."""
    monkeypatch.setattr(launcher, '_COMMANDS', {role: ['sleep', '100'] for role in ('scheduler', 'server')})
    monkeypatch.setattr(launcher, 'GRACE', 1)

    def run(source, workers=2, hosts=()):
        lines = []
        return (*Job([sys.executable, '-c', source], workers, 1, hosts, '127.0.0.1', 9, 1, lines.append).run(), lines)
    return run


def test_output_and_environment(job):
    code, failure, lines = job('import os; print("as", os.environ["BMX_RANK"], os.environ["DMLC_NUM_WORKER"])')
    assert (code, failure, sorted(lines)) == (0, None, ['[worker 0] as 0 2', '[worker 1] as 1 2'])


@pytest.mark.parametrize('source, code, failure', [
    ('sys.exit("no such model")', 1, 'worker 1 ended with exit code 1: no such model'),
    ('os.kill(os.getpid(), 9)', 137, r'worker 1 was killed by signal 9 \(SIGKILL\); all others were ended'),
    ('os.abort()', 134, 'worker 1 was killed by signal 6'),
])
def test_one_fails(job, source, code, failure):
    begin = time.monotonic()
    found = job(f'import os, sys, time\nif os.environ["BMX_RANK"] == "1": {source}\ntime.sleep(100)')
    assert found[0] == code and re.match(failure, found[1]), found
    assert time.monotonic() - begin < 30


def test_no_command(tmp_path):
    code, failure, _ = _job_of(['/no/such/program'])
    assert code == 127 and failure.startswith('worker 0 ended with exit code 127: cannot start /no/such/program in ')


def _job_of(command):
    return (*Job(command, 1, 0, (), '127.0.0.1', 9, 1, lambda line: None).run(), None)


def test_ctrl_c_twice(job):
    """The first is for the worker, which does not mind."""
    def press():
        for _ in range(2):
            time.sleep(2)
            os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=press).start()
    code, _, lines = job('import signal, time\nsignal.signal(15, lambda *_: print("heard", flush=True))\n'
                         'while True: time.sleep(0.1)', workers=1)
    assert code == launcher.STOPPED and lines == ['[worker 0] heard']


def test_over_ssh(job, tmp_path, monkeypatch):
    """Folder, environment and command arrive as they are, whatever is in their names."""
    odd = tmp_path / 'it\'s "a" $HOME; folder'
    odd.mkdir()
    monkeypatch.chdir(str(odd))
    monkeypatch.setenv('PATH', ssh(tmp_path / 'bin', 'echo "$host" >&2; exec env -i sh -c "$*"'))
    monkeypatch.setenv('MXNET_ODD', 'a "b" \'c\' $d\n;')
    code, failure, lines = job('import os; print([os.getcwd(), os.environ["MXNET_ODD"], '
                               'os.environ["DMLC_NODE_HOST"], os.environ["PATH"]])', hosts=('127.0.0.1', 'other'))
    assert (code, failure) == (0, None), lines
    arrived = [str(odd), os.environ['MXNET_ODD'], '127.0.0.1', os.environ['PATH']]
    assert {line for line in lines if '[worker' in line} == {
        '[worker 0] 127.0.0.1', '[worker 1] other', f'[worker 0] {arrived}', f'[worker 1] {arrived}'}


@pytest.mark.parametrize('body, failure', [
    ('echo "ssh: connect to host $host port 22: Connection timed out"; exit 255',
     'the host there of server 0 does not answer, or no longer: ssh: connect to host there port 22: Connection timed '),
    ('exit 126', 'server 0 on there ended with exit code 126'),
])
def test_a_host_without_an_answer(job, tmp_path, monkeypatch, body, failure):
    monkeypatch.setenv('PATH', ssh(tmp_path / 'bin', body))
    code, found, _ = job('pass', hosts=('there',))
    assert code in (255, 126) and found.startswith(failure)


@pytest.mark.parametrize('how', ['launcher', 'guard', 'silence'])
def test_none_is_left(how, tmp_path, monkeypatch):
    """When launcher, connection or guard is gone, what they started ends."""
    source = ('import subprocess, time\nsubprocess.Popen(["sleep", "1234"])\nprint("here", flush=True)\n'
              'time.sleep(100)')
    guard = subprocess.Popen([sys.executable, launcher.guard.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             text=True)
    guard.stdin.write(launcher.json.dumps({
        'command': [sys.executable, '-c', source], 'folder': str(tmp_path), 'environment': {'BMX_TEST': str(tmp_path)},
        'towards': None, 'silence': 1 if how == 'silence' else None}) + '\n')
    guard.stdin.flush()
    assert guard.stdout.readline() == 'here\n'
    if how == 'guard':
        guard.kill()
    elif how == 'launcher':
        guard.stdin.close()
    code = guard.wait(20)
    assert code == (-9 if how == 'guard' else 137)
    end = time.monotonic() + 10
    while _left(tmp_path, with_children=how != 'guard') and time.monotonic() < end:
        time.sleep(0.05)
    assert not _left(tmp_path, with_children=how != 'guard')


def _left(folder, with_children):
    """The processes with BMX_TEST; of a killed guard only its own child ends."""
    found = []
    for name in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{name}/environ', 'rb') as content, open(f'/proc/{name}/cmdline', 'rb') as command:
                if f'BMX_TEST={folder}'.encode() in content.read():
                    if with_children or b'sleep\x001234' not in command.read():
                        found.append(int(name))
                    else:
                        os.kill(int(name), signal.SIGKILL)
        except OSError:
            continue
    return found


# Refusals -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('kvstore', ['dist_sync', 'dist_async'])
def test_needs_a_launcher(kvstore, monkeypatch):
    monkeypatch.delenv('DMLC_ROLE', raising=False)
    with pytest.raises(TrainingError, match=f'--kvstore {kvstore} trains with several processes: start it as '):
        Workers(kvstore)


def test_launched_without_a_store(monkeypatch):
    monkeypatch.setenv('DMLC_ROLE', 'worker')
    monkeypatch.setenv('DMLC_NUM_WORKER', '2')
    with pytest.raises(TrainingError, match='2 workers were started, each of which would train alone'):
        Workers('device')


@pytest.mark.parametrize('text, message', [('', 'lists no hosts'), ('# none\n\n', 'lists no hosts'),
                                           ('a b\n', "'a b' is no host"), ('-oProxyCommand=x\n', 'is no host')])
def test_hosts_that_are_none(tmp_path, text, message):
    (tmp_path / 'hosts').write_text(text)
    with pytest.raises(TrainingError, match=message):
        read_hosts(str(tmp_path / 'hosts'))


def test_places(tmp_path):
    (tmp_path / 'hosts').write_text('one # comment\n\n  me@two\n')
    assert read_hosts(str(tmp_path / 'hosts')) == ['one', 'me@two']
    assert address_for([]) == address_for(['me@127.0.0.1']) == '127.0.0.1'
    with pytest.raises(TrainingError, match='there is no way to the host no.such.host.invalid'):
        address_for(['no.such.host.invalid'])
    with pytest.raises(TrainingError, match='the address 203.0.113.1 cannot be used'):
        free_port('203.0.113.1')
    with launcher.socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TrainingError, match=f'port {port} of 127.0.0.1 cannot be used: Address already in use'):
            free_port('127.0.0.1', port)
