"""`bmx summary`: what a model costs, layer by layer."""
from __future__ import annotations

import argparse

from ..accounting import summary
from ..network import images_fit
from .network import add_input_size, add_model, add_network_options, named_network
from .output import tell


def add_options(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_network_options(parser)
    add_input_size(parser)
    parser.add_argument('--json', action='store_true', help='machine-readable output')


def run(arguments: argparse.Namespace) -> None:
    net, shape, _ = named_network(arguments)
    with images_fit(net, shape):
        counted = summary(net, shape)
    tell(counted.to_json() if arguments.json else counted)
