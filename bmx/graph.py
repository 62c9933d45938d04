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
        """Read a symbol, without its identities.

        Operators get unique names: Gluon repeats a name where a block is called twice.
        """
        content = json.loads(symbol.tojson())
        read, names = [], set()  # what the nodes of the symbol became: a node, or what an identity reads

        def entry(source, index, _):
            return read[source] if isinstance(read[source], tuple) else (read[source], index)

        for found in content['nodes']:
            if found.get('subgraphs'):
                raise ValueError('layer %s (operator %s) holds a graph of its own, which is not supported'
                                 % (found['name'], found['op']))
            inputs = [entry(*source) for source in found['inputs']]
            if found['op'] == '_copy':
                read.append(inputs[0])
                continue
            name, suffix = found['name'], 0
            while found['op'] != 'null' and name in names:
                suffix += 1
                name = '%s_%d' % (found['name'], suffix)
            names.add(name)
            read.append(Node(found['op'], name, found.get('attrs'), inputs))
        return cls([entry(*head) for head in content['heads']], variable_shapes)

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
