"""`python -m bmx_runtime PREFIX IMAGE...`: the top-5 of images by a deployed model, as `bmx-run` tells them."""
from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from typing import Any, Sequence

import numpy as np

from . import Model, __version__
from ._text import printable

# How long --bench runs, in seconds, and how often at least.
BENCH_SECONDS, BENCH_RUNS = 2.0, 20


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    parser = argparse.ArgumentParser(prog='python -m bmx_runtime', description='Top-5 of images by a deployed model.')
    parser.add_argument('prefix', help='of the files PREFIX-symbol.json and PREFIX-0000.params')
    parser.add_argument('images', nargs='*', metavar='IMAGE')
    parser.add_argument('--json', action='store_true', help='machine-readable output')
    parser.add_argument('--bench', action='store_true', help='latency of one image in place of classes')
    parser.add_argument('--threads', type=int, default=0, metavar='N', help='by default one for each core')
    parser.add_argument('--kernel', help='the code of an instruction set; by default the fastest')
    parser.add_argument('--version', action='version', version='bmx_runtime ' + __version__)
    arguments = parser.parse_args(argv)
    if not arguments.images and not arguments.bench:
        parser.error('there is no IMAGE')
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')  # names of classes that the encoding does not have
    try:
        model = Model(arguments.prefix, arguments.threads, arguments.kernel)
        unreadable = _bench(model, arguments) if arguments.bench else _predict(model, arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, for example head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ValueError, ImportError, MemoryError) as error:
        unreadable = [str(error) or 'there is not enough memory']
    except KeyboardInterrupt:
        return 130
    if unreadable:
        print(printable(f'{parser.prog}: {"; ".join(unreadable)}').replace('\n', '\\n'), file=sys.stderr)
    return 1 if unreadable else 0


def _predict(model: Model, arguments: argparse.Namespace) -> list[str]:
    rows: list[Any] = []
    unreadable = []
    for path in arguments.images:
        try:
            [guesses] = model.predict([path])
        except OSError as error:
            unreadable.append(str(error))
            continue
        rows.append({'image': path, 'top': [{'class': name, 'probability': probability}
                                            for name, probability in guesses]})
    if arguments.json:
        print(json.dumps(rows, indent=1))
    else:
        for row in rows:
            print(printable(row['image']))
            for guess in row['top']:
                print(printable(f'  {100 * guess["probability"]:5.1f} %  {guess["class"]}'))
    return unreadable


def _bench(model: Model, arguments: argparse.Namespace) -> list[str]:
    if arguments.images:
        batch = model.prepare(arguments.images[0])[None]
    else:
        batch = np.zeros(model.input_shape, np.float32)
    model(batch)
    times: list[float] = []
    while len(times) < BENCH_RUNS or sum(times) < BENCH_SECONDS:
        start = time.perf_counter()
        model(batch)
        times.append(time.perf_counter() - start)
    least, median, most = np.percentile(times, [0, 50, 99]) * 1000
    if arguments.json:
        print(json.dumps({'min_ms': least, 'median_ms': median, 'p99_ms': most, 'runs': len(times),
                          'threads': model.threads, 'kernel': model.kernel}))
    else:
        print(f'{least:.2f} ms min, {median:.2f} median, {most:.2f} 99 %, of {len(times)} runs; '
              f'{model.threads} threads, {model.kernel}')
    return []


if __name__ == '__main__':
    sys.exit(main())
