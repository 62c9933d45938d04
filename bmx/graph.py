"""A network's symbol as a graph that Python can read and rewrite.

Accounting and deployment both work on it. Layers are recognised by their operators and attributes, never by name.
"""
import ast
import json

import mxnet as mx


class Node:
    """An operator or (op == 'null') a variable.

    Attributes
    ----------
    op, name : str
    attrs : dict of str to str
    inputs : list of (Node, int)
        Producer and index of its output.
    """

    def __init__(self, op, name, attrs=None, inputs=()):
        self.op, self.name, self.attrs, self.inputs = op, name, dict(attrs or {}), list(inputs)

    @property
    def is_variable(self):
        return self.op == 'null'

    def input(self, index):
        return self.inputs[index][0]

    def attr(self, key, default=None):
        """An attribute as a Python value: number, bool, tuple or string."""
        if key not in self.attrs:
            return default
        try:
            return ast.literal_eval(self.attrs[key])
        except (ValueError, SyntaxError):
            return self.attrs[key]

    def __repr__(self):
        return '%s(%s)' % (self.op, self.name)


class Graph:
    """The nodes of a symbol in topological order, and its outputs.

    Attributes
    ----------
    nodes : list of Node
    outputs : list of (Node, int)
    variable_shapes : dict of str to tuple
        Shapes of variables as far as they are known beforehand.
    """

    def __init__(self, outputs, variable_shapes=None):
        self.outputs, self.variable_shapes = list(outputs), dict(variable_shapes or {})

    @classmethod
    def from_symbol(cls, symbol, variable_shapes=None):
        """Read a symbol. Operators get unique names: Gluon repeats a name where a block is called twice."""
        content = json.loads(symbol.tojson())
        nodes, names = [], set()
        for entry in content['nodes']:
            if entry.get('subgraphs'):
                raise ValueError('layer %s (operator %s) holds a graph of its own, which is not supported'
                                 % (entry['name'], entry['op']))
            name, suffix = entry['name'], 0
            while entry['op'] != 'null' and name in names:
                suffix += 1
                name = '%s_%d' % (entry['name'], suffix)
            names.add(name)
            nodes.append(Node(entry['op'], name, entry.get('attrs'),
                              [(nodes[source], index) for source, index, _ in entry['inputs']]))
        return cls([(nodes[source], index) for source, index, _ in content['heads']], variable_shapes)

    @classmethod
    def from_block(cls, block, data_shape):
        """Trace a Gluon block with one input, named data, of shape `data_shape`.

        The parameters of a block that was never called keep what is deferred of their shapes.

        Raises
        ------
        ValueError
            The block cannot be traced: it is not hybrid, decides by values, has another number of inputs, ...
        """
        if not isinstance(block, mx.gluon.HybridBlock):
            raise ValueError('%s is a %s; only a HybridBlock has a graph' % (block.name, type(block).__name__))
        parameters = block.collect_params()
        if 'data' in parameters:
            raise ValueError('a parameter of %s is called data, as its input is' % block.name)
        declared = [(parameter, parameter.shape) for parameter in parameters.values()]
        try:
            with mx.autograd.pause(), mx.cpu():
                if any(shape is None or 0 in shape for _, shape in declared):
                    block.infer_shape(mx.nd.zeros(data_shape))
                    block._clear_cached_op()
                symbol = block(mx.sym.var('data'))
            shapes = dict({name: parameter.shape for name, parameter in parameters.items()}, data=tuple(data_shape))
        except mx.MXNetError:
            raise
        except Exception as error:  # whatever the block's own code throws at a symbol
            raise ValueError('%s cannot be traced to a graph of one input: %s' % (block.name, error)) from error
        finally:
            for parameter, shape in declared:
                parameter._shape = shape
        return cls.from_symbol(mx.sym.Group(list(symbol)) if isinstance(symbol, (list, tuple)) else symbol, shapes)

    @property
    def nodes(self):
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

    def to_json(self):
        nodes = self.nodes
        index = {id(node): i for i, node in enumerate(nodes)}
        return json.dumps({
            'nodes': [dict(op=node.op, name=node.name, **({'attrs': node.attrs} if node.attrs else {}),
                           inputs=[[index[id(source)], i, 0] for source, i in node.inputs]) for node in nodes],
            'arg_nodes': [i for i, node in enumerate(nodes) if node.is_variable],
            'heads': [[index[id(node)], i, 0] for node, i in self.outputs],
            'attrs': {'mxnet_version': ['int', 10901]}}, indent=1)

    def to_symbol(self):
        return mx.sym.load_json(self.to_json())

    def consumers(self):
        """Map id(node) to the nodes that read it, with repetition."""
        readers = {}
        for node in self.nodes:
            for source, _ in node.inputs:
                readers.setdefault(id(source), []).append(node)
        return readers

    def replace(self, old, new, output=0):
        """Let everything that reads output 0 of `old` read an output of `new`."""
        def replaced(entries):
            return [(new, output) if source is old and index == 0 else (source, index) for source, index in entries]

        for node in self.nodes:
            node.inputs = replaced(node.inputs)
        self.outputs = replaced(self.outputs)

    def constants(self):
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

    def infer_shapes(self):
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


def _entry(node, index=0):
    """What feeds an input, a node and the index of its output, looking through identities."""
    entry = node.inputs[index]
    while entry[0].op in ('identity', '_copy'):
        entry = entry[0].inputs[0]
    return entry


def source(node, index=0):
    """The node that feeds an input, looking through identities."""
    return _entry(node, index)[0]


class BinaryProduct:
    """A convolution or dense layer that a float operator computes on binarized weights.

    Attributes
    ----------
    node : Node
        The Convolution or FullyConnected.
    weight : Node
        The variable whose sign is used.
    activation : Node or None
        The `binarize` or `residual_binarize` node of the input; None where the input is not binary (such a layer stays
        float).
    pad : tuple of int
        Padding of each spatial axis, from the operator, the Pad before it or the `activation`.
    pad_value : float
        What the padding holds.
    """

    def __init__(self, node, weight, activation, pad, pad_value):
        self.node, self.weight, self.activation = node, weight, activation
        self.pad, self.pad_value = pad, pad_value


PRODUCTS = ('Convolution', 'FullyConnected')


def match_binary_product(node):
    """Describe a node as a `BinaryProduct`, or return None if its weights are not binarized."""
    if node.op not in PRODUCTS:
        return None
    sign = source(node, 1)
    if sign.op != 'binarize' or not source(sign).is_variable:
        return None
    entry, pad, pad_value = _activation(node)
    activation = entry[0]
    if not _are_signs(*entry):
        return BinaryProduct(node, source(sign), None, pad, pad_value)
    border = _border(activation)
    if border:
        if any(pad) or len(border) > len(pad):  # padded twice, or not along the axes of an image
            return BinaryProduct(node, source(sign), None, pad, pad_value)
        pad, pad_value = (0,) * (len(pad) - len(border)) + border, float(activation.attr('pad_value', -1))
    return BinaryProduct(node, source(sign), activation, pad, pad_value)


def _activation(node):
    """What computes the input of a product (a node, index of its output), the padding between them, what it holds."""
    data, pad, pad_value = _entry(node), (), 0
    if node.op == 'Convolution':
        pad = tuple(node.attr('pad', ())) or (0,) * len(node.attr('kernel'))
        if not any(pad):
            data, pad, pad_value = _look_through_padding(data, pad)
    return _look_through_reshapes(data) if node.op == 'FullyConnected' else data, pad, pad_value


_BITS = {2 ** bits - 1: bits for bits in range(2, 9)}


def _are_signs(node, output):
    return node.op == 'binarize' or (node.op == 'residual_binarize' and output == 0)


def _bits(node, output=0):
    """Bits of what a node computes: 1 of signs, k of the 2^k levels of DoReFa-Net's rounding, else 32."""
    if _are_signs(node, output):
        return 1
    while node.op in ('_mul_scalar', '_minus_scalar'):  # weights lie between -1 and 1
        node = node.input(0)
    if node.op == '_div_scalar' and node.input(0).op == '_contrib_round_ste':
        steps, scaled = node.attr('scalar'), node.input(0).input(0)
        if scaled.op == '_mul_scalar' and scaled.attr('scalar') == steps:
            clip = scaled.input(0)
            if clip.op == 'clip' and (clip.attr('a_min'), clip.attr('a_max')) == (0, 1):
                return _BITS.get(steps, 32)
    return 32


def product_bits(node):
    """Bits of the weights and of the input of a Convolution or FullyConnected, 32 where they are float."""
    return _bits(source(node, 1)), _bits(*_activation(node)[0])


def _border(sign):
    """The padding that an operator of signs puts around its last axes; empty if there is none."""
    pad = sign.attr('pad', ())
    pad = (pad,) if isinstance(pad, int) else tuple(pad)
    return pad if any(pad) else ()


def why_float(node, product, graph):
    """Why a Convolution or FullyConnected cannot run on `xnor_popcount`, as text; None if it can.

    Parameters
    ----------
    node : Node
    product : BinaryProduct or None
        Result of `match_binary_product`.
    graph : Graph
        That of the node.
    """
    weight_bits, input_bits = product_bits(node)
    if weight_bits > 1:
        return 'its weights are not binary' if weight_bits == 32 else 'its weights have %d bits' % weight_bits
    if input_bits > 1:
        return 'its input is not binary' if input_bits == 32 else 'its input has %d bits' % input_bits
    if product is None:
        return 'its weights are signs of something computed'
    if product.activation is None:
        return 'its input has a border that is not its padding'
    if node.attr('layout') not in (None, 'None', 'NCW', 'NCHW'):
        return 'its layout is %s' % node.attr('layout')
    if node.op == 'Convolution' and len(node.attr('kernel')) > 2:
        return 'it has more than two spatial axes'
    if product.pad_value not in (-1, 0, 1):
        return 'it pads with %g' % product.pad_value
    if len(node.inputs) > 2:
        return 'its bias is added inside the product'
    if product.activation.op == 'residual_binarize' and find_sum(product, graph) is None:
        return 'the products of its binarizations are not added up, each with its scale, as by the layers of bmx.nn'
    return None


def find_sum(product, graph):
    """The node of the sum of alpha_i times term i of a product behind `residual_binarize`, added in the order of i.

    Parameters
    ----------
    product : BinaryProduct
        Its `activation` is a `residual_binarize`.
    graph : Graph

    Returns
    -------
    Node or None
        None where something else becomes of the terms, or something else than this sum reads them.
    """
    node, activation = product.node, product.activation
    axes = len(node.attr('kernel')) if node.op == 'Convolution' else 0
    if node.op == 'FullyConnected' and (source(node) is not activation or not node.attr('flatten', True)):
        return None
    readers, outputs = graph.consumers(), {id(output) for output, _ in graph.outputs}

    def follow(node, op):
        """The node that alone reads a node, if it has that operator."""
        found = readers.get(id(node), [])
        return found[0] if id(node) not in outputs and len(found) == 1 and found[0].op == op else None

    terms = activation.attr('binarizations', 1)
    last = follow(node, 'Reshape')
    node = last if last is not None and last.attr('shape') == (0,) * (2 + axes) else node
    found = readers.get(id(node), [])
    if id(node) in outputs or len(found) != 1 or not _splits(found[0], terms, False) or terms < 2:
        return None
    split, total = found[0], None
    if id(split) in outputs or len(readers.get(id(split), [])) != terms:
        return None
    for term in range(terms):
        scaled = next((reader for reader in readers[id(split)] if reader.inputs[0] == (split, term)), None)
        if scaled is None or scaled.op != 'broadcast_mul' or not _is_scale(scaled.input(1), activation, term, axes):
            return None
        if total is None:
            total = scaled
        else:
            added = follow(total, 'elemwise_add')
            if added is None or follow(scaled, 'elemwise_add') is not added or added.inputs[0] != (total, 0):
                return None
            total = added
    return total


def _splits(node, count, squeezes):
    """Whether a node splits its first axis, and drops it or not."""
    return (node.op == 'SliceChannel' and node.attr('axis', 1) == 0 and node.attr('num_outputs') == count
            and bool(node.attr('squeeze_axis', False)) == squeezes)


def _is_scale(node, activation, term, axes):
    """Whether a node is the scale of a term of `residual_binarize`, (N, 1, ...)."""
    if node.op != 'Reshape' or node.attr('shape') != (-1, 1) + (1,) * axes or node.attr('reverse'):
        return False
    split, output = node.inputs[0]
    return (_splits(split, activation.attr('binarizations', 1), True) and output == term
            and split.inputs[0] == (activation, 1))


def _look_through_padding(data, pad):
    """What is before a constant Pad of the spatial axes, with its padding; `data` itself if there is none.

    A one-dimensional convolution pads between expand_dims and squeeze.
    """
    node, squeezed = data[0], False
    if node.op == 'squeeze':
        node, squeezed = node.input(0), True
    if node.op != 'Pad' or node.attr('mode') != 'constant':
        return data, pad, 0
    width = node.attr('pad_width')
    before, after = width[0::2], width[1::2]
    spatial = before[3:] if squeezed else before[2:]
    if before != after or any(before[:2]) or len(spatial) != len(pad) or (squeezed and before[2]):
        return data, pad, 0
    before = node.inputs[0]
    if squeezed:
        if before[0].op != 'expand_dims':
            return data, pad, 0
        before = before[0].inputs[0]
    return before, tuple(spatial), float(node.attr('constant_value', 0))


def _look_through_reshapes(entry):
    while entry[0].op in ('Flatten', 'flatten', 'Reshape', 'reshape'):
        entry = entry[0].inputs[0]
    return entry
