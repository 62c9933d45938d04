"""The files of a deployed model: PREFIX-symbol.json and PREFIX-0000.params.

What a reader needs to know beyond MXNet's format stands in the attribute __bmx__ of the symbol's variable data, as
JSON. Both files are covered by SHA-256: the symbol holds that of the parameters and its own, which is taken with zeros
in its place.
"""
from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import glob
import hashlib
import io
import json
import os
import shutil
import tempfile
import warnings
from typing import Iterator, Mapping, Sequence

import mxnet as mx
from mxnet import gluon

from ..graph import Graph
from ..io.description import check_description, check_shape, parse_json
from ..io.storage import TEMPORARY, LoadError, digest, flush, save_arrays, sentence, write_file
from ..ops.program import attributes_format, parse
from .check import read_graph
from .stored import expand

# 2: `binary_subgraph` nodes beside `xnor_popcount`; 3: several binarizations, average pooling, `channelwise`; 4: a
# digest of the symbol, too, and which of the network's own parameters a variable stands for; 5: several planes of bits,
# repeated summands, `expand_weights`
FORMAT_VERSION = 5
_DIGESTED = 4  # the oldest that files are written in: with both digests
BIT_ORDER = 'lsb-first'
_KEY = '__bmx__'
_NO_DIGEST = '0' * 64


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
        How an image becomes an input (`bmx.io.preprocess`).
    format, bit_order : int, str
        Version of this format; order of the channels in a packed byte.
    symbol_sha256 : str, optional
        Of the symbol file with zeros in the place of this; None before format 4.
    exact : bool
        Whether float layers are MXNet's operators, as before format 4; else programs compute them.
    """
    input_shape: list[int]
    params_sha256: str
    model: str
    settings: dict
    layer_defaults: dict
    classes: list[str] | None = None
    preprocess: dict | None = None
    format: int = FORMAT_VERSION
    bit_order: str = BIT_ORDER
    symbol_sha256: str | None = None
    exact: bool = False


def symbol_path(prefix: str | os.PathLike) -> str:
    return os.fspath(prefix) + '-symbol.json'


def params_path(prefix: str | os.PathLike) -> str:
    return os.fspath(prefix) + '-0000.params'


def write(prefix: str | os.PathLike, graph: Graph, params: Mapping[str, mx.nd.NDArray], metadata: Metadata) -> None:
    """Write both files in place. `metadata` lacks its digests, which are filled in."""
    auxiliary = set(graph.to_symbol().list_auxiliary_states())
    metadata.params_sha256 = save_arrays(params_path(prefix), {
        ('aux:' if name in auxiliary else 'arg:') + name: value for name, value in params.items()})
    metadata.symbol_sha256 = _NO_DIGEST
    metadata.format = max(_DIGESTED, _youngest(graph))
    data = next(node for node in graph.nodes if node.is_variable and node.name == 'data')
    data.attrs[_KEY] = json.dumps(dataclasses.asdict(metadata))
    content = graph.to_json().encode()
    metadata.symbol_sha256 = hashlib.sha256(content).hexdigest()
    place = r'\"symbol_sha256\": \"%s\"'  # which no name can imitate: its quotes would have one more backslash
    write_file(symbol_path(prefix), [content.replace((place % _NO_DIGEST).encode(),
                                                     (place % metadata.symbol_sha256).encode())])


@contextlib.contextmanager
def scratch(prefix: str | os.PathLike) -> Iterator[str]:
    """A folder beside the files, in which new ones are written; a killed process's is deleted by the next one's.

    Beside them, so that the final rename stays inside one file system. Who works in a folder has it locked.
    """
    folder, name = os.path.split(os.path.abspath(prefix))
    pattern = glob.escape(os.path.join(folder, TEMPORARY + name + '-')) + '?' * 8
    for leftover in filter(os.path.isdir, glob.glob(pattern)):
        with _locked(leftover, fcntl.LOCK_EX | fcntl.LOCK_NB) as owned:
            if owned:
                shutil.rmtree(leftover, ignore_errors=True)
    while True:
        path = tempfile.mkdtemp(prefix=TEMPORARY + name + '-', dir=folder)
        with _locked(path) as owned:
            if os.path.isdir(path):  # not taken for a leftover in between
                try:
                    yield path
                finally:
                    shutil.rmtree(path, ignore_errors=True)
                return


@contextlib.contextmanager
def _locked(folder: str, kind: int = fcntl.LOCK_EX) -> Iterator[bool]:
    """Inside, other processes cannot lock a folder; yields whether that is so: some file systems have no locks."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, kind)
            owned = True
        except OSError:
            owned = False
        yield owned
    finally:
        os.close(handle)


def _backup_path(prefix: str | os.PathLike) -> str:
    folder, name = os.path.split(params_path(prefix))
    return os.path.join(folder, TEMPORARY + name)


def move(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Rename the pair of files, flushed to disk.

    A crash leaves the old pair or the new one: between the two renames the old parameters are kept under another name,
    where `load` finds them.
    """
    folder, backup = os.path.dirname(os.path.abspath(target)), _backup_path(target)
    flush(params_path(source))
    flush(symbol_path(source))
    with _locked(folder):  # two exports, one after the other
        if os.path.exists(backup):
            _finish_interrupted(target, backup)
        if os.path.exists(params_path(target)):
            _keep(params_path(target), backup)
        os.replace(params_path(source), params_path(target))
        os.replace(symbol_path(source), symbol_path(target))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(backup)
        flush(folder)


def _finish_interrupted(target: str | os.PathLike, backup: str) -> None:
    """Bring back the parameters of an old pair if an export was killed between its two renames."""
    try:
        metadata, _ = _read_symbol(symbol_path(target))
        belongs = digest(backup) == metadata.params_sha256
    except (OSError, LoadError):
        belongs = False
    if belongs:
        os.replace(backup, params_path(target))  # which leaves both names of one file
    with contextlib.suppress(FileNotFoundError):
        os.unlink(backup)


def _keep(path: str, backup: str) -> None:
    """A second name for a file, or where there are no hard links a copy."""
    try:
        os.link(path, backup)
    except OSError:
        try:
            shutil.copyfile(path, backup)
            flush(backup)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(backup)
            raise


def load(prefix: str | os.PathLike, ctx: mx.Context | None = None) -> tuple[gluon.SymbolBlock, Metadata]:
    """Load a deployed model.

    Parameters
    ----------
    prefix : str or os.PathLike
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
    _require_files(prefix)
    found = _read_pair(prefix)
    if found is None:
        with _locked(os.path.dirname(os.path.abspath(params_path(prefix))), fcntl.LOCK_SH):
            found = _read_pair(prefix)  # an export may have been between its two files
    if found is None:
        raise LoadError(f'{params_path(prefix)} is damaged, or not the file that {symbol_path(prefix)} was exported '
                        'with: export the model again')
    metadata, symbol, params = found
    graph = read_graph(symbol, symbol_path(prefix))
    younger = _youngest(graph)
    if younger > metadata.format:
        raise LoadError(f'{symbol_path(prefix)} is damaged: it has format {metadata.format}, and programs of format '
                        f'{younger}')
    net = _network(graph, params, prefix, ctx)
    _check_outputs(graph, net, metadata, symbol_path(prefix))
    return net, metadata


def import_block(prefix: str | os.PathLike, ctx: mx.Context | None = None) -> gluon.SymbolBlock:
    """The network of any pair of files of MXNet, also those that `load` does not know; no digest is looked at."""
    _require_files(prefix)
    graph = read_graph(_read_bytes(symbol_path(prefix)), symbol_path(prefix))
    return _network(graph, _read_bytes(params_path(prefix)), prefix, ctx)


def _youngest(graph: Graph) -> int:
    """The oldest format that knows what every node does."""
    formats = {'binary_subgraph': lambda node: parse(node.attrs['program']).file_format,
               'xnor_popcount': lambda node: attributes_format(node.attrs), 'expand_weights': lambda node: 5}
    return max([1] + [formats[node.op](node) for node in graph.nodes if node.op in formats])


def prefix_in(path: str | os.PathLike) -> str | None:
    """The PREFIX that a path has which is that of a file of a deployed model; None of other paths."""
    path = os.fspath(path)
    return next((path[:-len(ending)] for ending in (symbol_path(''), params_path('')) if path.endswith(ending)), None)


def _require_files(prefix: str | os.PathLike) -> None:
    meant = prefix_in(prefix)
    if meant and not os.path.isfile(symbol_path(prefix)):
        raise FileNotFoundError(f'{os.fspath(prefix)} names one file of a deployed model: give its PREFIX, {meant}')
    for path in (symbol_path(prefix), params_path(prefix)):
        if not os.path.isfile(path):
            raise FileNotFoundError(f'{path} is missing; a deployed model is the pair {symbol_path(prefix)} and '
                                    f'{params_path(prefix)}{_models_in(prefix)}')


def _models_in(folder: str | os.PathLike) -> str:
    """What to give in the place of a folder; empty where it is none."""
    if not os.path.isdir(folder):
        return ''
    found = sorted(filter(None, (prefix_in(name) for name in os.listdir(folder) if name.endswith(symbol_path('')))))
    return f'; in the folder {os.fspath(folder)} ' + (
        f'is the model {os.path.join(folder, found[0])}' if len(found) == 1 else
        f'are the models {", ".join(os.path.join(folder, name) for name in found[:5])}' if found else 'is no model')


def _compatible(declared: Sequence[int], found: Sequence[int]) -> bool:
    """Whether a declared shape, in which 0 and -1 are unknown, allows the one found."""
    return len(declared) == len(found) and all(one in (-1, 0, other) for one, other in zip(declared, found))


def _read_bytes(path: str) -> bytes:
    with open(path, 'rb') as stream:
        return stream.read()


def _read_pair(prefix: str | os.PathLike) -> tuple[Metadata, bytes, bytes] | None:
    """The metadata and the contents of both files; None if the parameters are not those of the symbol."""
    metadata, symbol = _read_symbol(symbol_path(prefix))
    # where an export was killed between its two files, the old parameters are in the backup
    for path in (params_path(prefix), _backup_path(prefix)):
        with contextlib.suppress(FileNotFoundError):
            params = _read_bytes(path)
            if hashlib.sha256(params).hexdigest() == metadata.params_sha256:
                return metadata, symbol, params
    return None


def _network(graph: Graph, params: bytes, prefix: str | os.PathLike, ctx: mx.Context | None) -> gluon.SymbolBlock:
    """The SymbolBlock of a checked graph and the bytes of its parameters."""
    try:
        arrays = mx.nd.load_frombuffer(params)
    except (mx.MXNetError, ValueError) as error:
        raise LoadError(f'{params_path(prefix)} is damaged or not a parameter file of MXNet: '
                        f'{sentence(error)}') from None
    arrays = {name.split(':', 1)[-1]: array for name, array in arrays.items()} if isinstance(arrays, dict) else {}
    variables = {node.name for node in graph.nodes if node.is_variable}
    if variables != set(arrays) | {'data'} or 'data' in arrays:
        raise LoadError(f'{params_path(prefix)} is not the parameter file of {symbol_path(prefix)}: the symbol has an '
                        f'input called data and {len(variables) - 1} parameters, the file {len(arrays)}, not the same')
    graph.variable_shapes = {name: array.shape for name, array in arrays.items()}
    try:
        for node in graph.nodes:
            shape = node.attr('__shape__') if node.name in arrays else None
            if shape and not _compatible(shape, arrays[node.name].shape):
                raise ValueError(f'parameter {node.name} has shape {arrays[node.name].shape}, not {shape}')
        return block(graph, expand(graph, arrays), ctx)
    except (mx.MXNetError, AssertionError, ValueError) as error:
        raise LoadError(f'{params_path(prefix)} does not fit {symbol_path(prefix)}: {sentence(error)}') from None


def block(graph: Graph, params: Mapping[str, mx.nd.NDArray], ctx: mx.Context | None = None) -> gluon.SymbolBlock:
    """The Gluon block of a graph and its parameters; `ctx` None: the CPU."""
    graph.variable_shapes = {name: array.shape for name, array in params.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Cannot decide type')  # of data; it is settled by the first call
        net = gluon.SymbolBlock(graph.to_symbol(), mx.sym.var('data'))
    for name, parameter in net.collect_params().items():
        parameter.shape = params[name].shape
    net.collect_params().load_dict(dict(params), ctx, cast_dtype=True, dtype_source='saved')
    return net


def _check_outputs(graph: Graph, net: gluon.SymbolBlock, metadata: Metadata, where: str) -> None:
    """Refuse a network that cannot take the input that its description names, or has not as many outputs as names."""
    graph.variable_shapes['data'] = tuple([1] + metadata.input_shape)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # MXNet prints the shapes that it could not go on with
            shape = graph.infer_shapes()[graph.outputs[0][0].name, graph.outputs[0][1]]
    except mx.MXNetError as error:
        raise LoadError(f'{where} is damaged: its network does not take an input of shape '
                        f'{tuple(metadata.input_shape)}: {sentence(error)}') from None
    if metadata.classes is not None and (not shape or len(metadata.classes) != shape[-1]):
        raise LoadError(f'{where} is damaged: it has {len(metadata.classes)} names of classes and outputs of shape '
                        f'{shape}')


def _read_symbol(path: str) -> tuple[Metadata, bytes]:
    """The metadata and the content of a symbol file whose own digest, if its format has one, is right."""
    symbol = _read_bytes(path)
    complaint = f'{path} is not a symbol file of MXNet'
    content = parse_json(symbol, complaint)
    try:
        found = [node['attrs'][_KEY] for node in content['nodes'] if _KEY in node.get('attrs', {})]
    except (KeyError, TypeError, AttributeError):
        raise LoadError(f'{complaint}: it has no list of nodes') from None
    if not found:
        raise LoadError(f'{path} was not written by bmx: it has no attribute {_KEY}. Load it with SymbolBlock.imports')
    metadata = _parse_metadata(found[0], path)
    own = metadata.symbol_sha256
    if own is not None:
        zeroed = symbol.replace(own.encode(), _NO_DIGEST.encode())
        if symbol.count(own.encode()) != 1 or hashlib.sha256(zeroed).hexdigest() != own:
            raise LoadError(f'{path} is damaged or was changed since it was exported: export the model again')
    return metadata, symbol


def _parse_metadata(text: object, path: str) -> Metadata:
    where = f'the attribute {_KEY} of {path}'
    content = parse_json(text.encode(errors='replace') if isinstance(text, str) else b'', f'{where} is damaged')
    if not isinstance(content, dict):
        raise LoadError(f'{where} is damaged: it does not hold a dict')
    version = content.get('format')
    if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise LoadError(f'{path} has format {version!s:.20}, this version of bmx reads 1 to {FORMAT_VERSION}')
    differing = set(content) ^ {field.name for field in dataclasses.fields(Metadata)
                                if version >= 4 or field.name not in ('symbol_sha256', 'exact')}
    if differing:
        raise LoadError(f'{where} is damaged: see {", ".join(sorted(differing)):.200}')
    if content['bit_order'] != BIT_ORDER:
        raise LoadError(f'{path} has bits in the order {content["bit_order"]!s:.20}, this version of bmx reads '
                        f'{BIT_ORDER}')
    for name in ('params_sha256', 'symbol_sha256')[:1 + (version >= 4)]:
        if not isinstance(content[name], str) or len(content[name]) != 64 or not content[name].isalnum():
            raise LoadError(f'{path} is damaged: its {name} is none')
    if type(content.setdefault('exact', True)) is not bool:
        raise LoadError(f'{path} is damaged: its exact is neither true nor false')
    if version < 4 and isinstance(content['classes'], list):  # were written as they were given
        content['classes'] = [str(name) if type(name) is int else name for name in content['classes']]
    check_description(content, path)
    check_shape(content['input_shape'], path)
    return Metadata(**content)
