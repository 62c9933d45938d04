"""The float network in the arithmetic of programs: what a deployed network has to equal, to the bit.

MXNet's float operators add up in an order that differs from CPU to CPU. Programs have an order of their own, which is
the same everywhere (docs/semantics.md, "Float arithmetic"). A deployed network is compared with the traced network
whose float operators are computed one by one by single instructions: that proves all that the exporter did. Each of
these operators is compared with MXNet's on what it really gets: that proves the instructions.
"""
from __future__ import annotations

import dataclasses
from typing import Collection, Mapping, Sequence

import mxnet as mx
import numpy as np

from ..graph import Graph, Node
from .build import build
from .lower import Row, lower
from .operators import Context, rounds_otherwise
from .variables import Variables, fold_constants, used_parameters

_UNIT = 2.0 ** -24  # of float32: the largest relative error of a rounding


def in_own_arithmetic(graph: Graph, params: Mapping[str, mx.nd.NDArray],
                      binary: Collection[str]) -> tuple[dict[str, mx.nd.NDArray], list[Replaced]]:
    """Let single instructions compute the float operators of a traced network.

    Parameters
    ----------
    graph : Graph
        A traced network, not lowered; changed in place.
    params : dict of str to NDArray
        Its parameters.
    binary : set of str
        The names of the layers that `lower` makes binary.

    Returns
    -------
    (dict of str to NDArray, list of Replaced)
        The parameters of the changed graph, and what was replaced.
    """
    params = dict(params)
    variables = Variables(params)
    fold_constants(graph, params, variables)
    shapes = graph.infer_shapes()
    context, replaced = Context(shapes, exact=False), []
    context.ask(graph.nodes)
    for node in graph.nodes:
        if node.name not in binary and rounds_otherwise(node) and id(node) in context.fused:
            built = build(graph, [node], params, shapes, variables)
            attrs = {'program': str(built.program), 'num_data': str(len(built.data)), 'num_outputs': '1'}
            own = Node('binary_subgraph', node.name + '_own', attrs,
                       built.data + [(parameter, 0) for parameter in built.parameters])
            shapes[own.name, 0] = shapes[node.name, 0]
            graph.replace(node, own)
            values = [params[producer.name] for producer, _ in node.inputs[1:]]
            replaced.append(Replaced(node, own, values))
    return used_parameters(graph, params), replaced


@dataclasses.dataclass
class Replaced:
    """An operator of MXNet, and the node of an instruction in its place.

    Attributes
    ----------
    node, own : Node
    parameters : list of NDArray
        What MXNet's operator takes beside its data.
    """
    node: Node
    own: Node
    parameters: list

    def error(self, data: mx.nd.NDArray, found: mx.nd.NDArray) -> float:
        """How far a result is from MXNet's, as a share of what the orders of additions explain.

        A sum of K products, however it is added up, is within K u sum |x w| of the exact one, u = 2^-24; so two orders
        differ by at most twice that. Biases, normalisations and divisions add a few roundings.

        Parameters
        ----------
        data, found : NDArray
            What the operator got, and what the instruction made of it.

        Returns
        -------
        float
            At most 1 where the instruction is right.
        """
        expected = self._apply(data, self.parameters).asnumpy().reshape(found.shape)
        found = found.asnumpy()
        with np.errstate(invalid='ignore'):
            difference = np.where(expected == found, 0, np.abs(expected - found))
        allowed = np.maximum(self._bound(data).reshape(found.shape), np.finfo(np.float32).tiny)
        error = difference / allowed
        return float(np.where(np.isnan(error), np.inf, error).max(initial=0))

    def _apply(self, data, parameters):
        inputs = [Node('null', f'input{index}') for index in range(1 + len(parameters))]
        attrs = {key: value for key, value in self.node.attrs.items() if not key.startswith('__')}
        symbol = Graph([(Node(self.node.op, 'operator', attrs, [(node, 0) for node in inputs]), 0)]).to_symbol()
        values = dict(zip([node.name for node in inputs], [data] + list(parameters)))
        return _first(mx.nd.CachedOp(symbol)(*[values[name] for name in symbol.list_inputs()]))

    def _bound(self, data):
        if self.node.op == 'BatchNorm':
            shape = (1, -1) + (1,) * (data.ndim - 2)
            gamma, beta, mean, variance = (value.asnumpy().reshape(shape) for value in self.parameters)
            if self.node.attr('fix_gamma', True):
                gamma = np.ones_like(gamma)
            scale = gamma / np.sqrt(variance + self.node.attr('eps', 1e-3))
            return 8 * _UNIT * ((np.abs(data.asnumpy()) + np.abs(mean)) * np.abs(scale) + np.abs(beta))
        magnitudes = self._apply(data.abs(), [value.abs() for value in self.parameters]).asnumpy()
        return 2 * (self._terms(data) + 2) * _UNIT * magnitudes

    def _terms(self, data):
        if self.node.op == 'Pooling':
            return int(np.prod(data.shape[2:] if self.node.attr('global_pool') else self.node.attr('kernel')))
        return int(np.prod(self.parameters[0].shape[1:]))


def _first(result):
    return result[0] if isinstance(result, (list, tuple)) else result


class OwnNetwork:
    """A traced network in the arithmetic of programs, which notes how far its instructions are from MXNet's operators.

    Parameters
    ----------
    graph : Graph
        Not lowered.
    params : dict of str to NDArray
    rows : list of Row, optional
        What `lower` made of its layers; by default found here.

    Attributes
    ----------
    errors : dict of str to float
        By operator, the largest `Replaced.error` so far.
    """

    def __init__(self, graph: Graph, params: Mapping[str, mx.nd.NDArray], rows: Sequence[Row] | None = None) -> None:
        if rows is None:
            _, rows = lower(graph.copy(), params, graph.infer_shapes())
        binary = {row.name for row in rows if row.reason is None}
        self._params, self._replaced = in_own_arithmetic(graph, params, binary)
        outputs = list(graph.outputs)
        for each in self._replaced:
            outputs += [each.own.inputs[0], (each.own, 0)]
        self._heads = len(graph.outputs)
        symbol = Graph(outputs).to_symbol()
        self._names = symbol.list_inputs()
        self._run = mx.nd.CachedOp(symbol)
        self.errors = {each.node.name: 0.0 for each in self._replaced}

    def __call__(self, data):
        values = dict(self._params, data=data)
        results = self._run(*[values[name] for name in self._names])
        results = results if isinstance(results, (list, tuple)) else [results]
        pairs = results[self._heads:]
        for each, got, found in zip(self._replaced, pairs[0::2], pairs[1::2]):
            if each.node.op == 'FullyConnected':
                got = got.flatten()
            error = each.error(got, found)
            self.errors[each.node.name] = max(self.errors[each.node.name], error)
        return results[:self._heads]
