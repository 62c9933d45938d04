"""The options of a training, and what they settle."""
from __future__ import annotations

import argparse
import os
from typing import Any

from ..train import TrainingError, TrainingOptions, recipes
from ..train.data import AUGMENTATIONS, DEFAULT_DIR, find_data
from ..train.plan import Plan, settle
from ..train.schedule import LR_MODES
from ..train.workers import KVSTORES
from . import types
from .network import add_network_options, network_options

# The RecordIO files of both parts; their indices are beside them.
_RECORDS = {'train': [os.path.join(DEFAULT_DIR, 'rec', 'train.rec')], 'train_idx': None,
            'val': [os.path.join(DEFAULT_DIR, 'rec', 'val.rec')], 'val_idx': None}


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """All options of a training. Those whose default is None are settled by the recipe."""
    group = parser.add_argument_group('data')
    group.add_argument('--data-dir', help='folder with train/ and val/, or with the .bin files of CIFAR-10; default: '
                       f'{DEFAULT_DIR} if it is there, else the bundled digits')
    group.add_argument('--use-rec', action='store_true', help='read RecordIO files')
    for name, paths in _RECORDS.items():
        group.add_argument('--rec-' + name.replace('_', '-'), default=paths, nargs='+', metavar='FILE', help=(
            f'files or patterns, as im2rec --chunks names them: {name}_*.rec; default: {paths[0]}' if paths else
            'their indices, in the same order; default: NAME.idx for each NAME.rec'))
    group.add_argument('--input-size', type=types.side, help="height and width of the network's input")
    group.add_argument('--crop-ratio', type=types.fraction, help='share of the resized image that evaluation keeps')
    group.add_argument('--augmentation', choices=list(AUGMENTATIONS), help='how training images vary, see '
                       'docs/recipes.md')
    group.add_argument('-j', '--num-data-workers', dest='num_workers', type=types.workers, default=4,
                       help='threads that read images (default: 4)')

    group = parser.add_argument_group('model')
    group.add_argument('--model', required=True, help='name of a model, for example meliusnet22')
    add_network_options(group)
    group.add_argument('--use-pretrained', action='store_true', help='start from the parameters in ~/.mxnet/models, '
                       'where the classes are others without their classifier')
    group.add_argument('--last-gamma', action='store_true', help='begin with a gamma of 0 in the last batch '
                       'normalisation of each residual block')
    group.add_argument('--dtype', choices=('float32', 'float16'), default='float32', help='of what is computed; '
                       'float16 on GPUs only (default: float32)')
    group.add_argument('--mode', choices=('hybrid', 'imperative'), default='hybrid', help='whole graphs at once, or '
                       'one operator after the other, which is slower (default: hybrid)')
    group.add_argument('--num-gpus', type=types.natural, default=0, help='0 (default): the CPU')
    group.add_argument('--kvstore', choices=KVSTORES, default='device', help="MXNet's store of gradients; those that "
                       'begin with dist are for several processes, see the command launch (default: device)')

    group = parser.add_argument_group('training')
    group.add_argument('--batch-size', type=types.positive, help='images per device and step')
    group.add_argument('--num-epochs', type=types.positive, help='how often all images are trained on')
    group.add_argument('--optimizer', help='any MXNet optimizer, or radam')
    group.add_argument('--lr', type=types.non_negative, help='learning rate, after the warm-up')
    group.add_argument('--momentum', type=types.non_negative, help='of the optimizers sgd and nag')
    group.add_argument('--wd', type=types.non_negative, help='weight decay of all but binary weights')
    group.add_argument('--binary-wd', type=types.non_negative, help='weight decay of binary weights')
    group.add_argument('--bipolar', type=types.non_negative, metavar='LAMBDA', help='draws binary weights to -1 and '
                       '+1: adds LAMBDA * sum(1 - w^2) to the loss')
    group.add_argument('--clip-weights', type=types.yes_or_no, metavar='{yes,no}', help='after each step clip binary '
                       'weights to [-1, 1]')
    group.add_argument('--no-wd', action='store_true', help='no weight decay on biases and batch normalisation either')
    group.add_argument('--lr-mode', choices=LR_MODES, help='how the learning rate falls')
    group.add_argument('--lr-decay', type=types.non_negative, help='factor of the modes step and plateau, the '
                       'latter after each epoch whose training loss is not the lowest so far')
    group.add_argument('--lr-decay-period', type=types.natural,
                       help='epochs from one step to the next; 0: --lr-decay-epoch')
    group.add_argument('--lr-decay-epoch', type=types.epochs, help='epochs of the steps, for example 40,60')
    group.add_argument('--warmup-lr', type=types.non_negative, help='learning rate at the beginning of the warm-up')
    group.add_argument('--warmup-epochs', type=types.natural, help='epochs in which the learning rate rises to --lr')
    group.add_argument('--mixup', action='store_true', help='mix each image with another one of its batch')
    group.add_argument('--mixup-alpha', type=types.fraction, default=0.2, help='both parameters of the beta '
                       'distribution of their shares (default: 0.2)')
    group.add_argument('--mixup-off-epoch', type=types.natural, default=0, help='last epochs without mixup '
                       '(default: 0)')
    group.add_argument('--label-smoothing', action='store_true', help='smooth labels by 0.1')
    group.add_argument('--freeze', metavar='PATTERN', help='parameters that stay as they are, with the running '
                       "statistics of batch normalisation among them: a regular expression on the beginning of names "
                       "like features.0.weight; 'features' is all but the classifier")
    group.add_argument('--teacher', metavar='MODEL', help='learn the answers of this trained model of bmx or GluonCV, '
                       'too')
    group.add_argument('--teacher-params', metavar='FILE', help="the teacher's parameters (default: those in "
                       '~/.mxnet/models); MODEL-best.params of a training tell the model themselves')
    group.add_argument('--temperature', type=types.above_zero, default=20.0, help="divides the teacher's scores and "
                       'the own before their softmax (default: 20)')
    group.add_argument('--hard-weight', type=types.share, default=0.5, help='share of the labels in the loss, beside '
                       'the teacher (default: 0.5)')
    group.add_argument('--seed', type=types.seed, default=0, help='everything random follows from it (default: 0)')

    group = parser.add_argument_group('progress')
    group.add_argument('--save-dir', default='params', help='checkpoints, metrics.csv, curves.png, the exported model '
                       '(default: params)')
    group.add_argument('--save-frequency', type=types.natural, default=10, help='every so many epochs a checkpoint is '
                       'kept, beside the newest two (default: 10; 0: none)')
    group.add_argument('--resume', action='store_true', help='continue the newest checkpoint of --save-dir; only '
                       'where there is none the next three count')
    group.add_argument('--resume-epoch', type=types.natural, default=0, help='start at this epoch, with the next two')
    group.add_argument('--resume-params', metavar='FILE', help='parameters to start from, where the classes are others '
                       'without their classifier')
    group.add_argument('--resume-states', metavar='FILE', help='optimizer states to load')
    group.add_argument('--strict', action='store_true', help='refuse parameters to start from that are of other '
                       'classes')
    group.add_argument('--extend', action='store_true', help='as --resume, but with a larger --num-epochs than before; '
                       'the learning rate goes on where a training of so many epochs has it')
    group.add_argument('--log-interval', type=types.natural, default=50, help='batches between log lines (default: 50)')
    group.add_argument('--logging-file', help='default: SAVE_DIR/train.log')
    group.add_argument('--tensorboard', action='store_true', help='write events for TensorBoard to '
                       'SAVE_DIR/tensorboard')
    trial = group.add_mutually_exclusive_group()
    trial.add_argument('--dry-run', action='store_true', help='one step of training and validation; writes nothing')
    trial.add_argument('--benchmark-input', action='store_true', help='measure for two minutes how fast images are '
                       'read and how fast they are trained on, and say which of the two limits; writes nothing')
    group.add_argument('--no-export', action='store_true', help='do not export the trained network')


def given_recipe(arguments: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keys of a recipe that options give, None where they do not; and the keywords of the model.

    Raises
    ------
    TrainingError
        Options contradict each other.
    """
    try:
        network = network_options(arguments)
    except ValueError as error:
        raise TrainingError(str(error)) from None
    given = {key: getattr(arguments, key, None) for key in recipes.KEYS}
    # keywords of the model, too: however they are given, they are part of the recipe
    return dict(given, stem=network.settings.get('stem'), bits=network.layers.get('bits')), network.settings


def plan_of(arguments: argparse.Namespace) -> Plan:
    """Find the data and settle every option that was not given; returns a `Plan`, raises a `TrainingError`."""
    records = {name: getattr(arguments, 'rec_' + name) for name in _RECORDS}
    source = find_data(arguments.data_dir, records if arguments.use_rec or records != _RECORDS else None)
    given, settings = given_recipe(arguments)
    return settle(source, TrainingOptions(
        model=arguments.model, model_kwargs=settings, use_pretrained=arguments.use_pretrained, dtype=arguments.dtype,
        num_gpus=arguments.num_gpus, mixup=arguments.mixup, mixup_alpha=arguments.mixup_alpha,
        mixup_off_epoch=arguments.mixup_off_epoch, label_smoothing=arguments.label_smoothing, no_wd=arguments.no_wd,
        freeze=arguments.freeze, seed=arguments.seed, last_gamma=arguments.last_gamma, teacher=arguments.teacher,
        teacher_params=arguments.teacher_params, temperature=arguments.temperature,
        hard_weight=arguments.hard_weight), given)
