"""How much memory something needs, measured in a process of its own: that of its module, run with arguments.

The number is by how many bytes the resident memory of the process grows, at its peak, from what is prepared first to
three runs. That includes parameters, features, scratch memory, and the code and compiled primitives of MXNet that it is
the first to use; not MXNet as imported.
"""
from __future__ import annotations

import os
import subprocess
import sys
from typing import Callable

import mxnet as mx

from .. import ops
from .timing import progress


def _status(field: str) -> int:
    with open('/proc/self/status') as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def growth(prepare: Callable[[], Callable[[], object]]) -> int:
    """By how many bytes the resident memory grows, at its peak, in `prepare` and three calls of what that returns."""
    mx.nd.waitall()
    with open('/proc/self/clear_refs', 'w') as out:
        out.write('5')  # the peak starts anew
    before = _status('VmRSS')
    run = prepare()
    for _ in range(3):
        run()
    return _status('VmHWM') - before


def peak(module: str, *arguments: object) -> int | None:
    """What a module of this folder prints as its `growth` when it is run with arguments; None if that fails."""
    command = [sys.executable, '-W', 'ignore', '-m', f'bmx.bench.{module}'] + list(map(str, arguments))
    environment = dict(os.environ, BMX_ISA=ops.isa())
    try:
        return int(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)
    except subprocess.CalledProcessError as error:
        progress(f'no peak memory: the process that measures it failed with code {error.returncode}')
        return None
