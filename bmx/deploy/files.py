"""The files of a deployed model: PREFIX-symbol.json and PREFIX-0000.params.

What a reader needs to know beyond MXNet's format stands in the attribute __bmx__ of the symbol's variable data, as JSON.
"""
import dataclasses
import json
import os
import warnings
from typing import List, Optional

import mxnet as mx
from mxnet import gluon

from ..storage import digest, flush
from .errors import LoadError, sentence

FORMAT_VERSION = 1
_KEY = '__bmx__'


@dataclasses.dataclass
class Metadata:
    """What a deployed model says about itself.

    Attributes
    ----------
    input_shape : list of int
        Shape of one input, without the batch.
    params_sha256 : str
        Of the .params file: the two files belong together.
    model : str
        Name of the source model.
    settings : dict
        Keywords that the source model was built with.
    classes : list of str, optional
        Names of the outputs.
    preprocess : dict, optional
        How an image becomes an input (`bmx.preprocess`).
    format, bit_order : int, str
        Version of this format; order of the channels in a packed byte.
    """
    input_shape: List[int]
    params_sha256: str
    model: str
    settings: dict
    classes: Optional[List[str]] = None
    preprocess: Optional[dict] = None
    format: int = FORMAT_VERSION
    bit_order: str = 'lsb-first'


def symbol_path(prefix):
    return prefix + '-symbol.json'


def params_path(prefix):
    return prefix + '-0000.params'


def write(prefix, graph, params, metadata):
    """Write both files in place. `metadata` lacks its params_sha256, which is filled in."""
    auxiliary = set(graph.to_symbol().list_auxiliary_states())
    mx.nd.save(params_path(prefix), {('aux:' if name in auxiliary else 'arg:') + name: value
                                     for name, value in params.items()})
    metadata.params_sha256 = digest(params_path(prefix))
    data = next(node for node in graph.nodes if node.is_variable and node.name == 'data')
    data.attrs[_KEY] = json.dumps(dataclasses.asdict(metadata), default=repr)
    with open(symbol_path(prefix), 'w') as stream:
        stream.write(graph.to_json())


def move(source, target):
    """Rename the pair of files, flushed to disk; each file is the old one or the new one at any moment."""
    for path in (params_path, symbol_path):
        flush(path(source))
        os.replace(path(source), path(target))
    flush(os.path.dirname(os.path.abspath(target)))


def load(prefix, ctx=None):
    """Load a deployed model.

    Parameters
    ----------
    prefix : str
        What `bmx.export` was given: PREFIX-symbol.json and PREFIX-0000.params.
    ctx : Context, optional
        The CPU by default.

    Returns
    -------
    (gluon.SymbolBlock, Metadata)

    Raises
    ------
    FileNotFoundError
        A file is missing.
    LoadError
        A file is damaged, foreign, of a newer format, or the two do not belong together.
    """
    for path in (symbol_path(prefix), params_path(prefix)):
        if not os.path.isfile(path):
            raise FileNotFoundError('%s is missing; a deployed model is the pair %s and %s'
                                    % (path, symbol_path(prefix), params_path(prefix)))
    metadata = _read_metadata(symbol_path(prefix))
    if digest(params_path(prefix)) != metadata.params_sha256:
        raise LoadError('%s is damaged, or not the file that %s was exported with: export the model again'
                        % (params_path(prefix), symbol_path(prefix)))
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Cannot decide type')  # of data; it is settled by the first call
        net = gluon.SymbolBlock.imports(symbol_path(prefix), ['data'], params_path(prefix), ctx=ctx)
    return net, metadata


def _read_metadata(path):
    try:
        with open(path) as stream:
            nodes = json.load(stream)['nodes']
        found = [json.loads(node['attrs'][_KEY]) for node in nodes if _KEY in node.get('attrs', {})]
    except (ValueError, KeyError, TypeError) as error:
        raise LoadError('%s is not a symbol file of MXNet (%s)' % (path, error)) from None
    if not found:
        raise LoadError('%s was not written by bmx: it has no attribute %s. Load it with SymbolBlock.imports'
                        % (path, _KEY))
    content = found[0]
    if content.get('format') != FORMAT_VERSION:
        raise LoadError('%s has format %s, this version of bmx reads %d' % (path, content.get('format'), FORMAT_VERSION))
    differing = set(content) ^ {field.name for field in dataclasses.fields(Metadata)}
    if differing:
        raise LoadError('the attribute %s of %s is damaged: see %s' % (_KEY, path, ', '.join(sorted(differing))))
    return Metadata(**content)


def load_parameters(net, path, ctx=None):
    """Load trained parameters into a network, with errors that say what is wrong with the file.

    Parameters
    ----------
    net : gluon.Block
    path : str
        Written by `save_parameters` for a network of the same structure.
    ctx : Context or list of Context, optional

    Raises
    ------
    FileNotFoundError
        No such file.
    LoadError
        The file is damaged, or belongs to another model.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError('parameter file %s does not exist' % path)
    try:
        found = mx.nd.load(path)
    except (mx.MXNetError, ValueError) as error:
        raise LoadError('%s is damaged or not a parameter file of MXNet: %s' % (path, sentence(error))) from None
    expected = net._collect_params_with_prefix()
    found = {name.split(':', 1)[-1]: value for name, value in found.items()} if isinstance(found, dict) else {}
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or extra:
        raise LoadError('%s belongs to another model than %s: %d of its %d parameters are missing%s, %d are unknown%s'
                        % (path, getattr(net, 'model_name', net.name), len(missing), len(expected), _example(missing),
                           len(extra), _example(extra)))
    for name, parameter in expected.items():
        if not _compatible(parameter.shape, found[name].shape):
            raise LoadError('%s: parameter %s has shape %s, the model %s wants %s; was it built with other classes, '
                            'stem or keywords?' % (path, name, found[name].shape,
                                                   getattr(net, 'model_name', net.name), parameter.shape))
    net.load_parameters(path, ctx=ctx, cast_dtype=True)


def _example(names):
    return ' (%s, ...)' % names[0] if names else ''


def _compatible(declared, found):
    """Whether a declared shape, in which 0 is yet unknown, allows the one found."""
    return declared is None or (len(declared) == len(found) and all(a in (0, b) for a, b in zip(declared, found)))
