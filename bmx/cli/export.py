"""`bmx export`: trained parameters become a packed, verified model."""
from __future__ import annotations

import argparse
import dataclasses
import json

from .. import deploy
from ..io import preprocess
from ..io.description import Description, description_path, read_description
from ..io.storage import load_parameters
from ..io.text import read_lines
from ..network import NetworkOptions, images_fit
from ..nn import Config, config
from . import types
from .network import add_network_options, input_size, network_options
from .output import images_below, skipped, tell


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        'Convert trained parameters to a packed model, verified against the float network. If X.json lies beside '
        'X.params, as a training leaves it, it gives what is not given here. Without it, repeat every option '
        'that the network was trained with: parameters do not tell, and verification cannot know.')
    parser.add_argument('--model')
    parser.add_argument('--params', required=True, help='written by save_parameters or a training')
    parser.add_argument('--out', required=True, metavar='PREFIX', help='writes PREFIX-symbol.json and '
                        'PREFIX-0000.params')
    add_network_options(parser)
    parser.add_argument('--input-size', type=types.side, help="height and width (default: the training's, else 224, "
                        'thumbnail 32)')
    parser.add_argument('--crop-ratio', type=types.fraction, help="default: the training's, else 0.875")
    parser.add_argument('--mean', type=types.mean, nargs=3, metavar=('R', 'G', 'B'), help='of values from 0 to 1 '
                        "(default: the training's, else ImageNet's)")
    parser.add_argument('--std', type=types.std, nargs=3, metavar=('R', 'G', 'B'), help='of values from 0 to 1 '
                        "(default: the training's, else ImageNet's)")
    parser.add_argument('--class-names', metavar='FILE', help="a name a line (default: the training's)")
    parser.add_argument('--verify-on', metavar='FOLDER', help='images to verify on (default: random inputs)')
    parser.add_argument('--exact', action='store_true', help="keep MXNet's float operators: equal to MXNet's float "
                        'network on this CPU; by default float layers are computed in an order of their own, the same '
                        'bits on every CPU')


def run(arguments: argparse.Namespace) -> None:
    options, described = network_options(arguments), read_description(arguments.params)
    if described is not None:
        options = _as_described(options, described, description_path(arguments.params))
    elif options.model is None:
        raise ValueError('give --model, and the options that it was trained with: there is no '
                         f'{description_path(arguments.params)} that tells them')
    with config(**described.layer_defaults if described else {}):
        net = options.build()
    load_parameters(net, arguments.params)
    net.hybridize(static_alloc=True, static_shape=True)
    settings = described.preprocess if described else {
        'size': [input_size(arguments, options)] * 2, 'crop_ratio': 0.875, 'mean': preprocess.IMAGENET_MEAN,
        'std': preprocess.IMAGENET_STD}
    given = {'size': arguments.input_size and [arguments.input_size] * 2, 'crop_ratio': arguments.crop_ratio,
             'mean': arguments.mean, 'std': arguments.std}
    settings = dict(settings, **{key: value for key, value in given.items() if value is not None})
    inputs = None
    if arguments.verify_on:
        inputs = preprocess.load_inputs(images_below(arguments.verify_on), settings, skipped=skipped)
    classes = described.classes if described else None
    if arguments.class_names:
        classes = read_lines(arguments.class_names)
    shape = (1, 3) + tuple(settings['size'])
    with images_fit(net, shape):
        result = deploy.export(net, arguments.out, shape, inputs, classes=classes, preprocess=settings,
                               exact=arguments.exact)
    tell(result.report)


def _as_described(options: NetworkOptions, described: Description, path: str) -> NetworkOptions:
    """The options with what a description says in their place, which they must not contradict."""
    given = {key: json.loads(json.dumps(value, default=repr)) for key, value in options.settings.items()}
    given.pop('bits', None)  # the layers have it
    # older files lack younger settings
    trained = {**dataclasses.asdict(Config()), **described.layer_defaults, **described.settings,
               'model': described.model}
    if trained.get('activation_bits') is None:
        trained['activation_bits'] = trained.get('bits')
    if options.model is not None:
        given['model'] = options.model.lower()
    for key, value in dict(given, **options.layers).items():
        if trained.get(key) != value:
            built = f'{key}={trained[key]}' if key in trained else 'the default'
            raise ValueError(f'{key}={value} contradicts {path}: the network was built with {built}')
    return dataclasses.replace(options, model=described.model, settings=described.settings)
