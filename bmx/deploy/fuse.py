"""Fuse binary layers and what runs between them to `binary_subgraph` nodes, so that features are not copied.

A region of the lowered graph becomes a program: binary convolutions and maps (elementwise steps and pooling) on
tensors. Concatenations and slices vanish: a value is a list of slices of tensors.
"""
import math

import numpy as np

from ..graph import Node
from .regions import find_regions, is_identity
from .variables import Variables, used_parameters

# Sums of binary products within this are kept as int16.
_INT16_MAX = 2 ** 15 - 1


def fuse(graph, params, shapes):
    """Replace regions of a lowered graph by `binary_subgraph` nodes that compute the same, bit for bit.

    Parameters
    ----------
    graph : Graph
        Result of `lower`; changed in place.
    params : dict of str to NDArray
        Its parameters.
    shapes : dict
        `Graph.infer_shapes` of it.

    Returns
    -------
    dict of str to NDArray
        The parameters of the fused graph.
    """
    params, shapes = dict(params), dict(shapes)
    variables = Variables(params)
    for region in find_regions(graph, shapes):
        if any(node.op == 'xnor_popcount' for node in region) or sum(node.op != 'clip' for node in region) > 1:
            _Program(graph, region, params, shapes, variables).replace()
    _drop_identities(graph)
    return used_parameters(graph, params)


def _drop_identities(graph):
    """A convolution computes the same from any layout, and a program's results are in the plain one."""
    readers = graph.consumers()
    for node in graph.nodes:
        if is_identity(node) and all(reader.op == 'Convolution' for reader in readers.get(id(node), [node])):
            graph.replace(node, node.input(0), node.inputs[0][1])


def _match_shuffle(node, readers, outputs, channels):
    """The last node and the groups of the channel shuffle that alone reads a node; None if there is none."""
    chain = []
    for op in ('Reshape', 'SwapAxis', 'Reshape'):
        if id(node) in outputs or [reader.op for reader in readers.get(id(node), [])] != [op]:
            return None
        node = readers[id(node)][0]
        chain.append(node)
    split, swap, join = chain
    shape = split.attr('shape', ())
    if (len(shape) != 5 or shape[:2] + shape[3:] != (0, -4, -1, -2) or channels % shape[2]
            or (swap.attr('dim1'), swap.attr('dim2')) != (1, 2) or join.attr('shape') != (0, -3, -2)
            or split.attr('reverse') or join.attr('reverse')):
        return None
    return join, shape[2]


class _Tensor:
    """What an instruction writes, or an input of the program (without a producer)."""

    def __init__(self, shape, producer=None, name=None):
        self.channels, self.size, self.producer, self.name = shape[1], shape[2:], producer, name
        self.kind, self.bound = 'planar', math.inf

    @property
    def bytes(self):
        return self.channels * self.size[0] * self.size[1] * (2 if self.kind == 'int16' else 4)


class _Slice:
    """Channels [begin, end) of a tensor."""

    def __init__(self, tensor, begin, end):
        self.tensor, self.begin, self.end = tensor, begin, end

    def __str__(self):
        return '%s[%d:%d]' % (self.tensor.name, self.begin, self.end)


class _Instruction:
    """A binary convolution ('conv') or a map; steps are (name, operand), an operand a variable, a slice or None."""

    def __init__(self, kind, sources, shape, options=()):
        self.kind, self.sources, self.options = kind, sources, dict(options)
        self.before, self.pool, self.steps, self.shuffle = [], {}, [], None
        self.out = _Tensor(shape, self)

    @property
    def inputs(self):
        """Tensors that it reads before its steps, in order."""
        return [piece.tensor for piece in self.sources] + _summands(self.before)

    @property
    def reads(self):
        """All tensors that it reads, in order."""
        return self.inputs + _summands(self.steps)


class _Program:
    def __init__(self, graph, region, params, shapes, variables):
        self.graph, self.region, self.params, self.shapes, self.variables = graph, region, params, shapes, variables
        self.members = {id(node) for node in region}
        self.readers, self.outputs = graph.consumers(), {id(node) for node, _ in graph.outputs}
        self.data, self.parameters = [], []  # entries of the node's inputs
        self.tensors, self.values = {}, {}   # of data by id of the producer; slices by id of the node
        self.instructions = []

    def replace(self):
        """Put one node in the place of the region."""
        for node in self.region:
            self.values[id(node)] = _merge(getattr(self, '_fuse_' + node.op)(node))
        outputs = [node for node in self.region if id(node) in self.outputs
                   or any(id(reader) not in self.members for reader in self.readers.get(id(node), []))]
        written = [piece.tensor for node in outputs for piece in self.values[id(node)]]
        for index, node in enumerate(outputs):
            outputs[index] = self._write_output(node, 'y%d' % index, written)
        for instruction in self.instructions:
            _choose_kind(instruction)
        _assign_slots(self.instructions)
        program = '; '.join(self._text(instruction) for instruction in self.instructions)
        attrs = {'program': program, 'num_data': str(len(self.data)), 'num_outputs': str(len(outputs))}
        fused = Node('binary_subgraph', self.region[-1].name + '_fused', attrs,
                     self.data + [(node, 0) for node in self.parameters])
        for index, node in enumerate(outputs):
            self.graph.replace(node, fused, index)
            self.shapes[fused.name, index] = self.shapes[node.name, 0]

    # values

    def _value(self, node, position):
        """The slices that an input of a node reads."""
        producer, index = node.inputs[position]
        if id(producer) in self.members:
            return self.values[id(producer)]
        key = id(producer), index
        if key not in self.tensors:
            self.tensors[key] = _Tensor(self.shapes[producer.name, index], name='x%d' % len(self.data))
            self.data.append((producer, index))
        tensor = self.tensors[key]
        return [_Slice(tensor, 0, tensor.channels)]

    def _channels(self, node):
        """Channels of a node's first input."""
        return sum(piece.end - piece.begin for piece in self._value(node, 0))

    def _owner(self, node, position):
        """The instruction whose whole output this input is, and which nothing else reads; None if there is none."""
        producer = node.input(position)
        value = self._value(node, position)
        tensor = value[0].tensor
        if tensor.producer is None or (value[0].begin, value[0].end) != (0, tensor.channels) or len(value) > 1:
            return None
        while self._is_read_once(producer):
            if producer.op not in ('clip', 'slice_axis', 'Concat'):
                return tensor.producer
            if len(producer.inputs) > 1:
                break
            producer = producer.input(0)
        return None

    def _is_read_once(self, node):
        return id(node) not in self.outputs and len(self.readers.get(id(node), [])) == 1

    def _new(self, kind, sources, node, options=()):
        instruction = _Instruction(kind, sources, self.shapes[node.name, 0], options)
        self.instructions.append(instruction)
        return instruction

    def _write_output(self, node, name, written):
        """Let an instruction write the result of a node; returns the node, or the last of the shuffle behind it.

        `written` lists the tensors of all outputs' values. Only what nothing else reads is written by the instruction
        that computes it; other results are copied.
        """
        value = self.values[id(node)]
        tensor = value[0].tensor
        shuffle = _match_shuffle(node, self.readers, self.outputs, self.shapes[node.name, 0][1])
        read = tensor.producer is None or written.count(tensor) > 1 or any(
            tensor in instruction.reads for instruction in self.instructions)
        whole = len(value) == 1 and (value[0].begin, value[0].end) == (0, tensor.channels)
        if read or not whole or (shuffle and tensor.producer.kind != 'map'):
            tensor = self._new('map', value, node).out
        tensor.name = name
        if not shuffle:
            return node
        tensor.producer.shuffle = shuffle[1]
        return shuffle[0]

    def _parameter(self, node):
        """A parameter's variable, as an input of the program."""
        if not any(known is node for known in self.parameters):
            self.parameters.append(node)
        return node

    # operators: each returns the slices of its result

    def _fuse_clip(self, node):
        return self._value(node, 0)

    def _fuse_Concat(self, node):
        return [piece for position in range(len(node.inputs)) for piece in self._value(node, position)]

    def _fuse_slice_axis(self, node):
        begin, end, _ = slice(node.attr('begin'), node.attr('end')).indices(self._channels(node))
        found, first = [], 0
        for piece in self._value(node, 0):
            low, high = max(begin, first), min(end, first + piece.end - piece.begin)
            if low < high:
                found.append(_Slice(piece.tensor, piece.begin + low - first, piece.begin + high - first))
            first += piece.end - piece.begin
        return found

    def _fuse_xnor_popcount(self, node):
        options = {key: _numbers(node.attr(key)) for key in ('kernel', 'stride', 'pad', 'dilate') if key in node.attrs}
        options.update(filters=node.attr('num_filter'), groups=node.attr('num_group', 1),
                       pad_value=node.attr('pad_value', -1), weight=self._parameter(node.input(1)))
        if len(node.inputs) > 2:
            options['threshold'] = self._parameter(node.input(2))
        scaled = node.attr('binarizations', 1) > 1
        if scaled:
            options['binarizations'] = node.attr('binarizations')
        instruction = self._new('conv', self._value(node, 0), node, options)
        if not scaled:  # every product is +1 or -1
            instruction.out.bound = math.prod(node.attr('kernel')) * (self._channels(node) // options['groups'])
        return _whole(instruction)

    def _elementwise(self, node, step, operand=None, position=0):
        """Append a step to the instruction that computes the input, or make one."""
        instruction = self._owner(node, position)
        if instruction is None:
            instruction = self._new('map', self._value(node, position), node)
        elif isinstance(operand, _Slice):  # the operand may be computed later than the instruction
            self.instructions.remove(instruction)
            self.instructions.append(instruction)
        instruction.steps.append((step, operand))
        return _whole(instruction)

    def _fuse_elemwise_add(self, node):
        # where one summand is an instruction's own result, the other is added to it
        first, second = (self._owner(node, position) for position in (0, 1))
        own = 1 if first is None or (second is not None and second.kind == 'conv') else 0
        other = self._value(node, 1 - own)
        if len(other) > 1:
            other = _whole(self._new('map', other, node))
        return self._elementwise(node, 'plus', other[0], own)

    def _fuse_BatchNorm(self, node):
        gamma, beta, mean, variance = (self.params[producer.name].asnumpy() for producer, _ in node.inputs[1:])
        if node.attr('fix_gamma', True):
            gamma = np.ones_like(gamma)
        scale = gamma / np.sqrt(variance + np.float32(node.attr('eps', 1e-3)))  # as oneDNN, in float32
        norm = self.variables.make(node.name + '_norm', np.stack([mean, scale, beta]),
                                   [node.input(1), node.input(2)])
        return self._elementwise(node, 'norm', self._parameter(norm))

    def _fuse_relu(self, node):
        return self._elementwise(node, 'relu')

    _fuse_Activation = _fuse_relu

    def _fuse_LeakyReLU(self, node):
        return self._elementwise(node, 'prelu', self._parameter(node.input(1)))

    def _fuse_channelwise(self, node):
        step = {'scale': 'mul', 'prelu': 'prelu'}[node.attr('kind')]
        return self._elementwise(node, step, self._parameter(node.input(1)))

    def _fuse_broadcast_mul(self, node):
        return self._channelwise(node, 'mul')

    def _fuse_broadcast_add(self, node):
        return self._channelwise(node, 'add')

    def _fuse__mul_scalar(self, node):
        value = np.full(self._channels(node), node.attr('scalar'), np.float32)
        return self._elementwise(node, 'mul', self._parameter(self.variables.make(node.name + '_channels', value, [])))

    def _channelwise(self, node, step):
        value = self.params[node.input(1).name].asnumpy().reshape(-1)
        channels = self.variables.make(node.input(1).name + '_channels', value, [node.input(1)])
        return self._elementwise(node, step, self._parameter(channels))

    def _fuse_Pooling(self, node):
        instruction = self._owner(node, 0)
        if instruction is None or instruction.kind != 'map' or instruction.pool:
            instruction = self._new('map', self._value(node, 0), node)
        instruction.before, instruction.steps = instruction.steps, []
        instruction.pool = {key: _numbers(node.attr(key) or default)
                            for key, default in (('kernel', None), ('stride', (1, 1)), ('pad', (0, 0)))}
        instruction.pool['pool'] = node.attr('pool_type', 'max')
        if node.attr('pooling_convention') == 'full':
            instruction.pool['full'] = 1
        instruction.out.size = self.shapes[node.name, 0][2:]
        return _whole(instruction)

    # text

    def _text(self, instruction):
        words = [instruction.kind, 'in=' + ','.join(str(piece) for piece in instruction.sources)]
        out = instruction.out
        words.append('out=' + (out.name if out.name.startswith('y') else '%s:%s' % (out.name, out.kind)))
        words += ['%s=%s' % (key, self._operand(value)) for key, value in instruction.options.items()]
        if instruction.before:
            words.append('before=' + self._steps(instruction.before))
        words += ['%s=%s' % item for item in instruction.pool.items()]
        if instruction.steps:
            words.append('steps=' + self._steps(instruction.steps))
        if instruction.shuffle:
            words.append('shuffle=%d' % instruction.shuffle)
        return ' '.join(words)

    def _steps(self, steps):
        return '|'.join(name if operand is None else '%s:%s' % (name, self._operand(operand))
                        for name, operand in steps)

    def _operand(self, value):
        if isinstance(value, Node):
            return 'p%d' % next(index for index, node in enumerate(self.parameters) if node is value)
        return value


def _numbers(values):
    return ','.join(str(value) for value in values)


def _summands(steps):
    return [operand.tensor for _, operand in steps if isinstance(operand, _Slice)]


def _whole(instruction):
    return [_Slice(instruction.out, 0, instruction.out.channels)]


def _merge(value):
    """Join slices that follow each other in one tensor."""
    merged = value[:1]
    for piece in value[1:]:
        last = merged[-1]
        if piece.tensor is last.tensor and piece.begin == last.end:
            merged[-1] = _Slice(last.tensor, last.begin, piece.end)
        else:
            merged.append(piece)
    return merged


def _choose_kind(instruction):
    """Sums of binary products that fit are kept as int16, other results of convolutions as float32, channels last."""
    out = instruction.out
    if instruction.kind == 'map':
        return
    added = [operand.tensor if step == 'plus' else None for step, operand in instruction.steps]
    out.bound += sum(tensor.bound if tensor else math.inf for tensor in added)
    out.kind = 'int16' if out.bound <= _INT16_MAX and not (out.name or '').startswith('y') else 'float32'
    if out.kind == 'float32':
        out.bound = math.inf


def _assign_slots(instructions):
    """Name the tensors after regions of the workspace; one that is no longer read gives its region back."""
    last_read = {}
    for position, instruction in enumerate(instructions):
        for tensor in instruction.reads:
            last_read[tensor] = position
    capacity, free = [], []
    for position, instruction in enumerate(instructions):
        out = instruction.out
        dying = {tensor: None for tensor in instruction.reads
                 if last_read[tensor] == position and tensor.producer}  # in order, without repetition
        if not out.name:
            # a convolution has packed what it reads before it writes
            read = instruction.inputs if instruction.kind == 'map' else []
            in_place = [operand.tensor for step, operand in instruction.steps if step == 'plus'
                        and operand.tensor in dying and operand.tensor.kind == out.kind
                        and operand.tensor.bytes == out.bytes and operand.begin == 0 and operand.tensor not in read]
            fits = [slot for slot in free if capacity[slot] >= out.bytes]
            if in_place:
                slot = in_place[0].slot
                del dying[in_place[0]]
            elif fits:
                slot = min(fits, key=lambda slot: capacity[slot])
                free.remove(slot)
            else:
                slot = len(capacity)
                capacity.append(out.bytes)
            out.slot, out.name = slot, 's%d' % slot
        free += [tensor.slot for tensor in dying]
