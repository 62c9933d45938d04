"""From a Gluon network to its graph and parameters."""
from __future__ import annotations

from typing import Sequence

import mxnet as mx

from ..graph import Graph
from .errors import ExportError
from .verification import context_of


def trace(net: mx.gluon.HybridBlock, data_shape: Sequence[int]) -> tuple[Graph, dict[str, mx.nd.NDArray]]:
    """The graph of a network, and its parameters by name."""
    if not isinstance(net, mx.gluon.Block):
        raise ExportError(f'a network to export is a HybridBlock, got a {type(net).__name__}')
    try:
        graph = Graph.from_block(net, data_shape)
    except ValueError as error:
        raise ExportError(str(error)) from error
    read = {node.name for node in graph.nodes}
    if 'data' not in read:
        raise ExportError(f'{net.name} does not read its input')
    parameters = {name: parameter for name, parameter in net.collect_params().items() if name in read}
    try:
        if any(parameter.shape is None or 0 in parameter.shape for parameter in parameters.values()):
            with mx.autograd.pause():
                net(mx.nd.zeros(tuple(data_shape), ctx=context_of(net)))
        values = {name: parameter.data(parameter.list_ctx()[0]).as_in_context(mx.cpu())
                  for name, parameter in parameters.items()}
    except RuntimeError as error:
        raise ExportError(f'the network has no parameters yet: {str(error).splitlines()[0]}') from None
    return graph, values
