"""`bmx import-bmxnet`: a model that BMXNet trained becomes a deployed model."""
from __future__ import annotations

import argparse
import os
from typing import Any

import numpy as np

from .. import deploy
from ..io import preprocess
from ..io.text import read_lines
from . import types
from .output import skipped, tell


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        'Convert a model of BMXNet 1, weights packed or not, or one of BMXNet 2 that is not packed, to a deployed '
        'model, verified against the float network that its files describe.')
    parser.add_argument('symbol', metavar='SYMBOL', help='X-symbol.json')
    parser.add_argument('params', metavar='PARAMS', help='its parameters, X-0000.params')
    parser.add_argument('--out', required=True, metavar='PREFIX', help='writes PREFIX-symbol.json and '
                        'PREFIX-0000.params')
    parser.add_argument('--input-shape', required=True, type=types.side, nargs='+', metavar='N', help='of one input, '
                        'which the files do not tell: channels, height and width, for instance 3 32 32')
    parser.add_argument('--crop-ratio', type=types.fraction, default=1.0, help='share of the resized image that the '
                        'input shows (default: 1)')
    parser.add_argument('--mean', type=types.mean, nargs=3, default=[0.0] * 3, help='of the pixels, in [0, 1], that '
                        'the network was trained on (default: 0 0 0)')
    parser.add_argument('--std', type=types.std, nargs=3, default=[1 / 255] * 3, help='their deviation (default: '
                        '1/255, with which pixels are numbers from 0 to 255)')
    parser.add_argument('--class-names', metavar='FILE', help='a name a line (default: numbers)')
    parser.add_argument('--verify-on', metavar='FOLDER', help='images to verify on (default: random ones)')


def run(arguments: argparse.Namespace) -> None:
    shape = tuple(arguments.input_shape)
    is_image = len(shape) == 3 and shape[0] == 3
    if arguments.verify_on and not is_image:
        raise ValueError(f'--verify-on takes images, of three channels, and an input is to have the shape '
                         f'{"x".join(map(str, shape))}')
    net = deploy.import_bmxnet(arguments.symbol, arguments.params, (1,) + shape)
    settings = {'size': list(shape[1:]), 'crop_ratio': arguments.crop_ratio, 'mean': arguments.mean,
                'std': arguments.std}
    inputs: Any = None
    if is_image:
        state = np.random.RandomState(0)
        inputs = np.stack([preprocess.normalise(state.randint(0, 256, shape[1:] + (3,)), arguments.mean, arguments.std)
                           for _ in range(4)])
    if arguments.verify_on:
        inputs = preprocess.load_inputs(preprocess.find_images(arguments.verify_on), settings, skipped=skipped)
    classes = read_lines(arguments.class_names) if arguments.class_names else None
    name = os.path.basename(arguments.symbol)
    name = name[:-len('-symbol.json')] if name.endswith('-symbol.json') else name
    result = deploy.export(net, arguments.out, (1,) + shape, inputs, model=name, classes=classes,
                           preprocess=settings if is_image else None)
    tell(result.report)
    if not is_image:
        print('an input is no image of three channels: bmx predict does not take the model, arrays it does')
