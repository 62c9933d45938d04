"""Times of contestants that run in turns, and the rows they are told in."""
import os
import platform
import statistics
import sys
import time
from importlib import metadata

from .. import ops

# Seconds for which a contestant runs when it is its turn, but always at least once.
TURN = 0.05
# Where the time of an inference goes: the library's phases, and the rest, which is MXNet's.
PHASES = ops.PHASES + ('rest',)
_PROFILED_RUNS = 30


def interleave(contestants, rounds):
    """Time contestants round robin.

    Parameters
    ----------
    contestants : dict
        Any key to a function without arguments, which returns when its work is done.
    rounds : int
        Turns of each contestant.

    Returns
    -------
    dict
        The same keys to the seconds of every run.
    """
    for run in contestants.values():
        run()  # allocates, compiles
    seconds = {key: [] for key in contestants}
    for index in range(rounds):
        progress('round %d of %d' % (index + 1, rounds))
        for key, run in contestants.items():
            seconds[key] += _turn(run)
    return seconds


def _turn(run):
    first = _seconds(run)
    if first > TURN:
        return [first]
    runs, end = [], time.perf_counter() + TURN  # without the first: its caches held what others left in them
    while not runs or time.perf_counter() < end:
        runs.append(_seconds(run))
    return runs


def _seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def profile(run):
    """Milliseconds by phase, in the shortest of some runs: a dict with the fields `PHASE_ms` of `PHASES`."""
    run()
    runs = []
    for _ in range(_PROFILED_RUNS):
        with ops.profile() as seconds:
            total = _seconds(run)
        runs.append((total, dict(seconds, rest=total - sum(seconds.values()))))
    _, phases = min(runs, key=lambda each: each[0])
    return {phase + '_ms': 1e3 * phases[phase] for phase in PHASES}


def progress(message):
    """Tell on stderr what goes on."""
    print(message, file=sys.stderr)


def row(name, variant, batch, seconds, isa=None, **more):
    """A row of results.

    Parameters
    ----------
    name, variant : str
        What ran.
    batch : int
    seconds : list of float
        Of each run.
    isa : str, optional
        The kernel; by default the one in use. MXNet's own operators do not depend on it.
    **more
        Further fields.

    Returns
    -------
    dict
    """
    fields = {'name': name, 'variant': variant, 'isa': isa or ops.isa(),
              'threads': int(os.environ['OMP_NUM_THREADS']), 'batch': batch, 'min_ms': 1e3 * min(seconds),
              'median_ms': 1e3 * statistics.median(seconds), 'runs': len(seconds)}
    versions = {package: metadata.version(package) for package in ('mxnet', 'gluoncv', 'bmx')}
    return dict(fields, **more, cpu=_cpu(), **versions)


def _cpu():
    with open('/proc/cpuinfo') as lines:
        for line in lines:
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.machine()
