"""Trainings of a study as processes: what is done, what goes on, several side by side, an orderly stop."""
from __future__ import annotations

import collections
import contextlib
import csv
import dataclasses
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import Any, Callable, Iterable, Sequence

import mxnet as mx

from ..accounting import summary
from ..io.formats import write_json
from ..io.storage import lock_to_inherit
from . import sign_flips
from .checkpoint import CheckpointStore
from .data import ImageData
from .errors import TrainingError
from .plan import Plan, build_net
from .progress import COLUMNS, duration, logger
from .recipes import DATASETS, optimizer
from .schedule import learning_rate
from .signals import StopSignals
from .study import Variant

# Seconds between two looks at the processes, and between two lines of progress where there is no terminal.
_PAUSE = 0.2
_INTERVAL = 60

# What the results are called among the failures if they cannot be written.
_RESULTS = 'results'


class Run:
    """One training of a variant with a seed, in its directory SAVE_DIR/VARIANT/seedN.

    Attributes
    ----------
    variant : study.Variant
    seed : int
    directory : str
    record : dict or None
        Content of ``run.json``: `flags` and `common` are its arguments, `done` whether its process ended well, and what
        the results need to know. None if there is no such file and nothing is planned yet.

    Raises
    ------
    TrainingError
        A file in the directory is damaged; the message says which, and what to do. `history` and `sign_flips`
        raise it, too.
    """

    def __init__(self, variant: Variant, seed: int, save_dir: str) -> None:
        self.variant = variant
        self.seed = seed
        self.directory = os.path.join(save_dir, variant.name, f'seed{seed}')
        self._path = os.path.join(self.directory, 'run.json')
        self.record = _read_record(self._path)
        _ = self.history, self.sign_flips  # damaged: now, not in the middle

    @property
    def name(self) -> str:
        return f'{self.variant.name}, seed {self.seed}'

    @property
    def history(self) -> list[dict[str, Any]]:
        """Rows of metrics.csv so far, as dicts of floats; None where a value is not known."""
        return _read_history(os.path.join(self.directory, 'metrics.csv'))

    @property
    def sign_flips(self) -> dict[str, list[float]]:
        """Name of a layer to its percentages of sign_flips.csv so far; empty where there are none."""
        return sign_flips.read(os.path.join(self.directory, 'sign_flips.csv'))

    @property
    def begun(self) -> bool:
        """Whether there is something of a training that another one would mix with."""
        return bool(glob.glob(os.path.join(glob.escape(self.directory), 'checkpoint-*'))) or bool(self.history)

    @property
    def complete(self) -> bool:
        """Whether all epochs are in its metrics."""
        return self.record is not None and len(self.history) >= self.record['epochs']

    @property
    def done(self) -> bool:
        """Whether nothing is left to do, the export included."""
        return self.complete and self.record['done']

    def write(self) -> None:
        """Write the record; the directory has to exist."""
        write_json(self._path, self.record)


def facts(plan: Plan, data: ImageData) -> dict[str, Any]:
    """What the record of a run says of its training, after all of it has been tried that can be before it starts.

    Parameters
    ----------
    plan : plan.Plan
    data : data.ImageData

    Returns
    -------
    dict

    Raises
    ------
    TrainingError
        The schedule, the optimizer or the network cannot be.
    ValueError, mx.MXNetError
        Inputs do not go through the network.
    """
    recipe, source = plan.recipe, plan.source
    learning_rate(recipe, -(-data.train_size // plan.batch_size))
    optimizer(recipe, plan.options.dtype)
    counted = summary(build_net(plan, len(data.classes), [mx.cpu()]), plan.input_shape)
    folder = os.path.basename(os.path.abspath(str(source.location))) if source.kind == 'folder' else source.kind
    return dict(epochs=recipe.num_epochs, input_size=recipe.input_size, data_name=folder, data=data.identity,
                recipe=dataclasses.asdict(recipe), size_mib=counted.size_mib, ops=counted.ops_without_classifier)


# What a record holds at least, and what its `data` does.
_RECORD = {'flags': list, 'common': list, 'done': bool, 'epochs': int, 'input_size': int, 'data_name': str,
           'data': dict, 'size_mib': float, 'ops': (int, float)}
_DATA = {'kind': str, 'train_images': int, 'val_images': int, 'classes': list}


def _read_record(path):
    """The record in a file, None without it."""
    if not os.path.isfile(path):
        return None
    try:
        with open(path, encoding='utf-8') as content:
            record = json.load(content)
        _check(record, _RECORD)
        _check(record['data'], _DATA)
        _check({'recipe': {}, **record}, {'recipe': dict})  # earlier versions did not keep it
        if record['data']['kind'] not in DATASETS:
            raise ValueError(f'kind is {record["data"]["kind"]!r:.40}')
        if not all(isinstance(flag, str) for flag in record['flags'] + record['common']):
            raise ValueError('a flag is no text')
    except (OSError, ValueError) as error:
        raise TrainingError(f'{path} is damaged ({error}): delete or move that folder') from None
    return record


def _check(found, types):
    if not isinstance(found, dict):
        raise ValueError(f'it holds {found!r:.40}')
    for name, expected in types.items():
        if not isinstance(found.get(name), expected):
            raise ValueError(f'{name} is {found.get(name)!r:.40}')


# Columns that may be empty, and that files of earlier versions do not have.
_OPTIONAL = ('sign_flips',)


def _read_history(path):
    """The rows of a file like metrics.csv, none without it."""
    if not os.path.isfile(path):
        return []
    try:
        with open(path, newline='', encoding='utf-8') as content:
            text = content.read()
        reader = csv.DictReader(text.splitlines())
        if not set(COLUMNS).difference(_OPTIONAL).issubset(reader.fieldnames or ()):
            raise ValueError('its columns are not those of a training')
        if not text.endswith('\n'):
            raise ValueError('its last row is cut')
        rows = [{key: None if key in _OPTIONAL and row.get(key, '') == '' else float(row[key] or 'nothing')
                 for key in COLUMNS} for row in reader]
        if [row['epoch'] for row in rows] != list(range(1, len(rows) + 1)):
            raise ValueError('its epochs are not 1, 2, 3')
    except (OSError, ValueError, csv.Error) as error:
        raise TrainingError(f'{path} is damaged ({error}): delete it; training again restores it from the last '
                            'checkpoint') from None
    return rows


def find_runs(variants: Iterable[Variant], save_dir: str) -> tuple[list[Run], list[str]]:
    """The runs of some variants that have a directory.

    Returns
    -------
    list of Run, list of str
        By variant and seed; and what is wrong with those that are left out because a file of theirs is damaged.
    """
    found, damaged = [], []
    for variant in variants:
        names = map(os.path.basename, glob.glob(os.path.join(glob.escape(os.path.join(save_dir, variant.name)), '*')))
        matches = [re.fullmatch('seed(0|[1-9][0-9]*)', name) for name in names]
        for seed in sorted(int(match.group(1)) for match in matches if match):
            try:
                found.append(Run(variant, seed, save_dir))
            except TrainingError as error:
                damaged.append(str(error))
    return found, damaged


class _Process:
    """A training that runs."""

    def __init__(self, run, command, threads):
        self.run = run
        self.started = time.time()
        self.first_epoch = len(run.history)
        self.log = os.path.join(run.directory, 'output.log')
        # Held by the training too: a second one in this directory is refused even if only that one still lives.
        with CheckpointStore(run.directory, 0).locked() as lock:
            handles, variables = lock_to_inherit(lock)
            run.write()
            with open(self.log, 'ab') as log:
                self.popen = subprocess.Popen(
                    command + run.record['flags'] + run.record['common']
                    + [f'--seed={run.seed}', '--save-dir=' + run.directory, '--resume'],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, pass_fds=handles,
                    start_new_session=True,  # Ctrl-C comes from us, and once
                    # the same modules as here, however they were found
                    env=dict(os.environ, OMP_NUM_THREADS=str(threads), PYTHONPATH=os.pathsep.join(sys.path),
                             **variables))

    def stop(self):
        """Have it save and end; the second time end at once."""
        self.popen.send_signal(signal.SIGTERM)

    def finish(self):
        """Mark the ended training as done; returns what there is to tell, raises a `TrainingError` if it failed."""
        run = self.run
        if self.popen.returncode:
            raise TrainingError(self._complaint())
        if not run.complete:
            raise TrainingError(f'exit code 0, but metrics.csv has {len(run.history)} of {run.record["epochs"]} epochs '
                                f'({self.log})')
        run.record['done'] = True
        run.write()
        return (f'done, best validation top-1 {100 * max(row["val_top1"] for row in run.history):.2f} %, '
                f'{duration(time.time() - self.started)}')

    def _complaint(self):
        """Why it failed, in a line."""
        with open(self.log, errors='replace') as log:
            lines = [line.strip() for line in log if line.strip()]
        errors = [line for line in lines[-50:] if 'rror' in line]
        code = self.popen.returncode
        end = f'killed by signal {-code}' if code < 0 else f'exit code {code}'
        return f'{end}: {(errors or lines or ["no output"])[-1]} ({self.log})'


@contextlib.contextmanager
def _processes():
    """Yields a list for processes. Those still in it at the end, after an error, are stopped and waited for."""
    running = []
    try:
        yield running
    finally:
        for process in running:
            process.stop()
        for process in running:
            logger.info('%s: waiting until it has saved', process.run.name)
            process.popen.wait()


def train(planned: Sequence[Run], command: Sequence[str], jobs: int, threads: int,
          write_results: Callable[[], str]) -> tuple[dict[str, str], bool]:
    """Train all runs that are not done.

    Parameters
    ----------
    planned : list of Run
        Each with a record.
    command : list of str
        What starts a training, before its flags.
    jobs, threads : int
        Trainings side by side, and threads of each.
    write_results : callable
        Called without arguments after every training that ended well, and once if all are done already; returns text.

    Returns
    -------
    dict, bool
        Name of a run that failed, or "results", to why; and whether a signal asked to stop: the trainings have saved
        then.
    """
    waiting = collections.deque(run for run in planned if not run.done)
    progress, failed, forwarded, text = _Progress(planned), {}, 0, None

    def fail(name, reason):
        failed[name] = str(reason)
        progress.say(f'{name}: failed, {reason}')

    def update():
        nonlocal text
        try:
            text = write_results()
            failed.pop(_RESULTS, None)
        except Exception as error:  # whatever it is, it must not end trainings of days
            fail(_RESULTS, f'{type(error).__name__}: {error}')

    logger.info('%d of %d trainings are done; %d side by side with %d threads each', len(planned) - len(waiting),
                len(planned), jobs, threads)
    if not waiting:
        update()
    with _processes() as running, StopSignals() as stop:
        while running or (waiting and not stop.count):
            while waiting and len(running) < jobs and not stop.count:
                run = waiting.popleft()
                try:
                    running.append(_Process(run, command, threads))
                except (OSError, TrainingError) as error:
                    fail(run.name, error)
                else:
                    start = f'goes on after epoch {len(run.history)}' if run.history else 'starts'
                    progress.say(f'{run.name}: {start}')
            if stop.count > forwarded:
                forwarded = stop.count
                progress.say('stopping: the trainings save; once more ends them without saving')
                for process in running:
                    process.stop()
            for process in [process for process in running if process.popen.poll() is not None]:
                running.remove(process)
                run = process.run
                try:
                    if process.popen.returncode and stop.count:
                        progress.say(f'{run.name}: stopped after epoch {len(run.history)}')
                    else:
                        progress.say(f'{run.name}: {process.finish()}')
                        update()
                except (OSError, TrainingError) as error:
                    fail(run.name, error)
            progress.show(running, waiting, jobs)
            time.sleep(_PAUSE)
    if text:
        logger.info('%s', text)
    return failed, stop.count > 0


class _Progress:
    """The line that tells how far everything is: rewritten on a terminal, else a new one now and then."""

    def __init__(self, planned):
        self._planned = planned
        self._started = self._shown = time.time()
        self._line = ''
        self._worked = {}  # run's name to wall time and time in metrics.csv of the epochs since its start

    def say(self, text):
        """Log what happened."""
        self._erase()
        logger.info('%s', text)

    def show(self, running, waiting, jobs):
        """Tell the state, if it is time to."""
        if not running or time.time() - self._shown < (1 if sys.stderr.isatty() else _INTERVAL):
            return
        self._shown = time.time()
        ended = len(self._planned) - len(running) - len(waiting)
        epochs = '; '.join(f'{process.run.name}: {len(process.run.history)}/{process.run.record["epochs"]} epochs'
                           for process in running)
        line = (f'{ended} of {len(self._planned)} ended, {duration(time.time() - self._started)} so far, '
                f'{self._left(running, waiting, jobs)} left; {epochs}')
        if not sys.stderr.isatty():
            logger.info('%s', line)
            return
        self._erase()
        self._line = line[:(shutil.get_terminal_size().columns or 80) - 1]
        sys.stderr.write(self._line)
        sys.stderr.flush()

    def _erase(self):
        if self._line:
            sys.stderr.write('\r' + ' ' * len(self._line) + '\r')
            self._line = ''

    def _left(self, running, waiting, jobs):
        """Time to the end: of the epochs to come, each as long as those of its variant, or of all variants, were."""
        for process in running:
            rows = process.run.history[process.first_epoch:]
            if rows:
                wall = os.path.getmtime(os.path.join(process.run.directory, 'metrics.csv')) - process.started
                self._worked[process.run.name] = wall, sum(row['seconds'] for row in rows)
        if not self._worked:
            return 'unknown time'
        seconds = {}
        for run in self._planned:
            seconds.setdefault(run.variant.name, []).extend(row['seconds'] for row in run.history)
        every = sum(seconds.values(), [])
        left = sum((run.record['epochs'] - len(run.history)) * _mean(seconds[run.variant.name] or every)
                   for run in [process.run for process in running] + list(waiting))
        wall, counted = (sum(column) for column in zip(*self._worked.values()))
        return 'about ' + duration(left * wall / counted / min(jobs, len(running) + len(waiting)))


def _mean(values):
    return sum(values) / len(values)
