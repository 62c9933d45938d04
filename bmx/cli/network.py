"""The options by which commands describe a network."""
import dataclasses

from ..models import MODELS
from ..network import NetworkOptions
from ..nn import QUANTIZERS, STEMS, Config
from ..nn.configuration import BINARIZATIONS, BITS, SCALINGS
from . import types


def add_model(parser):
    """The model as an argument."""
    parser.add_argument('model', metavar='MODEL', help='one of: ' + ', '.join(sorted(MODELS)))


def add_network_options(parser):
    """All that describes a network beside the name of its model."""
    parser.add_argument('--stem', choices=list(STEMS), help='first layers of the model: three 3x3 '
                        'convolutions (grouped), one 7x7 (imagenet), 3x3 with stride 2 (mobilenet), 11x11 with stride '
                        '4 (alexnet), or 3x3 for small images (thumbnail)')
    parser.add_argument('--set', action='append', default=[], type=types.setting, metavar='KEY=VALUE', dest='settings',
                        help='a keyword of the model, for example classes=10; can be repeated')
    parser.add_argument('--bits', type=int, choices=BITS, help='of the weights: 1 binary, 32 float')
    parser.add_argument('--activation-bits', type=int, choices=BITS, help='default: those of the weights')
    parser.add_argument('--quantizer', choices=list(QUANTIZERS), help="gradient in the sign's place")
    parser.add_argument('--clip-threshold', type=types.non_negative, help='of the straight-through gradient')
    parser.add_argument('--scaling', choices=SCALINGS, help='of each output channel by its mean absolute weight')
    parser.add_argument('--binarizations', type=int, choices=BINARIZATIONS, metavar='M', help='scaled signs that stand '
                        'for an activation of 1 bit, 1 to %d' % BINARIZATIONS[-1])


def add_input_size(parser):
    """The size of an image, for `input_size`."""
    parser.add_argument('--input-size', type=types.side, help='height and width (default: 224, thumbnail 32)')


def network_options(arguments, model=None, settings=()):
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
            raise ValueError('--%s %s contradicts --set %s=%.100s' % (name, given, name, settings[name]))
    if arguments.stem is not None:
        settings['stem'] = arguments.stem
    layers = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(Config)
              if getattr(arguments, field.name, None) is not None}
    if settings.get('bits') is not None:
        layers['bits'] = settings['bits']
    return NetworkOptions(arguments.model or model, settings, layers)


def input_size(arguments, options):
    """Height and width of an image: what is given, else what the stem is made for."""
    if arguments.input_size is not None:
        return arguments.input_size
    return 32 if options.settings.get('stem') == 'thumbnail' else 224
