"""Float weights of few values, which files hold as codes of their levels (`expand_weights`).

`lower` marks the variables of such weights, another order of them takes the mark on, `store` packs what is marked once
a graph is finished, and `expand` computes the weights when files are loaded.
"""
from __future__ import annotations

from typing import Mapping, Sequence

import mxnet as mx

from ..graph import Graph, Node
from ..graph.parameters import PARAMETERS, STORED, as_variables
from ..ops import level_bytes, pack_levels, unpack_float_weights
from .variables import Variables, used_parameters

# The mark, an attribute that no file has: shape of the weight, bits of a code, axes of the levels, and groups where it
# is ordered by `ops.pack_float_weights`, else 0.
_MARK = '__stored_as__'


def mark(variable: Node, params: Mapping[str, mx.nd.NDArray], bits: int, by: Sequence[int]) -> int | None:
    """Mark a weight to be stored by codes.

    Parameters
    ----------
    variable : Node
    params : dict of str to NDArray
    bits : int
        Of a code.
    by : tuple of int
        As `ops.pack_levels` takes it.

    Returns
    -------
    int or None
        The bytes that it will take; None where it stays float32, because that is not larger or it has more levels.
    """
    values = params[variable.name].asnumpy()
    size = level_bytes(values.shape, bits, by)
    if size is None or pack_levels(values, bits, by) is None:
        return None
    variable.attrs[_MARK] = str((values.shape, bits, tuple(by), 0))
    return size


def mark_packed(packed: Node, variable: Node, groups: int) -> None:
    """Mark what `ops.pack_float_weights` has made of a weight, if that is marked."""
    if _MARK in variable.attrs:
        packed.attrs[_MARK] = str(variable.attr(_MARK)[:3] + (groups,))


def store(graph: Graph, params: dict[str, mx.nd.NDArray]) -> dict[str, mx.nd.NDArray]:
    """Put nodes of `expand_weights` in the place of marked variables.

    Parameters
    ----------
    graph : Graph
        Changed in place.
    params : dict of str to NDArray
        Its parameters.

    Returns
    -------
    dict of str to NDArray
        The parameters of the changed graph.
    """
    params = dict(params)
    variables = Variables(params)
    for node in graph.nodes:
        node.attrs.pop(STORED, None)  # of a file that this network comes from
        if _MARK not in node.attrs:
            continue
        shape, bits, by, groups = node.attr(_MARK)
        values = params[node.name].asnumpy()
        found = pack_levels(unpack_float_weights(values, shape[0], shape[1:]) if groups else values, bits, by)
        assert found is not None  # or it would have no mark
        inputs = [(variables.make(f'{node.name}_{name}', value, []), 0)
                  for name, value in zip(('levels', 'codes'), found)]
        attrs = {'shape': str(shape), 'bits': str(bits), 'groups': str(groups), PARAMETERS: node.attrs[PARAMETERS]}
        graph.replace(node, Node('expand_weights', node.name, attrs, inputs))
    return used_parameters(graph, params)


def expand(graph: Graph, arrays: Mapping[str, mx.nd.NDArray]) -> dict[str, mx.nd.NDArray]:
    """Compute the weights that are stored by codes, once.

    Parameters
    ----------
    graph : Graph
        Changed in place: they are parameters then.
    arrays : dict of str to NDArray
        The parameters of its file.

    Returns
    -------
    dict of str to NDArray
        The parameters of the changed graph.

    Raises
    ------
    ValueError, MXNetError
        Levels, codes and weights do not fit.
    """
    arrays = dict(arrays)
    shapes = {(name, 0): array.shape for name, array in arrays.items()}
    for node in graph.nodes:
        if node.op == 'expand_weights':
            if not all(producer.name in arrays and producer.is_variable for producer, _ in node.inputs):
                raise ValueError(f'the levels and codes of {node.name} are no parameters')
            if node.name in arrays or node.name == 'data':
                raise ValueError(f'{node.name} is a parameter, and computed')
            attrs = {key: value for key, value in node.attrs.items() if not key.startswith('__')}
            value = mx.nd.expand_weights(*[arrays[producer.name] for producer, _ in node.inputs], **attrs)
            value.wait_to_read()
            arrays[node.name], shapes[node.name, 0] = value, value.shape
    as_variables(graph, shapes)
    return used_parameters(graph, arrays)
