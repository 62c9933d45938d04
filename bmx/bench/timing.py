"""Times of contestants that run in turns, and the rows they are told in."""
from __future__ import annotations

import functools
import os
import platform
import statistics
import sys
import time
from importlib import metadata
from typing import Any, Callable, Collection, Mapping, Sequence

import mxnet as mx

from .. import __version__, ops

# Seconds for which a contestant runs when it is its turn, but at least so many counted runs; one if it takes LONG.
TURN = 0.05
RUNS = 3
LONG = 0.5


def interleave(contestants: Mapping[Any, Callable[[], object]], rounds: int,
               profiled: Collection[Any] = ()) -> tuple[dict[Any, list[float]], dict[Any, ops.Profile]]:
    """Time contestants round robin.

    Parameters
    ----------
    contestants : dict
        Any key to a function without arguments, which returns when its work is done.
    rounds : int
        Turns of each contestant.
    profiled : collection
        Keys of contestants that run once more, profiled, right after each counted run: as warm as that.

    Returns
    -------
    (dict, dict)
        The same keys to the seconds of every counted run; of `profiled`, to the `ops.Profile` of the shortest profiled
        run.
    """
    for run in contestants.values():
        run()  # allocates, compiles
    seconds, profiles = {key: [] for key in contestants}, {key: [] for key in profiled}
    for index in range(rounds):
        progress(f'round {index + 1} of {rounds}')
        for key, run in contestants.items():
            _turn(run, seconds[key], profiles.get(key))
    return seconds, {key: min(runs, key=lambda each: each[0])[1] for key, runs in profiles.items()}


def _turn(run, seconds, profiles):
    first = _seconds(run)  # not counted: its caches held what others left in them
    fewest, end = len(seconds) + (1 if first > LONG else RUNS), time.perf_counter() + TURN
    while len(seconds) < fewest or time.perf_counter() < end:
        seconds.append(_seconds(run))
        if profiles is not None:
            with ops.profile() as profile:
                total = _seconds(run)
            profiles.append((total, profile))


def _seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def phase_fields(names: Sequence[str], profile: ops.Profile, seconds: Sequence[float]) -> dict[str, float]:
    """Where the time of an inference goes, in milliseconds: the fields `NAME_ms`, and `rest_ms` of the shortest run.

    Parameters
    ----------
    names : tuple of str
        The phases that can occur.
    profile, seconds
        What `interleave` returned for a profiled contestant.

    Returns
    -------
    dict
    """
    fields = {name + '_ms': 1e3 * profile.phases[name] for name in names}
    return dict(fields, rest_ms=max(0., 1e3 * min(seconds) - sum(fields.values())))


def progress(message: str) -> None:
    """Tell on stderr what goes on."""
    print(message, file=sys.stderr)


def row(name: str, implementation: str, batch: int, seconds: Sequence[float], isa: str | None,
        **more: Any) -> dict[str, Any]:
    """A row of results.

    Parameters
    ----------
    name, implementation : str
        What ran.
    batch : int
    seconds : list of float
        Of each run.
    isa : str or None
        The kernel in use; None where none is. MXNet's own operators do not depend on it.
    **more
        Further fields.

    Returns
    -------
    dict
    """
    fields = {'name': name, 'implementation': implementation, 'isa': isa, 'threads': int(os.environ['OMP_NUM_THREADS']),
              'batch': batch, 'min_ms': 1e3 * min(seconds), 'median_ms': 1e3 * statistics.median(seconds),
              'runs': len(seconds)}
    return dict(fields, **more, **_surroundings())


@functools.lru_cache(maxsize=None)
def _surroundings():
    """The CPU and the versions of all that is measured."""
    try:
        version = metadata.version('gluoncv')  # the package's own constant is that of another release
    except metadata.PackageNotFoundError:
        import gluoncv
        version = gluoncv.__version__
    return {'cpu': _cpu(), 'mxnet': mx.__version__, 'gluoncv': version, 'bmx': __version__}


def _cpu():
    with open('/proc/cpuinfo') as lines:
        for line in lines:
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.machine()
