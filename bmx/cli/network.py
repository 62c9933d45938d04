"""The options by which commands describe a network."""
from __future__ import annotations

import argparse
import dataclasses
import difflib
import glob
import os
from typing import Any, Mapping, Sequence

from mxnet import gluon

from .. import deploy
from ..deploy.files import params_path, symbol_path
from ..io.description import description_path, preprocessing, read_description
from ..io.storage import load_parameters
from ..models import MODELS
from ..network import NetworkOptions, described_network
from ..nn import STEMS, Config
from ..nn.configuration import BITS
from ..nn.quantizers import BINARIZATIONS, ESTIMATORS, SCALINGS, names
from . import types


def add_model(parser: argparse.ArgumentParser) -> None:
    """The model as an argument, for `named_network`."""
    parser.add_argument('model', metavar='MODEL', help=f'one of: {", ".join(sorted(MODELS))}; or the PREFIX of a '
                                                       'deployed model, whose files are PREFIX-symbol.json and '
                                                       'PREFIX-0000.params')


def add_network_options(parser: argparse._ActionsContainer) -> None:
    """All that describes a network beside the name of its model."""
    parser.add_argument('--stem', choices=list(STEMS), help='first layers of the model: three 3x3 '
                        'convolutions (grouped), one 7x7 (imagenet), 3x3 with stride 2 (mobilenet), 11x11 with stride '
                        '4 (alexnet), or 3x3 for small images (thumbnail)')
    parser.add_argument('--set', action='append', default=[], type=types.setting, metavar='KEY=VALUE', dest='settings',
                        help='a keyword of the model, for example classes=10; can be repeated')
    parser.add_argument('--bits', type=int, choices=BITS, help='of the weights: 1 binary, 32 float')
    parser.add_argument('--activation-bits', type=int, choices=BITS, help='default: those of the weights')
    parser.add_argument('--quantizer', choices=list(ESTIMATORS), help="gradient in the sign's place")
    parser.add_argument('--clip-threshold', type=types.non_negative, help='of the straight-through gradient')
    parser.add_argument('--scaling', choices=SCALINGS, help='of each output channel by its mean absolute weight')
    for role in ('activation', 'weight'):
        parser.add_argument('--' + role, metavar='QUANTIZER', help=f'what quantizes {role}s, for example dorefa(2), in '
                            f'the place of the others: {", ".join(names(role == "activation"))}')
    parser.add_argument('--binarizations', type=int, choices=BINARIZATIONS, metavar='M', help='scaled signs that stand '
                        f'for an activation of 1 bit, 1 to {BINARIZATIONS[-1]}')


def add_input_size(parser: argparse.ArgumentParser) -> None:
    """The size of an image, for `input_size`."""
    parser.add_argument('--input-size', type=types.side, help='height and width (default: 224, thumbnail 32; '
                        'of a deployed model those that it was exported for)')


def network_options(arguments: argparse.Namespace, model: str | None = None,
                    settings: Mapping[str, Any] | Sequence[tuple[str, Any]] = ()) -> NetworkOptions:
    """What the options say of a network.

    Parameters
    ----------
    arguments : argparse.Namespace
    model : str, optional
        The model where the options name none.
    settings : dict, optional
        Keywords of the model that the options add to.

    Returns
    -------
    NetworkOptions
        Stem and bits, which there are two ways to say, are the same in both places.

    Raises
    ------
    ValueError
        The two ways contradict each other.
    """
    settings = {**dict(settings), **dict(arguments.settings)}
    for name in ('stem', 'bits'):
        given = getattr(arguments, name)
        if given is not None and settings.get(name, given) != given:
            raise ValueError(f'--{name} {given} contradicts --set {name}={settings[name]!s:.100}')
    if arguments.stem is not None:
        settings['stem'] = arguments.stem
    layers = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(Config)
              if getattr(arguments, field.name, None) is not None}
    if settings.get('bits') is not None:
        layers['bits'] = settings['bits']
    return NetworkOptions(arguments.model or model, settings, layers)


def input_size(arguments: argparse.Namespace, options: NetworkOptions) -> int:
    """Height and width of an image: what is given, else what the stem is made for."""
    if arguments.input_size is not None:
        return arguments.input_size
    return 32 if options.settings.get('stem') == 'thumbnail' else 224


def named_network(arguments: argparse.Namespace) -> tuple[gluon.HybridBlock, tuple[int, ...], list[str]]:
    """The network that MODEL names and the options describe, or that files hold.

    Returns
    -------
    (gluon.HybridBlock, tuple of int, list of str)
        The network, with a `model_name`; the shape of its input, batch first; what is known of it for a reader.

    Raises
    ------
    ValueError
        MODEL is neither, or there are options of a network that is in files.
    LoadError, FileNotFoundError
        The files are damaged, or one of them is missing.
    """
    prefix = arguments.model
    if prefix.lower() in MODELS:
        options = network_options(arguments)
        return (options.build(), (1, 3) + (input_size(arguments, options),) * 2,
                _settings_texts({**options.settings, **options.layers}))
    if not any(map(os.path.isfile, (symbol_path(prefix), params_path(prefix)))):
        raise ValueError(_why_unknown(prefix))
    given = ['--set'] * bool(arguments.settings) + [
        '--' + name.replace('_', '-') for name in ['stem'] + [field.name for field in dataclasses.fields(Config)]
        if getattr(arguments, name, None) is not None]
    if given:
        raise ValueError(f'{prefix} is a deployed model and stays as it was exported: leave out {", ".join(given)}')
    net, metadata = deploy.load(prefix)
    net.model_name = metadata.model
    shape = (1,) + tuple(metadata.input_shape)
    if arguments.input_size is not None:
        if len(shape) != 4:
            raise ValueError(f'{prefix} takes no images, but inputs of shape {shape[1:]}: leave out --input-size')
        shape = shape[:2] + (arguments.input_size,) * 2
    return net, shape, ['deployed'] + _settings_texts(metadata.settings)


@dataclasses.dataclass(frozen=True)
class TrainedNetwork:
    """A network with its trained parameters.

    Attributes
    ----------
    name, model : str
        What it was called by; the name of its model.
    kind : str
        'deployed' or 'float'.
    net : gluon.HybridBlock
    classes : list of str or None
        Names of its outputs.
    preprocess : dict
        How an image becomes its input.
    """
    name: str
    model: str
    kind: str
    net: gluon.HybridBlock
    classes: list[str] | None
    preprocess: Mapping[str, Any]


def add_trained(parser: argparse.ArgumentParser) -> argparse.Action:
    """A network with its parameters as an argument, for `trained_network`."""
    return parser.add_argument('network', metavar='NETWORK', help='PREFIX of a deployed model, or the .params file of '
                               'a training, for example MODEL-best.params, beside which MODEL-best.json lies')


def trained_network(name: str) -> TrainedNetwork:
    """The network that NETWORK names.

    Raises
    ------
    LoadError, FileNotFoundError
        Its files are damaged, or one of them is missing.
    """
    if not name.endswith('.params') or name.endswith(params_path('')):
        net, metadata = deploy.load(name)
        preprocess, classes, model, kind = preprocessing(metadata), metadata.classes, metadata.model, 'deployed'
    else:
        described = read_description(name)
        if described is None:
            missing = name if not os.path.isfile(name) else description_path(name)
            raise FileNotFoundError(f'{missing} is missing: of a network that is not deployed it takes the parameters '
                                    'and beside them the description that a training leaves; `bmx export` deploys one '
                                    'without')
        net = described_network(described)
        load_parameters(net, name)
        preprocess, classes, model, kind = described.preprocess, described.classes, described.model, 'float'
    net.hybridize(static_alloc=True, static_shape=True)
    return TrainedNetwork(name, model, kind, net, classes, preprocess)


def _settings_texts(settings):
    return [f'{key}={value}' for key, value in settings.items()]


def _why_unknown(name):
    """The sentence on a MODEL that is neither a model nor a prefix of files, with what is like it."""
    models = difflib.get_close_matches(name.lower(), sorted(MODELS))
    folder, start = os.path.split(name)
    endings = [path('') for path in (symbol_path, params_path)]
    there = {}  # what people may have meant to the prefix
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), '*' + endings[0]))):
        prefix = path[:-len(endings[0])]
        there.update((os.path.basename(prefix) + ending, prefix) for ending in [''] + endings)
    prefixes = dict.fromkeys(there[each] for each in (
        [start] if start in there else difflib.get_close_matches(start, there)))
    known = 'choose from ' + ', '.join(sorted(MODELS))
    if models or prefixes:
        known = f'did you mean {", ".join(models + list(prefixes))}?'
    return (f'unknown model {name!r}: no model has this name, and there is no {symbol_path(name)} of a deployed one; '
            f'{known}')
