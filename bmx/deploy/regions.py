"""Which parts of a lowered graph can be fused: connected regions of operators that programs know."""
from __future__ import annotations

from ..graph import Graph, Node, Shapes
from .operators import OPERATORS, Context, is_identity


def find_regions(graph: Graph, shapes: Shapes, exact: bool) -> list[list[Node]]:
    """Connected sets of nodes that can be fused, such that nothing leaves a set and comes back to it.

    Parameters
    ----------
    graph : Graph
    shapes : dict
        Its `Graph.infer_shapes`.
    exact : bool
        Only what MXNet computes to the last bit may be fused.

    Returns
    -------
    list of list of Node
        The nodes of each set, producers first.
    """
    nodes, readers, outputs = graph.nodes, graph.consumers(), {id(node) for node, _ in graph.outputs}
    context, level = Context(shapes, exact, plain={id(node) for node in nodes if node.name == 'data'}), {}
    plain, fusible = context.plain, context.fused

    def data(node):
        return [producer for producer, _ in node.inputs if not producer.is_variable]

    for node in nodes:
        if node.is_variable:
            continue
        if node.op == 'xnor_popcount' or is_identity(node) or node.op in OPERATORS and OPERATORS[node.op].exact and all(
                id(producer) in plain or producer.is_variable and producer.name != 'data'
                for producer, _ in node.inputs):
            plain.add(id(node))
        if context.can_be_fused(node):
            fusible.add(id(node))
        # a region has one level, and what leaves a region enters others only at a higher one
        level[id(node)] = max([level[id(producer)] + (id(node) in fusible and id(producer) not in fusible)
                               for producer in data(node)] or [0])
    for node in reversed(nodes):  # a result that is added to what comes later is computed there
        later = [level[id(reader)] for reader in readers.get(id(node), []) if id(reader) in fusible]
        if id(node) in fusible and later and len(later) == len(readers[id(node)]) and id(node) not in outputs and all(
                id(producer) not in fusible or any(id(reader) not in fusible for reader in readers[id(producer)])
                for producer in data(node)):
            level[id(node)] = min(later)
    region_of = {}
    for node in nodes:
        if id(node) in fusible:
            joined = [region_of[id(producer)] for producer in data(node)
                      if id(producer) in fusible and level[id(producer)] == level[id(node)]]
            region = [member for other in {id(other): other for other in joined}.values() for member in other] + [node]
            region_of.update((id(member), region) for member in region)
    position = {id(node): index for index, node in enumerate(nodes)}
    unique = {id(region): region for region in region_of.values()}.values()
    return [sorted(region, key=lambda node: position[id(node)]) for region in unique]
