"""`bmx predict`: the top-5 of images by a deployed model."""
from __future__ import annotations

import argparse
import json

import mxnet as mx
import numpy as np

from .. import deploy
from ..io.description import preprocessing
from ..io.preprocess import load_inputs
from ..io.storage import LoadError
from .output import tell


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('prefix')
    parser.add_argument('images', nargs='+', metavar='IMAGE')
    parser.add_argument('--json', action='store_true', help='machine-readable output')


def run(arguments: argparse.Namespace) -> None:
    deployed, metadata = deploy.load(arguments.prefix)
    settings = preprocessing(metadata)
    rows, unreadable = [], []
    for path in arguments.images:
        try:
            inputs = next(load_inputs([path], settings))
        except OSError as error:
            unreadable.append(str(error))
            continue
        scores = deployed(inputs)
        if not isinstance(scores, mx.nd.NDArray) or scores.ndim != 2:
            raise LoadError(f'{arguments.prefix} is no classifier: its output is no array of (images, classes)')
        classes = metadata.classes or [str(index) for index in range(scores.shape[1])]
        if len(classes) != scores.shape[1]:
            raise LoadError(f'{arguments.prefix} is damaged: it names {len(classes)} classes of {scores.shape[1]}')
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
