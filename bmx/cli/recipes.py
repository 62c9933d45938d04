"""Train every variant of a study with several seeds, and compare them.

    bmx recipes recipes/photographs.ini --data-dir ~/imagenette --save-dir runs/photographs --seeds 0 1 2

What is done is skipped, what was interrupted goes on. After each training SAVE_DIR/results.csv, summary.csv,
results.png and sign-flips.png are written anew. Arguments after -- go to every training, for example:
-- --num-gpus 4 -j 16. docs/recipes.md says what a study holds and how to read the results.
"""
from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import os
import sys
from typing import Any, Mapping, Sequence

import mxnet as mx

from ..io.storage import sentence
from ..threads import physical_cores
from ..train import TrainingError, comparison, configure_logging, recipes
from ..train.progress import logger
from ..train.runs import Run, facts, find_runs, train
from ..train.study import RESERVED, Study, read_study
from . import CommandParser
from .output import end_output, error_text
from .training import given_recipe, plan_of
from .types import natural, positive

# What starts a training.
TRAIN = [sys.executable, '-m', 'bmx', 'train']

# Of the options of a training what may differ between two runs of one: where things are, and how fast. The data is
# compared by what it holds.
IRRELEVANT = ('parser', 'data_dir', 'use_rec', 'rec_train', 'rec_train_idx', 'rec_val', 'rec_val_idx', 'num_workers',
              'mode', 'kvstore', 'save_dir', 'save_frequency', 'log_interval', 'no_export', 'tensorboard')


def add_options(parser: CommandParser) -> None:
    parser.description, parser.formatter_class = __doc__, argparse.RawDescriptionHelpFormatter
    parser.allow_abbrev = False
    parser.forwarded = 'training'
    parser.add_argument('study', metavar='FILE', help='for example recipes/photographs.ini')
    parser.add_argument('--data-dir', help='as for bmx train')
    parser.add_argument('--save-dir', required=True, help='receives VARIANT/seedN/ of every training, and the results')
    parser.add_argument('--seeds', type=natural, nargs='+', default=[0], metavar='N', help='default: 0')
    parser.add_argument('--only', nargs='+', metavar='VARIANT', help='train these variants only')
    parser.add_argument('--jobs', type=positive, default=1, help='trainings side by side (default: 1)')
    parser.add_argument('--threads', type=positive, help='of each training (default: cores / jobs)')
    parser.add_argument('--report', action='store_true', help='train nothing, write the results of what is there')


def run(arguments: argparse.Namespace) -> int:
    """Train and compare; returns the exit code: 0 all trained, 1 an error or a training that failed, 130 stopped."""
    if len(set(arguments.seeds)) < len(arguments.seeds):
        arguments.parser.error('--seeds: a seed is given twice')
    if any(flag.split('=')[0] in ['--' + name for name in RESERVED] for flag in arguments.training):
        arguments.parser.error(f'after --, leave out --{", --".join(RESERVED)}')
    configure_logging()
    code = _logged(arguments)
    end_output()  # of what could not be written the log has told
    return code


def _logged(arguments):
    """Train and compare, and log how it ended; returns the exit code."""
    threads = arguments.threads or max(1, physical_cores() // arguments.jobs)
    try:
        study = read_study(arguments.study)

        def write_results():
            found, damaged = find_runs(study.variants.values(), arguments.save_dir)
            for message in damaged:
                logger.warning('left out of the results: %s', message)
            return comparison.write(study, found, arguments.save_dir)

        if arguments.report:
            check_flags(study, [])
            found, damaged = find_runs(study.variants.values(), arguments.save_dir)
            for each in found:
                check_unchanged(each, each.record['common'] if each.record else [])
            logger.info('%s', write_results())
            return 1 if damaged else 0
        failed, stopped = train(prepare(study, arguments), TRAIN, arguments.jobs, threads, write_results)
    except (TrainingError, OSError) as error:
        logger.error('error: %s', error_text(error))
        return 1
    except KeyboardInterrupt:
        return 130
    for name, reason in failed.items():
        logger.error('failed: %s: %s', name, reason)
    if stopped:
        logger.info('stopped; the same command goes on')
    return 130 if stopped else 1 if failed else 0


def parse_training(where: str, flags: Sequence[str]) -> argparse.Namespace:
    """The options of a training that flags give; what the command `train` complains about as a `TrainingError`."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint), contextlib.redirect_stdout(io.StringIO()):
            return CommandParser('train').parse_args(flags)
    except SystemExit as end:
        message = complaint.getvalue().strip().rpartition('error: ')[2] if end.code else 'leave out the flag for help'
        raise TrainingError(f'{where}: {message}') from None


def check_flags(study: Study, common: list[str]) -> dict[str, argparse.Namespace]:
    """Have the command `train` read the flags of every variant; returns the options of each."""
    return {name: parse_training(f'{study.path}, [{name}]', variant.flags + common)
            for name, variant in study.variants.items()}


def check_unchanged(run: Run, common: list[str]) -> None:
    """Refuse a directory with results of other settings than the study's now.

    Both command lines are read by today's command `train`, so another order or a new flag is no difference. What flags
    leave open is compared as the recipe of the model's family settled it then and does now.
    """
    advice = 'restore the study, delete or move that folder, or choose another --save-dir'
    if not run.begun:
        return
    if run.record is None:
        raise TrainingError(f'{run.directory} has a training that run_recipes.py did not start: {advice}')
    then, today = (parse_training(run.directory, flags) for flags in (
        run.record['flags'] + run.record['common'], run.variant.flags + common))
    before, now = (dict(vars(options), settings=dict(options.settings)) for options in (then, today))
    settled = _recipe(run, today)
    recorded = run.record.get('recipe', {})  # earlier versions did not keep it
    before.update(recorded)
    now.update({name: settled[name] for name in recorded if name in settled})
    differences = [f'{name} was {before[name]}, is now {now[name]}' for name in now
                   if name not in IRRELEVANT and before[name] != now[name]]
    if differences:
        raise TrainingError(f'{run.directory} was trained with other settings: {", ".join(differences)}; {advice}')


def _recipe(run, options):
    """The complete recipe of a run with options of today's command `train`, as JSON holds it."""
    try:
        given, _ = given_recipe(options)
    except TrainingError as error:
        raise TrainingError(f'{run.directory}: {error}') from None
    recipe = recipes.resolve(options.model, run.record['data']['kind'], given)
    return json.loads(json.dumps(dataclasses.asdict(recipe), default=str))


def check_variants(path: str, variants: Mapping[str, argparse.Namespace]) -> dict[str, dict[str, Any]]:
    """Try what can be tried before anything starts.

    Parameters
    ----------
    path : str
        The study's.
    variants : dict
        Name to the options of a training.

    Returns
    -------
    dict
        Name to what the record of a run says about the variant.
    """
    found, data = {}, None
    for name, options in variants.items():
        try:
            plan = plan_of(options)
            data = data or plan.open_data()  # one for all: of an input the variants differ in the size at most
            found[name] = facts(plan, data)
        except (TrainingError, ValueError, mx.MXNetError) as error:
            raise TrainingError(f'{path}, [{name}]: {sentence(error)}') from None
    return found


def prepare(study: Study, arguments: argparse.Namespace) -> list[Run]:
    """The runs that the command line asks for, all variants with one seed before the next; checked, with records."""
    unknown = set(arguments.only or ()).difference(study.variants)
    if unknown:
        raise TrainingError(f'--only {" ".join(sorted(unknown))}: {study.path} has {", ".join(study.variants)}')
    variants = [variant for variant in study.variants.values() if variant.name in (arguments.only or variant.name)]
    common = list(arguments.training)
    if arguments.data_dir is not None:
        common.append('--data-dir=' + os.path.abspath(os.path.expanduser(arguments.data_dir)))
    parsed = check_flags(study, common)
    planned = [Run(variant, seed, arguments.save_dir) for seed in arguments.seeds for variant in variants]
    existing, _ = find_runs(study.variants.values(), arguments.save_dir)
    for run in existing:
        check_unchanged(run, common)
    missing = list(dict.fromkeys(run.variant.name for run in planned if not run.done))
    if missing:
        logger.info('checking %s', ', '.join(missing))
    found = check_variants(study.path, {name: parsed[name] for name in missing})
    for run in existing:
        for fact in found.values():
            if run.begun and run.record['data'] != fact['data']:
                raise TrainingError(f'{run.directory} was trained on other data, '
                                    f'{comparison.describe_data(run.record)}: give its --data-dir, or choose another '
                                    '--save-dir')
    for run in planned:
        if not run.done:
            run.record = dict(found[run.variant.name], flags=run.variant.flags, common=common, done=False)
    return planned
