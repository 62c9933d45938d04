"""How much memory a network needs: run as a process of its own by `bench models`.

Prints by how many bytes the resident memory of the process grows, at its peak, while the network is loaded from its
files and computes three times. That includes parameters, features, scratch memory, and the code and compiled
primitives of MXNet that it is the first to use; not MXNet as imported, nor the input.
"""
import sys
from typing import Callable

import mxnet as mx

from .models import inference, load


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


def main(prefix: str, implementation: str, *shape: str) -> None:
    x = mx.nd.random.normal(shape=tuple(map(int, shape)))
    x.wait_to_read()
    print(growth(lambda: inference(load(prefix, implementation, x), x)))


if __name__ == '__main__':
    main(*sys.argv[1:])
