#!/usr/bin/env python
"""Train every variant of a recipe file with several seeds by train_imagenet.py, and compare them.

    python run_recipes.py recipes/photographs.ini --data-dir ~/imagenette --save-dir runs/photographs --seeds 0 1 2

What is done is skipped, what was interrupted goes on. After each training SAVE_DIR/results.csv, summary.csv,
results.png and sign-flips.png are written anew. Arguments after -- go to every training, for example:
-- --num-gpus 4 -j 16. docs/recipes.md says what recipe files hold and how to read the results.
"""
import argparse
import contextlib
import io
import json
import os
import sys

import bmx  # before MXNet: it settles the number of threads
import mxnet as mx
import train_imagenet
from bmx.cli import model_settings, natural, positive
from bmx.report import end_output
from bmx.storage import sentence
from bmx.threads import physical_cores
from bmx.train import TrainingError, comparison, recipes
from bmx.train.data import open_data
from bmx.train.progress import logger
from bmx.train.runs import Run, find_runs, train
from bmx.train.schedule import learning_rate
from bmx.train.variants import RESERVED, read_recipe_file

SCRIPT = os.path.abspath(train_imagenet.__file__)

# Options of train_imagenet.py that may differ between two runs of one training: where things are, and how fast.
# The data is compared by what it holds.
IRRELEVANT = ('data_dir', 'use_rec', 'rec_train', 'rec_train_idx', 'rec_val', 'rec_val_idx', 'num_workers', 'mode',
              'save_dir', 'save_frequency', 'log_interval', 'no_export')


def parse(argv):
    """The command line; what comes after -- becomes `options.training`."""
    own, training = (argv[:argv.index('--')], argv[argv.index('--') + 1:]) if '--' in argv else (argv, [])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument('recipe', metavar='FILE', help='for example recipes/photographs.ini')
    parser.add_argument('--data-dir', help='as for train_imagenet.py')
    parser.add_argument('--save-dir', required=True, help='receives VARIANT/seedN/ of every training, and the results')
    parser.add_argument('--seeds', type=natural, nargs='+', default=[0], metavar='N', help='default: 0')
    parser.add_argument('--only', nargs='+', metavar='VARIANT', help='train these variants only')
    parser.add_argument('--jobs', type=positive, default=1, help='trainings side by side (default: 1)')
    parser.add_argument('--threads', type=positive, help='of each training (default: cores / jobs)')
    parser.add_argument('--report', action='store_true', help='train nothing, write the results of what is there')
    options = parser.parse_args(own)
    if len(set(options.seeds)) < len(options.seeds):
        parser.error('--seeds: a seed is given twice')
    if any(flag.split('=')[0] in ['--' + name for name in RESERVED] for flag in training):
        parser.error('after --, leave out --%s' % ', --'.join(RESERVED))
    options.training = training
    return options


def parse_training(where, arguments):
    """train_imagenet.py's options of a list of arguments; what it complains about as a `TrainingError`."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint), contextlib.redirect_stdout(io.StringIO()):
            return train_imagenet.parse(arguments)
    except SystemExit as end:
        message = complaint.getvalue().strip().rpartition('error: ')[2] if end.code else 'leave out the flag for help'
        raise TrainingError('%s: %s' % (where, message)) from None


def check_unchanged(run, common):
    """Refuse a directory with results of other settings than the recipe's now.

    Both command lines are read by today's train_imagenet.py, so another order or a new flag is no difference. What
    flags leave open is compared as the recipe of the model's family settled it then and does now.
    """
    advice = 'restore the recipe, delete or move that folder, or choose another --save-dir'
    if not run.begun:
        return
    if run.record is None:
        raise TrainingError('%s has a training that run_recipes.py did not start: %s' % (run.directory, advice))
    then, today = (parse_training(run.directory, flags) for flags in (
        run.record['flags'] + run.record['common'], run.variant.flags + common))
    before, now = (dict(vars(options), settings=dict(options.settings)) for options in (then, today))
    then = run.record.get('recipe', {})  # earlier versions did not keep it
    today = resolve(run, today)
    before.update(then)
    now.update({name: today[name] for name in then if name in today})
    differences = ['%s was %s, is now %s' % (name, before[name], now[name]) for name in now
                   if name not in IRRELEVANT and before[name] != now[name]]
    if differences:
        raise TrainingError('%s was trained with other settings: %s; %s'
                            % (run.directory, ', '.join(differences), advice))


def resolve(run, options):
    """The complete recipe of a run with options of today's train_imagenet.py, as JSON holds it."""
    try:
        model_settings(options)  # a stem or bits among them are part of the recipe
    except ValueError as error:
        raise TrainingError('%s: %s' % (run.directory, error)) from None
    recipe = recipes.resolve(options.model, run.record['data']['kind'], vars(options))
    return json.loads(json.dumps(recipe, default=str))


def check_flags(recipe_file, common):
    """Have train_imagenet.py read the flags of every variant; returns the options of each."""
    return {name: parse_training('%s, [%s]' % (recipe_file.path, name), variant.flags + common)
            for name, variant in recipe_file.variants.items()}


def check_variants(path, variants):
    """Try what can be tried before anything starts.

    Parameters
    ----------
    path : str
        The recipe file's.
    variants : dict
        Name to train_imagenet.py's options.

    Returns
    -------
    dict
        Name to what the record of a run says about the variant.
    """
    facts, data = {}, None
    for name, options in variants.items():
        try:
            source, recipe = train_imagenet.settle(options)
            data = data or open_data(source, options)  # one for all: variants differ in the size of an input at most
            data.preprocess['size'] = [options.input_size] * 2
            learning_rate(recipe, data.num_train_batches)
            recipes.optimizer(recipe, options.dtype)
            counted = bmx.summary(train_imagenet.build_net(options, data, [mx.cpu()]), (1,) + data.image_shape)
        except (TrainingError, ValueError, mx.MXNetError) as error:
            raise TrainingError('%s, [%s]: %s' % (path, name, sentence(error))) from None
        folder = os.path.basename(os.path.abspath(source.location)) if source.kind == 'folder' else source.kind
        facts[name] = dict(epochs=options.num_epochs, input_size=options.input_size, data_name=folder,
                           data=data.identity, recipe=recipe, size_mib=counted.size_mib,
                           ops=counted.ops_without_classifier)
    return facts


def prepare(recipe_file, options):
    """The runs that the command line asks for, all variants with one seed before the next; checked, with records."""
    unknown = set(options.only or ()).difference(recipe_file.variants)
    if unknown:
        raise TrainingError('--only %s: %s has %s' % (' '.join(sorted(unknown)), recipe_file.path,
                                                      ', '.join(recipe_file.variants)))
    variants = [variant for variant in recipe_file.variants.values() if variant.name in (options.only or variant.name)]
    common = list(options.training)
    if options.data_dir is not None:
        common.append('--data-dir=' + os.path.abspath(os.path.expanduser(options.data_dir)))
    parsed = check_flags(recipe_file, common)
    planned = [Run(variant, seed, options.save_dir) for seed in options.seeds for variant in variants]
    existing, _ = find_runs(recipe_file.variants.values(), options.save_dir)
    for run in existing:
        check_unchanged(run, common)
    missing = list(dict.fromkeys(run.variant.name for run in planned if not run.done))
    if missing:
        logger.info('checking %s', ', '.join(missing))
    facts = check_variants(recipe_file.path, {name: parsed[name] for name in missing})
    for run in existing:
        for fact in facts.values():
            if run.begun and run.record['data'] != fact['data']:
                raise TrainingError('%s was trained on other data, %s: give its --data-dir, or choose another '
                                    '--save-dir' % (run.directory, comparison.describe_data(run.record)))
    for run in planned:
        if not run.done:
            run.record = dict(facts[run.variant.name], flags=run.variant.flags, common=common, done=False)
    return planned


def main(argv=None):
    """Train and compare; returns the exit code: 0 all trained, 1 an error or a training that failed, 130 stopped."""
    options = parse(sys.argv[1:] if argv is None else list(argv))
    bmx.train.configure_logging()
    threads = options.threads or max(1, physical_cores() // options.jobs)
    try:
        recipe_file = read_recipe_file(options.recipe)

        def report():
            found, damaged = find_runs(recipe_file.variants.values(), options.save_dir)
            for message in damaged:
                logger.warning('left out of the results: %s', message)
            return comparison.write(recipe_file, found, options.save_dir)

        if options.report:
            check_flags(recipe_file, [])
            found, damaged = find_runs(recipe_file.variants.values(), options.save_dir)
            for run in found:
                check_unchanged(run, run.record['common'] if run.record else [])
            logger.info('%s', report())
            return 1 if damaged else 0
        failed, stopped = train(prepare(recipe_file, options), SCRIPT, options.jobs, threads, report)
    except (TrainingError, OSError) as error:
        logger.error('error: %s', error)
        return 1
    except KeyboardInterrupt:
        return 130
    for name, reason in failed.items():
        logger.error('failed: %s: %s', name, reason)
    if stopped:
        logger.info('stopped; the same command goes on')
    return 130 if stopped else 1 if failed else 0


if __name__ == '__main__':
    code = main()
    end_output()  # of what could not be written the log has told
    sys.exit(code)
