"""How much memory a network needs: run as a process of its own by `bench models`.

Prints by how many bytes the resident memory of the process grows, at its peak, while the network is loaded from its
files and computes three times. That includes parameters, features, scratch memory, and the code and compiled
primitives of MXNet that it is the first to use; not MXNet as imported, nor the input.
"""
import sys

import mxnet as mx

from .models import load


def _status(field: str) -> int:
    with open('/proc/self/status') as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def main(prefix: str, implementation: str, *shape: str) -> None:
    x = mx.nd.random.normal(shape=tuple(map(int, shape)))
    x.wait_to_read()
    with open('/proc/self/clear_refs', 'w') as out:
        out.write('5')  # the peak starts anew
    before = _status('VmRSS')
    net = load(prefix, implementation, x)
    for _ in range(3):
        net(x)
        mx.nd.waitall()
    print(_status('VmHWM') - before)


if __name__ == '__main__':
    main(*sys.argv[1:])
