"""From a region of a graph to a program whose tensors have neither types nor places yet.

Concatenations and slices vanish: a value is a list of slices of tensors. Tensors between instructions are called t0, t1,
...; `choose_types` and `place` make slots of them.
"""
import dataclasses

from ..ops.program import Destination, Map, Program, Slice, Step
from .operators import OPERATORS


def build(graph, region, params, shapes, variables):
    """The program of a region.

    Parameters
    ----------
    graph : Graph
    region : list of Node
        Nodes that can be fused, producers first (`find_regions`).
    params : dict of str to NDArray
    shapes : dict
        `Graph.infer_shapes` of the graph.
    variables : Variables
        Makes what parameters of steps are not parameters of the network.

    Returns
    -------
    Built
    """
    builder = Builder(graph, region, params, shapes, variables)
    for node in region:
        builder.values[id(node)] = _merge(OPERATORS[node.op].becomes(builder, node))
    return builder.finish()


@dataclasses.dataclass
class Built:
    """A program and what it has to do with the graph.

    Attributes
    ----------
    program : Program
    data : list of (Node, int)
        What x0, x1, ... are.
    parameters : list of Node
        The variables of p0, p1, ...
    outputs : list of Node
        The nodes whose results y0, y1, ... are.
    """
    program: Program
    data: list
    parameters: list
    outputs: list


class Builder:
    """A program in the making; the rows of `OPERATORS` add to it.

    Attributes
    ----------
    instructions : dict of str to Instruction
        By the tensor that it writes, in the order in which they run.
    values : dict of int to list of Slice
        What a node of the region, by its id, has become.
    """

    def __init__(self, graph, region, params, shapes, variables):
        self._region, self._params, self._shapes, self._variables = region, params, shapes, variables
        self._members = {id(node) for node in region}
        self._readers, self._outputs = graph.consumers(), {id(node) for node, _ in graph.outputs}
        self._data, self._parameters = {}, []  # x0, ... by (id, output) of the producer; variables
        self._entries = []
        self.instructions, self.values = {}, {}
        self._count = 0

    # What rows ask

    def value(self, node, position):
        """The slices that an input of a node reads."""
        producer, index = node.inputs[position]
        if id(producer) in self._members:
            return self.values[id(producer)]
        if (id(producer), index) not in self._data:
            self._data[id(producer), index] = 'x%d' % len(self._data)
            self._entries.append((producer, index))
        return [Slice(self._data[id(producer), index], 0, self._shapes[producer.name, index][1])]

    def channels(self, node):
        """Channels of a node's first input."""
        return sum(piece.channels for piece in self.value(node, 0))

    def own(self, node, position):
        """The tensor whose whole this input is, and that nothing else reads, if an instruction writes it; else None."""
        producer = node.input(position)
        value = self.value(node, position)
        tensor = value[0].tensor
        if tensor not in self.instructions or len(value) > 1 or value[0] != self._whole(tensor)[0]:
            return None
        while self._is_read_once(producer):
            if producer.op not in ('clip', 'slice_axis', 'Concat'):
                return tensor
            if len(producer.inputs) > 1:
                break
            producer = producer.input(0)
        return None

    def values_of(self, variable):
        """A parameter's values, a NumPy array."""
        return self._params[variable.name].asnumpy()

    # What rows do

    def parameter(self, variable):
        """The number of a parameter, which becomes an input of the program."""
        for number, known in enumerate(self._parameters):
            if known is variable:
                return number
        self._parameters.append(variable)
        return len(self._parameters) - 1

    def constant(self, name, values):
        """The number of a parameter that is made here."""
        return self.parameter(self._variables.make(name, values))

    def add(self, kind, node, position=0, **fields):
        """Add an instruction that reads an input of a node; returns what it writes."""
        return self._add(kind(tuple(self.value(node, position)), Destination('t%d' % self._count), **fields))

    def step(self, node, word, operand=None, position=0):
        """Append a step to the instruction that computes the input, or make one; returns its result."""
        tensor = self.own(node, position)
        if tensor is None:
            tensor = self.add(Map, node, position)[0].tensor
        instruction = self.instructions[tensor]
        if isinstance(operand, Slice):  # the operand may be computed later than the instruction
            del self.instructions[tensor]
        self.instructions[tensor] = dataclasses.replace(instruction, steps=instruction.steps + (Step(word, operand),))
        return self._whole(tensor)

    def pool(self, node, **fields):
        """Pool the input where it is computed, or in an instruction of its own; returns the result."""
        tensor = self.own(node, 0)
        if tensor is None or not isinstance(self.instructions[tensor], Map) or self.instructions[tensor].pool:
            tensor = self.add(Map, node)[0].tensor
        instruction = self.instructions[tensor]
        self.instructions[tensor] = dataclasses.replace(instruction, before=instruction.steps, steps=(), **fields)
        return self._whole(tensor)

    def finish(self):
        """The program; every result that leaves the region is an output."""
        nodes = [node for node in self._region if id(node) in self._outputs
                 or any(id(reader) not in self._members for reader in self._readers.get(id(node), []))]
        written = [piece.tensor for node in nodes for piece in self.values[id(node)]]
        outputs = [self._write_output(node, 'y%d' % index, written) for index, node in enumerate(nodes)]
        return Built(Program(tuple(self.instructions.values())), self._entries, self._parameters, outputs)

    def _add(self, instruction):
        self._count += 1
        self.instructions[instruction.out.tensor] = instruction
        return self._whole(instruction.out.tensor)

    def _whole(self, tensor):
        instruction = self.instructions[tensor]
        return [Slice(tensor, 0, getattr(instruction, 'filters', instruction.channels))]

    def _is_read_once(self, node):
        return id(node) not in self._outputs and len(self._readers.get(id(node), [])) == 1

    def _write_output(self, node, name, written):
        """Let an instruction write the result of a node; returns the node, or the last of the shuffle behind it.

        `written` lists the tensors of all outputs' values. Only what nothing else reads is written by the instruction
        that computes it; other results are copied.
        """
        value = self.values[id(node)]
        tensor = value[0].tensor
        last, groups = self._shuffle_behind(node)
        read = tensor not in self.instructions or written.count(tensor) > 1 or any(
            piece.tensor == tensor for instruction in self.instructions.values() for piece in instruction.reads)
        if (read or value != self._whole(tensor)
                or (groups > 1 and not isinstance(self.instructions[tensor], Map))):
            tensor = self._add(Map(tuple(value), Destination('t%d' % self._count)))[0].tensor
        instruction = dataclasses.replace(self.instructions[tensor], out=Destination(name))
        if groups > 1:
            instruction = dataclasses.replace(instruction, shuffle=groups)
        self.instructions[tensor] = instruction
        return last

    def _shuffle_behind(self, node):
        """The last node and the groups of the channel shuffle that alone reads a node; the node and 1 if none does."""
        first, chain, channels = node, [], self._shapes[node.name, 0][1]
        for op in ('Reshape', 'SwapAxis', 'Reshape'):
            if id(node) in self._outputs or [reader.op for reader in self._readers.get(id(node), [])] != [op]:
                return first, 1
            node = self._readers[id(node)][0]
            chain.append(node)
        split, swap, join = chain
        shape = split.attr('shape', ())
        if (len(shape) != 5 or shape[:2] + shape[3:] != (0, -4, -1, -2) or channels % shape[2]
                or (swap.attr('dim1'), swap.attr('dim2')) != (1, 2) or join.attr('shape') != (0, -3, -2)
                or split.attr('reverse') or join.attr('reverse')):
            return first, 1
        return join, shape[2]


def _merge(value):
    """Join slices that follow each other in one tensor."""
    merged = value[:1]
    for piece in value[1:]:
        last = merged[-1]
        if piece.tensor == last.tensor and piece.begin == last.end:
            merged[-1] = Slice(last.tensor, last.begin, piece.end)
        else:
            merged.append(piece)
    return merged
