"""Sums of products of one input with several weights, each scaled, as one product of several planes of weights."""
from __future__ import annotations

from typing import Callable, Mapping

import mxnet as mx
import numpy as np

from ..graph import Graph, Node
from .variables import Variables

_MOST = 8  # planes that an operator takes


def join_weight_planes(graph: Graph, params: Mapping[str, mx.nd.NDArray], variables: Variables) -> None:
    """Join what methods of several weight bases (ABC-Net, LQ-Nets) add up to one `xnor_popcount` node each.

    It packs its input once, and computes the same to the last bit: the sum has the same order.

    Parameters
    ----------
    graph : Graph
        A lowered graph; changed in place.
    params : dict of str to NDArray
        Its parameters.
    variables : Variables
        Makes the joined ones.
    """
    readers, outputs = graph.consumers(), {id(node) for node, _ in graph.outputs}

    def is_read_once(node: Node) -> bool:
        return id(node) not in outputs and len(readers.get(id(node), [])) == 1

    for node in reversed(graph.nodes):  # whole sums before parts of them
        terms = _terms(node, is_read_once)
        if 1 < len(terms) <= _MOST and _are_planes(terms):
            graph.replace(node, _joined([term.input(0) for term in terms], [term.input(1) for term in terms], params,
                                        variables))


def _terms(node: Node, is_read_once: Callable[[Node], bool]) -> list[Node]:
    """What a sum adds up, in its order."""
    terms: list[Node] = []
    while node.op == 'elemwise_add' and all(is_read_once(summand) for summand, _ in node.inputs):
        terms.insert(0, node.input(1))
        node = node.input(0)
    return [node] + terms


def _are_planes(terms: list[Node]) -> bool:
    """Whether all are products of the same input with signs, each product with its scale."""
    products = []
    for term in terms:
        if term.op != 'channelwise' or term.attr('kind') != 'scale' or not term.input(1).is_variable:
            return False
        products.append(term.input(0))
    first = products[0]
    return first.op == 'xnor_popcount' and 'weight_planes' not in first.attrs and all(
        product.op == first.op and product.attrs == first.attrs and product.inputs[:1] == first.inputs[:1]
        and product.inputs[2:] == first.inputs[2:] for product in products)


def _joined(products: list[Node], scales: list[Node], params: Mapping[str, mx.nd.NDArray],
            variables: Variables) -> Node:
    first, count = products[0], len(products)
    weights = [product.input(1) for product in products]
    packed = np.concatenate([params[weight.name].asnumpy() for weight in weights])
    filters = first.attr('num_filter')
    values = np.stack([np.broadcast_to(params[scale.name].asnumpy(), filters) for scale in scales])
    weight = variables.make(f'{weights[0].name}_planes', packed, weights)
    others = first.inputs[2:] + [(variables.make(f'{first.name}_weight_scales', values, scales), 0)]
    attrs = dict(first.attrs, weight_planes=str(count), weight_scales='True')
    return Node('xnor_popcount', first.name, attrs, [first.inputs[0], (weight, 0)] + others)
