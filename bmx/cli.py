"""The command line: `bmx COMMAND ...`."""
import argparse
import ast
import contextlib
import io
import json
import os
import sys

import mxnet as mx
import numpy as np

from . import __version__, bench, deploy, ops, papers, plot, preprocess
from .accounting import summary
from .description import NOT_KEYWORDS, check_preprocess, description_path, read_description
from .models import MODELS, get_model
from .nn import QUANTIZERS, STEMS, config, quantized_layers
from .nn.config import BINARIZATIONS, BITS, SCALINGS
from .report import PICTURES, end_output, printable, refuse_picture
from .storage import LoadError, load_parameters, sentence
from .structure import structure


def parse_setting(text):
    """A `key=value` of --set as (key, value); the value is a Python literal, else a string."""
    key, separator, value = text.partition('=')
    if not separator or not key.isidentifier():
        raise argparse.ArgumentTypeError('%.100r is not key=value' % text)
    if key in NOT_KEYWORDS:
        raise argparse.ArgumentTypeError('%s is an argument of Gluon\'s, not a keyword of the model' % key)
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value
    except (MemoryError, RecursionError):
        raise argparse.ArgumentTypeError('the value of %s is nested too deeply' % key) from None


def _number(kind, accepts, wanted):
    """A type for argparse: numbers of a kind (int, float) that a predicate accepts."""
    def number(text):
        value = kind(text)
        if not accepts(value):
            raise argparse.ArgumentTypeError('must be %s, got %s' % (wanted, text))
        return value
    return number


natural = _number(int, lambda value: value >= 0, 'at least 0')
positive = _number(int, lambda value: value >= 1, 'at least 1')
non_negative = _number(float, lambda value: 0 <= value < float('inf'), 'at least 0')
fraction = _number(float, lambda value: 0 < value <= 1, 'above 0 and at most 1')
side = _number(int, lambda value: 1 <= value <= 1 << 14, 'from 1 to %d' % (1 << 14))
finite = _number(float, lambda value: np.isfinite(np.float32(value)), 'a finite number')
deviation = _number(float, lambda value: 0 < np.float32(value) < np.inf, 'above 0')

# What building a network raises, beside ValueError, for settings that it cannot have.
_UNFIT = (TypeError, AttributeError, ArithmeticError, LookupError, AssertionError, MemoryError, RecursionError)


def add_model_options(parser):
    """The options by which every command describes a model, beside its name."""
    parser.add_argument('--stem', choices=list(STEMS), help='first layers of the model: three 3x3 '
                        'convolutions (grouped), one 7x7 (imagenet), 3x3 with stride 2 (mobilenet), 11x11 with stride '
                        '4 (alexnet), or 3x3 for small images (thumbnail)')
    parser.add_argument('--set', action='append', default=[], type=parse_setting, metavar='KEY=VALUE', dest='settings',
                        help='a keyword of the model, for example classes=10; can be repeated')
    parser.add_argument('--bits', type=int, choices=BITS, help='of the weights: 1 binary, 32 float')
    parser.add_argument('--activation-bits', type=int, choices=BITS, help='default: those of the weights')
    parser.add_argument('--quantizer', choices=list(QUANTIZERS), help="gradient in the sign's place")
    parser.add_argument('--clip-threshold', type=non_negative, help='of the straight-through gradient')
    parser.add_argument('--scaling', choices=SCALINGS, help='of each output channel by its mean absolute weight')
    parser.add_argument('--binarizations', type=int, choices=BINARIZATIONS, metavar='M', help='scaled signs that stand '
                        'for an activation of 1 bit, 1 to %d' % BINARIZATIONS[-1])


def model_settings(arguments):
    """The keywords of the model that the options give; `arguments.stem` and `.bits` become what they say of these."""
    settings = dict(arguments.settings)
    if set(settings) & set(NOT_KEYWORDS):  # of a file
        raise ValueError('%s is no keyword of a model' % ', '.join(sorted(set(settings) & set(NOT_KEYWORDS))))
    for name in ('stem', 'bits'):
        given = getattr(arguments, name)
        if given is not None and settings.get(name, given) != given:
            raise ValueError('--%s %s contradicts --set %s=%.100s' % (name, given, name, settings[name]))
        setattr(arguments, name, settings.get(name, given))
    if arguments.stem is not None:
        settings['stem'] = arguments.stem
    return settings


def layer_settings(arguments):
    """What the options give of the scope `bmx.nn.config` that the model is built in."""
    names = ('bits', 'activation_bits', 'quantizer', 'clip_threshold', 'scaling', 'binarizations')
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


def build_model(arguments, **more):
    """The model that the options describe, given `more` arguments of `get_model`.

    Raises
    ------
    ValueError
        No such model, or not with these settings. --bits and --scaling are refused where no layer follows them, because
        the model says itself what its layers do.
    """
    settings = model_settings(arguments)
    try:
        with config(**layer_settings(arguments)):
            net = get_model(arguments.model, **settings, **more)
    except _UNFIT as error:
        given = ', '.join('%s=%.100r' % setting for setting in {**layer_settings(arguments), **settings}.items())
        raise ValueError('model %s does not take these settings (%s): %s' % (
            arguments.model, given, str(error) or type(error).__name__)) from None
    for name in ('bits', 'scaling'):
        given = getattr(arguments, name)
        found = {getattr(layer.quantization, name) for layer in quantized_layers(net)}
        if found and given is not None and given not in found:
            raise ValueError('%s itself says that its layers have %s=%s, --%s %s has no effect: give --%s %s, or --set '
                             '%s=%s to change them' % (net.model_name, name, ' and '.join(map(str, sorted(found))), name,
                                                       given, name, max(found), name, given))
    return net


@contextlib.contextmanager
def images_fit(net, shape):
    """Inside, an MXNetError becomes a ValueError that says so where images of a shape are too small for a network."""
    with contextlib.redirect_stdout(io.StringIO()):  # MXNet prints the shapes that it could not go on with
        try:
            yield
        except mx.MXNetError as error:
            if _has_shapes(net, shape) or not _has_shapes(net, (1, 3) + (8 * max(28, *shape[2:]),) * 2):
                raise error from None
            raise ValueError('images of %dx%d pixels are too small for %s: give a larger --input-size'
                             % (*shape[2:], net.model_name)) from None


def _has_shapes(net, shape):
    """Whether an input of a shape goes through a network."""
    try:
        summary(net, shape)
    except mx.MXNetError:
        return False
    return True


def _tell(text):
    """Print what is for people."""
    print(printable(text))


def _skipped(error):
    print('skipped: %s' % _line(error), file=sys.stderr)


def _line(message):
    """A message as one line for a terminal."""
    return printable(message).replace('\n', '\\n')


def _input_size(arguments):
    if arguments.input_size is not None:
        return arguments.input_size
    return 32 if arguments.stem == 'thumbnail' else 224


def _summary(arguments):
    net = build_model(arguments)
    size = _input_size(arguments)
    with images_fit(net, (1, 3, size, size)):
        counted = summary(net, (1, 3, size, size))
    _tell(counted.to_json() if arguments.json else counted)


def _plot(arguments):
    out = arguments.out or (None if arguments.json else arguments.model.lower() + '.png')
    if out is not None:
        refuse_picture(out)
    net = build_model(arguments)
    size = _input_size(arguments)
    with images_fit(net, (1, 3, size, size)):
        blocks, counted = structure(net, (1, 3, size, size))
    if out is not None:
        settings = dict(model_settings(arguments), **layer_settings(arguments))
        name = ', '.join([net.model_name] + ['%s=%s' % setting for setting in settings.items()])
        plot.draw(out, name, (1, 3, size, size), blocks, counted)
    _tell(json.dumps([block.to_dict() for block in blocks], indent=1) if arguments.json else out)


def _described(arguments):
    """The description beside the parameters, which becomes the options' where these do not contradict it, else None."""
    path, found = description_path(arguments.params), read_description(arguments.params)
    if found is None:
        if arguments.model is None:
            raise ValueError('give --model, and the options that it was trained with: there is no %s that tells them'
                             % path)
        return None
    given = {key: json.loads(json.dumps(value, default=repr)) for key, value in model_settings(arguments).items()}
    given.pop('bits', None)  # `layer_settings` has it
    # `binarizations` is younger than other files
    trained = {'binarizations': 1, **found.layer_defaults, **found.settings, 'model': found.model}
    if trained.get('activation_bits') is None:
        trained['activation_bits'] = trained.get('bits')
    if arguments.model is not None:
        given['model'] = arguments.model.lower()
    for key, value in dict(given, **layer_settings(arguments)).items():
        if trained.get(key) != value:
            raise ValueError('%s=%s contradicts %s: the network was built with %s' % (
                key, value, path, '%s=%s' % (key, trained[key]) if key in trained else 'the default'))
    arguments.model, arguments.settings = found.model, list(found.settings.items())
    return found


def _export(arguments):
    described = _described(arguments)
    with config(**described.layer_defaults if described else {}):
        net = build_model(arguments)
    load_parameters(net, arguments.params)
    net.hybridize(static_alloc=True, static_shape=True)
    settings = described.preprocess if described else {
        'size': [_input_size(arguments)] * 2, 'crop_ratio': 0.875, 'mean': preprocess.IMAGENET_MEAN,
        'std': preprocess.IMAGENET_STD}
    given = {'size': arguments.input_size and [arguments.input_size] * 2, 'crop_ratio': arguments.crop_ratio,
             'mean': arguments.mean, 'std': arguments.std}
    settings = dict(settings, **{key: value for key, value in given.items() if value is not None})
    inputs = None
    if arguments.verify_on:
        inputs = preprocess.load_inputs(preprocess.find_images(arguments.verify_on), settings, skipped=_skipped)
    classes = described.classes if described else None
    if arguments.class_names:
        classes = _read_lines(arguments.class_names)
    shape = (1, 3) + tuple(settings['size'])
    with images_fit(net, shape):
        result = deploy.export(net, arguments.out, shape, inputs, classes=classes, preprocess=settings,
                               exact=arguments.exact)
    _tell(result.report)


def _read_lines(path):
    """The lines of a text file: UTF-8, with or without a byte-order mark."""
    try:
        with open(path, encoding='utf-8-sig') as stream:
            return [line.rstrip('\n') for line in stream]
    except UnicodeDecodeError as error:
        raise ValueError('%s is not UTF-8 (%s): save it as UTF-8' % (path, error)) from None


def _verify(arguments):
    deployed, metadata = deploy.load(arguments.prefix)
    deployed.hybridize(static_alloc=True, static_shape=True)
    _tell('%s: format %d, %s, input %s, files intact' % (arguments.prefix, metadata.format, metadata.model,
                                                        'x'.join(map(str, metadata.input_shape))))
    if arguments.params is None:
        if (arguments.model or arguments.settings or arguments.stem or arguments.data_dir
                or layer_settings(arguments)):
            raise ValueError('to compare with the float network, give its --params')
        print('give --params to compare it with the float network')
        return
    arguments.model = arguments.model or metadata.model
    arguments.settings = list(metadata.settings.items()) + arguments.settings
    with config(**metadata.layer_defaults):
        net = build_model(arguments)
    load_parameters(net, arguments.params)
    net.hybridize(static_alloc=True, static_shape=True)
    if arguments.data_dir is not None:
        batches = preprocess.load_inputs(preprocess.find_images(arguments.data_dir), _preprocessing(metadata),
                                         skipped=_skipped)
    else:
        print('no --data-dir: comparing on random inputs')
        batches = [mx.nd.array(np.random.RandomState(0).normal(size=[16] + metadata.input_shape))]
    shape = (1,) + tuple(metadata.input_shape)
    own = None if metadata.exact else deploy.OwnNetwork(*deploy.trace(net, shape))
    verification = deploy.verify(net, deployed, batches, own)
    print(verification)
    if not verification.holds:
        comparison = verification.comparison
        raise deploy.ExportError('the deployed network differs from the float network; first inputs that differ: %s'
                                 % sorted(set(comparison.differing_top1 + comparison.differing_values))[:10])


def _preprocessing(metadata):
    if metadata.preprocess is None:
        raise LoadError('the model does not say how an image becomes its input: export it again with preprocess=')
    check_preprocess(metadata.preprocess, 'the model')
    return metadata.preprocess


def _predict(arguments):
    deployed, metadata = deploy.load(arguments.prefix)
    settings = _preprocessing(metadata)
    rows, unreadable = [], []
    for path in arguments.images:
        try:
            inputs = next(preprocess.load_inputs([path], settings))
        except OSError as error:
            unreadable.append(str(error))
            continue
        scores = deployed(inputs)
        if not isinstance(scores, mx.nd.NDArray) or scores.ndim != 2:
            raise LoadError('%s is no classifier: its output is no array of (images, classes)' % arguments.prefix)
        classes = metadata.classes or [str(index) for index in range(scores.shape[1])]
        if len(classes) != scores.shape[1]:
            raise LoadError('%s is damaged: it names %d classes of %d' % (arguments.prefix, len(classes),
                                                                         scores.shape[1]))
        probabilities = mx.nd.softmax(scores)[0].asnumpy()
        best = np.argsort(-probabilities, kind='stable')[:5]
        rows.append({'image': path, 'top': [
            {'class': str(classes[index]),
             'probability': float(probabilities[index])} for index in best]})
    if arguments.json:
        print(json.dumps(rows, indent=1))
    else:
        for row in rows:
            _tell(row['image'])
            for guess in row['top']:
                _tell('  %5.1f %%  %s' % (100 * guess['probability'], guess['class']))
    if unreadable:
        raise OSError('; '.join(unreadable))


def _add_bench(commands):
    command = commands.add_parser(
        'bench', help='speed of kernels, layers, models and training steps',
        description='Speed, measured: contestants run in turns in one process; minimum and median of their times.')
    subjects = command.add_subparsers(dest='subject', metavar='SUBJECT')
    subjects.required = True
    for name, (_, text) in bench.SUBJECTS.items():
        subject = subjects.add_parser(name, help=text, description=text[0].upper() + text[1:] + '.')
        subject.set_defaults(run=bench.run, threads=1, isa=None, binarizations=None)
        if name == 'models':
            subject.add_argument('names', nargs='*', metavar='NAME', help='a model of this package or of GluonCV '
                                 '(default: %s)' % ' '.join(bench.models.DEFAULT))
            subject.add_argument('--exact', action='store_true', help="also networks that keep MXNet's float operators")
        if name in ('split', 'train'):
            subject.add_argument('model', metavar='MODEL', help='one of: ' + ', '.join(sorted(MODELS)))
        if name != 'kernels':
            subject.add_argument('--threads', type=positive, metavar='N', help='threads that compute (default: 1)')
            subject.add_argument('--batch', type=positive, default=8 if name == 'train' else 1, metavar='N',
                                 help='images at once (default: %(default)d)')
        if name in ('models', 'split', 'train'):
            subject.add_argument('--size', type=positive, default=224, metavar='N',
                                 help='height and width of an image (default: 224)')
            subject.add_argument('--binarizations', type=int, choices=BINARIZATIONS, metavar='M',
                                 help='scaled signs that stand for an activation (default: 1)')
        if name != 'train':
            default = 'all that this CPU supports' if name == 'kernels' else 'the fastest of this CPU'
            subject.add_argument('--isa', metavar='NAME', help='the kernel, one of %s (default: %s)'
                                 % (', '.join(ops.kernels()), default))
        subject.add_argument('--rounds', type=positive, default=10, metavar='N',
                             help='turns of each contestant (default: 10)')
        subject.add_argument('--json', metavar='FILE', help='write the results as a list of rows')
        subject.add_argument('--csv', metavar='FILE', help='write the results as a table')
        subject.add_argument('--picture', metavar='FILE', help='draw the results')


def _parser():
    parser = argparse.ArgumentParser(prog='bmx', description='Binary neural networks for MXNet.')
    parser.add_argument('--version', action='version', version='bmx ' + __version__)
    commands = parser.add_subparsers(dest='command', metavar='COMMAND')
    commands.required = True

    command = commands.add_parser('summary', help='operations and size of a model, layer by layer')
    command.set_defaults(run=_summary)
    command.add_argument('model', help='one of: ' + ', '.join(sorted(MODELS)))
    add_model_options(command)
    command.add_argument('--input-size', type=side, help='height and width (default: 224, thumbnail 32)')
    command.add_argument('--json', action='store_true', help='machine-readable output')

    command = commands.add_parser('plot', help="draw a model's structure, block by block")
    command.set_defaults(run=_plot)
    command.add_argument('model', metavar='MODEL', help='one of: ' + ', '.join(sorted(MODELS)))
    add_model_options(command)
    command.add_argument('--input-size', type=side, help='height and width (default: 224, thumbnail 32)')
    command.add_argument('--out', metavar='FILE', help='ends in %s (default: MODEL.png)' % ', '.join(PICTURES))
    command.add_argument('--json', action='store_true', help='print the blocks as data; draw only with --out')

    command = commands.add_parser(
        'export', help='convert trained parameters to a packed, verified model',
        description='Convert trained parameters to a packed model, verified against the float network. If X.json lies '
        'beside X.params, as train_imagenet.py leaves it, it gives what is not given here. Without it, repeat every '
        'option that the network was trained with: parameters do not tell, and verification cannot know.')
    command.set_defaults(run=_export)
    command.add_argument('--model')
    command.add_argument('--params', required=True, help='written by save_parameters or train_imagenet.py')
    command.add_argument('--out', required=True, metavar='PREFIX', help='writes PREFIX-symbol.json and '
                         'PREFIX-0000.params')
    add_model_options(command)
    command.add_argument('--input-size', type=side, help="height and width (default: the training's, else 224, "
                         'thumbnail 32)')
    command.add_argument('--crop-ratio', type=fraction, help="default: the training's, else 0.875")
    command.add_argument('--mean', type=finite, nargs=3, help="default: the training's, else ImageNet's")
    command.add_argument('--std', type=deviation, nargs=3, help="default: the training's, else ImageNet's")
    command.add_argument('--class-names', metavar='FILE', help="a name a line (default: the training's)")
    command.add_argument('--verify-on', metavar='FOLDER', help='images to verify on (default: random inputs)')
    command.add_argument('--exact', action='store_true', help="keep MXNet's float operators: equal to MXNet's float "
                         'network on this CPU; by default float layers are computed in an order of their own, the same '
                         'bits on every CPU')

    command = commands.add_parser('verify', help="check a deployed model's files, and its results against the float "
                                  'network')
    command.set_defaults(run=_verify)
    command.add_argument('prefix')
    command.add_argument('--model', help='default: the one that the file names')
    command.add_argument('--params', help='parameters of the float network')
    add_model_options(command)
    command.add_argument('--data-dir', metavar='FOLDER', help='images to compare on (default: random inputs)')

    command = commands.add_parser('predict', help='top-5 of images by a deployed model')
    command.set_defaults(run=_predict)
    command.add_argument('prefix')
    command.add_argument('images', nargs='+', metavar='IMAGE')
    command.add_argument('--json', action='store_true', help='machine-readable output')

    command = commands.add_parser('paper', help="the tables of a paper, each printed number beside ours")
    command.set_defaults(run=papers.run)
    command.add_argument('name', choices=list(papers.PAPERS))
    command.add_argument('--json', metavar='FILE', help='write the cells as a list')
    command.add_argument('--csv', metavar='FILE', help='write the cells as a table')
    command.add_argument('--picture', metavar='FILE', help='draw accuracy against operations and size')

    _add_bench(commands)
    return parser


def main(argv=None):
    """Run a command; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    arguments = _parser().parse_args(argv, argparse.Namespace(argv=argv))
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, for example head, has seen enough
        end_output()
        return 1
    except mx.MXNetError as error:
        message = sentence(error)
    except (OSError, ValueError) as error:
        message = error
    except MemoryError:
        message = 'there is not enough memory'
    except KeyboardInterrupt:
        end_output()
        print('bmx %s: stopped' % arguments.command, file=sys.stderr)
        return 130
    else:
        return 0
    end_output()
    print('bmx %s: %s' % (arguments.command, _line(message)), file=sys.stderr)
    return 1
