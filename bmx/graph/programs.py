"""What the instructions of deployed networks compute, with their sizes."""
from __future__ import annotations

import dataclasses
import math

from ..ops.program import Conv, Map, infer_shapes, parse
from .graph import Node, Shapes


@dataclasses.dataclass
class Layer:
    """An instruction of a program, or an `xnor_popcount` node, which is a program of one convolution.

    Attributes
    ----------
    steps : list of str
        Names of what it does to values: pooling, then steps in their order.
    channels : int
        Of the input.
    output : tuple of int
        Channels of the result, and its height and width if it has these.
    weight : Node, optional
        The packed weights of a convolution; None: there is no product.
    binary : bool
        Whether the product is one of signs.
    kernel : tuple of int
    groups, binarizations : int
    planes, weight_planes : int
        Bits of an activation, by thresholds, and of a weight.
    """
    steps: list
    channels: int
    output: tuple
    weight: Node | None = None
    binary: bool = True
    kernel: tuple = ()
    groups: int = 1
    binarizations: int = 1
    planes: int = 1
    weight_planes: int = 1

    @property
    def values(self) -> int:
        """Values of the result, of one sample."""
        return math.prod(self.output)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sample."""
        products = self.binarizations * self.planes * self.weight_planes
        return 0 if self.weight is None else products * self.values * self.weights // self.output[0]

    @property
    def weights(self) -> int:
        """How many weights there are, of `weight_planes` bits each where they are binary."""
        return self.output[0] * math.prod(self.kernel) * (self.channels // self.groups)


def layers(node: Node, shapes: Shapes) -> list[Layer]:
    """What a `binary_subgraph` or `xnor_popcount` node computes, instruction by instruction; nothing for any other.

    Parameters
    ----------
    node : Node
    shapes : dict
        `Graph.infer_shapes` of its graph.

    Returns
    -------
    list of Layer
    """
    if node.op == 'xnor_popcount':
        producer, index = node.inputs[0]
        return [Layer([], shapes[producer.name, index][1], tuple(shapes[node.name, 0][1:]), node.input(1), True,
                      tuple(node.attr('kernel', ())), node.attr('num_group', 1), node.attr('binarizations', 1),
                      node.attr('planes', 1), node.attr('weight_planes', 1))]
    if node.op != 'binary_subgraph':
        return []
    program, num_data = parse(node.attrs['program']), node.attr('num_data', 1)
    data = [tuple(shapes[producer.name, output][1:]) for producer, output in node.inputs[:num_data]]
    return [_layer(instruction, shape, node.inputs[num_data:])
            for instruction, shape in zip(program.instructions, infer_shapes(program, data))]


def _layer(instruction, shape, parameters):
    steps = [step.word for step in getattr(instruction, 'before', ()) + instruction.steps]
    if isinstance(instruction, Map):
        pool = [f'{instruction.pool} pooling'] if instruction.pool else []
        return Layer(pool + steps, instruction.channels, shape)
    planes = [instruction.binarizations, instruction.planes, instruction.weight_planes] if isinstance(
        instruction, Conv) else []
    return Layer(steps, instruction.channels, shape[:1] if instruction.whole else shape,
                 parameters[instruction.weight][0], isinstance(instruction, Conv), instruction.kernel,
                 instruction.groups, *planes)
