"""From a region of a graph to a program whose tensors have neither types nor places yet.

Concatenations and slices vanish: a value is a list of slices of tensors. Tensors between instructions are called t0,
t1, ...; `choose_types` and `place` make slots of them.
"""
from __future__ import annotations

import dataclasses
from typing import Any, Mapping, Sequence

import mxnet as mx
import numpy as np

from ..graph import Entry, Graph, Node, Shapes
from ..ops.program import AnyInstruction, Destination, FloatConv, Map, Program, Slice, Step
from .operators import OPERATORS
from .variables import Variables


def build(graph: Graph, region: list[Node], params: Mapping[str, mx.nd.NDArray], shapes: Shapes,
          variables: Variables) -> Built:
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

    def __init__(self, graph: Graph, region: list[Node], params: Mapping[str, mx.nd.NDArray], shapes: Shapes,
                 variables: Variables) -> None:
        self._region, self._params, self._shapes, self.variables = region, params, shapes, variables
        self._members = {id(node) for node in region}
        self._readers, self._outputs = graph.consumers(), {id(node) for node, _ in graph.outputs}
        self._data, self._parameters = {}, []  # x0, ... by (id, output) of the producer; variables
        self._entries = []
        self.instructions, self.values = {}, {}
        self._sizes = {}  # height and width of tensors

    # What rows ask

    def value(self, node: Node, position: int) -> list[Slice]:
        """The slices that an input of a node reads."""
        producer, index = node.inputs[position]
        if id(producer) in self._members:
            return self.values[id(producer)]
        shape = self._shapes[producer.name, index]
        if (id(producer), index) not in self._data:
            tensor = self._data[id(producer), index] = f'x{len(self._data)}'
            self._entries.append(self._as_image(producer, index, f'{self._region[-1].name}_{tensor}'))
            self._sizes[tensor] = self._size_of(shape)
        return [Slice(self._data[id(producer), index], 0, shape[1])]

    def channels(self, node: Node) -> int:
        """Channels of a node's first input."""
        return sum(piece.channels for piece in self.value(node, 0))

    def size(self, node: Node) -> tuple[int, int]:
        """Height and width of a node's first input, before anything flattened it."""
        return self._sizes[self.value(node, 0)[0].tensor]

    def own(self, node: Node, position: int = 0) -> str | None:
        """The tensor whose whole this input is, and that nothing else reads, if an instruction writes it; else None.

        To that instruction steps can be added.
        """
        producer = node.input(position)
        value = self.value(node, position)
        tensor = value[0].tensor
        if tensor not in self.instructions or len(value) > 1 or value[0] != self._whole(tensor)[0]:
            return None
        if getattr(self.instructions[tensor], 'shuffle', 1) > 1:  # steps come before it
            return None
        while self._is_read_once(producer):
            if producer.op not in ('clip', 'Dropout', 'slice_axis', 'Concat', 'Flatten', 'Reshape'):
                return tensor
            if len(producer.inputs) > 1:
                break
            producer = producer.input(0)
        return None

    def values_of(self, variable: Node) -> np.ndarray:
        """A parameter's values, a NumPy array."""
        return self._params[variable.name].asnumpy()

    # What rows do

    def parameter(self, variable: Node) -> int:
        """The number of a parameter, which becomes an input of the program."""
        for number, known in enumerate(self._parameters):
            if known is variable:
                return number
        self._parameters.append(variable)
        return len(self._parameters) - 1

    def constant(self, name: str, values: np.ndarray, sources: Sequence[Node]) -> int:
        """The number of a parameter that is made here of others, the variables `sources`."""
        return self.parameter(self.variables.make(name, values, sources))

    def add(self, kind: type[AnyInstruction], node: Node, position: int = 0, **fields: Any) -> list[Slice]:
        """Add an instruction that reads an input of a node; returns its result."""
        return self._add(kind, self.value(node, position), self._shapes[node.name, 0], **fields)

    def float_convolution(self, node: Node, **fields: Any) -> list[Slice]:
        """Add a float convolution of a node's input; steps alone before it are applied to what it reads."""
        tensor = self.own(node)
        before = self.instructions.get(tensor)
        if isinstance(before, Map) and not before.pool and not any(
                isinstance(step.operand, Slice) for step in before.steps):
            del self.instructions[tensor]
            return self._add(FloatConv, before.sources, self._shapes[node.name, 0], before=before.steps, **fields)
        return self.add(FloatConv, node, **fields)

    def step(self, node: Node, word: str, operand: int | Slice | None = None, position: int = 0) -> list[Slice]:
        """Append a step to the instruction that computes the input, or make one; returns its result."""
        tensor = self.own(node, position)
        return self.add_step([Slice(tensor, 0, 0)] if tensor is not None else self.add(Map, node, position), word,
                             operand)

    def add_step(self, result: list[Slice], word: str, operand: int | Slice | None = None) -> list[Slice]:
        """Append a step to the instruction of a result, which is whole; returns the result."""
        tensor = result[0].tensor
        instruction = self.instructions[tensor]
        if isinstance(operand, Slice):  # the operand may be computed later than the instruction
            del self.instructions[tensor]
        self.instructions[tensor] = dataclasses.replace(instruction, steps=instruction.steps + (Step(word, operand),))
        return self._whole(tensor)

    def pool(self, node: Node, **fields: Any) -> list[Slice]:
        """Pool the input where it is computed, or in an instruction of its own; returns the result."""
        tensor = self.own(node)
        if tensor is None or not isinstance(self.instructions.get(tensor), Map) or self.instructions[tensor].pool:
            tensor = self.add(Map, node)[0].tensor
        instruction = self.instructions[tensor]
        self.instructions[tensor] = dataclasses.replace(instruction, before=instruction.steps, steps=(), **fields)
        self._sizes[tensor] = self._size_of(self._shapes[node.name, 0])
        return self._whole(tensor)

    def shuffle(self, node: Node, groups: int) -> list[Slice]:
        """Shuffle the channels of the input where it is written, or in an instruction of its own; gives the result."""
        tensor = self.own(node)
        if tensor is None or not isinstance(self.instructions.get(tensor), Map):
            tensor = self.add(Map, node)[0].tensor
        self.instructions[tensor] = dataclasses.replace(self.instructions[tensor], shuffle=groups)
        return self._whole(tensor)

    def finish(self) -> Built:
        """The program; every result that leaves the region is an output."""
        nodes = [node for node in self._region if id(node) in self._outputs
                 or any(id(reader) not in self._members for reader in self._readers.get(id(node), []))]
        written = [piece.tensor for node in nodes for piece in self.values[id(node)]]
        for index, node in enumerate(nodes):
            self._write_output(node, f'y{index}', written)
        return Built(Program(tuple(self.instructions.values())), self._entries, self._parameters, nodes)

    def _add(self, kind: type[AnyInstruction], sources: Sequence[Slice], shape: Sequence[int],
             **fields: Any) -> list[Slice]:
        tensor = f't{len(self._sizes)}'
        self.instructions[tensor] = kind(tuple(sources), Destination(tensor), **fields)
        self._sizes[tensor] = self._size_of(shape)
        return self._whole(tensor)

    def _as_image(self, producer: Node, index: int, name: str) -> Entry:
        """What feeds a data input, (N, C, H, W): of (N, C) an image of one pixel."""
        shape = self._shapes[producer.name, index]
        if len(shape) == 4:
            return producer, index
        self._shapes[name, 0] = shape + (1, 1)
        return Node('Reshape', name, {'shape': '(0, -1, 1, 1)'}, [(producer, index)]), 0

    @staticmethod
    def _size_of(shape: Sequence[int]) -> tuple[int, ...]:
        return tuple(shape[2:]) or (1, 1)

    def _whole(self, tensor: str) -> list[Slice]:
        instruction = self.instructions[tensor]
        return [Slice(tensor, 0, getattr(instruction, 'filters', instruction.channels))]

    def _is_read_once(self, node: Node) -> bool:
        return id(node) not in self._outputs and len(self._readers.get(id(node), [])) == 1

    def _write_output(self, node: Node, name: str, written: list[str]) -> None:
        """Let an instruction write the result of a node.

        `written` lists the tensors of all outputs' values. Only what nothing else reads is written by the instruction
        that computes it; other results are copied.
        """
        value, shape = self.values[id(node)], self._shapes[node.name, 0]
        tensor = value[0].tensor
        read = tensor not in self.instructions or written.count(tensor) > 1 or any(
            piece.tensor == tensor for instruction in self.instructions.values() for piece in instruction.reads)
        if read or value != self._whole(tensor):
            tensor = self._add(Map, value, shape)[0].tensor
        self.instructions[tensor] = dataclasses.replace(self.instructions[tensor],
                                                        out=Destination(name, flat=len(shape) == 2))


def _merge(value: list[Slice]) -> list[Slice]:
    """Join slices that follow each other in one tensor."""
    merged = value[:1]
    for piece in value[1:]:
        last = merged[-1]
        if piece.tensor == last.tensor and piece.begin == last.end:
            merged[-1] = Slice(last.tensor, last.begin, piece.end)
        else:
            merged.append(piece)
    return merged
