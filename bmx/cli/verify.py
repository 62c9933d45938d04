"""`bmx verify`: a deployed model's files, and its results beside those of the float network and of the runtime."""
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
from .output import images_below, skipped, tell


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('prefix')
    parser.add_argument('--model', help='default: the one that the file names')
    parser.add_argument('--params', help='parameters of the float network')
    add_network_options(parser)
    parser.add_argument('--runtime', action='store_true', help='compare it with the runtime without MXNet, the package '
                        'bmx_runtime, bit for bit')
    parser.add_argument('--data-dir', metavar='FOLDER', help='images to compare on (default: random inputs)')


def run(arguments: argparse.Namespace) -> None:
    deployed, metadata = deploy.load(arguments.prefix)
    deployed.hybridize(static_alloc=True, static_shape=True)
    tell(f'{arguments.prefix}: format {metadata.format}, {metadata.model}, input '
         f'{"x".join(map(str, metadata.input_shape))}, files intact')
    if arguments.params is None:
        given = network_options(arguments)
        if given.model or given.settings or given.layers or arguments.data_dir and not arguments.runtime:
            raise ValueError('to compare with the float network, give its --params')
    if arguments.runtime:
        _compare_with_runtime(arguments, deployed, metadata)
    if arguments.params is not None:
        _compare_with_float_network(arguments, deployed, metadata)
    elif not arguments.runtime:
        print('give --params to compare it with the float network')


def _batches(arguments: argparse.Namespace, metadata: deploy.Metadata) -> Iterable[mx.nd.NDArray]:
    """The inputs to compare on."""
    if arguments.data_dir is None:
        print('no --data-dir: comparing on random inputs')
        return [mx.nd.array(np.random.RandomState(0).normal(size=[16] + metadata.input_shape))]
    return preprocess.load_inputs(images_below(arguments.data_dir), preprocessing(metadata), skipped=skipped)


def _compare_with_runtime(arguments: argparse.Namespace, deployed: mx.gluon.Block, metadata: deploy.Metadata) -> None:
    equal, count = deploy.equal_bits(arguments.prefix, deployed, _batches(arguments, metadata))
    found = f'the runtime without MXNet gives the same bits for {equal} of {count} inputs'
    if equal < count:
        raise ValueError(found)
    print(found)


def _compare_with_float_network(arguments: argparse.Namespace, deployed: mx.gluon.Block,
                                metadata: deploy.Metadata) -> None:
    with config(**metadata.layer_defaults):
        net = network_options(arguments, metadata.model, metadata.settings).build()
    load_parameters(net, arguments.params)
    net.hybridize(static_alloc=True, static_shape=True)
    batches = _batches(arguments, metadata)
    shape = (1,) + tuple(metadata.input_shape)
    own = None if metadata.exact else deploy.OwnNetwork(*deploy.trace(net, shape))
    verification = deploy.verify(net, deployed, batches, own)
    print(verification)
    if not verification.holds:
        comparison = verification.comparison
        raise deploy.ExportError('the deployed network differs from the float network; first inputs that differ: '
                                 f'{sorted(set(comparison.differing_top1 + comparison.differing_values))[:10]}')
