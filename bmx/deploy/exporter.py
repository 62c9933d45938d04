"""Write a network packed, after having seen that it computes what the float network computes."""
from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import Any, Iterable, Mapping, Sequence

import mxnet as mx
import numpy as np

from ..graph.products import is_binary
from ..io.description import check_description, check_shape, complete_preprocess, plain
from ..io.storage import LoadError, sentence
from . import files
from .arithmetic import OwnNetwork
from .errors import ExportError
from .fuse import fuse
from .lower import Row, lower
from .stored import store
from .tracing import trace
from .verification import Comparison, Verification, as_arrays, verify


@dataclasses.dataclass(frozen=True)
class Export:
    """A deployed model that was written.

    Attributes
    ----------
    prefix : str
    rows : list of Row
        What became of each convolution and dense layer.
    verification : Verification
    params_bytes : int
        Size of the .params file.
    """
    prefix: str
    rows: list[Row]
    verification: Verification
    params_bytes: int

    @property
    def comparison(self) -> Comparison:
        """The `Comparison` with what the deployed network has to equal."""
        return self.verification.comparison

    @property
    def report(self) -> str:
        """A table of the layers, and the totals."""
        width = max([5] + [len(row.name) for row in self.rows])
        lines = [f'{"layer":<{width}}  bytes before   bytes after  runs']
        lines += [f'{row.name:<{width}}  {row.bytes_before:>12,}  {row.bytes_after:>12,}  '
                  + _runs(row) for row in self.rows]
        binary = sum(row.reason is None for row in self.rows)
        lines.append(f'{binary} of {len(self.rows)} layers binary; {files.symbol_path(self.prefix)} and '
                     f'{files.params_path(self.prefix)} ({self.params_bytes / 2 ** 20:.2f} MiB)')
        lines.append(str(self.verification))
        return '\n'.join(lines)


def _runs(row):
    if row.reason is None:
        return 'binary'
    return f'float: {row.reason}' + ('; its weights are packed' if row.bytes_after < row.bytes_before else '')


def export(net: mx.gluon.HybridBlock, prefix: str | os.PathLike, data_shape: Sequence[int],
           inputs: mx.nd.NDArray | np.ndarray | Iterable | None = None, model: str | None = None,
           classes: Sequence[str] | None = None, preprocess: Mapping[str, Any] | None = None,
           exact: bool = False) -> Export:
    """Export a trained network: lowered to binary operators, weights packed, verified, then kept.

    The files load with plain MXNet and the one library: `SymbolBlock.imports`, `mx.mod.Module`, the C predict API.

    Parameters
    ----------
    net : gluon.HybridBlock
        Initialized, float32, with one input.
    prefix : str or os.PathLike
        Writes PREFIX-symbol.json and PREFIX-0000.params; existing ones are replaced once the new ones are verified.
    data_shape : tuple of int
        Shape of an input, batch first.
    inputs : NDArray, numpy.ndarray or iterable, optional
        Real inputs to verify on: a batch, batches, or a `DataLoader` of data and labels; by default 4 of random
        numbers.
    model : str, optional
        Name of the source model; by default the network's own.
    classes : sequence, optional
        Names of the outputs; what is no string is written as one.
    preprocess : dict, optional
        How an image becomes an input, for `bmx predict` and the runtime: {'size': [height, width], 'crop_ratio':
        number, 'mean': [red, green, blue], 'std': [red, green, blue]}. Without it the deployed model takes no images.
    exact : bool
        Keep MXNet's float operators: the deployed network then equals MXNet's float network on this CPU, and like that
        depends on the CPU. By default programs compute all layers, the same bits everywhere (docs/semantics.md, "Float
        arithmetic"). A network without binary layers keeps MXNet's operators in any case.

    Returns
    -------
    Export

    Raises
    ------
    ExportError
        The network cannot be converted faithfully, or the converted one computes something else. Nothing is written.
    """
    prefix = os.fspath(prefix)
    if not os.path.basename(prefix):
        raise ExportError(f'prefix {prefix!r} names a folder; it must end with the name of the files')
    meant = files.prefix_in(prefix)
    if meant is not None:
        raise ExportError(f'prefix {prefix!r} names one of the two files that are written: give their PREFIX, {meant}')
    graph, params = trace(net, data_shape)
    data_shape = tuple(map(int, data_shape))
    shapes = graph.infer_shapes()
    node, index = graph.outputs[0]
    outputs = shapes[node.name, index][-1]
    if isinstance(classes, (str, bytes, dict)) or not (classes is None or hasattr(classes, '__iter__')):
        raise ExportError('classes must be a list of names in the order of the outputs, got a '
                          f'{type(classes).__name__}')
    classes = None if classes is None else list(map(str, classes))
    if classes is not None and len(classes) != outputs:
        raise ExportError(f'{len(classes)} names of classes for {outputs} outputs')
    exact = exact or not _has_binary_layers(graph)
    metadata = _metadata(net, data_shape, model, classes, preprocess, exact)
    traced, trained = graph.copy(), params
    params, rows = _convert(graph, params, exact)
    params = store(graph, params)
    own = None if exact else OwnNetwork(traced, trained, rows)
    if inputs is None:
        inputs = np.random.RandomState(0).normal(size=(4,) + data_shape[1:])
    folder = os.path.dirname(os.path.abspath(prefix))
    with contextlib.ExitStack() as stack:
        with _naming(prefix):
            os.makedirs(folder, exist_ok=True)
            candidate = os.path.join(stack.enter_context(files.scratch(prefix)), 'model')
            files.write(candidate, graph, params, metadata)
        try:
            deployed, _ = files.load(candidate)
            verification = verify(net, deployed, _of_shape(inputs, data_shape), own)
        except (ValueError, mx.MXNetError) as error:
            raise ExportError('the converted network cannot be verified, nothing was written: '
                              f'{sentence(error)}') from None
        if not verification.holds:
            raise ExportError(f'the converted network computes something else than {metadata.model}, nothing was '
                              f'written: {verification}')
        size = os.path.getsize(files.params_path(candidate))
        with _naming(prefix):
            files.move(candidate, prefix)
    return Export(prefix, rows, verification, size)


def in_memory(net: mx.gluon.HybridBlock, data_shape: Sequence[int]) -> mx.gluon.SymbolBlock | None:
    """The network as `export` would deploy it now, in memory and not verified: evaluates trainings between epochs.

    Parameters
    ----------
    net : gluon.HybridBlock
        As `export` takes it.
    data_shape : tuple of int
        Shape of an input, batch first; inputs may have other numbers of them.

    Returns
    -------
    gluon.SymbolBlock or None
        On the CPU. None of a network without binary layers, which gains nothing.

    Raises
    ------
    ExportError
        The network cannot be converted faithfully.
    """
    graph, params = trace(net, data_shape)
    if not _has_binary_layers(graph):
        return None
    params, _ = _convert(graph, params, exact=False)
    return files.block(graph, params)


def _has_binary_layers(graph):
    return any(is_binary(node, graph) for node in graph.nodes)


def _convert(graph, params, exact):
    """Lower and fuse a traced graph in place; returns its parameters, and what became of its layers."""
    params, rows = lower(graph, params, graph.infer_shapes(), exact)
    return fuse(graph, params, graph.infer_shapes(), exact), rows


@contextlib.contextmanager
def _naming(prefix):
    """Inside, an OSError says that nothing was replaced, instead of the temporary file's name."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f'{error.strerror}; nothing was replaced', files.params_path(prefix)) from None


def _metadata(net, data_shape, model, classes, preprocess, exact):
    """What the files say; refused where they would not load again."""
    if preprocess is not None:
        try:
            preprocess = complete_preprocess(preprocess, data_shape[1:])
        except ValueError as error:
            raise ExportError(str(error)) from None
    metadata = files.Metadata(input_shape=list(data_shape[1:]), params_sha256='',
                              model=str(getattr(net, 'model_name', net.name) if model is None else model),
                              settings=plain(getattr(net, 'model_kwargs', {})),
                              layer_defaults=plain(getattr(net, 'layer_defaults', {})),
                              classes=classes, preprocess=preprocess, exact=exact)
    try:
        check_description(dataclasses.asdict(metadata), 'what is given to describe the network')
        check_shape(metadata.input_shape, 'the shape of the data')
    except LoadError as error:
        raise ExportError(f'the files would not load again: {error}') from None
    return metadata


def _of_shape(inputs, data_shape):
    """The batches of inputs, if these have the axes of the data."""
    for batch in as_arrays(inputs):
        if batch.ndim != len(data_shape):
            raise ValueError(f'a batch of inputs has shape {batch.shape}; give batches as of shape {data_shape}, the '
                             'number of inputs first')
        yield batch
