"""Binary products in a network's graph: which convolutions and dense layers can run on `xnor_popcount`, and why not.

They are recognised by the operators around them, never by names.
"""
from __future__ import annotations

import dataclasses

from .graph import Entry, Graph, Node

# What the input of a product can be: one sign; the signs of `residual_binarize`; whole numbers from 0 on, of which a
# quantizer tells the bits; or planes of one bit, one behind the other along the batch, each with a scale.
SIGN, RESIDUAL, INTEGERS, PLANES = 'sign', 'residual', 'integers', 'planes'

# A product of activations by thresholds with more binary ones stays float.
MOST_PRODUCTS = 8

# The attribute that tells of an operator which `bmx.nn.QActivation` it belongs to.
QUANTIZER = '__quantizer__'


@dataclasses.dataclass(frozen=True)
class BinaryProduct:
    """A convolution or dense layer that a float operator computes on weights of few bits.

    Attributes
    ----------
    node : Node
        The Convolution or FullyConnected.
    weight : Node
        What computes the values of its weights of parameters alone: signs, or integers.
    weight_bits : int
    activation : Node or None
        What computes the values of its input; None where these are float, or have a border that is no padding (such a
        layer stays float).
    kind : str or None
        What these are.
    bits : int
        Of an input.
    pad : tuple of int
        Padding of each spatial axis, from the operator, the Pad before it or the `activation`.
    pad_value : float
        What the padding holds.
    """
    node: Node
    weight: Node
    weight_bits: int
    activation: Node | None
    kind: str | None
    bits: int
    pad: tuple[int, ...]
    pad_value: float

    @property
    def planes(self) -> int:
        """How many tensors along the batch stand for the input."""
        return self.bits if self.kind in (RESIDUAL, PLANES) else 1

    @property
    def variable(self) -> Node:
        """The variable of the weights."""
        return variable_of(self.weight)


PRODUCTS = ('Convolution', 'FullyConnected')


def match_binary_product(node: Node) -> BinaryProduct | None:
    """Describe a node as a `BinaryProduct`, or return None if its weights are float."""
    if node.op not in PRODUCTS:
        return None
    weight = node.input(1)
    weight_bits = _bits(weight)
    if weight.is_variable or weight_bits == 32 or not _is_constant(weight):
        return None
    (activation, output), pad, pad_value = _activation(node)
    kind, bits = _kind(activation, output)
    border = _common_border(activation) if kind in (SIGN, RESIDUAL, PLANES) else ()
    if kind is None or border is None or (border and (any(pad) or len(border) > len(pad))):
        # padded twice, or not along the axes of an image
        return BinaryProduct(node, weight, weight_bits, None, None, 32, pad, pad_value)
    if border:
        signs = activation.input(0) if kind == PLANES else activation
        pad, pad_value = (0,) * (len(pad) - len(border)) + border, float(signs.attr('pad_value', -1))
    return BinaryProduct(node, weight, weight_bits, activation, kind, bits, pad, pad_value)


def _kind(node: Node, output: int) -> tuple[str | None, int]:
    """What an input is, and its bits."""
    if node.op == 'residual_binarize' and output == 0:
        return RESIDUAL, node.attr('binarizations', 1)
    if node.op == 'binarize':
        return SIGN, 1
    if quantizer_of(node) is None:
        return None, 32
    if node.op == 'Concat' and node.attr('dim', 1) == 0 and len(node.inputs) > 1:
        return PLANES, len(node.inputs)
    bits = _bits(node, output)
    return (None, 32) if bits == 32 else (INTEGERS, bits)


def quantizer_of(node: Node) -> str | None:
    """The `bmx.nn.QActivation`, by its name, whose operator a node is, or of whose values it makes integers."""
    for operator in [node] + [source for source, _ in node.inputs[:1]]:
        if QUANTIZER in operator.attrs:
            return operator.attrs[QUANTIZER]
    return None


def variable_of(weight: Node) -> Node:
    """The variable that a weight is computed of; the first one, where these are several."""
    while not weight.is_variable and weight.inputs:
        weight = weight.input(0)
    return weight


def _is_constant(node: Node) -> bool:
    """Whether a node depends on parameters alone."""
    return all(each.name != 'data' if each.is_variable else each.inputs for each in Graph([(node, 0)]).nodes)


def _activation(node: Node) -> tuple[Entry, tuple[int, ...], float]:
    """What computes the input of a product (a node, index of its output), the padding between them, what it holds."""
    data, pad_value = node.inputs[0], 0.0
    pad: tuple[int, ...] = ()
    if node.op == 'Convolution':
        pad = tuple(node.attr('pad', ())) or (0,) * len(node.attr('kernel'))
        if not any(pad):
            data, pad, pad_value = _look_through_padding(data, pad)
    return _look_through_reshapes(data) if node.op == 'FullyConnected' else data, pad, pad_value


def _bits(node: Node, output: int = 0) -> int:
    """Bits of what a node computes: 1 of signs, those that a quantizer tells of its integers, else 32."""
    if node.op == 'binarize':
        return 1
    return int(node.attr('__bits__', 32)) if output == 0 else 32


def product_bits(node: Node) -> tuple[int, int]:
    """Bits of the weights and of the input of a Convolution or FullyConnected, 32 where they are float."""
    return _bits(node.input(1)), _kind(*_activation(node)[0])[1]


def _border(sign: Node) -> tuple[int, ...]:
    """The padding that an operator of signs puts around its last axes; empty if there is none."""
    pad = sign.attr('pad', ())
    pad = (pad,) if isinstance(pad, int) else tuple(pad)
    return pad if any(pad) else ()


def _common_border(node: Node) -> tuple[int, ...] | None:
    """The border of signs, or that of all planes; None where these have others."""
    if node.op != 'Concat':
        return _border(node)
    signs = [source for source, _ in node.inputs if source.op == 'binarize']
    borders = {(_border(sign), sign.attr('pad_value', -1) if _border(sign) else -1) for sign in signs}
    if not signs:
        return ()
    return borders.pop()[0] if len(signs) == len(node.inputs) and len(borders) == 1 else None


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
    if weight_bits == 32:
        return 'its weights are not binary'
    if input_bits == 32:
        return 'its input is not binary'
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
    if product.kind != RESIDUAL and weight_bits * input_bits > MOST_PRODUCTS:
        return f'its product would take {weight_bits * input_bits} binary ones'
    if product.planes > 1 and weight_bits > 1:
        return f'its input are {product.planes} scaled planes, its weights have {weight_bits} bits'
    if product.kind in (INTEGERS, PLANES) and node.op == 'FullyConnected' and (
            node.input(0) is not product.activation or not node.attr('flatten', True)):
        return f'its input of {input_bits} bits does not reach it as it is'
    if product.kind == INTEGERS and product.pad_value and any(product.pad):
        return f'it pads numbers of {input_bits} bits with {product.pad_value:g}'
    if product.kind in (RESIDUAL, PLANES) and find_sum(product, graph) is None:
        return 'the products of its binarizations are not added up, each with its scale, as by the layers of bmx.nn'
    return None


def is_binary(node: Node, graph: Graph) -> bool:
    """Whether a node is a product that can run on `xnor_popcount`."""
    return node.op in PRODUCTS and why_float(node, match_binary_product(node), graph) is None


def find_sum(product: BinaryProduct, graph: Graph) -> tuple[Node, Entry] | None:
    """The node of the sum of alpha_i times plane i of a product, added in the order of i, and the alphas, (planes, N).

    Parameters
    ----------
    product : BinaryProduct
        Of several planes.
    graph : Graph

    Returns
    -------
    (Node, (Node, int)) or None
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

    terms = product.planes
    last = follow(node, 'Reshape')
    node = last if last is not None and last.attr('shape') == (0,) * (2 + axes) else node
    found = readers.get(id(node), [])
    if id(node) in outputs or len(found) != 1 or not _splits(found[0], terms, False) or terms < 2:
        return None
    split, total, scales = found[0], None, None
    if id(split) in outputs or len(readers.get(id(split), [])) != terms:
        return None
    for term in range(terms):
        scaled = next((reader for reader in readers[id(split)] if reader.inputs[0] == (split, term)), None)
        if scaled is None or scaled.op != 'broadcast_mul':
            return None
        scale = _scales(scaled.input(1), terms, term, axes)
        if scale is None or (term and scale != scales) or (product.kind == RESIDUAL and scale != (activation, 1)):
            return None
        scales = scale
        if total is None:
            total = scaled
        else:
            added = follow(total, 'elemwise_add')
            if added is None or follow(scaled, 'elemwise_add') is not added or added.inputs[0] != (total, 0):
                return None
            total = added
    return None if total is None or scales is None else (total, scales)


def _splits(node: Node, count: int, squeezes: bool) -> bool:
    """Whether a node splits its first axis, and drops it or not."""
    return (node.op == 'SliceChannel' and node.attr('axis', 1) == 0 and node.attr('num_outputs') == count
            and bool(node.attr('squeeze_axis', False)) == squeezes)


def _scales(node: Node, terms: int, term: int, axes: int) -> Entry | None:
    """Those of all planes, (planes, N), of which a node, (N, 1, ...), is the scale of one; None if it is none."""
    if node.op != 'Reshape' or node.attr('shape') != (-1, 1) + (1,) * axes or node.attr('reverse'):
        return None
    split, output = node.inputs[0]
    return split.inputs[0] if _splits(split, terms, True) and output == term else None


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
