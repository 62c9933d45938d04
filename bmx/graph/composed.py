"""What is composed of MXNet's built-in operators where operators of this package cannot serve.

`bmx.nn` composes signs and products so on a GPU, for instance. The graph has one form of each: `binarize` for signs,
and for products MXNet's operators, which are defined for any data.
"""
from __future__ import annotations

import json
from typing import Callable

from .node import Entry, Node

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


def compose_product(node: Node, make_sign: Callable[[str, dict[str, str], Entry], Node]) -> Node:
    """The Convolution or FullyConnected that is a `binary_convolution`, before it a `binarize` or Pad where needed.

    Parameters
    ----------
    node : Node
    make_sign : callable
        Gives the `binarize` of a name, attributes and what it reads.
    """
    attrs = {key: value for key, value in node.attrs.items() if key.startswith('__')}
    filters, (data, weight) = node.attrs['num_filter'], node.inputs
    padding, value = node.attr('pad', ()), node.attr('pad_value', -1)
    if '__signs__' in attrs:
        name, own = json.loads(attrs.pop('__signs__'))
        own.update({key: node.attrs[key] for key in ('estimator', 'clip_threshold') if key in node.attrs})
        data = make_sign(name, own, data), 0
        if 'pad' in own:  # the padding is a border of the signs
            padding = (0,) * len(padding)
    if 'kernel' not in node.attrs:
        return Node('FullyConnected', node.name, dict(attrs, num_hidden=filters, no_bias='True'), [data, weight])
    attrs.update({key: node.attrs[key] for key in ('kernel', 'stride', 'dilate', 'num_filter', 'num_group')
                  if key in node.attrs}, no_bias='True')
    if any(padding) and value != 0:
        data, padding = _padded(data, padding, value, node.name + '_pad'), (0,) * len(padding)
    return Node('Convolution', node.name, dict(attrs, pad=str(tuple(padding))), [data, weight])


def _padded(data: Entry, padding: tuple[int, ...], value: float, name: str) -> Entry:
    """A Pad of an image, or of a row, as `bmx.nn.tensors.pad` has it."""
    row = len(padding) == 1
    height, width = (0, padding[0]) if row else padding
    if row:
        data = Node('expand_dims', name + '_image', {'axis': '2'}, [data]), 0
    widths = (0, 0, 0, 0, height, height, width, width)
    data = Node('Pad', name, {'mode': 'constant', 'constant_value': str(value), 'pad_width': str(widths)}, [data]), 0
    return (Node('squeeze', name + '_row', {'axis': '2'}, [data]), 0) if row else data


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
