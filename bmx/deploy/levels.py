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
from ..graph.products import QUANTIZER, quantizer_of
from .threshold import LARGEST, find_thresholds


def quantized_input(node: Node, constants: set[int]) -> Entry | None:
    """What a quantizer quantizes: the one value that its operators read, beside parameters.

    Parameters
    ----------
    node : Node
        The last operator of a quantizer, or what makes integers of its values.
    constants : set of int
        `Graph.constants`.

    Returns
    -------
    (Node, int) or None
        None where they read several.
    """
    name, stack, seen, found = quantizer_of(node), [node], {id(node)}, {}
    while stack:
        for source, index in stack.pop().inputs:
            if id(source) in constants:
                continue
            if source.attrs.get(QUANTIZER) != name:
                found[id(source), index] = source, index
            elif id(source) not in seen:
                seen.add(id(source))
                stack.append(source)
    return next(iter(found.values())) if len(found) == 1 else None


def function_of(outputs: Sequence[Entry], data: Entry,
                params: Mapping[str, mx.nd.NDArray]) -> Callable[[np.ndarray], list[np.ndarray]]:
    """What entries of a graph are as a function of another entry, of NumPy arrays; borders are left out."""
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

    def function(x: np.ndarray) -> list[np.ndarray]:
        values = dict(params, data=mx.nd.array(x))
        found = run(*[values[name] for name in names])
        return [value.asnumpy() for value in (found if isinstance(found, (list, tuple)) else [found])]
    return function


def counted_thresholds(levels: Callable[[np.ndarray], np.ndarray], bits: int, channels: int) -> np.ndarray | None:
    """The thresholds of whole numbers from 0 to 2^bits - 1, float32 (2^bits - 1, 2, C): how many hold is the number.

    Parameters
    ----------
    levels : callable
        From x, float32 (C,), to the numbers; never decreasing in a channel, or never increasing.
    bits, channels : int

    Returns
    -------
    numpy.ndarray or None
        None of numbers that are not whole, or lie beyond.
    """
    def reaches(least: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda x: levels(x) >= least

    numbers = range(2 ** bits)
    found = np.stack([find_thresholds(reaches(least), channels) for least in numbers[1:]])
    for threshold, _ in found:
        if not np.isin(levels(np.clip(threshold, -LARGEST, LARGEST)), numbers).all():
            return None
    ends = [levels(np.full(channels, end, np.float32)) for end in (-LARGEST, LARGEST)]
    return found if np.isin(ends, numbers).all() else None


def signs_of_weight(values: np.ndarray) -> tuple[np.ndarray, float] | None:
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
