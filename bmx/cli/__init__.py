"""The command line, `bmx COMMAND ...`: a module of this package for each command.

It has `add_options(parser)` and `run(arguments)`, which returns an exit code or None for 0, and is imported when its
command is called. `arguments` have its options, its `parser`, and as `argv` the whole command line.
"""
from __future__ import annotations

import argparse
import difflib
import importlib
import io
import sys
from typing import Any, Sequence

import mxnet as mx

from .. import __version__
from ..io.storage import sentence
from .output import complain, end_output, error_text

# The commands: the name of a module, what it does.
COMMANDS = {
    'train': 'train a network on images, and export it packed',
    'launch': 'start the processes of a distributed training',
    'recipes': 'train the variants of a study with several seeds, and compare them',
    'summary': 'operations and size of a model, layer by layer',
    'plot': "draw a model's structure, block by block",
    'export': 'convert trained parameters to a packed, verified model',
    'import-bmxnet': 'make a model that BMXNet trained a deployed one',
    'verify': "check a deployed model's files, and its results against the float network",
    'predict': 'the likeliest classes of images, by a trained network',
    'pretrained': 'the trained networks that are there; adds one',
    'evaluate': 'accuracy, loss, speed and confusion matrix of a trained network',
    'models': 'the models: their keywords and recipes',
    'paper': 'the tables of a paper, each printed number beside ours',
    'bench': 'speed of kernels, layers, models and training steps',
}


class CommandParser(argparse.ArgumentParser):
    """The parser of a command, whose module gives it options once a command line is to be parsed.

    Attributes
    ----------
    forwarded : str or None
        Where the arguments after a ``--`` go as they are, if the command takes such.
    """

    forwarded: str | None = None

    def __init__(self, command: str, **how: Any) -> None:
        super().__init__(**how)
        self._command = command
        self._complete = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if not self._complete:
            module = importlib.import_module('.' + self._command.replace('-', '_'), __package__)
            module.add_options(self)
            self.set_defaults(run=module.run, parser=self)
            self._complete = True
        if self.forwarded is not None:
            at = args.index('--') if '--' in args else len(args)
            self.set_defaults(**{self.forwarded: args[at + 1:]})
            args = args[:at]
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:  # told here, because the parser above knows neither usage nor options
            self.error(f'unrecognized arguments: {" ".join(unknown)}{self._advice(unknown)}')
        return namespace, unknown

    def _advice(self, unknown: Sequence[str]) -> str:
        """What unknown arguments may have been meant to be."""
        options = sorted(self._option_string_actions)
        close = [name for argument in unknown if argument.startswith('--')
                 for name in difflib.get_close_matches(argument.split('=')[0], options, 1)]
        if close:
            return f' (did you mean {", ".join(close)}?)'
        if self.forwarded is not None and not unknown[0].startswith('-'):
            return f' (what is after -- goes on: -- {" ".join(unknown)})'
        return ''


def main(argv: Sequence[str] | None = None) -> int:
    """Run `bmx`.

    Parameters
    ----------
    argv : list of str, optional
        The command and its arguments; by default the process's.

    Returns
    -------
    int
        The exit code.
    """
    parser = argparse.ArgumentParser(prog='bmx', description='Binary neural networks for MXNet.')
    parser.add_argument('--version', action='version', version='bmx ' + __version__)
    commands = parser.add_subparsers(dest='command', metavar='COMMAND', parser_class=CommandParser)
    commands.required = True
    for name, text in COMMANDS.items():
        commands.add_parser(name, help=text, command=name)
    return _run(parser, argv)


def script(command: str, argv: Sequence[str] | None = None) -> int:
    """Run one command as a program of its own, under the name of that; as `main`."""
    return _run(CommandParser(command), argv)


def _run(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    if argv is None:
        argv = sys.argv[1:]
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors='backslashreplace')  # names of classes that the encoding does not have
    arguments = parser.parse_args(argv, argparse.Namespace(argv=list(argv)))
    try:
        code = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, for example head, has seen enough
        end_output()
        return 1
    except mx.MXNetError as error:
        message = sentence(error)
    except (OSError, ValueError) as error:
        message = error_text(error)
    except MemoryError:
        message = 'there is not enough memory'
    except KeyboardInterrupt:
        end_output()
        complain(f'{arguments.parser.prog}: stopped')
        return 130
    else:
        return code or 0
    end_output()
    complain(f'{arguments.parser.prog}: {message}')
    return 1
