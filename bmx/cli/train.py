"""Train a binary network on ImageNet, a folder of images, CIFAR-10 or the bundled digits, and export it packed.

The flags are those of GluonCV's script train_imagenet.py. What is not given comes from the recipe of the model's family
(bmx/train/recipes.py). Example:

    bmx train --model meliusnet22 --data-dir ~/imagenette --input-size 128 --save-dir runs/meliusnet22
"""
from __future__ import annotations

import argparse
import os
import shlex
import sys

from ..deploy import ExportError
from ..io.description import write_description
from ..io.storage import LoadError
from ..threads import physical_cores
from ..train import CheckpointStore, Interrupted, Training, TrainingError, Workers, configure_logging, throughput
from ..train.checkpoint import shared
from ..train.data import ImageData
from ..train.finetuning import classifier_to_skip
from ..train.plan import Plan, begin, describe, export_best
from ..train.progress import logger
from .output import end_output, error_text
from .training import add_training_options, plan_of


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.description, parser.formatter_class = __doc__, argparse.RawDescriptionHelpFormatter
    parser.allow_abbrev = False
    add_training_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train; returns the exit code: 0 trained, 1 error, 130 stopped."""
    if arguments.benchmark_input and arguments.kvstore.startswith('dist'):
        arguments.parser.error('--benchmark-input measures by time, in which other workers would make other steps: '
                               'leave out --kvstore, and start it without a launcher')
    configure_logging()
    code = _logged(arguments)
    end_output()  # of what could not be written the log has told
    return code


def _logged(arguments):
    """Train, and log how it ended; returns the exit code."""
    try:
        with Workers(arguments.kvstore) as workers:
            _train(arguments, CheckpointStore(arguments.save_dir, arguments.save_frequency), workers)
    except Interrupted as stop:
        logger.info('%s; continue with%s', stop, ':\n' + _resume_command(arguments) if workers.count == 1 else
                    ' the same command and --resume')
        return 130
    except KeyboardInterrupt:
        logger.info('stopped without saving')
        return 130
    except (TrainingError, ExportError, LoadError, OSError) as error:
        logger.error('error: %s', error_text(error))
        return 1
    return 0


def _train(arguments, store, workers):
    """Train, and export the result."""
    if not workers.leads:
        configure_logging(quiet=True)
    if workers.leads:
        _check_save_dir(arguments, store)
    plan = plan_of(arguments)
    data = plan.open_data(arguments.num_workers, workers)
    if arguments.dry_run or arguments.benchmark_input:
        describe(data, plan.recipe, workers)
        training = start(arguments, plan, data, store, workers)
        if arguments.dry_run:
            training.try_one_step()
            logger.info('dry run: one step of training and one of validation went through; nothing was written')
        else:
            logger.info('%s', throughput.report(throughput.measure(training, plan.contexts), data, physical_cores()))
        return
    if not workers.leads:
        start(arguments, plan, data, store, workers).run()
        return
    with store.locked():
        _check_save_dir(arguments, store)  # another training may have ended meanwhile
        configure_logging(arguments.logging_file or os.path.join(arguments.save_dir, 'train.log'))
        describe(data, plan.recipe, workers)
        training = start(arguments, plan, data, store, workers)
        write_description(training.best_params, training.net, data.classes, data.preprocess)
        training.run()
        logger.info('best validation top-1: %.4f', training.best)
        if not arguments.no_export:
            logger.info('%s', export_best(training, os.path.join(arguments.save_dir, arguments.model)).report)


def start(arguments: argparse.Namespace, plan: Plan, data: ImageData, store: CheckpointStore,
          workers: Workers | None = None) -> Training:
    """The training, at the epoch where it has to go on."""
    workers = workers or Workers()
    training = begin(plan, data, store, hybridize=arguments.mode == 'hybrid', log_interval=arguments.log_interval,
                     tensorboard=arguments.tensorboard, workers=workers)
    if arguments.resume or arguments.extend:
        with shared(store.latest() if workers.leads else None, workers) as checkpoint:
            if checkpoint is not None:
                training.restore(checkpoint, arguments.extend)
                return training
        logger.info('no checkpoint in %s yet: starting from the beginning', arguments.save_dir)
    params, skip = arguments.resume_params, None
    if params is None and arguments.use_pretrained:
        params = plan.network.pretrained_path
    if params is not None:
        skip = classifier_to_skip(plan.network, params, data.classes, arguments.strict)
    elif arguments.strict:
        raise TrainingError('--strict is about parameters to start from: give --resume-params or --use-pretrained, or '
                            'leave it out')
    elif arguments.freeze is not None:
        logger.warning('--freeze %s keeps random initial values: give --resume-params or --use-pretrained',
                       arguments.freeze)
    training.load(params, arguments.resume_states, arguments.resume_epoch, skip)
    return training


def _check_save_dir(arguments, store):
    """Refuse to mix two trainings in one directory."""
    if os.path.exists(arguments.save_dir) and not os.path.isdir(arguments.save_dir):
        raise TrainingError(f'--save-dir {arguments.save_dir} is a file')
    newest = store.newest
    if arguments.resume and not os.path.isdir(arguments.save_dir):
        raise TrainingError(f'nothing to resume: there is no --save-dir {arguments.save_dir}')
    if arguments.extend and not newest:
        raise TrainingError(f'nothing to extend: there is no checkpoint in --save-dir {arguments.save_dir}')
    if newest and not (arguments.resume or arguments.extend or arguments.dry_run
                       or arguments.benchmark_input):
        raise TrainingError(f'{arguments.save_dir} already has {os.path.basename(newest)} of a training: add --resume '
                            'to continue it, or choose another --save-dir')


def _resume_command(arguments):
    """The command line which continues this training."""
    program = ['-m', 'bmx'] if os.path.basename(sys.argv[0]) == '__main__.py' else [sys.argv[0]]
    return shlex.join([sys.executable] + program + arguments.argv + ([] if arguments.resume else ['--resume']))
