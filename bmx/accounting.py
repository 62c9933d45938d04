"""What a network costs: operations and size, counted as the papers on binary networks count them.

A multiply-accumulate is one operation. One of a weight of b bits and an input of a bits, both fewer than 32, is a * b
binary ones, one for each pair of their bits, as DoReFa-Net computes it; in a deployed network where it runs as such.
BOPs are the binary operations, FLOPs all others of convolutions and dense layers; OPs = BOPs / 64 + FLOPs. A size
counts a weight of b bits as b bits, and anything else as float32, BatchNorm as two values a channel (its running
statistics fold into them).
"""
from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, Mapping, Sequence

import mxnet as mx

from .graph import Graph, Node, Shapes, without_prefix
from .graph.parameters import (
    PARAMETERS,
    STORED,
    as_variables,
    levels_axes,
    own_parameters,
    read_parameters,
    weight_bits,
)
from .graph.products import PRODUCTS, match_binary_product, product_bits, why_float
from .graph.programs import layers
from .ops.packing import level_bytes, packed_bytes

_PRODUCTS = PRODUCTS + ('Deconvolution', 'xnor_popcount')
_UNCOUNTED = ('RNN', 'dot', 'batch_dot', '_linalg_gemm', '_linalg_gemm2')


@dataclasses.dataclass(frozen=True)
class Summary:
    """The cost of a network, for one input.

    Attributes
    ----------
    name : str
    input_shape : tuple of int
    layers : list of dict
        A layer each that computes products or owns parameters: name, op, output_shape, bits ('weights/activations';
        of several binarizations as many as these), params_binary, params_quantized (of 2 to 8 bits), params_float,
        bops, flops, size_bits (as the papers count), bytes_packed (bytes in an exported file).
    uncounted : sequence of str
        Layers whose products are not counted, because they are neither convolutions nor dense layers.
    """
    name: str
    input_shape: tuple[int, ...]
    layers: list[dict]
    uncounted: Sequence[str] = ()

    @property
    def _classifier(self) -> Mapping[str, Any]:
        products = [layer for layer in self.layers if layer['op'] in _PRODUCTS]
        if products and (products[-1]['op'] == 'FullyConnected' or len(products[-1]['output_shape']) == 2):
            return products[-1]
        return {'bops': 0, 'flops': 0}

    def _total(self, key: str) -> int:
        return sum(layer[key] for layer in self.layers)

    @property
    def bops(self) -> int:
        return self._total('bops')

    @property
    def flops(self) -> int:
        return self._total('flops')

    @property
    def flops_without_classifier(self) -> int:
        """FLOPs as the MeliusNet paper counts them: without the final dense layer."""
        return self.flops - self._classifier['flops']

    @property
    def ops(self) -> float:
        return self.bops / 64 + self.flops

    @property
    def ops_without_classifier(self) -> float:
        """OPs as the MeliusNet paper counts them: without the final dense layer."""
        return (self.bops - self._classifier['bops']) / 64 + self.flops_without_classifier

    @property
    def params_binary(self) -> int:
        return self._total('params_binary')

    @property
    def params_quantized(self) -> int:
        """Weights of 2 to 8 bits."""
        return self._total('params_quantized')

    @property
    def params_float(self) -> int:
        return self._total('params_float')

    @property
    def size_mib(self) -> float:
        """Size in MiB as the MeliusNet paper counts it."""
        return self._total('size_bits') / 8 / 2 ** 20

    def to_dict(self) -> dict[str, Any]:
        totals = ('bops', 'flops', 'flops_without_classifier', 'ops', 'ops_without_classifier', 'params_binary',
                  'params_quantized', 'params_float', 'size_mib')
        return dict({'name': self.name, 'input_shape': list(self.input_shape)},
                    **{key: getattr(self, key) for key in totals}, layers=self.layers)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1)

    def __str__(self) -> str:
        numbers = {'binary': 'params_binary', '2 to 8 bits': 'params_quantized', 'float': 'params_float',
                   'BOPs': 'bops', 'FLOPs': 'flops', 'bytes packed': 'bytes_packed'}
        if not self.params_quantized:
            del numbers['2 to 8 bits']
        rows = [('layer', 'operator', 'output', 'bits') + tuple(numbers)] + [
            (layer['name'], layer['op'], 'x'.join(map(str, layer['output_shape'][1:])), layer['bits'])
            + tuple(f'{layer[key]:,}' if layer[key] else '-' for key in numbers.values())
            for layer in self.layers]
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ['  '.join(cell.ljust(width) if i < 4 else cell.rjust(width)
                           for i, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows]
        lines.insert(1, '-' * max(map(len, lines)))
        lines += [lines[1],
                  f'{self.name}, input {"x".join(map(str, self.input_shape))}',
                  'parameters   ' + ', '.join(f'{self._total(key):,} {name}'
                                              for name, key in numbers.items() if key.startswith('params')),
                  f'BOPs         {self.bops / 1e9:.5g}e9',
                  f'FLOPs        {self.flops_without_classifier / 1e8:.5g}e8 without the final dense layer, '
                  f'{self.flops / 1e8:.5g}e8 with it',
                  f'OPs          {self.ops_without_classifier / 1e8:.5g}e8 without the final dense layer, '
                  f'{self.ops / 1e8:.5g}e8 with it',
                  f'size         {self.size_mib:.2f} MiB']
        if self.uncounted:
            lines.append('not counted: ' + ', '.join(self.uncounted))
        return '\n'.join(lines)


def summary(net: mx.gluon.HybridBlock | mx.sym.Symbol, shape: Sequence[int]) -> Summary:
    """Count the operations and the size of a network by reading its graph.

    Parameters
    ----------
    net : gluon.HybridBlock or mx.sym.Symbol
        Any network with one input, called data, trained or deployed; it need not be initialized.
    shape : tuple of int
        Shape of the input, batch first. The counts are for one of the batch.

    Returns
    -------
    Summary
    """
    if isinstance(net, mx.sym.Symbol):
        graph, name, prefix = Graph.from_symbol(net, {'data': tuple(shape)}), net.name, ''
    else:
        graph, name, prefix = Graph.from_block(net, shape), getattr(net, 'model_name', net.name), net.prefix
    shapes = graph.infer_shapes()
    as_variables(graph, shapes)
    constants = graph.constants()
    layers, uncounted, counted = [], [], set()
    parameters, bits = read_parameters(graph), weight_bits(graph)
    for node in graph.nodes:
        if id(node) in constants:
            continue
        owned = [(variable, _uncounted_parameters(variable, shapes, bits, counted))
                 for variable in parameters[id(node)]]
        if node.op in ('xnor_popcount', 'binary_subgraph'):
            found = _program_layers(node, owned, shapes, graph)
        elif node.op in _PRODUCTS or any(own for _, own in owned):
            found = [_layer(node, owned, shapes, graph)]
        else:
            found = []
        for layer in found:
            layer['name'] = without_prefix(layer['name'], prefix)
        layers += found
        if node.op in _UNCOUNTED:
            uncounted.append(without_prefix(node.name, prefix))
    return Summary(name, tuple(shape), layers, uncounted)


def _uncounted_parameters(variable: Node, shapes: Shapes, bits: Mapping[str, int],
                          counted: set[str]) -> list[list[int]]:
    """[how many, of how many bits] of each parameter that a variable stands for and that no earlier one did."""
    found = own_parameters(variable, {variable.name: shapes[variable.name, 0]}, bits)
    new = [numbers for name, numbers in found.items() if name not in counted]
    if STORED in variable.attrs and variable.name not in counted and not new:
        new = [[0, 1]]  # another plane of a weight: no more parameters, but more bytes
    counted.update(found, [variable.name])
    return new


def _layer(node: Node, owned: list[tuple[Node, list[list[int]]]], shapes: Shapes, graph: Graph) -> dict[str, Any]:
    macs, bits, batch, packed, on_image = 0, '', graph.variable_shapes['data'][0], False, False
    coded, coded_bits = None, 32  # bytes and bits of weights that are stored by codes
    output_shape = list(shapes[node.name, 0])
    if node.op in _PRODUCTS:
        macs, bits = _multiply_accumulates(node, shapes) // batch, '32/32'
    if node.op in PRODUCTS:
        bits = '/'.join(map(str, _bits_of_product(node)))
        product = match_binary_product(node)
        if product is not None and why_float(node, product, graph) is not None:
            coded_bits = product.weight_bits
            coded = level_bytes(shapes[product.weight.name, 0], coded_bits, levels_axes(product.weight, shapes))
        elif product is not None:
            packed, on_image = True, node.input(0) is product.activation
            macs //= product.planes
            output_shape[0] //= product.planes  # they lie along the batch
    layer = _row(node.name, node.op, output_shape, bits, macs)
    for variable, own in owned:
        stored = _stored_bytes(variable, shapes)
        for size, width in own:
            if coded is not None and all(variable is not source for source, _ in node.inputs):  # it is no bias
                # what is learned beside weights is part of their levels
                stored = width // coded_bits * coded if width < 32 else 0
            if width < 32 and packed:
                channels = shapes[variable.name, 0][1]
                if on_image:  # a dense layer on an image becomes a convolution
                    channels = min(channels, _shape(node, 0, shapes)[1])
                stored = width * (size // channels) * packed_bytes(channels)
            _add_parameters(layer, size, width)
        layer['bytes_packed'] += stored if own else 0
    return layer


def _stored_bytes(variable: Node, shapes: Shapes) -> int:
    """Bytes that a file takes for a variable of floats."""
    return int(variable.attr(STORED, 4 * math.prod(shapes[variable.name, 0])))


def _bits_of_product(node: Node) -> tuple[int, int]:
    weights, inputs = product_bits(node)
    own = (node.input(1).attr(PARAMETERS) or {}).values()
    return max(own)[1] if own else weights, inputs  # of the weights: there are more than of what is learned beside them


def _program_layers(node: Node, owned: list[tuple[Node, list[list[int]]]], shapes: Shapes,
                    graph: Graph) -> list[dict[str, Any]]:
    """A row for each product of a deployed network's node, and one for its other parameters."""
    batch = graph.variable_shapes['data'][0]
    by_name = {variable.name: (variable, own) for variable, own in owned}
    rows = []
    for layer in layers(node, shapes):
        if layer.weight is None:
            continue
        named = layer.weight.attr(PARAMETERS, {node.name: (layer.weights, 1)})
        op = 'xnor_popcount' if layer.binary else 'Convolution' if layer.output[1:] else 'FullyConnected'
        bits, products = f'{max(named.values())[1]}/32', 1
        if layer.binary:
            planes = layer.planes * layer.binarizations
            bits, products = f'{layer.weight_planes}/{planes}', layer.weight_planes * planes
        row = _row(next(iter(named)), op, [batch] + list(layer.output), bits,
                   layer.macs // products * shapes[node.name, 0][0] // batch)
        variable, own = by_name.pop(layer.weight.name, (layer.weight, []))
        for size, width in own:
            _add_parameters(row, size if PARAMETERS in variable.attrs else layer.weights,  # before format 4
                            layer.weight_planes if layer.binary else width)
        if own:
            row['bytes_packed'] = _stored_bytes(variable, shapes) // (4 if layer.binary else 1)
        rows.append(row)
    if rows and any(reader.op == '_npx_reshape' and len(shapes[reader.name, 0]) == 2
                    for reader in graph.consumers().get(id(node), [])):
        rows[-1]['output_shape'] = rows[-1]['output_shape'][:2]  # a dense layer that became a convolution
    rest = _row(node.name, 'binary_subgraph', list(shapes[node.name, 0]), '', 0)
    for variable, own in by_name.values():
        for size, width in own:
            _add_parameters(rest, size, width)
        rest['bytes_packed'] += 4 * math.prod(shapes[variable.name, 0])
    return rows + ([rest] if rest['bytes_packed'] else [])


def _row(name: str, op: str, output_shape: list[int], bits: str, macs: int) -> dict[str, Any]:
    widths = [int(width) for width in bits.split('/') if width]
    binary = max(widths, default=32) < 32
    return {'name': name, 'op': op, 'output_shape': output_shape, 'bits': bits, 'params_binary': 0,
            'params_quantized': 0, 'params_float': 0, 'bops': macs * math.prod(widths) if binary else 0,
            'flops': 0 if binary else macs, 'size_bits': 0, 'bytes_packed': 0}


def _add_parameters(layer: dict[str, Any], size: int, width: int) -> None:
    layer[{1: 'params_binary', 32: 'params_float'}.get(width, 'params_quantized')] += size
    layer['size_bits'] += width * size


def _shape(node: Node, index: int, shapes: Shapes) -> tuple[int, ...]:
    producer, output = node.inputs[index]
    return shapes[producer.name, output]


def _multiply_accumulates(node: Node, shapes: Shapes) -> int:
    """Multiply-accumulates for the whole batch."""
    weight, output = _shape(node, 1, shapes), math.prod(shapes[node.name, 0])
    if node.op == 'Deconvolution':
        return math.prod(_shape(node, 0, shapes)) * math.prod(weight[1:])
    return output * math.prod(weight[1:])
