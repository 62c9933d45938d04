"""Channel shuffles: three operators of MXNet in a row as one node, which programs know, and back."""
from __future__ import annotations

from ..graph import Graph, Node, Shapes

OP = 'channel_shuffle'


def contract(graph: Graph, shapes: Shapes) -> None:
    """Let each channel shuffle (`bmx.nn.ChannelShuffle`) be one node, with the attribute groups.

    Parameters
    ----------
    graph : Graph
        Changed in place.
    shapes : dict
        Its `Graph.infer_shapes`; receives those of the new nodes.
    """
    readers, outputs = graph.consumers(), {id(node) for node, _ in graph.outputs}
    for node in graph.nodes:
        chain = [node]
        for op in ('SwapAxis', 'Reshape'):
            found = readers.get(id(chain[-1]), [])
            if id(chain[-1]) in outputs or [reader.op for reader in found] != [op]:
                break
            chain.append(found[0])
        if len(chain) == 3 and node.op == 'Reshape' and _is_shuffle(chain, shapes):
            shuffle = Node(OP, chain[-1].name, {'groups': str(node.attr('shape')[2])}, node.inputs)
            graph.replace(chain[-1], shuffle)


def _is_shuffle(chain: list[Node], shapes: Shapes) -> bool:
    split, swap, join = chain
    producer, output = split.inputs[0]
    before, shape = shapes[producer.name, output], split.attr('shape', ())
    return (len(before) == 4 and len(shape) == 5 and shape[:2] + shape[3:] == (0, -4, -1, -2)
            and before[1] % shape[2] == 0 and (swap.attr('dim1'), swap.attr('dim2')) == (1, 2)
            and join.attr('shape') == (0, -3, -2) and not split.attr('reverse') and not join.attr('reverse'))


def expand(graph: Graph) -> None:
    """Make MXNet's operators of the shuffles that are left; the inverse of `contract`."""
    for node in graph.nodes:
        if node.op == OP:
            split = Node('Reshape', node.name + '_split', {'shape': f'(0, -4, {node.attr("groups")}, -1, -2)'},
                         node.inputs)
            swap = Node('SwapAxis', node.name + '_swap', {'dim1': '1', 'dim2': '2'}, [(split, 0)])
            graph.replace(node, Node('Reshape', node.name, {'shape': '(0, -3, -2)'}, [(swap, 0)]))
