"""Whether a symbol file is what libmxnet takes for granted: it trusts a graph's indices, and crashes on wrong ones."""
import ctypes
from typing import Any

import mxnet as mx
from mxnet.base import _LIB, c_str, check_call
from mxnet.symbol._internal import _symbol_creator

from ..graph import Graph, Node
from ..io.description import parse_json
from ..io.storage import LoadError, sentence

# Operators that run Python code.
PYTHON_OPERATORS = ('Custom', '_CustomFunction')
# Operators that hold a graph or a pointer of the process that made them.
_BOUND_OPERATORS = ('_CachedOp', '_FusedOp', '_FusedOpHelper', '_FusedOpOutHelper', '_NDArray', '_Native', '_TVMOp',
                    '_TensorRT', '_cond', '_foreach', '_while_loop')
# Attributes whose numbers operators divide by without looking.
_DIVISORS = ('dilate', 'kernel', 'num_args', 'num_filter', 'num_group', 'num_hidden', 'num_outputs', 'stride')


def read_graph(text: bytes, where: str) -> Graph:
    """The graph of a symbol file's text, checked.

    Parameters
    ----------
    text : bytes
    where : str
        The file's name, for errors.

    Returns
    -------
    Graph
        What it writes with `to_json` is safe for MXNet to read.

    Raises
    ------
    LoadError
        It is not the graph of known operators on results that exist.
    """
    content = parse_json(text, f'{where} is not a symbol file of MXNet')
    try:
        return _read(content)
    except (ValueError, KeyError, TypeError, IndexError, mx.MXNetError) as error:
        raise LoadError(f'{where} is not a symbol file of MXNet, or damaged: {sentence(error)}') from None


def _read(content: Any) -> Graph:
    nodes, outputs, variables = [], [], set()
    signatures = {}
    for position, entry in enumerate(_list(content, 'nodes')):
        unknown = set(entry) - {'op', 'name', 'attrs', 'inputs'} if isinstance(entry, dict) else {type(entry).__name__}
        if unknown:
            raise ValueError(f'node {position} has {", ".join(sorted(unknown))}')
        op, name, attrs = entry['op'], entry['name'], entry.get('attrs', {})
        if not isinstance(attrs, dict) or not all(
                isinstance(text, str) for text in [op, name] + list(attrs.values())) or not op or not name:
            raise ValueError(f'node {position} must have texts for op, name and attrs')
        node = _checked(Node(op, name, attrs, [_entry(each, nodes, outputs) for each in _list(entry, 'inputs')]))
        if node.is_variable:
            if node.inputs or name in variables:
                raise ValueError(f'variable {name} has inputs, or is not the only one of its name')
            variables.add(name)
            _check_variable(node)
        else:
            key = op, len(node.inputs), tuple(sorted(attrs.items()))
            if key not in signatures:
                signatures[key] = _count_outputs(node)
        nodes.append(node)
        outputs.append(1 if node.is_variable else signatures[key])
    heads = [_entry(each, nodes, outputs) for each in _list(content, 'heads')]
    if not heads:
        raise ValueError('it has no outputs')
    return Graph(heads)


def _checked(node: Any) -> Node:
    """A reshape to given sizes as the operator that looks whether the values are as many.

    MXNet's `Reshape` does not, and writes beyond its memory; files before format 4 have it.
    """
    shape = node.attr('shape')
    if (node.op != 'Reshape' or set(node.attrs) != {'shape'} or not isinstance(shape, tuple)
            or not all(type(size) is int and size >= -1 for size in shape)):
        return node
    return Node('_npx_reshape', node.name, {'newshape': str(tuple(size or -2 for size in shape))}, node.inputs)


def _list(content: Any, key: str) -> list:
    if not isinstance(content, dict) or not isinstance(content.get(key), list):
        raise ValueError(f'there must be a list of {key}')
    return content[key]


def _entry(entry, nodes, outputs):
    """The node and the index of its output that [node, output, version] names: one before it."""
    if not isinstance(entry, list) or len(entry) not in (2, 3) or any(type(number) is not int for number in entry):
        raise ValueError('an input or output must be three whole numbers')
    source, index = entry[:2]
    if not 0 <= source < len(nodes) or not 0 <= index < outputs[source]:
        raise ValueError(f'output {index} of node {source} is read, which does not exist there')
    return nodes[source], index


def _check_variable(node: Node) -> None:
    shape, dtype = node.attr('__shape__', ()), node.attr('__dtype__', 0)
    if not isinstance(shape, tuple) or not all(type(size) is int and -1 <= size < 2 ** 31 for size in shape):
        raise ValueError(f'variable {node.name} cannot have the shape {node.attrs["__shape__"]}')
    if type(dtype) is not int or not -1 <= dtype <= 7:
        raise ValueError(f'variable {node.name} cannot have the type {node.attrs["__dtype__"]}')


def _count_outputs(node: Node) -> int:
    """How many outputs an operator has, after a look at its attributes and the number of its inputs."""
    if node.op in PYTHON_OPERATORS + _BOUND_OPERATORS or node.op.startswith('_sg_'):
        raise ValueError(f'{node.op} is an operator that no file can hold')
    attrs = {key: value for key, value in node.attrs.items() if not key.startswith('__')}
    for key in _DIVISORS:
        numbers = node.attr(key, ())
        numbers = numbers if isinstance(numbers, tuple) else (numbers,)
        if key in attrs and not all(number is None or type(number) is int and number >= 1 for number in numbers):
            raise ValueError(f'operator {node.name} cannot have {key}={attrs[key]}')
    handle = ctypes.c_void_p()
    check_call(_LIB.NNGetOpHandle(c_str(node.op), ctypes.byref(handle)))
    inputs = [mx.sym.var(f'input{index}') for index in range(len(node.inputs))]
    symbol = _symbol_creator(handle.value, inputs, {}, list(attrs), list(attrs.values()), 'node', False)
    if len(symbol.list_inputs()) != len(inputs):
        raise ValueError(f'operator {node.name} has {len(inputs)} inputs and needs {len(symbol.list_inputs())}')
    return len(symbol.list_outputs())
