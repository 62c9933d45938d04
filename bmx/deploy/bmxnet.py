"""Models that BMXNet trained, as float networks that `export` takes. docs/bmxnet.md has the format of their files.

A binary layer of BMXNet 1 becomes signs of its input and of its weights, MXNet's own Convolution or FullyConnected, and
(dot + K) / 2, of which all is exact in float32. The exporter finds the binary products among these as among the layers
of `bmx.nn`.
"""
from __future__ import annotations

import ast
import contextlib
import io
import math
import os
from typing import Any, Mapping, Sequence

import mxnet as mx
import numpy as np
from mxnet import gluon

from ..graph import Entry, Graph, Node
from ..io.description import parse_json
from ..io.storage import LoadError, read_arrays, sentence
from .check import PYTHON_OPERATORS, read_graph
from .errors import ExportError
from .files import block

# Losses: of a head of the graph they say how it is trained, and what is deployed gives scores.
_LOSSES = ('Softmax', 'SoftmaxActivation', 'SoftmaxOutput', 'softmax')
# Attributes of nodes that are hints for a training, in files of before MXNet 0.9 among those of the operator.
_HINTS = ('ctx_group', 'force_mirroring', 'lr_mult', 'mirror_stage', 'wd_mult')
# The type of the array in which words lie whose bits are signs, and the words.
_WORDS = {np.dtype(np.float32): np.dtype('<u4'), np.dtype(np.float64): np.dtype('<u8')}


def import_bmxnet(symbol: str | os.PathLike, params: str | os.PathLike,
                  data_shape: Sequence[int]) -> gluon.SymbolBlock:
    """The network of the two files of a model of BMXNet 1, or of one of BMXNet 2 that is not packed, for `bmx.export`.

    Parameters
    ----------
    symbol : str or os.PathLike
        The symbol, X-symbol.json, as BMXNet's training or the converter of BMXNet 1 wrote it.
    params : str or os.PathLike
        Its parameters, X-0000.params: weights of binary layers packed in words of 32 or 64 bits, or float.
    data_shape : tuple of int
        Shape of an input, batch first, which the files do not tell.

    Returns
    -------
    gluon.SymbolBlock
        Float32, with one input, data. Its outputs are scores: a softmax at the end is left out.

    Raises
    ------
    FileNotFoundError
        A file is missing.
    LoadError
        A file is damaged, or they are not of one model, or not of one that takes such an input.
    ExportError
        What the model has that cannot be imported; the message names operators and nodes.
    """
    symbol, params = os.fspath(symbol), os.fspath(params)
    for path in (symbol, params):
        if not os.path.isfile(path):
            raise FileNotFoundError(f'{path} does not exist; a model of BMXNet is a symbol, X-symbol.json, and its '
                                    'parameters, X-0000.params')
    with open(symbol, 'rb') as stream:
        content = parse_json(stream.read(), f'{symbol} is not a symbol file of MXNet')
    translation = _Translation(read_arrays(params), params)
    try:
        graph = translation.graph(content)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, SyntaxError, TypeError) as error:
        raise LoadError(f'{symbol} is not a symbol file of MXNet, or damaged: {error}') from None
    graph = _with_data(read_graph(graph.to_json().encode(), symbol), translation.arrays, symbol, params)
    return _block(graph, translation.arrays, data_shape, f'{params} does not fit {symbol}')


class _Translation:
    """From the nodes of a symbol file to a graph of operators of MXNet and of this package.

    Attributes
    ----------
    arrays : dict of str to NDArray
        Parameters by name; weights of binary layers become float signs.
    """

    def __init__(self, arrays: Mapping[str, mx.nd.NDArray], params: str) -> None:
        self.arrays, self._params = dict(arrays), params
        self._refused: list[str] = []
        self._known = set(mx.operator.get_all_registered_operators())
        self._own = {'QActivation': self._activation, 'QConvolution': self._convolution,
                     'QConvolution_v1': self._convolution, 'QFullyConnected': self._dense,
                     # BMXNet 2 composes its layers of MXNet's operators and these
                     'det_sign': self._signs, 'approx_sign': self._signs, '_contrib_gradcancel': self._same}

    def graph(self, content: Any) -> Graph:
        """The graph of what a symbol file holds, without losses and what only these read."""
        entries: list[Entry] = []  # of each node the first output
        for node in content['nodes']:
            op, name, attrs = node['op'], node['name'], _attributes(node)
            inputs = [_entry(each, entries) for each in node['inputs']]
            if op == 'null':
                entries.append((Node('null', name), 0))
            elif op in self._own:
                entries.append(self._own[op](op, name, attrs, inputs))
            else:
                if op in PYTHON_OPERATORS:
                    self._refuse(op, name, 'runs Python code')
                elif op not in self._known:
                    self._refuse(op, name, 'no operator of MXNet 1.9.1')
                if op == 'BatchNorm' and len(inputs) == 3:  # before MXNet 0.9 its states were no inputs
                    inputs += [(Node('null', f'{name}_moving_{state}'), 0) for state in ('mean', 'var')]
                entries.append((Node(op, name, attrs, inputs), 0))
        if self._refused:
            raise ExportError('this model cannot be imported: ' + '; '.join(self._refused))
        heads = [_entry(each, entries) for each in content['heads']]
        return Graph([node.inputs[0] if node.op in _LOSSES else (node, index) for node, index in heads])

    def _refuse(self, op: str, name: str, why: str) -> None:
        self._refused.append(f'{name} ({op}): {why}')

    # What becomes of an operator, its name, attributes and inputs; where it was refused it does not matter.

    def _activation(self, op: str, name: str, attrs: dict[str, str], inputs: list[Entry]) -> Entry:
        if _value(attrs, 'act_bit', 1) != 1:
            self._refuse(op, name, f'activations of {attrs["act_bit"]} bits; only signs are imported')
        # with backward_only it is for the gradient: the layer that follows takes the signs
        return inputs[0] if _value(attrs, 'backward_only', False) else _sign(name, inputs[0])

    def _signs(self, op: str, name: str, attrs: dict[str, str], inputs: list[Entry]) -> Entry:
        return _sign(name, inputs[0])

    def _same(self, op: str, name: str, attrs: dict[str, str], inputs: list[Entry]) -> Entry:
        return inputs[0]  # it is for the gradient

    def _convolution(self, op: str, name: str, attrs: dict[str, str], inputs: list[Entry]) -> Entry:
        kernel, filters = tuple(_value(attrs, 'kernel', ())), _value(attrs, 'num_filter', 0)
        pad = tuple(_value(attrs, 'pad', ())) or (0,) * len(kernel)
        if len(kernel) != 2:
            self._refuse(op, name, f'a kernel of {len(kernel)} axes; only those of images are imported')
        if attrs.get('layout', 'None') not in ('None', 'NCHW'):
            self._refuse(op, name, f'layout {attrs["layout"]}')
        if _value(attrs, 'num_group', 1) != 1:
            self._refuse(op, name, f'{attrs["num_group"]} groups, which BMXNet does not compute packed')
        self._multiplies_signs(op, name, attrs)
        if self._refused:
            return inputs[0]
        taps = self._unpack(name, attrs, inputs[1][0], filters, kernel)
        own = {key: attrs[key] for key in ('kernel', 'stride', 'dilate', 'num_filter') if key in attrs}
        # BMXNet pads its float input with 0, of which the sign is +1
        inputs = [_sign(name + '_signs', inputs[0], pad), _sign(name + '_weight_signs', inputs[1])] + inputs[2:]
        return self._halved(Node('Convolution', name, dict(own, no_bias='True'), inputs[:2]), taps, inputs[2:], 2)

    def _dense(self, op: str, name: str, attrs: dict[str, str], inputs: list[Entry]) -> Entry:
        self._multiplies_signs(op, name, attrs)
        if self._refused:
            return inputs[0]
        taps = self._unpack(name, attrs, inputs[1][0], _value(attrs, 'num_hidden', 0))
        data = inputs[0]
        while data[0].op == 'Flatten':  # signs of an image are a convolution's input, and it flattens by itself
            data = data[0].inputs[0]
        product = Node('FullyConnected', name, {'num_hidden': attrs['num_hidden'], 'no_bias': 'True'},
                       [_sign(name + '_signs', data), _sign(name + '_weight_signs', inputs[1])])
        return self._halved(product, taps, inputs[2:], 0)

    def _multiplies_signs(self, op: str, name: str, attrs: dict[str, str]) -> None:
        """Refuse a layer that computes something else than products of signs."""
        for key, text in (('act_bit', 'activations'), ('weight_bit', 'weights')):
            if _value(attrs, key, 1) != 1:
                self._refuse(op, name, f'{text} of {attrs[key]} bits; only signs are imported')
        scaled = {key: attrs[key] for key in ('scaling_factor', 'scaling_mode')
                  if attrs.get(key, 'None') not in ('None', 'False', '0', 'none')}
        for key, value in scaled.items():
            self._refuse(op, name, f'{key}={value}; products that are not scaled are imported')

    def _unpack(self, name: str, attrs: Mapping[str, str], weight: Node, filters: int,
                kernel: tuple[int, ...] = ()) -> int:
        """Put float signs in the place of the words of a layer's weights; returns how many each filter has."""
        array = self.arrays.get(weight.name)
        if array is None:
            raise LoadError(f'{self._params} has no {weight.name}, the weights of {name}: is it of another model?')
        values, where = array.asnumpy(), f'{self._params}: {weight.name}, the weights of {name},'
        if filters < 1:
            raise LoadError(f'layer {name} has {filters} filters')
        if _value(attrs, 'binarized_weights_only', False):
            word = _WORDS.get(values.dtype)
            if word is None or values.ndim != 1:
                raise LoadError(f'{where} must be a row of words, in float32 those of 32 bits and in float64 those of '
                                f'64, got {values.dtype} {values.shape}')
            taps, rest = divmod(values.size * 8 * word.itemsize, filters)
            if rest or taps % (8 * word.itemsize) or taps % math.prod(kernel) or not taps:
                raise LoadError(f'{where} have {values.size} words of {8 * word.itemsize} bits, which do not fill '
                                f'{filters} filters of {"x".join(map(str, kernel)) or 1} taps')
            signs = np.unpackbits(values.view(word).view(np.uint8), bitorder='little').astype(np.float32) * 2 - 1
            if not kernel:  # of a dense layer word after word of each unit, not unit after unit
                signs = signs.reshape(-1, filters, 8 * word.itemsize).transpose(1, 0, 2)
            signs = signs.reshape((filters, -1) + kernel)
        else:
            signs = values
            if values.ndim != 2 + len(kernel) or len(values) != filters or values.shape[2:] != kernel:
                raise LoadError(f'{where} have the shape {values.shape}, which are not {filters} filters of '
                                f'{"x".join(map(str, kernel)) or 1} taps; does the symbol lack binarized_weights_only?')
        self.arrays[weight.name] = mx.nd.array(signs)
        return signs[0].size

    def _halved(self, product: Node, taps: int, bias: Sequence[Entry], axes: int) -> Entry:
        """(dot + K) / 2, how many signs are equal, plus a bias."""
        total = Node('_plus_scalar', product.name + '_counted', {'scalar': str(float(taps))}, [(product, 0)])
        total = Node('_mul_scalar', product.name + '_half', {'scalar': '0.5'}, [(total, 0)])
        for variable, _ in bias:
            value = self.arrays[variable.name]
            self.arrays[variable.name] = value.reshape((1, -1) + (1,) * axes)
            total = Node('broadcast_add', product.name + '_biased', {}, [(total, 0), (variable, 0)])
        return total, 0


def _attributes(node: Mapping[str, Any]) -> dict[str, str]:
    """Those of an operator: `attrs` since MXNet 1.0, `attr` before, and before 0.9 `param`, beside hints in `attr`."""
    found = {**(node.get('attr') or {}), **(node.get('attrs') or {})}
    found = {key: value for key, value in {**found, **(node.get('param') or {})}.items()
             if not key.startswith('__') and not key.endswith(_HINTS)}
    if not all(isinstance(text, str) for text in found.values()):
        raise TypeError(f'attributes of {node["name"]} are no texts')
    return found


def _value(attrs: Mapping[str, str], key: str, default: Any) -> Any:
    """An attribute as a value of the type of its default."""
    if key not in attrs:
        return default
    try:
        value = ast.literal_eval(attrs[key])
    except ValueError:
        value = None
    if not isinstance(value, (type(default), bool if isinstance(default, bool) else int)):
        raise TypeError(f'an attribute {key} cannot be {attrs[key]!r:.100}')
    return (value,) if isinstance(default, tuple) and isinstance(value, int) else value


def _entry(place: Sequence[int], entries: Sequence[Entry]) -> Entry:
    """The output that [node, output] or [node, output, version] names."""
    source, index = place[:2]
    if not 0 <= source < len(entries):
        raise IndexError(f'node {source} is read before it is there')
    node, first = entries[source]
    return node, first + index


def _sign(name: str, entry: Entry, pad: tuple[int, ...] = ()) -> Entry:
    """The signs of an output, with a border of +1; of signs, these themselves."""
    if entry[0].op == 'binarize' and 'pad' not in entry[0].attrs:
        entry = entry[0].inputs[0]
    border = {'pad': str(pad), 'pad_value': '1'} if any(pad) else {}
    return Node('binarize', name, {'estimator': 'clip', 'clip_threshold': '1', **border}, [entry]), 0


def _with_data(graph: Graph, arrays: Mapping[str, mx.nd.NDArray], symbol: str, params: str) -> Graph:
    """A graph whose one variable without a value is called data; refuses files that do not belong together."""
    variables = [node for node in graph.nodes if node.is_variable]
    inputs = [node for node in variables if node.name not in arrays]
    missing = [node.name for node in inputs if node.name != 'data']
    extra = sorted(set(arrays) - {node.name for node in variables})
    if len(inputs) != 1 or extra or len({node.name for node in variables}) < len(variables):
        raise LoadError(f'{params} is not of the model of {symbol}: beside its input the symbol reads '
                        f'{len(variables) - 1} parameters, {_listed(missing)} of them are not in the '
                        f'file, and the file has {_listed(extra)} others')
    inputs[0].name = 'data'
    return graph


def _listed(names: Sequence[str]) -> str:
    return f'{len(names)} ({", ".join(names[:3])}{", ..." if len(names) > 3 else ""})' if names else '0'


def _block(graph: Graph, arrays: Mapping[str, mx.nd.NDArray], data_shape: Sequence[int],
           complaint: str) -> gluon.SymbolBlock:
    graph.variable_shapes = {name: array.shape for name, array in arrays.items()}
    graph.variable_shapes['data'] = tuple(data_shape)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # MXNet prints the shapes that it could not go on with
            shapes = graph.infer_shapes()
    except mx.MXNetError as error:
        raise LoadError(f'{complaint}, or its input has another shape than {tuple(data_shape)}: '
                        f'{sentence(error)}') from None
    for name, array in arrays.items():
        if shapes[name, 0] != array.shape:  # of BatchNorm's MXNet looks at none
            raise LoadError(f'{complaint}: {name} has the shape {array.shape}, not {shapes[name, 0]}')
    try:
        return block(graph, arrays)
    except (mx.MXNetError, AssertionError, ValueError) as error:
        raise LoadError(f'{complaint}: {sentence(error)}') from None
