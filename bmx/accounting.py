"""What a network costs: operations and size, counted as the papers on binary networks count them.

A multiply-accumulate is one operation. BOPs are those with binary weights and binary input, FLOPs all others of
convolutions and dense layers; OPs = BOPs / 64 + FLOPs. A size counts a binary weight as 1 bit and anything else as
float32, BatchNorm as two values a channel (its running statistics fold into them).
"""
import json
import math

import mxnet as mx

from . import graph as graphs

_PRODUCTS = graphs.PRODUCTS + ('Deconvolution', 'xnor_popcount')


class Summary:
    """The cost of a network, for one input.

    Attributes
    ----------
    name : str
    input_shape : tuple of int
    layers : list of dict
        A layer each that computes products or owns parameters: name, op, output_shape, bits ('weights/activations'),
        params_binary, params_float, bops, flops, bytes_packed (bytes in an exported file).
    """

    def __init__(self, name, input_shape, layers):
        self.name, self.input_shape, self.layers = name, tuple(input_shape), layers
        products = [layer for layer in layers if layer['op'] in _PRODUCTS]
        self._classifier = products[-1] if products and products[-1]['op'] == 'FullyConnected' else None

    def _total(self, key):
        return sum(layer[key] for layer in self.layers)

    @property
    def bops(self):
        return self._total('bops')

    @property
    def flops(self):
        return self._total('flops')

    @property
    def flops_without_classifier(self):
        """FLOPs as the MeliusNet paper counts them: without the final dense layer."""
        return self.flops - (self._classifier['flops'] if self._classifier else 0)

    @property
    def ops(self):
        return self.bops / 64 + self.flops

    @property
    def ops_without_classifier(self):
        """OPs as the MeliusNet paper counts them: without the final dense layer."""
        return self.bops / 64 + self.flops_without_classifier

    @property
    def params_binary(self):
        return self._total('params_binary')

    @property
    def params_float(self):
        return self._total('params_float')

    @property
    def size_mib(self):
        """Size in MiB as the MeliusNet paper counts it."""
        return (self.params_binary / 8 + self.params_float * 4) / 2 ** 20

    def to_dict(self):
        totals = ('bops', 'flops', 'flops_without_classifier', 'ops', 'ops_without_classifier', 'params_binary',
                  'params_float', 'size_mib')
        return dict({'name': self.name, 'input_shape': list(self.input_shape)},
                    **{key: getattr(self, key) for key in totals}, layers=self.layers)

    def to_json(self):
        return json.dumps(self.to_dict(), indent=1)

    def __str__(self):
        header = ('layer', 'operator', 'output', 'bits', 'binary', 'float', 'BOPs', 'FLOPs', 'bytes packed')
        rows = [header] + [
            (layer['name'], layer['op'], 'x'.join(map(str, layer['output_shape'][1:])), layer['bits'])
            + tuple('{:,}'.format(layer[key]) if layer[key] else '-'
                    for key in ('params_binary', 'params_float', 'bops', 'flops', 'bytes_packed'))
            for layer in self.layers]
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ['  '.join(cell.ljust(width) if i < 4 else cell.rjust(width)
                           for i, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows]
        lines.insert(1, '-' * max(map(len, lines)))
        lines += [lines[1],
                  '%s, input %s' % (self.name, 'x'.join(map(str, self.input_shape))),
                  'parameters   {:,} binary, {:,} float'.format(self.params_binary, self.params_float),
                  'BOPs         %.3fe9' % (self.bops / 1e9),
                  'FLOPs        %.4fe8 without the final dense layer, %.4fe8 with it'
                  % (self.flops_without_classifier / 1e8, self.flops / 1e8),
                  'OPs          %.4fe8 without the final dense layer, %.4fe8 with it'
                  % (self.ops_without_classifier / 1e8, self.ops / 1e8),
                  'size         %.2f MiB' % self.size_mib]
        return '\n'.join(lines)


def summary(net, shape):
    """Count the operations and the size of a network by reading its graph.

    Parameters
    ----------
    net : gluon.HybridBlock or mx.sym.Symbol
        Any network with one input, called data, trained or deployed; it need not be initialized.
    shape : tuple of int
        Shape of the input, batch first. The batch does not multiply the counts.

    Returns
    -------
    Summary
    """
    if isinstance(net, mx.sym.Symbol):
        graph, name, prefix = graphs.Graph.from_symbol(net, {'data': tuple(shape)}), net.name, ''
    else:
        graph, name, prefix = graphs.Graph.from_block(net, shape), getattr(net, 'model_name', net.name), net.prefix
    shapes = graph.infer_shapes()
    auxiliary = set(graph.to_symbol().list_auxiliary_states())
    layers, counted, binarized = [], set(auxiliary) | {'data'}, _binarized_weights(graph)
    for node in graph.nodes:
        owned = [variable for variable in _parameters(node) if variable.name not in counted]
        if node.op in _PRODUCTS or (owned and not _constant(node)):
            counted.update(variable.name for variable in owned)
            layers.append(_layer(node, owned, shapes, binarized))
            if node.name.startswith(prefix):
                layers[-1]['name'] = node.name[len(prefix):]
    return Summary(name, shape, layers)


def _parameters(node):
    """The variables that a node reads, itself or through what is computed of variables alone (a weight's sign)."""
    found = []
    for producer, _ in node.inputs:
        if producer.is_variable:
            found.append(producer)
        elif producer.op != 'BatchNorm' and all(_constant(source) for source, _ in producer.inputs):
            found.extend(_parameters(producer))
    return found


def _constant(node):
    return node.name != 'data' if node.is_variable else all(_constant(producer) for producer, _ in node.inputs)


def _binarized_weights(graph):
    products = filter(None, map(graphs.match_binary_product, graph.nodes))
    return {product.weight.name for product in products}


def _layer(node, owned, shapes, binarized):
    output = shapes[node.name]
    macs, bits = 0, '32/32'
    if node.op in _PRODUCTS:
        macs = _multiply_accumulates(node, shapes)
        product = graphs.match_binary_product(node)
        if node.op == 'xnor_popcount':
            bits = '1/1'
        elif product is not None:
            bits = '1/32' if product.activation is None else '1/1'
    layer = {'name': node.name, 'op': node.op, 'output_shape': list(output), 'bits': bits if macs else '',
             'params_binary': 0, 'params_float': 0, 'bops': macs if bits == '1/1' else 0,
             'flops': 0 if bits == '1/1' else macs, 'bytes_packed': 0}
    for variable in owned:
        shape = shapes[variable.name]
        if node.op == 'xnor_popcount' and variable is node.input(1):
            inputs = shapes[node.input(0).name][1] // node.attr('num_group', 1)
            layer['params_binary'] += math.prod(shape[:-1]) * inputs
            layer['bytes_packed'] += math.prod(shape)
        elif variable.name in binarized:
            layer['params_binary'] += math.prod(shape)
            layer['bytes_packed'] += math.prod(shape) // shape[1] * math.ceil(shape[1] / 8)
        else:
            layer['params_float'] += math.prod(shape)
            layer['bytes_packed'] += 4 * math.prod(shape)
    return layer


def _multiply_accumulates(node, shapes):
    """Multiply-accumulates for one input (the first axis is the batch)."""
    data, output = shapes[node.input(0).name], shapes[node.name]
    groups = node.attr('num_group', 1)
    kernel = math.prod(node.attr('kernel', ()))
    if node.op == 'Deconvolution':
        return math.prod(data[1:]) * (output[1] // groups) * kernel
    if node.op == 'FullyConnected':
        return math.prod(output[1:]) * shapes[node.input(1).name][1]
    return math.prod(output[1:]) * (data[1] // groups) * kernel
