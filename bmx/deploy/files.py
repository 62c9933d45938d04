"""The files of a deployed model: PREFIX-symbol.json and PREFIX-0000.params.

What a reader needs to know beyond MXNet's format stands in the attribute __bmx__ of the symbol's variable data, as
JSON.
"""
import dataclasses
import json
import os
import warnings
from typing import List, Optional

import mxnet as mx
from mxnet import gluon

from ..description import check_description
from ..storage import TEMPORARY, LoadError, digest, flush

# 2: `binary_subgraph` nodes beside `xnor_popcount`; 3: several binarizations, average pooling, `channelwise`, and only
# files that have them
FORMAT_VERSION = 3
BIT_ORDER = 'lsb-first'
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
    layer_defaults : dict
        The scope `bmx.nn.config` that it was built in.
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
    layer_defaults: dict
    classes: Optional[List[str]] = None
    preprocess: Optional[dict] = None
    format: int = FORMAT_VERSION
    bit_order: str = BIT_ORDER


def symbol_path(prefix):
    return prefix + '-symbol.json'


def params_path(prefix):
    return prefix + '-0000.params'


def write(prefix, graph, params, metadata):
    """Write both files in place. `metadata` lacks its params_sha256 and format, which are filled in."""
    auxiliary = set(graph.to_symbol().list_auxiliary_states())
    mx.nd.save(params_path(prefix), {('aux:' if name in auxiliary else 'arg:') + name: value
                                     for name, value in params.items()})
    metadata.params_sha256 = digest(params_path(prefix))
    metadata.format = 3 if any(map(_needs_format_3, graph.nodes)) else 2
    data = next(node for node in graph.nodes if node.is_variable and node.name == 'data')
    data.attrs[_KEY] = json.dumps(dataclasses.asdict(metadata))
    with open(symbol_path(prefix), 'w') as stream:
        stream.write(graph.to_json())


def _needs_format_3(node):
    program = node.attrs['program'] if node.op == 'binary_subgraph' else ''
    return (node.op in ('residual_binarize', 'channelwise') or 'binarizations' in node.attrs
            or any(word in program for word in (' binarizations=', ' pool=avg', ' full=')))


def _backup_path(prefix):
    folder, name = os.path.split(params_path(prefix))
    return os.path.join(folder, TEMPORARY + name)


def move(source, target):
    """Rename the pair of files, flushed to disk.

    A crash leaves the old pair or the new one: between the two renames the old parameters are kept under another name,
    where `load` finds them.
    """
    flush(params_path(source))
    flush(symbol_path(source))
    backup = _backup_path(target)
    if os.path.exists(backup):
        os.remove(backup)
    if os.path.exists(params_path(target)):
        os.link(params_path(target), backup)
    os.replace(params_path(source), params_path(target))
    os.replace(symbol_path(source), symbol_path(target))
    if os.path.exists(backup):
        os.remove(backup)
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
    backup = _backup_path(prefix)
    if os.path.exists(backup) and digest(backup) == metadata.params_sha256:
        os.replace(backup, params_path(prefix))  # an export was interrupted between its two files
    if digest(params_path(prefix)) != metadata.params_sha256:
        raise LoadError('%s is damaged, or not the file that %s was exported with: export the model again'
                        % (params_path(prefix), symbol_path(prefix)))
    return import_block(prefix, ctx), metadata


def import_block(prefix, ctx=None):
    """The network of any pair of files that MXNet can load, unchecked."""
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Cannot decide type')  # of data; it is settled by the first call
        return gluon.SymbolBlock.imports(symbol_path(prefix), ['data'], params_path(prefix), ctx=ctx)


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
    if not isinstance(content, dict):
        raise LoadError('the attribute %s of %s is damaged: it holds %r' % (_KEY, path, content))
    if content.get('format') not in range(1, FORMAT_VERSION + 1):
        raise LoadError('%s has format %s, this version of bmx reads 1 to %d'
                        % (path, content.get('format'), FORMAT_VERSION))
    differing = set(content) ^ {field.name for field in dataclasses.fields(Metadata)}
    if differing:
        raise LoadError('the attribute %s of %s is damaged: see %s' % (_KEY, path, ', '.join(sorted(differing))))
    if content['bit_order'] != BIT_ORDER:
        raise LoadError('%s has bits in the order %s, this version of bmx reads %s'
                        % (path, content['bit_order'], BIT_ORDER))
    check_description(content, path)
    if not isinstance(content['input_shape'], list):
        raise LoadError('%s is damaged: its input_shape cannot be %r' % (path, content['input_shape']))
    return Metadata(**content)
