"""`python -m bmx_runtime PREFIX IMAGE...`: the top-5 of images by a deployed model, as `bmx-run` tells them."""
from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import sys
import time
from typing import Any, Sequence

import numpy as np

from . import Model, ModelError, __version__
from ._text import printable

# How long --bench runs: seconds, runs at least, runs before that are not counted.
_SECONDS, _LEAST, _UNCOUNTED = 2.0, 20, 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns
    -------
    int
        The exit code: 0; 1 if the model or an image cannot be read. A wrong command line, or a kernel or a number of
        threads that cannot be, is SystemExit(2).
    """
    parser = argparse.ArgumentParser(prog='python -m bmx_runtime', allow_abbrev=False,
                                     description='The top-5 of images by a deployed model, or its latency.',
                                     epilog='Exit code: 0; 1 if the model or an image cannot be read; 2 if the command '
                                     'line is wrong. An image that cannot be read is told of on the standard error, '
                                     'and left out of what is printed; the others are classified.')
    parser.add_argument('prefix', metavar='PREFIX', help='of the files PREFIX-symbol.json and PREFIX-0000.params')
    parser.add_argument('images', nargs='*', metavar='IMAGE')
    parser.add_argument('--json', action='store_true', help='machine-readable output')
    parser.add_argument('--bench', action='store_true',
                        help="the time that the network takes for one image, or for noise of its input's shape")
    parser.add_argument('--threads', type=_threads, default=0, metavar='N',
                        help='threads that compute (default: 0, one for each core)')
    parser.add_argument('--kernel', metavar='NAME',
                        help='the code of an instruction set, for example avx2 (default: the fastest of this CPU)')
    parser.add_argument('--version', action='version', version='bmx_runtime ' + __version__)
    arguments = parser.parse_intermixed_args(argv)
    if not arguments.images and not arguments.bench:
        parser.error('an IMAGE is missing')
    if arguments.bench and len(arguments.images) > 1:
        parser.error('--bench takes one IMAGE at most')
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')  # names of classes that the encoding does not have
    try:
        try:
            model = Model(arguments.prefix, arguments.threads, arguments.kernel)
        except ModelError:
            raise
        except ValueError as error:
            parser.error(str(error))
        code = _run(model, arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader, for example head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, ImportError, MemoryError) as error:
        _complain(str(error) or 'there is not enough memory')
    except KeyboardInterrupt:
        return 130
    return 1


def _threads(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f'a number from 0 on, not {text!r}')
    return int(text)


def _complain(text: str) -> None:
    print('python -m bmx_runtime: ' + printable(text).replace('\n', '\\n'), file=sys.stderr)


def _run(model: Model, arguments: argparse.Namespace) -> int:
    if arguments.bench:
        _bench(model, arguments)
        return 0
    code, rows = 0, []
    for path in arguments.images:
        try:
            [guesses] = model.predict([path])
        except OSError as error:
            _complain(str(error))
            code = 1
            continue
        rows.append({'image': path, 'top': [{'class': name, 'probability': probability}
                                            for name, probability in guesses]})
        if not arguments.json:
            print(printable(path))
            for name, probability in guesses:
                print(printable(f'  {100 * probability:5.1f} %  {name}'))
    if arguments.json:
        print(json.dumps(rows, indent=1))
    return code


def _bench(model: Model, arguments: argparse.Namespace) -> None:
    if arguments.images:
        batch = model.prepare(arguments.images[0])[None]
    else:
        batch = np.random.RandomState(0).uniform(-2, 2, model.input_shape).astype(np.float32)
    for _ in range(_UNCOUNTED):
        model(batch)
    times: list[float] = []
    end = time.perf_counter() + _SECONDS
    while len(times) < _LEAST or time.perf_counter() < end:
        start = time.perf_counter()
        model(batch)
        times.append(1000 * (time.perf_counter() - start))
    times.sort()
    found: dict[str, Any] = {
        'model': model.name, 'input_shape': batch.shape, 'kernel': model.kernel, 'threads': model.threads,
        'runs': len(times), 'min_ms': times[0], 'median_ms': statistics.median(times),
        'p99_ms': times[-(-99 * len(times) // 100) - 1]}
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        print(printable('{model} {input_shape}, kernel {kernel}, threads {threads}, runs {runs}\n'
                        '  min     {min_ms:9.3f} ms\n  median  {median_ms:9.3f} ms\n  99 %    {p99_ms:9.3f} ms'
                        .format(**found)))


if __name__ == '__main__':
    sys.exit(main())
