"""Speed, measured: `bmx bench kernels|layers|models|split|train`.

Contestants run in turns in one process, because on a shared machine only times taken side by side compare.
"""
import os
import sys

from .. import ops
from ..nn import config
from ..report import refuse_picture, refuse_unwritable, write_csv, write_json
from . import kernels, layers, models, report, split, train

# The subcommands: a function of the command's arguments that returns rows, and the text to print; what it measures.
SUBJECTS = {
    'kernels': (kernels.measure, 'the binary product alone, by instruction set, and its share of what the instructions '
                'allow'),
    'layers': (layers.measure, "a binary convolution, float to float, beside MXNet's float convolution"),
    'models': (models.measure, 'deployed networks, their float twins, and networks of GluonCV'),
    'split': (split.measure, 'where the time of a deployed network goes, layer by layer'),
    'train': (train.measure, 'a training step (forward, backward, update) beside the same network with bits=32'),
}


def run(arguments):
    """Measure, print the table, write the files that were asked for.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of the command `bench`; `argv` holds the whole command line.
    """
    _have_threads(arguments.threads, arguments.argv)
    if arguments.isa is not None:
        ops.use_kernel(arguments.isa)
    refuse_unwritable(arguments.json, arguments.csv)
    refuse_picture(arguments.picture)
    measure, _ = SUBJECTS[arguments.subject]
    with config(binarizations=arguments.binarizations):
        rows, text = measure(arguments)
    print(report.heading(rows))
    print(text)
    if arguments.json is not None:
        write_json(arguments.json, rows)
    if arguments.csv is not None:
        write_csv(arguments.csv, rows)
    if arguments.picture is not None:
        report.draw(arguments.picture, rows, 'bmx ' + ' '.join(arguments.argv))


def _have_threads(threads, argv):
    """Start over if MXNet, which decides once and for all its threads, was loaded with another number of threads."""
    if os.environ.get('OMP_NUM_THREADS') != str(threads):
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
        os.execve(sys.executable, [sys.executable, '-m', 'bmx'] + argv, environment)
