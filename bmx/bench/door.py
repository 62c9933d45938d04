"""A deployed network in a process of its own, in MXNet or in the runtime: a program, which imports nothing of bmx.

    python door.py mxnet|bmx_runtime PREFIX THREADS SHAPE LIBRARY

SHAPE is that of a batch of noise, for example 1x3x224x224; LIBRARY has the operators for MXNet. Prints a line when it
has the first answer, and one with the seconds of the second. Then, for each line `BEGIN END` on its standard input,
times of `time.perf_counter`, which processes share, it runs in between, and prints the seconds of all runs but the
first, which is not counted, and the last, which ended too late.
"""
import json
import sys
import time
from typing import Any, Callable

del sys.path[0]  # the folder of this file, whose names are bmx.bench's

import numpy as np  # noqa: E402


def in_mxnet(prefix: str, threads: int, batch: np.ndarray, library: str) -> Callable[[], Any]:
    """A function that runs a batch and returns what came out; the number of threads is that of OMP_NUM_THREADS."""
    import mxnet as mx
    mx.library.load(library, verbose=False)
    net = mx.gluon.SymbolBlock.imports(prefix + '-symbol.json', ['data'], prefix + '-0000.params')
    net.hybridize(static_alloc=True, static_shape=True)
    inputs = mx.nd.array(batch)
    return lambda: net(inputs).asnumpy()


def in_bmx_runtime(prefix: str, threads: int, batch: np.ndarray, library: str) -> Callable[[], Any]:
    """The same in the runtime."""
    import bmx_runtime
    model = bmx_runtime.Model(prefix, threads)
    return lambda: model(batch)


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main(door: str, prefix: str, threads: str, shape: str, library: str) -> None:
    batch = np.random.RandomState(0).normal(size=list(map(int, shape.split('x')))).astype(np.float32)
    run = {'mxnet': in_mxnet, 'bmx_runtime': in_bmx_runtime}[door](prefix, int(threads), batch, library)
    run()
    print('the first answer', flush=True)
    print(seconds(run), flush=True)
    for line in sys.stdin:
        begin, end = map(float, line.split())
        time.sleep(max(0, begin - time.perf_counter()))
        run()  # not counted: its caches held what others left in them
        found = []
        while True:
            last = seconds(run)
            if found and time.perf_counter() > end:
                break
            found.append(last)
        print(json.dumps(found), flush=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
