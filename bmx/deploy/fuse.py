"""Fuse binary layers and what runs between them to `binary_subgraph` nodes, so that features are not copied.

Regions of the lowered graph become programs, in passes: `find_regions`, `build`, `postpone_steps`,
`fold_steps`, `choose_types`, `place`.
"""
from __future__ import annotations

import mxnet as mx

from ..graph import Graph, Node, Shapes
from . import shuffles
from .build import Built, build
from .fold import fold_steps, postpone_steps
from .operators import is_identity, rounds_otherwise
from .regions import find_regions
from .slots import choose_types, place
from .variables import Variables, used_parameters


def fuse(graph: Graph, params: dict[str, mx.nd.NDArray], shapes: Shapes,
         exact: bool = False) -> dict[str, mx.nd.NDArray]:
    """Replace regions of a lowered graph by `binary_subgraph` nodes that compute the same, bit for bit.

    Parameters
    ----------
    graph : Graph
        Result of `lower`; changed in place.
    params : dict of str to NDArray
        Its parameters.
    shapes : dict
        `Graph.infer_shapes` of it.
    exact : bool
        Fuse only what MXNet computes to the last bit; float convolutions, for instance, stay its operators.

    Returns
    -------
    dict of str to NDArray
        The parameters of the fused graph.
    """
    params, shapes = dict(params), dict(shapes)
    variables = Variables(params)
    shuffles.contract(graph, shapes)
    for region in find_regions(graph, shapes, exact):
        if sum(not is_identity(node) for node in region) > 1 or any(
                node.op == 'xnor_popcount' or (rounds_otherwise(node) and not exact) for node in region):
            built = postpone_steps(build(graph, region, params, shapes, variables), params)
            built = fold_steps(built, params, variables)
            _replace(graph, region[-1].name + '_fused', built, shapes)
    shuffles.expand(graph)
    _drop_identities(graph)
    return used_parameters(graph, params)


def _replace(graph: Graph, name: str, built: Built, shapes: Shapes) -> None:
    """Put one node in the place of a region."""
    program = place(choose_types(built.program), [shapes[node.name, index][1:] for node, index in built.data])
    attrs = {'program': str(program), 'num_data': str(len(built.data)), 'num_outputs': str(len(built.outputs)),
             'channels': str(tuple(shapes[node.name, index][1] for node, index in built.data))}
    fused = Node('binary_subgraph', name, attrs, built.data + [(node, 0) for node in built.parameters])
    for index, node in enumerate(built.outputs):
        graph.replace(node, fused, index)
        shapes[name, index] = shapes[node.name, 0]


def _drop_identities(graph: Graph) -> None:
    """A convolution computes the same from any layout, and a program's results are in the plain one."""
    readers = graph.consumers()
    for node in graph.nodes:
        if is_identity(node) and all(reader.op == 'Convolution' for reader in readers.get(id(node), [node])):
            graph.replace(node, node.input(0), node.inputs[0][1])
