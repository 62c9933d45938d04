"""`bmx plot`: a model's structure, drawn block by block."""
from __future__ import annotations

import argparse
import json

from .. import plot
from ..io.formats import PICTURES, refuse_picture
from ..models import MODELS
from ..network import images_fit
from ..structure import structure
from .network import add_input_size, add_model, add_network_options, named_network
from .output import tell


def add_options(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_network_options(parser)
    add_input_size(parser)
    parser.add_argument('--out', metavar='FILE', help=f'ends in {", ".join(PICTURES)} (default: MODEL.png)')
    parser.add_argument('--json', action='store_true', help='print the blocks as data; draw only with --out')


def run(arguments: argparse.Namespace) -> None:
    name = arguments.model.lower() if arguments.model.lower() in MODELS else arguments.model
    out = arguments.out or (None if arguments.json else name + '.png')
    if out is not None:
        refuse_picture(out)
    net, shape, facts = named_network(arguments)
    with images_fit(net, shape):
        blocks, counted = structure(net, shape)
    if out is not None:
        plot.draw(out, ', '.join([net.model_name] + facts), shape, blocks, counted)
    tell(json.dumps([block.to_dict() for block in blocks], indent=1) if arguments.json else out)
