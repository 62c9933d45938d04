"""`bench runtime`: deployed networks in MXNet and in the runtime without it, each contestant a process of its own."""
from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Sequence

import mxnet as mx
import numpy as np
from PIL import Image

from .. import ops
from ..deploy import import_runtime
from ..io.text import table
from . import models
from .timing import RUNS, TURN, progress, row

DEFAULT = tuple(filter(models.is_of_zoo, models.DEFAULT))
REFERENCE = 'mxnet'
DOORS = (REFERENCE, 'bmx_runtime')
# What is measured, and how many processes at once it takes.
PROCESSES = {'one process': 1, 'two at once': 2}
START = 'start'

_FOLDER = Path(__file__).resolve().parent
_PHOTOGRAPH = (375, 500)  # height and width of most images of ImageNet
_MARGIN = 0.005  # seconds until all processes have read when a turn begins


def measure(names: Sequence[str], bmx_run: str | None, threads: int, batch: int, size: int,
            rounds: int) -> tuple[list[dict[str, Any]], str]:
    """Time each network (of `names`, else of `DEFAULT`) in MXNet and in the runtime, and what `bmx_run` takes to start.

    Returns
    -------
    (list of dict, str)
        Rows with the fields measured (one of `PROCESSES`, or `START`), reference, ratio and median_ratio (of shortest
        and median times to MXNet's) and, of starts, peak_bytes; the table.
    """
    names, model = list(dict.fromkeys(names or DEFAULT)), import_runtime().Model
    foreign = [name for name in names if not models.is_of_zoo(name)]
    if foreign:
        raise ValueError(f'only networks of this package run without MXNet, not {", ".join(foreign)}')
    command = shutil.which(bmx_run or 'bmx-run')
    if command is None and bmx_run is not None:
        raise FileNotFoundError(f'{bmx_run} is no program')
    if command is None:
        progress('bmx-run is left out: it is not in PATH, give --bmx-run')
    x, rows = mx.nd.random.normal(shape=(batch, 3, size, size)), []
    for name, net in {name: models.build(name) for name in names}.items():
        progress('preparing ' + name)
        with tempfile.TemporaryDirectory() as folder:
            prefix = models.write(name, net, x, folder, ['deployed'])[name, 'deployed']
            model(prefix, threads)  # refuses what has operators of MXNet
            rows += _latencies(name, prefix, threads, x.shape, rounds)
            rows += _starts(name, prefix, command, threads, size, rounds)
    return rows, _text(rows)


def _latencies(name: str, prefix: str, threads: int, shape: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """The rows of runs in processes that have started."""
    seconds: dict[tuple[str, str], list[float]] = {(measured, door): [] for measured in PROCESSES for door in DOORS}
    with contextlib.ExitStack() as stack:
        workers = {door: [stack.enter_context(_Worker(door, prefix, threads, shape))
                          for _ in range(max(PROCESSES.values()))] for door in DOORS}
        for index in range(rounds):
            progress(f'{name}: round {index + 1} of {rounds}')
            for measured, door in seconds:
                together = workers[door][:PROCESSES[measured]]
                begin = time.perf_counter() + _MARGIN
                end = begin + max(TURN, (RUNS + 1) * len(together) * together[0].seconds)
                for worker in together:
                    worker.begin_turn(begin, end)
                for worker in together:
                    seconds[measured, door] += worker.end_turn()
    return [_row(name, measured, door, shape[0], seconds[measured, door], seconds[measured, REFERENCE])
            for measured, door in seconds]


class _Worker:
    """A process of door.py, within a scope."""

    def __init__(self, door: str, prefix: str, threads: int, shape: Sequence[int]) -> None:
        self._command = _door(door, prefix, threads, shape)

    def __enter__(self) -> _Worker:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                         env=_environment())
        try:
            self._read()
            self.seconds = float(self._read())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def _read(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout else ''
        if not line:
            raise ChildProcessError(f'{" ".join(self._command)} failed')
        return line

    def begin_turn(self, begin: float, end: float) -> None:
        if self._process.stdin:
            print(begin, end, file=self._process.stdin, flush=True)

    def end_turn(self) -> list[float]:
        """Seconds of every counted run."""
        return json.loads(self._read())


def _door(door: str, prefix: str, threads: int, shape: Sequence[int]) -> list[str]:
    return [sys.executable, '-W', 'ignore', str(_FOLDER / 'door.py'), door, prefix, str(threads),
            'x'.join(map(str, shape)), ops.library_path()]


def _environment() -> dict[str, str]:
    return dict(os.environ, BMX_ISA=ops.isa())


def _starts(name: str, prefix: str, bmx_run: str | None, threads: int, size: int,
            rounds: int) -> list[dict[str, Any]]:
    """The rows of processes that start, answer and end."""
    photograph = prefix + '.ppm'
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (*_PHOTOGRAPH, 3)).astype(np.uint8)).save(photograph)
    answer = [prefix, photograph, '--threads', str(threads)]
    commands = {REFERENCE: _door(REFERENCE, prefix, threads, (1, 3, size, size)),
                'bmx_runtime': [sys.executable, '-m', 'bmx_runtime', *answer]}
    if bmx_run is not None:
        commands['bmx-run'] = [bmx_run, *answer]
    found: dict[str, list[tuple[float, int]]] = {program: [] for program in commands}
    for index in range(rounds):
        progress(f'{name}: start {index + 1} of {rounds}')
        for program, command in commands.items():
            found[program].append(_start(command))
    seconds = {program: [each[0] for each in runs] for program, runs in found.items()}
    return [_row(name, START, program, 1, seconds[program], seconds[REFERENCE],
                 peak_bytes=int(statistics.median([peak for _, peak in runs]))) for program, runs in found.items()]


def _start(command: Sequence[str]) -> tuple[float, int]:
    """Seconds to the first answer, and peak memory in bytes."""
    done = subprocess.run([sys.executable, '-I', '-S', str(_FOLDER / 'start.py'), *command], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, env=_environment())
    if done.returncode:
        raise ChildProcessError(f'{" ".join(command)} failed')
    seconds, peak = json.loads(done.stdout)
    return seconds, peak


def _row(name: str, measured: str, implementation: str, batch: int, seconds: Sequence[float],
         reference: Sequence[float], peak_bytes: int | None = None) -> dict[str, Any]:
    return row(name, implementation, batch, seconds, ops.isa(), measured=measured, reference=REFERENCE,
               ratio=min(seconds) / min(reference),
               median_ratio=statistics.median(seconds) / statistics.median(reference), peak_bytes=peak_bytes)


def _text(rows: Sequence[dict[str, Any]]) -> str:
    return table(['network', 'measured', 'implementation', 'min ms', 'median ms', "of MXNet's min", 'of its median',
                  'peak MiB'],
                 [[entry['name'], entry['measured'], entry['implementation'], entry['min_ms'], entry['median_ms'],
                   entry['ratio'], entry['median_ratio'], entry['peak_bytes'] and entry['peak_bytes'] / 2 ** 20]
                  for entry in rows])
