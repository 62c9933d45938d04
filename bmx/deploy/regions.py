"""Which parts of a lowered graph can be fused: connected regions of operators that programs know."""
import math


def find_regions(graph, shapes):
    """Connected sets of nodes that can be fused, such that nothing leaves a set and comes back to it.

    Parameters
    ----------
    graph : Graph
    shapes : dict
        Its `Graph.infer_shapes`.

    Returns
    -------
    list of list of Node
        The nodes of each set, producers first.
    """
    nodes, readers, outputs = graph.nodes, graph.consumers(), {id(node) for node, _ in graph.outputs}
    plain, fusible, level = {id(node) for node in nodes if node.name == 'data'}, set(), {}

    def data(node):
        return [producer for producer, _ in node.inputs if not producer.is_variable]

    for node in nodes:
        if node.is_variable:
            continue
        if node.op == 'xnor_popcount' or is_identity(node) or node.op in _FUSIBLE and all(
                id(producer) in plain or producer.is_variable and producer.name != 'data'
                for producer, _ in node.inputs):
            plain.add(id(node))
        if _is_fusible(node, shapes, plain):
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


def is_identity(node):
    """Whether a node is the identity of `bmx.nn.PlainLayout`."""
    return node.op == 'clip' and (float(node.attrs['a_min']), float(node.attrs['a_max'])) == (-math.inf, math.inf)


def _is_fusible(node, shapes, plain):
    if node.op not in _FUSIBLE or any(index for _, index in node.inputs):
        return False
    values = [shapes[producer.name, 0] for producer, _ in node.inputs[:1]] + [shapes[node.name, 0]]
    return all(len(shape) == 4 for shape in values) and _FUSIBLE[node.op](node, shapes, plain)


def _is_norm(node, shapes, plain):
    # in another layout than the plain one MXNet rounds otherwise
    return node.attr('axis', 1) == 1 and id(node.input(0)) in plain and all(
        producer.is_variable for producer, _ in node.inputs[1:])


def _is_pool(node, shapes, plain):
    kind, convention = node.attr('pool_type', 'max'), node.attr('pooling_convention', 'valid')
    if (kind not in ('max', 'avg') or convention not in ('valid', 'full')
            or node.attr('global_pool') not in (None, False) or node.attr('layout') not in (None, 'None', 'NCHW')):
        return False
    # divided by 1, 2 or 4: another count might be rounded otherwise
    return kind == 'max' or node.attr('kernel') == (2, 2) and not any(node.attr('pad') or ()) and (
        convention == 'valid' or node.attr('count_include_pad') is False)


def _has_step(node, shapes, plain):
    # a factor of all channels is no step of a program
    operand = node.input(1)
    return operand.is_variable and (node.attr('kind') == 'prelu'
                                    or shapes[operand.name, 0] == (shapes[node.name, 0][1],))


def _is_channelwise(node, shapes, plain):
    operand = node.input(1)
    return operand.is_variable and shapes[operand.name, 0] == (1, shapes[node.name, 0][1], 1, 1)


# Operator -> whether a node of it can be fused.
_FUSIBLE = {
    'xnor_popcount': lambda node, shapes, plain: True,
    'Concat': lambda node, shapes, plain: node.attr('dim', 1) == 1,
    'slice_axis': lambda node, shapes, plain: node.attr('axis') == 1,
    'clip': lambda node, shapes, plain: is_identity(node),
    'elemwise_add': lambda node, shapes, plain: True,
    'BatchNorm': _is_norm,
    'Activation': lambda node, shapes, plain: node.attr('act_type') == 'relu',
    'relu': lambda node, shapes, plain: True,
    'LeakyReLU': lambda node, shapes, plain: node.attr('act_type') == 'prelu' and node.input(1).is_variable,
    'channelwise': _has_step,
    'Pooling': _is_pool,
    '_mul_scalar': lambda node, shapes, plain: True,
    'broadcast_mul': _is_channelwise,
    'broadcast_add': _is_channelwise,
}
