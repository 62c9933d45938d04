"""Channels that a binary operator does not count itself: packed weights fill whole bytes, programs read ranges."""
from .lower import checked_reshape

# Operators whose parameters tell how many channels there are; operators that keep the channels of what they read.
_SETTLING = ('BatchNorm', 'Convolution', 'Deconvolution', 'FullyConnected', 'binary_subgraph', 'xnor_popcount')
_KEEPING = ('Activation', 'Concat', 'Dropout', 'LeakyReLU', 'Pad', 'Pooling', '_copy', '_mul_scalar', '_plus_scalar',
            'channelwise', 'clip', 'elemwise_add', 'identity', 'relu', 'slice_axis')


def fix_channels(graph, shapes):
    """Where nothing else tells how many channels a binary operator reads, let a reshape refuse other numbers of them.

    The float network refuses them, too: its weights are not packed.

    Parameters
    ----------
    graph : Graph
        A fused one; changed in place.
    shapes : dict
        Its `Graph.infer_shapes`.
    """
    settled = {}
    for node in graph.nodes:
        settled[id(node)] = _is_settled(node, settled)
        if node.op not in ('xnor_popcount', 'binary_subgraph') or node.attr('threshold', False):
            continue
        for position in range(node.attr('num_data', 1)):
            producer, index = node.inputs[position]
            if not settled[id(producer)]:
                shape = shapes[producer.name, index]
                fixed = (-2, shape[1]) + (-2,) * (len(shape) - 2)
                node.inputs[position] = checked_reshape('%s_channels%d' % (node.name, position), fixed,
                                                        (producer, index)), 0


def _is_settled(node, settled):
    if node.is_variable:
        return node.name != 'data'
    if node.op == '_npx_reshape':
        return node.attr('newshape')[1] > 0
    return node.op in _SETTLING or node.op in _KEEPING and all(settled[id(producer)] for producer, _ in node.inputs)
