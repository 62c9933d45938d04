#!/usr/bin/env python
"""Train a binary network on ImageNet, a folder of images, CIFAR-10 or the bundled digits, and export it packed.

The flags are those of GluonCV's script of the same name. What is not given comes from the recipe of the model's family
(bmx/train/recipes.py). Example:

    python train_imagenet.py --model meliusnet22 --data-dir ~/imagenette --input-size 128 --save-dir runs/meliusnet22
"""
import argparse
import itertools
import math
import os
import shlex
import sys

import bmx  # before MXNet: it settles the number of threads
import bmx.train
import mxnet as mx
from bmx.cli import (
    add_model_options, build_model, fraction, images_fit, model_settings, natural, non_negative, positive)
from bmx.description import write_description
from bmx.report import end_output
from bmx.storage import sentence
from bmx.train import TrainingError, recipes, regularizers
from bmx.train.data import AUGMENTATIONS, DEFAULT_DIR, find_data, open_data
from bmx.train.progress import logger
from bmx.train.randomness import integer
from bmx.train.schedule import LR_MODES

RECORDS = {name: os.path.join(DEFAULT_DIR, 'rec', name.replace('_idx', '') + ('.idx' if '_idx' in name else '.rec'))
           for name in ('train', 'train_idx', 'val', 'val_idx')}

# Together with the recipe, what a resumed training must have in common with the interrupted one.
DECISIVE = ('model', 'model_kwargs', 'use_pretrained', 'dtype', 'num_gpus', 'mixup', 'mixup_alpha', 'mixup_off_epoch',
            'label_smoothing', 'no_wd', 'seed')

# Validation images on which the exported network is compared with the float network.
VERIFIED_IMAGES = 1000


def epochs(text):
    """Whole numbers with commas between them, for argparse."""
    return tuple(natural(number) for number in text.split(','))


def yes_or_no(text):
    """A bool, for argparse."""
    if text not in ('yes', 'no'):
        raise argparse.ArgumentTypeError('must be yes or no, got %s' % text)
    return text == 'yes'


def parse(argv):
    """The command line. Flags whose default is None are settled by the recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)

    group = parser.add_argument_group('data')
    group.add_argument('--data-dir', help='folder with train/ and val/, or with the .bin files of CIFAR-10; default: '
                       '%s if it is there, else the bundled digits' % DEFAULT_DIR)
    group.add_argument('--use-rec', action='store_true', help='read RecordIO files')
    for name, path in RECORDS.items():
        group.add_argument('--rec-' + name.replace('_', '-'), default=path, help='default: %(default)s')
    group.add_argument('--input-size', type=positive, help="height and width of the network's input")
    group.add_argument('--crop-ratio', type=fraction, help='share of the resized image that evaluation keeps')
    group.add_argument('--augmentation', choices=list(AUGMENTATIONS))
    group.add_argument('-j', '--num-data-workers', dest='num_workers', type=natural, default=4,
                       help='threads that read images (default: 4)')

    group = parser.add_argument_group('model')
    group.add_argument('--model', required=True, help='name of a model, for example meliusnet22')
    add_model_options(group)
    group.add_argument('--use-pretrained', action='store_true', help='start from the parameters in ~/.mxnet/models')
    group.add_argument('--dtype', choices=('float32', 'float16'), default='float32')
    group.add_argument('--mode', choices=('hybrid', 'imperative'), default='hybrid')
    group.add_argument('--num-gpus', type=natural, default=0, help='0 (default): the CPU')

    group = parser.add_argument_group('training')
    group.add_argument('--batch-size', type=positive, help='images per device and step')
    group.add_argument('--num-epochs', type=positive)
    group.add_argument('--optimizer', help='any MXNet optimizer, or radam')
    group.add_argument('--lr', type=non_negative)
    group.add_argument('--momentum', type=non_negative)
    group.add_argument('--wd', type=non_negative, help='weight decay of all but binary weights')
    group.add_argument('--binary-wd', type=non_negative, help='weight decay of binary weights')
    group.add_argument('--bipolar', type=non_negative, metavar='LAMBDA', help='draws binary weights to -1 and +1: adds '
                       'LAMBDA * sum(1 - w^2) to the loss')
    group.add_argument('--clip-weights', type=yes_or_no, metavar='{yes,no}', help='after each step clip binary weights '
                       'to [-1, 1]')
    group.add_argument('--no-wd', action='store_true', help='no weight decay on biases and batch normalisation either')
    group.add_argument('--lr-mode', choices=LR_MODES)
    group.add_argument('--lr-decay', type=non_negative, help='factor of the modes step and plateau, the '
                       'latter after each epoch whose training loss is not the lowest so far')
    group.add_argument('--lr-decay-period', type=natural, help='epochs from one step to the next; 0: --lr-decay-epoch')
    group.add_argument('--lr-decay-epoch', type=epochs, help='epochs of the steps, for example 40,60')
    group.add_argument('--warmup-lr', type=non_negative, help='learning rate at the beginning of the warm-up')
    group.add_argument('--warmup-epochs', type=natural)
    group.add_argument('--mixup', action='store_true')
    group.add_argument('--mixup-alpha', type=fraction, default=0.2)
    group.add_argument('--mixup-off-epoch', type=natural, default=0, help='last epochs without mixup')
    group.add_argument('--label-smoothing', action='store_true', help='smooth labels by 0.1')
    group.add_argument('--seed', type=natural, default=0, help='everything random follows from it (default: 0)')

    group = parser.add_argument_group('progress')
    group.add_argument('--save-dir', default='params', help='checkpoints, metrics.csv, curves.png, the exported model '
                       '(default: params)')
    group.add_argument('--save-frequency', type=natural, default=10, help='every so many epochs a checkpoint is kept, '
                       'beside the newest two (default: 10; 0: none)')
    group.add_argument('--resume', action='store_true', help='continue the newest checkpoint of --save-dir')
    group.add_argument('--resume-epoch', type=natural, default=0, help='start at this epoch, with the next two')
    group.add_argument('--resume-params', help='parameters to load')
    group.add_argument('--resume-states', help='optimizer states to load')
    group.add_argument('--log-interval', type=natural, default=50, help='batches between log lines (default: 50)')
    group.add_argument('--logging-file', help='default: SAVE_DIR/train.log')
    group.add_argument('--dry-run', action='store_true', help='one step of training and validation; writes nothing')
    group.add_argument('--no-export', action='store_true', help='do not export the trained network')

    options = parser.parse_args(argv)
    if options.resume and (options.resume_params or options.resume_states or options.resume_epoch):
        parser.error('--resume finds everything itself: leave out --resume-epoch, --resume-params, --resume-states')
    return options


def settle(options):
    """Find the data and settle every option that was not given; returns the data's `Source` and the recipe."""
    if options.num_gpus > mx.context.num_gpus():
        raise TrainingError('--num-gpus %d: this MXNet sees %d GPUs; it takes MXNet\'s GPU wheel to use them'
                            % (options.num_gpus, mx.context.num_gpus()))
    if 'classes' in dict(options.settings):
        raise TrainingError('the data decides the number of classes: leave out --set classes')
    if options.dtype == 'float16' and options.num_gpus == 0:
        raise TrainingError('MXNet computes float16 on GPUs only: give --num-gpus, or --dtype float32')
    given_records = {name: getattr(options, 'rec_' + name) for name in RECORDS}
    use_records = options.use_rec or given_records != RECORDS
    source = find_data(options.data_dir, given_records if use_records else None)
    try:
        options.model_kwargs = model_settings(options)  # a stem or bits among them are part of the recipe
    except ValueError as error:
        raise TrainingError(str(error)) from None
    recipe = recipes.resolve(options.model, source.kind, vars(options))
    vars(options).update(recipe)
    if options.clip_weights and options.dtype == 'float16':
        raise TrainingError('with --dtype float16 the optimizer keeps the weights in float32, where they cannot be '
                            'clipped: give --clip-weights no, or --dtype float32')
    options.batch_size *= max(1, options.num_gpus)
    if options.stem is not None:
        options.model_kwargs['stem'] = options.stem
    return source, recipe


def describe(data, recipe):
    """Log what is trained on, and how."""
    if data.kind == 'digits':
        logger.info('no --data-dir given and no ImageNet in %s: training on the bundled handwritten digits',
                    DEFAULT_DIR)
    logger.info('data: %s, %d training and %d validation images in %d classes', data.kind, data.train_size,
                data.val_size, len(data.classes))
    logger.info('recipe: %s', ', '.join('%s=%s' % item for item in sorted(recipe.items())))


def build_net(options, data, contexts):
    """The network: initialized, shapes settled, hybridized, every parameter with its weight decay."""
    mx.random.seed(integer(options.seed, 'init'))
    try:
        net = build_model(options, classes=len(data.classes), ctx=contexts, pretrained=options.use_pretrained)
        if not options.use_pretrained:
            net.initialize(mx.init.create(options.initializer), ctx=contexts)
        net.cast(options.dtype)
        with images_fit(net, (1,) + data.image_shape):
            for context in contexts:
                net(mx.nd.zeros((1,) + data.image_shape, ctx=context, dtype=options.dtype))
    except (ValueError, OSError, mx.MXNetError) as error:
        raise TrainingError('cannot build %s: %s' % (options.model, sentence(error)))
    if options.mode == 'hybrid':
        net.hybridize(static_alloc=True, static_shape=True)
    ineffective = [name for name in ('binary_wd', 'bipolar', 'clip_weights') if getattr(options, name)]
    if ineffective and not bmx.nn.binary_parameters(net):
        logger.warning('%s has no binary weights: without effect are %s', options.model,
                       ', '.join('--' + name.replace('_', '-') for name in ineffective))
    regularizers.set_decays(net, vars(options), options.no_wd)
    return net


def build(options, data, recipe, store):
    """The training, at the epoch where it has to go on."""
    contexts = [mx.gpu(i) for i in range(options.num_gpus)] if options.num_gpus else [mx.cpu()]
    arguments = dict(recipe, data=data.identity, **{name: getattr(options, name) for name in DECISIVE})
    training = bmx.train.Training(build_net(options, data, contexts), data, recipe, options, arguments, store, contexts)
    if options.resume:
        checkpoint = store.latest()
        if checkpoint is None:
            logger.info('no checkpoint in %s yet: starting from the beginning', options.save_dir)
        else:
            training.restore(checkpoint)
            logger.info('resuming %s', checkpoint.path)
    else:
        training.load(options.resume_params, options.resume_states, options.resume_epoch)
    return training


def check_save_dir(options, store):
    """Refuse to mix two trainings in one directory."""
    if os.path.exists(options.save_dir) and not os.path.isdir(options.save_dir):
        raise TrainingError('--save-dir %s is a file' % options.save_dir)
    newest = store.newest
    if options.resume and not os.path.isdir(options.save_dir):
        raise TrainingError('nothing to resume: there is no --save-dir %s' % options.save_dir)
    if newest and not (options.resume or options.dry_run):
        raise TrainingError('%s already has %s of a training: add --resume to continue it, or choose another --save-dir'
                            % (options.save_dir, os.path.basename(newest)))


def export(training, options):
    """Write the best network packed, verified on real images."""
    data, net = training.data, training.net
    net.cast('float32')
    net.collect_params().reset_ctx([mx.cpu()])
    bmx.load_parameters(net, training.best_params)
    batches = itertools.islice(data.val_batches(), math.ceil(VERIFIED_IMAGES / options.batch_size))
    result = bmx.export(net, os.path.join(options.save_dir, options.model), data_shape=(1,) + data.image_shape,
                        inputs=(mx.nd.array(batch.data) for batch in batches if len(batch.label)),
                        preprocess=data.preprocess, classes=data.classes)
    logger.info('%s', result.report)


def resume_command(argv):
    """The command line which continues this training."""
    return shlex.join([sys.executable, sys.argv[0]] + argv + ([] if '--resume' in argv else ['--resume']))


def train(options, store):
    """Train, and export the result."""
    check_save_dir(options, store)
    source, recipe = settle(options)
    data = open_data(source, options)
    if options.dry_run:
        describe(data, recipe)
        build(options, data, recipe, store).try_one_step()
        logger.info('dry run: one step of training and one of validation went through; nothing was written')
        return
    with store.locked():
        check_save_dir(options, store)  # another training may have ended meanwhile
        bmx.train.configure_logging(options.logging_file or os.path.join(options.save_dir, 'train.log'))
        describe(data, recipe)
        training = build(options, data, recipe, store)
        write_description(training.best_params, training.net, data.classes, data.preprocess)
        training.run()
        logger.info('best validation top-1: %.4f', training.best)
        if not options.no_export:
            export(training, options)


def main(argv=None):
    """Train; returns the exit code: 0 trained, 1 error, 130 stopped."""
    argv = sys.argv[1:] if argv is None else list(argv)
    options = parse(argv)
    bmx.train.configure_logging()
    try:
        train(options, bmx.train.CheckpointStore(options.save_dir, options.save_frequency))
    except bmx.train.Interrupted as stop:
        logger.info('%s; continue with:\n%s', stop, resume_command(argv))
        return 130
    except KeyboardInterrupt:
        logger.info('stopped without saving')
        return 130
    except (TrainingError, bmx.ExportError, bmx.LoadError, OSError) as error:
        logger.error('error: %s', error)
        return 1
    return 0


if __name__ == '__main__':
    code = main()
    end_output()  # of what could not be written the log has told
    sys.exit(code)
