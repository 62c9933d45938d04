"""From the functions of quantizers to planes of one bit: thresholds of activations, signs of weights.

What a quantizer computes is not known by its name. Its operators are evaluated: activations are never decreasing
functions of a value, whose boundaries are found by bisection among the float32 values (`find_thresholds`), exact to the
last one; weights are numbers.
"""
from __future__ import annotations

from typing import Callable, Mapping, Sequence

import mxnet as mx
import numpy as np

from ..graph import Entry, Graph, Node
from .threshold import find_thresholds

# Operators of which a value of the result depends on one value of each input, or on parameters.
_ELEMENTWISE = frozenset((
    '_contrib_round_ste', '_contrib_sign_ste', '_div_scalar', '_equal_scalar', '_greater_equal_scalar',
    '_greater_scalar', '_lesser_equal_scalar', '_lesser_scalar', '_maximum_scalar', '_minimum_scalar', '_minus_scalar',
    '_mul_scalar', '_plus_scalar', '_rdiv_scalar', '_rminus_scalar', 'BlockGrad', 'Concat', 'abs', 'binarize',
    'broadcast_add', 'broadcast_div', 'broadcast_greater', 'broadcast_greater_equal', 'broadcast_lesser',
    'broadcast_lesser_equal', 'broadcast_mul', 'broadcast_sub', 'ceil', 'clip', 'elemwise_add', 'elemwise_div',
    'elemwise_mul', 'elemwise_sub', 'floor', 'rint', 'round', 'tanh', 'where'))
_MOST_NODES = 200  # of a quantizer


def quantized_input(node: Node, constants: set[int], positions: Mapping[int, int]) -> Entry | None:
    """What a quantizer quantizes: the furthest value before a node of which alone it is a function, value by value.

    Parameters
    ----------
    node : Node
        The last one of the quantizer.
    constants : set of int
        `Graph.constants`.
    positions : dict of int to int
        For the id of each node of quantizers its position in the graph.

    Returns
    -------
    (Node, int) or None
    """
    front, found = {(id(node), 0): (node, 0)}, None
    for _ in range(_MOST_NODES):
        key = max(front, key=lambda key: positions.get(key[0], -1))
        node, output = front[key]
        if node.op not in _ELEMENTWISE or output:
            break
        del front[key]
        for source, index in node.inputs:
            if id(source) not in constants:
                front[id(source), index] = source, index
        if len(front) == 1:
            found = next(iter(front.values()))
    return found


def function_of(outputs: Sequence[Entry], data: Entry | None,
                params: Mapping[str, mx.nd.NDArray]) -> Callable[[np.ndarray | None], list[np.ndarray]]:
    """What entries of a graph are as a function of another entry, of NumPy arrays; borders are left out.

    `data` and the function's argument are None where they depend on parameters alone.
    """
    copies: dict[object, Node] = {}

    def copy(entry: Entry) -> Entry:
        if entry == data:
            return copies.setdefault('data', Node('null', 'data')), 0
        node, index = entry
        if id(node) not in copies:
            attrs = {key: value for key, value in node.attrs.items() if key not in ('pad', 'pad_value')
                     or node.op != 'binarize'}
            copies[id(node)] = Node(node.op, node.name, attrs, [])
            copies[id(node)].inputs = [copy(source) for source in node.inputs]
        return copies[id(node)], index

    symbol = Graph([copy(output) for output in outputs]).to_symbol()
    names, run = symbol.list_inputs(), mx.nd.CachedOp(symbol)

    def function(x: np.ndarray | None) -> list[np.ndarray]:
        values = params if x is None else dict(params, data=mx.nd.array(x))
        found = run(*[values[name] for name in names])
        return [value.asnumpy() for value in (found if isinstance(found, (list, tuple)) else [found])]
    return function


def counted_thresholds(levels: Callable[[np.ndarray], np.ndarray], bits: int, channels: int) -> np.ndarray:
    """The thresholds of whole numbers from 0 to 2^bits - 1, float32 (2^bits - 1, 2, C): how many hold is the number.

    Parameters
    ----------
    levels : callable
        From x, float32 (C,), to the numbers; never decreasing in a channel, or never increasing.
    bits, channels : int
    """
    def reaches(least: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda x: levels(x) >= least

    return np.stack([find_thresholds(reaches(least), channels) for least in range(1, 2 ** bits)])


def weight_planes(values: np.ndarray) -> tuple[np.ndarray, float] | None:
    """Weights as sums of signs: the signs, (planes, O, ...), and the factor c of c * sum_i 2^i * plane i.

    Of odd integers within +-(2^k - 1) there are k planes, with c = 1. Of -1, 0 and 1 there are two, one like the other,
    each counting half; c is 1/2, without 2^i.

    Parameters
    ----------
    values : numpy.ndarray
        float32, whole numbers.

    Returns
    -------
    (numpy.ndarray, float) or None
        None where they are other numbers.
    """
    whole = values.astype(np.int64)
    if (whole != values).any():
        return None
    if (np.abs(whole) <= 1).all() and (whole == 0).any():
        return np.stack([np.where(whole >= 0, 1, -1), np.where(whole > 0, 1, -1)]).astype(np.float32), 0.5
    if (whole % 2 == 0).any():
        return None
    planes = max(1, int(np.abs(whole).max()).bit_length())
    number = (whole + 2 ** planes - 1) // 2
    return np.stack([2 * (number >> plane & 1) - 1 for plane in range(planes)]).astype(np.float32), 1.0
