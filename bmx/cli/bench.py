"""`bmx bench`: speed of kernels, layers, models and training steps, and what accuracy it buys."""
from __future__ import annotations

import argparse
import contextlib
import dataclasses
import inspect
import io
import os
import sys
from typing import Callable

import mxnet as mx

from .. import ops
from ..accounting import summary
from ..bench import frontier, kernels, layers, models, results, runtime, split, train
from ..io.formats import refuse_picture, refuse_unwritable, write_csv, write_json
from ..models import MODELS, get_model
from ..network import images_fit
from ..nn import config
from ..nn.quantizers import BINARIZATIONS
from .types import positive


def _batch(default):
    return '--batch', dict(type=positive, default=default, metavar='N', help=f'images at once (default: {default})')


def _isa(default):
    return '--isa', dict(metavar='NAME', help=f'the kernel, one of {", ".join(ops.supported_kernels())} (default: '
                                              f'{default})')


# Options, as argparse takes them.
_NAMES = 'names', dict(nargs='*', metavar='NAME', help='a model of this package or of GluonCV, also with keywords as '
                       '"resnete18 weight=dorefa(2)" (default: '
                       f'{" ".join(models.DEFAULT)})')
_DEPLOYED = 'names', dict(nargs='*', metavar='NETWORK', help='a model of this package, also with keywords (default: '
                          f'{" ".join(runtime.DEFAULT)})')
_BMX_RUN = '--bmx-run', dict(metavar='PATH', help='the command bmx-run (default: the one in PATH, else none)')
_MODEL = 'model', dict(metavar='MODEL', help='one of: ' + ', '.join(sorted(MODELS)))
_MODELS = 'models', dict(nargs='+', metavar='MODEL', help=_MODEL[1]['help'])
_EXACT = '--exact', dict(action='store_true', help="also networks that keep MXNet's float operators")
_THREADS = '--threads', dict(type=positive, metavar='N', help='threads that compute (default: 1)')
_SIZE = '--size', dict(type=positive, default=224, metavar='N', help='height and width of an image (default: 224)')
_BINARIZATIONS = '--binarizations', dict(type=int, choices=BINARIZATIONS, metavar='M',
                                         help='scaled signs that stand for an activation (default: 1)')
_QUANTIZERS = [('--' + role, dict(metavar='QUANTIZER', help=f'what quantizes {role}s, see docs/methods.md'))
               for role in ('activation', 'weight')]
_OF_EVERY_SUBJECT = (
    ('--rounds', dict(type=positive, default=10, metavar='N', help='turns of each contestant (default: 10)')),
    ('--json', dict(metavar='FILE', help='write the results as a list of rows')),
    ('--csv', dict(metavar='FILE', help='write the results as a table')),
    ('--picture', dict(metavar='FILE', help='draw the results')))


# What options tell of the networks' layers.
_LAYERS = ('binarizations', 'activation', 'weight')


@dataclasses.dataclass(frozen=True)
class Subject:
    """What can be measured: in words, by which function, with which options beside those of all, how drawn."""
    text: str
    measure: Callable
    options: tuple
    draw: Callable = results.draw


SUBJECTS = {
    'kernels': Subject(
        'the binary product alone, by instruction set, and its share of what the instructions allow',
        kernels.measure, (_isa('all that this CPU supports'),)),
    'layers': Subject(
        "a binary convolution, float to float, beside MXNet's float convolution",
        layers.measure, (_THREADS, _batch(1), _isa('the fastest of this CPU'))),
    'models': Subject(
        'deployed networks, their float twins, and networks of GluonCV',
        models.measure, (_NAMES, _EXACT, _THREADS, _batch(1), _SIZE, _BINARIZATIONS, *_QUANTIZERS,
                         _isa('the fastest of this CPU'))),
    'frontier': Subject(
        "published accuracy against time and size: all deployed networks of the zoo and GluonCV's MobileNets",
        frontier.measure, (_THREADS, _batch(1), _SIZE, _isa('the fastest of this CPU')), frontier.draw),
    'runtime': Subject(
        'deployed networks in MXNet and in the runtime without it, by one process, by two at once, and from the start',
        runtime.measure, (_DEPLOYED, _BMX_RUN, _THREADS, _batch(1), _SIZE, _BINARIZATIONS, *_QUANTIZERS,
                          _isa('the fastest of this CPU'))),
    'split': Subject(
        'where the time of a deployed network goes, layer by layer',
        split.measure, (_MODEL, _THREADS, _batch(1), _SIZE, _BINARIZATIONS, *_QUANTIZERS,
                        _isa('the fastest of this CPU'))),
    'train': Subject(
        'a training step (forward, backward, update) and an evaluation beside the same network with bits=32',
        train.measure, (_MODELS, _THREADS, _batch(8), _SIZE, _BINARIZATIONS, *_QUANTIZERS)),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = 'Speed, measured: contestants run in turns; minimum and median of their times.'
    subjects = parser.add_subparsers(dest='subject', metavar='SUBJECT', parser_class=argparse.ArgumentParser)
    subjects.required = True
    for name, row in SUBJECTS.items():
        subject = subjects.add_parser(name, help=row.text, description=row.text[0].upper() + row.text[1:] + '.')
        for option, how in row.options + _OF_EVERY_SUBJECT:
            subject.add_argument(option, **how)
        # of subjects that have no such option; all but the first are None where they are not given
        subject.set_defaults(threads=1, isa=None, **dict.fromkeys(_LAYERS))


def run(arguments: argparse.Namespace) -> None:
    _have_threads(arguments.threads, arguments.argv)
    if arguments.isa is not None:
        ops.use_kernel(arguments.isa)
    refuse_unwritable(arguments.json, arguments.csv)
    refuse_picture(arguments.picture)
    subject = SUBJECTS[arguments.subject]
    with config(**{name: getattr(arguments, name) for name in _LAYERS}):
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # MXNet prints the shapes that it could not go on with
                rows, text = subject.measure(
                    **{name: getattr(arguments, name) for name in inspect.signature(subject.measure).parameters})
        except (mx.MXNetError, ValueError):  # Gluon's, of shapes
            _check_size(arguments)
            raise
    print(results.heading(rows))
    print(text)
    if arguments.json is not None:
        write_json(arguments.json, rows)
    if arguments.csv is not None:
        write_csv(arguments.csv, rows)
    if arguments.picture is not None:
        subject.draw(arguments.picture, rows, 'bmx ' + ' '.join(arguments.argv))


def _check_size(arguments):
    """Refuse, by a ValueError that says so, images that are too small for one of the networks."""
    named = [getattr(arguments, 'model', None)] + [name for option in ('names', 'models')
                                                  for name in getattr(arguments, option, None) or []]
    if 'size' in arguments:
        for name in filter(None, named):
            if name.split()[0].lower() in MODELS:
                net, shape = get_model(name.split()[0]), (1, 3) + (arguments.size,) * 2
                with images_fit(net, shape, '--size'):
                    summary(net, shape)


def _have_threads(threads, argv):
    """Start over if MXNet, which decides once and for all its threads, was loaded with another number of threads."""
    if os.environ.get('OMP_NUM_THREADS') != str(threads):
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
        os.execve(sys.executable, [sys.executable, '-m', 'bmx'] + argv, environment)
