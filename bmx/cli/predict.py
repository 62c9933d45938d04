"""`bmx predict`: the top-5 of images by a deployed model."""
from __future__ import annotations

import argparse
import json
import os

import mxnet as mx
import numpy as np

from .. import deploy
from ..io.description import preprocessing
from ..io.preprocess import load_inputs
from ..io.storage import LoadError
from ..models import INSTALLED
from .output import tell

# The deployed model that comes with bmx.
_DEMO = os.path.join(INSTALLED, 'meliusnet13')


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.usage = ('%(prog)s [-h] [--json] PREFIX IMAGE [IMAGE ...]\n'
                    '       %(prog)s [-h] [--json] --demo IMAGE [IMAGE ...]')
    for positional in (parser.add_argument('prefix', metavar='PREFIX', help='of the files of a deployed model'),
                       parser.add_argument('images', nargs='+', metavar='IMAGE')):
        positional.required = False  # argparse has no better way to say that an option takes the place of both
    parser.add_argument('--demo', nargs='+', metavar='IMAGE', help='images for the small trained network that comes '
                        'with bmx, which tells ten things apart')
    parser.add_argument('--json', action='store_true', help='machine-readable output')


def run(arguments: argparse.Namespace) -> None:
    prefix, images = (arguments.prefix, arguments.images) if arguments.demo is None else (_DEMO, arguments.demo)
    if not images or arguments.demo is not None and arguments.prefix is not None:
        arguments.parser.error('give the PREFIX of a deployed model and images, or --demo and images')
    deployed, metadata = deploy.load(prefix)
    settings = preprocessing(metadata)
    rows, unreadable = [], []
    for path in images:
        try:
            inputs = next(load_inputs([path], settings))
        except OSError as error:
            unreadable.append(str(error))
            continue
        scores = deployed(inputs)
        if not isinstance(scores, mx.nd.NDArray) or scores.ndim != 2:
            raise LoadError(f'{prefix} is no classifier: its output is no array of (images, classes)')
        classes = metadata.classes or [str(index) for index in range(scores.shape[1])]
        if len(classes) != scores.shape[1]:
            raise LoadError(f'{prefix} is damaged: it names {len(classes)} classes of {scores.shape[1]}')
        probabilities = mx.nd.softmax(scores)[0].asnumpy()
        best = np.argsort(-probabilities, kind='stable')[:5]
        rows.append({'image': path, 'top': [
            {'class': str(classes[index]),
             'probability': float(probabilities[index])} for index in best]})
    if arguments.json:
        print(json.dumps(rows, indent=1))
    else:
        for row in rows:
            tell(row['image'])
            for guess in row['top']:
                tell(f'  {100 * guess["probability"]:5.1f} %  {guess["class"]}')
    if unreadable:
        raise OSError('; '.join(unreadable))
