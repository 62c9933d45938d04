"""`bmx verify`: a deployed model's files, and its results beside those of the float network."""
from __future__ import annotations

import argparse
from typing import Iterable

import mxnet as mx
import numpy as np

from .. import deploy
from ..io import preprocess
from ..io.description import preprocessing
from ..io.storage import load_parameters
from ..nn import config
from .network import add_network_options, network_options
from .output import skipped, tell


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('prefix')
    parser.add_argument('--model', help='default: the one that the file names')
    parser.add_argument('--params', help='parameters of the float network')
    add_network_options(parser)
    parser.add_argument('--data-dir', metavar='FOLDER', help='images to compare on (default: random inputs)')


def run(arguments: argparse.Namespace) -> None:
    deployed, metadata = deploy.load(arguments.prefix)
    deployed.hybridize(static_alloc=True, static_shape=True)
    tell(f'{arguments.prefix}: format {metadata.format}, {metadata.model}, input '
         f'{"x".join(map(str, metadata.input_shape))}, files intact')
    if arguments.params is None:
        given = network_options(arguments)
        if given.model or given.settings or given.layers or arguments.data_dir:
            raise ValueError('to compare with the float network, give its --params')
        print('give --params to compare it with the float network')
        return
    with config(**metadata.layer_defaults):
        net = network_options(arguments, metadata.model, metadata.settings).build()
    load_parameters(net, arguments.params)
    net.hybridize(static_alloc=True, static_shape=True)
    if arguments.data_dir is not None:
        batches: Iterable[mx.nd.NDArray] = preprocess.load_inputs(
            preprocess.find_images(arguments.data_dir), preprocessing(metadata), skipped=skipped)
    else:
        print('no --data-dir: comparing on random inputs')
        batches = [mx.nd.array(np.random.RandomState(0).normal(size=[16] + metadata.input_shape))]
    shape = (1,) + tuple(metadata.input_shape)
    own = None if metadata.exact else deploy.OwnNetwork(*deploy.trace(net, shape))
    verification = deploy.verify(net, deployed, batches, own)
    print(verification)
    if not verification.holds:
        comparison = verification.comparison
        raise deploy.ExportError('the deployed network differs from the float network; first inputs that differ: '
                                 f'{sorted(set(comparison.differing_top1 + comparison.differing_values))[:10]}')
