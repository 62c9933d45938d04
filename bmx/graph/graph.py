"""A network's symbol as a graph that Python can read and rewrite.

Accounting and deployment both work on it. Layers are recognised by their operators and attributes, never by name.
"""
from __future__ import annotations

import itertools
import json
import traceback
from numbers import Integral
from typing import Dict, Iterable, Mapping, Sequence, Tuple

import mxnet as mx

from .composed import compose_product, match_sign
from .node import Entry, Node

# The shape of each output, by the name of its node and its index.
Shapes = Dict[Tuple[str, int], Tuple[int, ...]]


class Graph:
    """The nodes of a symbol in topological order, and its outputs.

    Attributes
    ----------
    nodes : list of Node
    outputs : list of (Node, int)
    variable_shapes : dict of str to tuple
        Shapes of variables as far as they are known beforehand.
    """

    def __init__(self, outputs: Iterable[Entry], variable_shapes: Mapping[str, Sequence[int]] | None = None) -> None:
        self.outputs, self.variable_shapes = list(outputs), dict(variable_shapes or {})

    @classmethod
    def from_symbol(cls, symbol: mx.sym.Symbol, variable_shapes: Mapping[str, Sequence[int]] | None = None) -> Graph:
        """Read a symbol, without its identities; signs composed of built-in operators become `binarize`, and
        `binary_convolution` becomes the built-in operators that compute the same.

        Operators get unique names: Gluon repeats a name where a block is called twice.
        """
        content, shapes = json.loads(symbol.tojson()), variable_shapes or {}
        read, names = [], set()  # what the nodes of the symbol became: a node, or what an identity reads
        signs = {}  # those of products, by what they were and read: several products may read one

        def entry(source, index, _):
            return read[source] if isinstance(read[source], tuple) else (read[source], index)

        def unique(name):
            suffixed = itertools.chain([name], (f'{name}_{suffix}' for suffix in itertools.count(1)))
            return next(each for each in suffixed if each not in names)

        def make_sign(name, attrs, data):
            key = data, name, tuple(attrs.items())
            if key not in signs:
                signs[key] = Node('binarize', unique(name), attrs, [data])
                names.add(signs[key].name)
            return signs[key]

        for found in content['nodes']:
            if found.get('subgraphs'):
                raise ValueError(f'layer {found["name"]} (operator {found["op"]}) holds a graph of its own, which is '
                                 'not supported')
            inputs = [entry(*source) for source in found['inputs']]
            if found['op'] == '_copy':
                read.append(inputs[0])
                continue
            name = found['name'] if found['op'] == 'null' else unique(found['name'])
            names.add(name)
            node = Node(found['op'], name, found.get('attrs'), inputs)
            if '__shape__' in node.attrs and name in shapes:  # it may be the shape of a time when less was known
                node.attrs['__shape__'] = str(tuple(shapes[name]))
            sign = match_sign(node)
            if sign:
                data, attrs = sign
                attrs.update((key, value) for key, value in node.attrs.items() if key.startswith('__'))
                node = Node('binarize', name, attrs, [data])
            read.append(compose_product(node, make_sign) if node.op == 'binary_convolution' else node)
        return cls([entry(*head) for head in content['heads']], shapes)

    @classmethod
    def from_block(cls, block: mx.gluon.HybridBlock, data_shape: Sequence[int]) -> Graph:
        """Trace a Gluon block with one input, named data, of shape `data_shape`.

        The parameters of a block that was never called keep what is deferred of their shapes.

        Raises
        ------
        ValueError
            The block cannot be traced: it is not hybrid, decides by values, has another number of inputs, ...
        """
        if not isinstance(block, mx.gluon.HybridBlock):
            raise ValueError(f'{_described(block)} is not a HybridBlock; only a HybridBlock has a graph')
        if not (hasattr(data_shape, '__len__') and len(data_shape)
                and all(isinstance(size, Integral) and size >= 1 for size in data_shape)):
            raise ValueError('the shape of an input must be whole numbers of at least 1, the batch first, got '
                             f'{data_shape!r}')
        parameters = block.collect_params()
        if 'data' in parameters:
            raise ValueError(f'a parameter of {block.name} is called data, as its input is')
        try:
            with mx.autograd.pause(), mx.cpu():
                result = block(mx.sym.var('data'))
        except Exception as error:  # whatever the block's own code throws at a symbol
            if isinstance(error, mx.MXNetError) and not isinstance(error, mx.base.NotImplementedForSymbol):
                raise
            raise ValueError(_why_untraceable(block, error)) from error
        outputs = list(result) if isinstance(result, (list, tuple)) else [result]
        wrong = [_described(output) for output in outputs if not isinstance(output, mx.sym.Symbol)]
        if wrong or not outputs:
            raise ValueError(f'{_described(block)} has {(wrong or ["nothing"])[0]} among its outputs; return arrays '
                             'alone, in one flat tuple or list')
        symbol = mx.sym.Group(outputs) if len(outputs) > 1 else outputs[0]
        shapes = {name: parameter.shape for name, parameter in parameters.items()}
        return cls.from_symbol(symbol, _all_shapes(symbol, dict(shapes, data=tuple(data_shape)), block))

    def copy(self) -> Graph:
        """A graph of other nodes, which are the same."""
        copies = {}
        for node in self.nodes:
            copies[id(node)] = Node(node.op, node.name, node.attrs,
                                    [(copies[id(source)], index) for source, index in node.inputs])
        return Graph([(copies[id(node)], index) for node, index in self.outputs], self.variable_shapes)

    @property
    def nodes(self) -> list[Node]:
        """All nodes that the outputs need, producers first."""
        order, seen = [], set()
        stack = [(node, False) for node, _ in reversed(self.outputs)]
        while stack:
            node, ready = stack.pop()
            if ready:
                order.append(node)
            elif id(node) not in seen:
                seen.add(id(node))
                stack.append((node, True))
                stack.extend((source, False) for source, _ in reversed(node.inputs) if id(source) not in seen)
        return order

    def to_json(self) -> str:
        nodes = self.nodes
        index = {id(node): i for i, node in enumerate(nodes)}
        return json.dumps({
            'nodes': [dict(op=node.op, name=node.name, **({'attrs': node.attrs} if node.attrs else {}),
                           inputs=[[index[id(source)], i, 0] for source, i in node.inputs]) for node in nodes],
            'arg_nodes': [i for i, node in enumerate(nodes) if node.is_variable],
            'heads': [[index[id(node)], i, 0] for node, i in self.outputs],
            'attrs': {'mxnet_version': ['int', 10901]}}, indent=1)

    def to_symbol(self) -> mx.sym.Symbol:
        return mx.sym.load_json(self.to_json())

    def consumers(self) -> dict[int, list[Node]]:
        """Map id(node) to the nodes that read it, with repetition."""
        readers = {}
        for node in self.nodes:
            for source, _ in node.inputs:
                readers.setdefault(id(source), []).append(node)
        return readers

    def replace(self, old: Node, new: Node, output: int = 0) -> None:
        """Let everything that reads output 0 of `old` read an output of `new`."""
        def replaced(entries):
            return [(new, output) if source is old and index == 0 else (source, index) for source, index in entries]

        for node in self.nodes:
            node.inputs = replaced(node.inputs)
        self.outputs = replaced(self.outputs)

    def constants(self) -> set[int]:
        """The ids of the nodes that depend on parameters alone, neither on the data nor on running statistics."""
        auxiliary = set(self.to_symbol().list_auxiliary_states())
        found = set()
        for node in self.nodes:
            if node.is_variable:
                constant = node.name != 'data' and node.name not in auxiliary
            else:
                constant = bool(node.inputs) and all(id(producer) in found for producer, _ in node.inputs)
            if constant:
                found.add(id(node))
        return found

    def infer_shapes(self) -> Shapes:
        """The shape of each output: a dict of (name of the node, index of its output) to tuple."""
        internals = self.to_symbol().get_internals()
        known = {node.name: self.variable_shapes[node.name] for node in self.nodes
                 if node.is_variable and node.name in self.variable_shapes}
        _, shapes, _ = internals.infer_shape(**known)
        found = {}
        for output, shape in zip(internals, shapes):
            index = 0
            while (output.name, index) in found:
                index += 1
            found[output.name, index] = shape
        return found


def without_prefix(name: str, prefix: str) -> str:
    """A node's name without the prefix of its network, which parameters that came from elsewhere do not have."""
    return name[len(prefix):] if name.startswith(prefix) else name


def _all_shapes(symbol, shapes, block):
    """The shapes of a symbol's variables, those that are not all known inferred from the others."""
    def known(shape):
        return bool(shape) and all(size > 0 for size in shape)

    names = symbol.list_arguments() + symbol.list_auxiliary_states()
    found = {name: shapes[name] for name in names if known(shapes.get(name))}
    if len(found) < len(names):
        arguments, _, auxiliary = symbol.infer_shape_partial(**found)
        found = dict(zip(names, arguments + auxiliary))
        unknown = [name for name in names if not known(found[name])]
        if unknown:
            raise ValueError(f'{_described(block)}: the shapes of {", ".join(unknown)} do not follow from an input of '
                             f'shape {shapes["data"]}; say them where the layers are built')
    return found


def _described(value):
    """A block by its name and class, anything else by its class."""
    kind = type(value).__name__
    return f'{value.name} ({kind})' if isinstance(value, mx.gluon.Block) else 'a ' + kind


def _why_untraceable(block, error):
    """Which block inside of `block` threw an error at a symbol, and what to do."""
    place = block
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get('self')
        place = owner if isinstance(owner, mx.gluon.Block) else place
    advice = ''
    if 'Symbol' in str(error):  # an operation that only arrays have
        advice = ('; in a graph data has neither values nor a shape: compute with the operators of F alone, and choose '
                  'by value with F.where')
    return (f'{block.name} cannot be traced to a graph of one input: {_described(place)}: '
            f'{" ".join(str(error).split())}{advice}')
