"""Which parameters of a float network the variables of a graph stand for, and of how many bits they are."""
from __future__ import annotations

import math
from typing import Mapping, Sequence

from .graph import Graph, Node
from .products import PRODUCTS, product_bits

# The attribute by which a deployed network's variable tells which of the float network's parameters it stands for.
PARAMETERS = '__parameters__'


def own_parameters(variable: Node, shapes: Mapping[str, Sequence[int]],
                   bits: Mapping[str, int]) -> dict[str, list[int]]:
    """The parameters of a float network that a variable stands for, itself or those that its deployed network says.

    Parameters
    ----------
    variable : Node
    shapes : dict
        Its name to its shape.
    bits : dict
        Names of those that have fewer than 32 bits.

    Returns
    -------
    dict of str to [int, int]
        Their names to how many numbers they have, of how many bits.
    """
    own = variable.attr(PARAMETERS)
    if own is not None:
        return own
    return {variable.name: [math.prod(shapes[variable.name]), bits.get(variable.name, 32)]}


def read_parameters(graph: Graph) -> dict[int, list[Node]]:
    """The variables, each once, that a node reads itself or through what is computed of variables (a weight's sign).

    Returns
    -------
    dict of int to list of Node
        For the id of each node.
    """
    constants, read = graph.constants(), {}
    for node in graph.nodes:
        if node.is_variable:
            found = [node] if id(node) in constants else []
        else:
            found = list({variable.name: variable for producer, _ in node.inputs if id(producer) in constants
                          for variable in read[id(producer)]}.values())
        read[id(node)] = found
    return read


def weight_bits(graph: Graph) -> dict[str, int]:
    """Bits of the variables whose quantized values are weights, by name."""
    read, found = read_parameters(graph), {}
    for node in graph.nodes:
        if node.op in PRODUCTS and len(read[id(node.input(1))]) == 1:
            name, bits = read[id(node.input(1))][0].name, product_bits(node)[0]
            found[name] = max(bits, found.get(name, 0))
    return found
