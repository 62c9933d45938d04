"""Binary products in a network's graph: which convolutions and dense layers can run on `xnor_popcount`, and why not.

They are recognised by the operators around them, never by names.
"""
from __future__ import annotations

import dataclasses

from .graph import Entry, Graph, Node


@dataclasses.dataclass(frozen=True)
class BinaryProduct:
    """A convolution or dense layer that a float operator computes on binarized weights.

    Attributes
    ----------
    node : Node
        The Convolution or FullyConnected.
    weight : Node
        The variable whose sign is used.
    activation : Node or None
        The `binarize` or `residual_binarize` node of the input; None where the input is not binary (such a layer stays
        float).
    pad : tuple of int
        Padding of each spatial axis, from the operator, the Pad before it or the `activation`.
    pad_value : float
        What the padding holds.
    """
    node: Node
    weight: Node
    activation: Node | None
    pad: tuple[int, ...]
    pad_value: float

    @property
    def terms(self) -> int:
        """How many scaled signs stand for the input; 1 of a sign alone."""
        if self.activation is None or self.activation.op != 'residual_binarize':
            return 1
        return self.activation.attr('binarizations', 1)


PRODUCTS = ('Convolution', 'FullyConnected')


def match_binary_product(node: Node) -> BinaryProduct | None:
    """Describe a node as a `BinaryProduct`, or return None if its weights are not binarized."""
    if node.op not in PRODUCTS:
        return None
    sign = node.input(1)
    if sign.op != 'binarize' or not sign.input(0).is_variable:
        return None
    entry, pad, pad_value = _activation(node)
    activation = entry[0]
    if not _are_signs(*entry):
        return BinaryProduct(node, sign.input(0), None, pad, pad_value)
    border = _border(activation)
    if border:
        if any(pad) or len(border) > len(pad):  # padded twice, or not along the axes of an image
            return BinaryProduct(node, sign.input(0), None, pad, pad_value)
        pad, pad_value = (0,) * (len(pad) - len(border)) + border, float(activation.attr('pad_value', -1))
    return BinaryProduct(node, sign.input(0), activation, pad, pad_value)


def _activation(node: Node) -> tuple[Entry, tuple[int, ...], float]:
    """What computes the input of a product (a node, index of its output), the padding between them, what it holds."""
    data, pad_value = node.inputs[0], 0.0
    pad: tuple[int, ...] = ()
    if node.op == 'Convolution':
        pad = tuple(node.attr('pad', ())) or (0,) * len(node.attr('kernel'))
        if not any(pad):
            data, pad, pad_value = _look_through_padding(data, pad)
    return _look_through_reshapes(data) if node.op == 'FullyConnected' else data, pad, pad_value


def _are_signs(node: Node, output: int) -> bool:
    return node.op == 'binarize' or (node.op == 'residual_binarize' and output == 0)


def _bits(node: Node, output: int = 0) -> int:
    """Bits of what a node computes: 1 of signs, those that a quantizer tells of its integers, else 32."""
    if _are_signs(node, output):
        return 1
    return int(node.attr('__bits__', 32)) if output == 0 else 32


def product_bits(node: Node) -> tuple[int, int]:
    """Bits of the weights and of the input of a Convolution or FullyConnected, 32 where they are float."""
    return _bits(node.input(1)), _bits(*_activation(node)[0])


def _border(sign: Node) -> tuple[int, ...]:
    """The padding that an operator of signs puts around its last axes; empty if there is none."""
    pad = sign.attr('pad', ())
    pad = (pad,) if isinstance(pad, int) else tuple(pad)
    return pad if any(pad) else ()


def why_float(node: Node, product: BinaryProduct | None, graph: Graph) -> str | None:
    """Why a Convolution or FullyConnected cannot run on `xnor_popcount`, as text; None if it can.

    Parameters
    ----------
    node : Node
    product : BinaryProduct or None
        Result of `match_binary_product`.
    graph : Graph
        That of the node.
    """
    weight_bits, input_bits = product_bits(node)
    if weight_bits > 1:
        return 'its weights are not binary' if weight_bits == 32 else f'its weights have {weight_bits} bits'
    if input_bits > 1:
        return 'its input is not binary' if input_bits == 32 else f'its input has {input_bits} bits'
    if product is None:
        return 'its weights are signs of something computed'
    if product.activation is None:
        return 'its input has a border that is not its padding'
    if node.attr('layout') not in (None, 'None', 'NCW', 'NCHW'):
        return f'its layout is {node.attr("layout")}'
    if node.op == 'Convolution' and len(node.attr('kernel')) > 2:
        return 'it has more than two spatial axes'
    if product.pad_value not in (-1, 0, 1):
        return f'it pads with {product.pad_value:g}'
    if len(node.inputs) > 2:
        return 'its bias is added inside the product'
    if product.activation.op == 'residual_binarize' and find_sum(product, graph) is None:
        return 'the products of its binarizations are not added up, each with its scale, as by the layers of bmx.nn'
    return None


def is_binary(node: Node, graph: Graph) -> bool:
    """Whether a node is a product that can run on `xnor_popcount`."""
    return node.op in PRODUCTS and why_float(node, match_binary_product(node), graph) is None


def find_sum(product: BinaryProduct, graph: Graph) -> Node | None:
    """The node of the sum of alpha_i times term i of a product behind `residual_binarize`, added in the order of i.

    Parameters
    ----------
    product : BinaryProduct
        Its `activation` is a `residual_binarize`.
    graph : Graph

    Returns
    -------
    Node or None
        None where something else becomes of the terms, or something else than this sum reads them.
    """
    node, activation = product.node, product.activation
    if activation is None:
        return None
    axes = len(node.attr('kernel')) if node.op == 'Convolution' else 0
    if node.op == 'FullyConnected' and (node.input(0) is not activation or not node.attr('flatten', True)):
        return None
    readers, outputs = graph.consumers(), {id(output) for output, _ in graph.outputs}

    def follow(node, op):
        """The node that alone reads a node, if it has that operator."""
        found = readers.get(id(node), [])
        return found[0] if id(node) not in outputs and len(found) == 1 and found[0].op == op else None

    terms = product.terms
    last = follow(node, 'Reshape')
    node = last if last is not None and last.attr('shape') == (0,) * (2 + axes) else node
    found = readers.get(id(node), [])
    if id(node) in outputs or len(found) != 1 or not _splits(found[0], terms, False) or terms < 2:
        return None
    split, total = found[0], None
    if id(split) in outputs or len(readers.get(id(split), [])) != terms:
        return None
    for term in range(terms):
        scaled = next((reader for reader in readers[id(split)] if reader.inputs[0] == (split, term)), None)
        if scaled is None or scaled.op != 'broadcast_mul' or not _is_scale(scaled.input(1), activation, term, axes):
            return None
        if total is None:
            total = scaled
        else:
            added = follow(total, 'elemwise_add')
            if added is None or follow(scaled, 'elemwise_add') is not added or added.inputs[0] != (total, 0):
                return None
            total = added
    return total


def _splits(node: Node, count: int, squeezes: bool) -> bool:
    """Whether a node splits its first axis, and drops it or not."""
    return (node.op == 'SliceChannel' and node.attr('axis', 1) == 0 and node.attr('num_outputs') == count
            and bool(node.attr('squeeze_axis', False)) == squeezes)


def _is_scale(node: Node, activation: Node, term: int, axes: int) -> bool:
    """Whether a node is the scale of a term of `residual_binarize`, (N, 1, ...)."""
    if node.op != 'Reshape' or node.attr('shape') != (-1, 1) + (1,) * axes or node.attr('reverse'):
        return False
    split, output = node.inputs[0]
    return (_splits(split, activation.attr('binarizations', 1), True) and output == term
            and split.inputs[0] == (activation, 1))


def _look_through_padding(data: Entry, pad: tuple[int, ...]) -> tuple[Entry, tuple[int, ...], float]:
    """What is before a constant Pad of the spatial axes, with its padding; `data` itself if there is none.

    A one-dimensional convolution pads between expand_dims and squeeze.
    """
    node, squeezed = data[0], False
    if node.op == 'squeeze':
        node, squeezed = node.input(0), True
    if node.op != 'Pad' or node.attr('mode') != 'constant':
        return data, pad, 0
    width = node.attr('pad_width')
    before, after = width[0::2], width[1::2]
    spatial = before[3:] if squeezed else before[2:]
    if before != after or any(before[:2]) or len(spatial) != len(pad) or (squeezed and before[2]):
        return data, pad, 0
    before = node.inputs[0]
    if squeezed:
        if before[0].op != 'expand_dims':
            return data, pad, 0
        before = before[0].inputs[0]
    return before, tuple(spatial), float(node.attr('constant_value', 0))


def _look_through_reshapes(entry: Entry) -> Entry:
    while entry[0].op in ('Flatten', 'flatten', 'Reshape', 'reshape'):
        entry = entry[0].inputs[0]
    return entry
