"""Which parameters of a float network the variables of a graph stand for, and of how many bits they are."""
from __future__ import annotations

import math
from typing import Mapping, Sequence

from .graph import Graph, Node, Shapes
from .products import PRODUCTS, product_bits, variable_of

# The attribute by which a deployed network's variable tells which of the float network's parameters it stands for.
PARAMETERS = '__parameters__'
# The attribute of a variable that tells the bytes that its file takes for it, where these are not those of its values.
STORED = '__stored__'


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


def as_variables(graph: Graph, shapes: Shapes) -> None:
    """Put variables in the place of the nodes that expand stored weights, changing a graph.

    Parameters
    ----------
    graph : Graph
    shapes : dict
        Of these nodes and their inputs, as `Graph.infer_shapes` gives them.
    """
    for node in graph.nodes:
        if node.op == 'expand_weights':
            levels, codes = (math.prod(shapes[producer.name, index]) for producer, index in node.inputs)
            attrs = {'__shape__': str(tuple(shapes[node.name, 0])), '__dtype__': '0', STORED: str(4 * levels + codes)}
            attrs.update((key, value) for key, value in node.attrs.items() if key == PARAMETERS)
            graph.replace(node, Node('null', node.name, attrs))


def levels_axes(weight: Node, shapes: Shapes) -> tuple[int, ...]:
    """Along which axes of a weight of few values these differ: those of the parameters that it learns beside it.

    Parameters
    ----------
    weight : Node
        What computes its values of parameters alone.
    shapes : dict
        `Graph.infer_shapes`.

    Returns
    -------
    tuple of int
        For each axis its size, or 1 where all have the same values.
    """
    own = tuple(shapes[weight.name, 0])
    by = [1] * len(own)
    for node in Graph([(weight, 0)]).nodes:
        found = tuple(shapes[node.name, 0])
        if (node.is_variable and found != own and len(found) == len(own)
                and all(size in (1, whole) for size, whole in zip(found, own))):
            by = [max(pair) for pair in zip(by, found)]
    return tuple(by)


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
    """Bits of the variables whose quantized values are weights, by name; planes of one weight add up."""
    found, formulas = {}, _formulas(graph)
    for node in graph.nodes:
        if node.op in PRODUCTS:
            weight = node.input(1)
            found.setdefault(variable_of(weight).name, {})[formulas[id(weight)]] = product_bits(node)[0]
    return {name: min(32, sum(bits.values())) for name, bits in found.items()}


def _formulas(graph: Graph) -> dict[int, int]:
    """For the id of each node a number, the same for those that compute the same: a layer can be called twice."""
    numbers, found = {}, {}
    for node in graph.nodes:
        attrs = () if node.is_variable else tuple(sorted(node.attrs.items()))
        formula = (node.name if node.is_variable else node.op, attrs,
                   tuple((found[id(source)], index) for source, index in node.inputs))
        found[id(node)] = numbers.setdefault(formula, len(numbers))
    return found
