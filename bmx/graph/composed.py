"""Signs composed of MXNet's built-in operators, as `bmx.nn.quantizers` writes them where `binarize` cannot serve."""
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .graph import Entry, Node


# From the last operator to the first: x >= 0, times 2, minus 1, without a gradient.
_SIGN = (('BlockGrad', {}), ('_minus_scalar', {'scalar': 1}), ('_mul_scalar', {'scalar': 2}),
         ('_greater_equal_scalar', {'scalar': 0}))


def match_sign(node: Node) -> tuple[Entry, dict[str, str]] | None:
    """Recognise the last node of a composed sign.

    Parameters
    ----------
    node : Node

    Returns
    -------
    ((Node, int), dict of str to str) or None
        What the sign is taken of, and the attributes of a `binarize` with the same values and gradient.
    """
    if node.op != 'elemwise_add' or node.input(1).op != 'elemwise_sub':
        return None
    data, (surrogate, blocked) = _before(node.inputs[0], *_SIGN), node.input(1).inputs
    if data is None or _before(blocked, ('BlockGrad', {})) != surrogate:
        return None
    if _clip(surrogate) is not None:
        before, threshold = _clip(surrogate)
        return (data, {'estimator': 'clip', 'clip_threshold': threshold}) if before == data else None
    if surrogate[0].op != 'elemwise_mul':
        return None
    clipped, rest = surrogate[0].inputs
    polynomial = _before(rest, ('_rminus_scalar', {'scalar': 2}), ('abs', {})) == clipped
    found = _clip(clipped) if polynomial else None
    return (data, {'estimator': 'polynomial'}) if found and found[0] == data and float(found[1]) == 1 else None


def _before(entry, *steps):
    """What a chain of operators reads, given from the last to the first; None where they are others."""
    for op, attributes in steps:
        node, _ = entry
        if node.op != op or any(node.attr(key) != value for key, value in attributes.items()):
            return None
        entry = node.inputs[0]
    return entry


def _clip(entry):
    """What a clip reads, and the text of its threshold; None where it is no clip between -t and t."""
    node, _ = entry
    if node.op != 'clip' or float(node.attrs['a_min']) != -float(node.attrs['a_max']):
        return None
    return node.inputs[0], node.attrs['a_max']
