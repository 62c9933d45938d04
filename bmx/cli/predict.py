"""`bmx predict`: the likeliest classes of images, by a trained network, deployed or float."""
from __future__ import annotations

import argparse
import json
import os
from typing import Any, Iterator

import mxnet as mx
import numpy as np

from ..io.formats import refuse_unwritable, write_csv
from ..io.preprocess import load_batches
from ..io.storage import LoadError
from ..models import INSTALLED
from . import types
from .network import TrainedNetwork, add_trained, trained_network
from .output import complain, images_below, skipped, tell

# The deployed model that comes with bmx.
_DEMO = os.path.join(INSTALLED, 'meliusnet13')


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = 'The likeliest classes of images. The exit code is 1 where an image cannot be read.'
    parser.usage = '%(prog)s [OPTIONS] NETWORK IMAGE [IMAGE ...]\n       %(prog)s [OPTIONS] --demo IMAGE [IMAGE ...]'
    for positional in (add_trained(parser), parser.add_argument('images', nargs='+', metavar='IMAGE', help='a file, '
                                                                'or a folder: all images below it')):
        positional.required = False  # argparse has no better way to say that an option takes the place of both
    parser.add_argument('--demo', nargs='+', metavar='IMAGE', help='images for the small trained network that comes '
                        'with bmx, which tells ten things apart')
    parser.add_argument('--top', type=types.positive, default=5, metavar='N', help='classes of each image (default: 5)')
    parser.add_argument('--json', action='store_true', help='machine-readable output')
    parser.add_argument('--csv', metavar='FILE', help='write image, rank, class and probability as a table')


def run(arguments: argparse.Namespace) -> int:
    name, images = (arguments.network, arguments.images) if arguments.demo is None else (_DEMO, arguments.demo)
    if not images or arguments.demo is not None and arguments.network is not None:
        arguments.parser.error('give the NETWORK and images, or --demo and images')
    refuse_unwritable(arguments.csv)
    network = trained_network(name)
    paths = [path for name in images for path in ([name] if not os.path.isdir(name) else images_below(name))]
    rows = []
    for row in _guesses(network, paths, arguments.top):
        rows.append(row)
        if not arguments.json:
            tell(row['image'])
            for guess in row['top']:
                tell(f'  {100 * guess["probability"]:5.1f} %  {guess["class"]}')
    if arguments.json:
        print(json.dumps(rows, indent=1))
    if arguments.csv is not None:
        write_csv(arguments.csv, [{'image': row['image'], 'rank': rank, **guess} for row in rows
                                  for rank, guess in enumerate(row['top'], 1)],
                  ['image', 'rank', 'class', 'probability'])
    if len(rows) < len(paths):
        complain(f'left out: {len(paths) - len(rows)} of {len(paths)} images, which cannot be read')
    return int(len(rows) < len(paths))


def _guesses(network: TrainedNetwork, paths: list[str], top: int) -> Iterator[dict[str, Any]]:
    """Of each image that can be read its path and its likeliest classes."""
    try:
        for names, batch in load_batches(paths, network.preprocess, skipped=skipped):
            scores = network.net(batch)
            if not isinstance(scores, mx.nd.NDArray) or scores.ndim != 2:
                raise LoadError(f'{network.name} is no classifier: its output is no array of (images, classes)')
            classes = network.classes or [str(index) for index in range(scores.shape[1])]
            if len(classes) != scores.shape[1]:
                raise LoadError(f'{network.name} is damaged: it names {len(classes)} classes of {scores.shape[1]}')
            for name, probabilities in zip(names, mx.nd.softmax(scores).asnumpy()):
                best = np.argsort(-probabilities, kind='stable')[:top]
                yield {'image': name, 'top': [{'class': str(classes[index]),
                                               'probability': float(probabilities[index])} for index in best]}
    except OSError:
        pass  # none can be read: each was told of
