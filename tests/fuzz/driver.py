"""Tries a target case by case, each in a child process that may crash, hang or exhaust its memory.

A target is a module of this folder with

    ABOUT             what is tried, in a line
    QUICK             how many cases the tests try
    SECONDS, MEMORY   limits of a case: time; bytes of address space
    prepare(folder)   called once, before the first case; returns what all cases share
    attempt(state, random, folder)
                      one case: draws it from `random`, a numpy RandomState; returns RIGHT or CLEAN, raises for all else
"""
import dataclasses
import faulthandler
import importlib
import os
import pkgutil
import resource
import select
import signal
import sys
import tempfile
import time
import traceback

import numpy as np

RIGHT, CLEAN, OTHER = 'right', 'clean error', 'other'
_MOST_TEXT = 1 << 16  # bytes that a child tells of a failure


@dataclasses.dataclass
class Figures:
    """How many cases came out how, and what was wrong with those that came out otherwise."""
    right: int = 0
    clean: int = 0
    failures: list = dataclasses.field(default_factory=list)  # (seed, text)
    seconds: float = 0.0

    @property
    def tried(self):
        return self.right + self.clean + len(self.failures)

    def __str__(self):
        return (f'{self.tried} tried in {self.seconds:.0f} s: {self.right} right, {self.clean} clean errors, '
                f'{len(self.failures)} other')


def targets():
    """Names of the targets: the modules of this folder that have an `attempt`."""
    names = [module.name for module in pkgutil.iter_modules([os.path.dirname(__file__)])
             if module.name not in ('driver', '__main__')]
    return [name for name in sorted(names) if hasattr(load(name), 'attempt')]


def load(name):
    """The module of a target."""
    return importlib.import_module(f'{__package__}.{name}')


def run(target, seeds, seconds=float('inf'), tell=lambda figures: None):
    """Try the cases of some seeds.

    Parameters
    ----------
    target : module
    seeds : iterable of int
    seconds : float
        No further case begins after that time.
    tell : callable
        Called with the `Figures` after each case.

    Returns
    -------
    Figures
    """
    figures, begin = Figures(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        state = target.prepare(folder)
        for seed in seeds:
            outcome, text = _try(target, state, seed)
            if outcome == RIGHT:
                figures.right += 1
            elif outcome == CLEAN:
                figures.clean += 1
            else:
                figures.failures.append((seed, text))
            figures.seconds = time.monotonic() - begin
            tell(figures)
            if figures.seconds > seconds:
                break
    return figures


def _try(target, state, seed):
    """The outcome of one case, and what its child told."""
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryDirectory() as folder:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _attempt(target, state, seed, folder, writing)
        os.close(writing)
        told, late = _listen(reading, target.SECONDS)
        os.close(reading)
        try:
            os.killpg(child, signal.SIGKILL)  # with all that it has started
        except ProcessLookupError:
            pass
        status = os.waitpid(child, 0)[1]
    if late:
        return OTHER, f'took longer than {target.SECONDS:g} s'
    outcome, _, text = told.decode(errors='replace').partition('\n')
    if not outcome:
        text = f'killed by signal {os.WTERMSIG(status)}' if os.WIFSIGNALED(status) else 'ended without a word'
    return outcome or OTHER, text


def _listen(reading, seconds):
    """What a child writes until it closes the pipe; and whether it took too long."""
    told, end = b'', time.monotonic() + seconds
    while len(told) < _MOST_TEXT:
        if not select.select([reading], [], [], max(0, end - time.monotonic()))[0]:
            return told, True
        part = os.read(reading, 1 << 12)
        if not part:
            break
        told += part
    return told, False


def _attempt(target, state, seed, folder, writing):
    """The child: tries the case, tells how it came out, ends."""
    text = OTHER
    try:
        os.setsid()
        faulthandler.disable()  # a crash is told by the signal
        os.set_inheritable(writing, False)
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(quiet, stream)
        resource.setrlimit(resource.RLIMIT_AS, (target.MEMORY,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        outcome = target.attempt(state, np.random.RandomState(seed), folder)
        text = outcome if outcome in (RIGHT, CLEAN) else f'{OTHER}\nreturned {outcome!r}'
    except BaseException:
        text = f'{OTHER}\n{traceback.format_exc()[-8000:]}'
    finally:
        os.write(writing, text.encode(errors='replace'))
        os._exit(0)
