"""Kills trainings and exports, or fills their disk, at random moments; nothing that was finished may be lost."""
import os
import shutil
import subprocess
import sys
import time

from .driver import CLEAN, RIGHT

ABOUT = 'trainings and exports that are killed, or whose disk is full'
QUICK = 2
SECONDS, MEMORY = 300, 64 << 30

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Runs a command with this process killed at a chosen call of what changes files, or with a limit of their sizes.
_DRIVER = '''
import os, resource, signal, sys
root, how, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.path.insert(0, root)
from bmx import cli
if how == 'room':
    resource.setrlimit(resource.RLIMIT_FSIZE, (number, number))
calls = 0
def counted(function):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if how == 'call' and calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call
for name in ('replace', 'rename', 'fsync', 'unlink', 'remove', 'rmdir', 'mkdir', 'link'):
    setattr(os, name, counted(getattr(os, name)))
code = cli.main(sys.argv[4:])
if how == 'count':
    print('calls', calls)
sys.exit(code)
'''


def _start(home, command, how='none', number=0):
    """A process; in a home of its own no ImageNet is found, so that the bundled digits are trained on."""
    return subprocess.Popen([sys.executable, '-W', 'ignore', '-c', _DRIVER, ROOT, how, str(number)] + command,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
                            env=dict(os.environ, OMP_NUM_THREADS='1', HOME=home))


def _run(home, command, how='none', number=0, seconds=None):
    """Exit code and output of a command, killed after some seconds."""
    process = _start(home, command, how, number)
    if seconds is not None:
        time.sleep(seconds)
        process.kill()
    out, _ = process.communicate()
    return process.returncode, out


def _training(folder):
    return ['train', '--model', 'meliusnet22', '--set', 'blocks=(1,1)', '--set', 'reductions=(0.5,)', '--set',
            'growth=8', '--batch-size', '512', '--num-epochs', '2', '--save-dir', os.path.join(folder, 'run'),
            '-j', '1', '--save-frequency', '0']


def _export(folder):
    return ['export', '--params', os.path.join(folder, 'run', 'meliusnet22-best.params'), '--out',
            os.path.join(folder, 'model')]


def _read(path):
    with open(path, 'rb') as content:
        return content.read()


def _pair(prefix):
    """The content of both files of a deployed model."""
    return _read(prefix + '-symbol.json'), _read(prefix + '-0000.params')


class _State:
    """What all cases share.

    begun: a folder with a training after the first of its two epochs, and a model that was exported then
    ended: a folder with the same training after both, and the model exported then
    calls, seconds: of each command, started in `begun` and `ended`
    """

    def __init__(self, folder):
        self.begun, self.ended = os.path.join(folder, 'begun'), os.path.join(folder, 'ended')
        self.home = os.path.join(folder, 'home')
        os.mkdir(self.home)
        process = _start(self.home, _training(self.begun))  # until its first epoch is finished
        while not os.path.exists(os.path.join(self.begun, 'run', 'metrics.csv')) and process.poll() is None:
            time.sleep(0.001)
        process.kill()
        process.communicate()
        _must(*_run(self.home, _export(self.begun)))
        shutil.copytree(self.begun, self.ended)
        self.calls, self.seconds = {}, {}
        for name, command in (('train', _training(self.ended) + ['--resume']), ('export', _export(self.ended))):
            begin = time.monotonic()
            out = _must(*_run(self.home, command, 'count'))
            self.seconds[name] = time.monotonic() - begin
            self.calls[name] = int(out.split()[-1])


def _must(code, out):
    assert code == 0, out
    return out


def prepare(folder):
    return _State(folder)


def attempt(state, random, folder):
    name = ['train', 'export'][random.randint(2)]
    how = ['call', 'time', 'room'][random.randint(3)]
    folder = os.path.join(folder, 'case')
    shutil.copytree(state.begun, folder)
    command = _training(folder) + ['--resume']
    if name == 'export':
        best = os.path.join('run', 'meliusnet22-best.params')
        shutil.copy(os.path.join(state.ended, best), os.path.join(folder, best))
        command = _export(folder)
    if how == 'time':
        code, out = _run(state.home, command, seconds=random.uniform(0, state.seconds[name]))
    else:
        limit = state.calls[name] + 1 if how == 'call' else 170000
        code, out = _run(state.home, command, how, random.randint(1, limit))
    assert code in {'call': (-9,), 'time': (-9, 0), 'room': (0, 1)}[how], out
    assert 'Traceback' not in out, out
    if how == 'room' and code:
        assert out.splitlines()[-1].startswith(('error: ', 'bmx export: ')), out
    _check(state, folder)
    _must(*_run(state.home, command))
    _check(state, folder)
    if name == 'train':
        for path in ('checkpoint-0002/net.params', 'meliusnet22-best.params', 'meliusnet22-0000.params',
                     'meliusnet22-symbol.json'):
            assert _read(os.path.join(folder, 'run', path)) == _read(os.path.join(state.ended, 'run', path)), path
        assert os.path.getsize(os.path.join(folder, 'run', 'curves.png'))
    else:
        assert _pair(os.path.join(folder, 'model')) == _pair(os.path.join(state.ended, 'model'))
    from bmx.io.storage import TEMPORARY
    written = os.path.join(folder, 'run') if name == 'train' else folder  # what was killed in `prepare` is in run
    left = [each for each in os.listdir(written) if each.startswith(TEMPORARY)]
    assert not left, left
    return CLEAN if how == 'room' and code else RIGHT


def _check(state, folder):
    """What was finished is there: the first epoch, the best parameters, the exported model; old or new, and whole."""
    from bmx import deploy
    from bmx.train import CheckpointStore
    run = os.path.join(folder, 'run')
    assert CheckpointStore(run, 0).latest().epoch >= 1
    best = 'meliusnet22-best.params'
    assert _read(os.path.join(run, best)) in [_read(os.path.join(each, 'run', best)) for each in
                                              (state.begun, state.ended)]
    prefix = os.path.join(folder, 'model')
    deploy.load(prefix)  # it mends what a kill between the two files left
    assert _pair(prefix) in [_pair(os.path.join(each, 'model')) for each in (state.begun, state.ended)]
    if os.path.exists(os.path.join(run, 'meliusnet22-symbol.json')):
        deploy.load(os.path.join(run, 'meliusnet22'))
