"""Rewrite a traced network: binary products become `xnor_popcount` nodes with packed weights."""
from __future__ import annotations

import dataclasses
from typing import Mapping, Sequence

import mxnet as mx
import numpy as np

from .. import ops
from ..graph import Entry, Graph, Node, Shapes
from ..graph.parameters import levels_axes, weight_bits
from ..graph.products import INTEGERS, PLANES, PRODUCTS, RESIDUAL, find_sum, match_binary_product, why_float
from ..ops.program import CONV_PARAMETERS
from .check import PYTHON_OPERATORS
from .errors import ExportError
from .levels import counted_thresholds, function_of, quantized_input, signs_of_weight
from .operators import WHOLE, Context, is_parameter
from .stored import mark
from .threshold import LARGEST, batchnorm_threshold, find_thresholds, norm_values, steps_threshold
from .variables import Variables, constant_value, fold_constants, used_parameters
from .weight_planes import join_weight_planes


@dataclasses.dataclass(frozen=True)
class Row:
    """What became of a layer: bytes of its weights before and after, and why it stays float (None if it does not)."""
    name: str
    bytes_before: int
    bytes_after: int
    reason: str | None = None


def lower(graph: Graph, params: Mapping[str, mx.nd.NDArray], shapes: Shapes,
          exact: bool = False) -> tuple[dict[str, mx.nd.NDArray], list[Row]]:
    """Convert the binary layers of a traced network.

    Parameters
    ----------
    graph : Graph
        Changed in place.
    params : dict of str to NDArray
        Parameters and auxiliary states by name.
    shapes : dict
        Result of `Graph.infer_shapes`.
    exact : bool
        Batch normalisation before a sign rounds as MXNet's, not as that of programs.

    Returns
    -------
    (dict of str to NDArray, list of Row)
        Parameters of the lowered graph, and a row for each convolution and dense layer.

    Raises
    ------
    ExportError
        A layer that cannot be converted faithfully.
    """
    return _Lowering(graph, params, shapes, exact).run()


@dataclasses.dataclass(frozen=True)
class _Weight:
    """Signs of a weight, (planes, O, ...), the variable that they are of, and their scales, None for 1, 2, 4, ..."""
    variable: Node
    planes: np.ndarray
    scales: np.ndarray | None


class _Lowering:
    def __init__(self, graph, params, shapes, exact):
        self.graph, self.params, self.shapes, self.exact = graph, dict(params), shapes, exact
        self.variables, self.readers = Variables(self.params, weight_bits(graph)), graph.consumers()
        self._context = Context(shapes, exact)
        self._context.ask(graph.nodes)
        # of the traced nodes: what replaces some of them is no constant
        self._constants = graph.constants()
        self._bits_of = {}
        self._few_values = {}  # by the id of a product that stays float: bits of its weights, where their levels differ

    def run(self):
        for node in self.graph.nodes:
            if node.op in PYTHON_OPERATORS:
                raise ExportError(f'layer {node.name} runs Python code (operator {node.op}), which a deployed model '
                                  'cannot')
            if node.op in ('xnor_popcount', 'binary_subgraph', 'expand_weights'):
                raise ExportError(f'the network is a deployed one already (layer {node.name} is packed): copy its two '
                                  'files, or export the trained network that it was made of')
        for name, value in self.params.items():
            if value.dtype != np.float32:
                raise ExportError(f'parameter {name} is {np.dtype(value.dtype).name}; convert the network with '
                                  'net.cast("float32") first')
            if not np.isfinite(value.asnumpy()).all():
                raise ExportError(f'parameter {name} has a value that is not finite')
        products = [node for node in self.graph.nodes if node.op in PRODUCTS]
        rows = [self._lower(node) for node in products]
        self._drop_reshapes()
        fold_constants(self.graph, self.params, self.variables)
        rows = [self._stored(node, row) for node, row in zip(products, rows)]
        join_weight_planes(self.graph, self.params, self.variables)
        return used_parameters(self.graph, self.params), rows

    def _lower(self, node):
        size = 4 * int(np.prod(self.shapes[_key(node, 1)]))
        product = match_binary_product(node)
        reason = why_float(node, product, self.graph)
        if product is None:
            return Row(node.name, size, size, reason)
        total, weight, bits = node, None, None  # what is replaced, and by what
        if reason is None:
            weight, scales = self._planes_of_weight(product), None
            if product.kind in (RESIDUAL, PLANES):
                found = find_sum(product, self.graph)
                assert found is not None  # or it had a reason
                total, scales = found
            if weight is None:
                reason = 'its weights are no whole numbers'
            elif product.kind in (INTEGERS, PLANES):
                bits = self._bits(product, scales)
                reason = None if bits else f'its input has other levels than {product.bits} bits'
        if reason is not None:
            self._few_values[id(node)] = product.weight_bits, levels_axes(product.weight, self.shapes)
            return Row(node.name, size, size, reason)
        if bits:
            packed, lowered = self._of_bits(product, weight, bits)
        elif product.kind == RESIDUAL:
            packed, lowered = self._terms(product, weight)
        elif node.op == 'Convolution':
            packed, lowered = self._convolution(product, weight)
        else:
            packed, lowered = self._dense(product, weight)
        self.graph.replace(total, lowered)
        return Row(node.name, size, self.params[packed.name].size)

    def _stored(self, node, row):
        """The row of a product; of one that stays float the folded weight is marked if few values are stored for it."""
        if id(node) not in self._few_values or not node.input(1).is_variable:
            return row
        size = mark(node.input(1), self.params, *self._few_values[id(node)])
        return row if size is None else dataclasses.replace(row, bytes_after=size)

    def _planes_of_weight(self, product):
        """The signs of a weight, (planes, O, ...), and what `_xnor` takes for their scales; None of other numbers."""
        found = signs_of_weight(constant_value(product.weight, self.params))
        if found is None:
            return None
        planes, factor = found
        scales = np.full((len(planes), planes.shape[1]), factor, np.float32) if factor != 1 else None
        return _Weight(product.variable, planes, scales)

    def _packed_weight(self, weight, kernel=()):
        """Packed weights; those of a dense layer, (O, C * kernel), in a convolution's shape if it has a kernel."""
        value, form = weight.planes.reshape((-1,) + weight.planes.shape[2:]), ['packed']
        if kernel:
            value = value.reshape((len(value), -1) + kernel)
            form.append('x'.join(map(str, kernel)))
        return self.variables.make_weight(weight.variable, ops.pack_weights(value), *form)

    # Activations of several bits

    def _bits(self, product, scales):
        """The float input of a product of several bits, its thresholds, scales and attributes, or None: of whole
        numbers from 0 on, or, with scales, of planes. Several products of one input share them."""
        key = id(product.activation), str(scales)
        if key not in self._bits_of:
            data, found = quantized_input(product.activation, self._constants), None
            if data is not None:
                shape = self.shapes[data[0].name, data[1]]
                shape = (1, shape[1]) + (1,) * (len(shape) - 2)  # in which values of its channels are probed
                found = self._planes(product, scales, data, shape) if scales else self._integers(product, data, shape)
            self._bits_of[key] = found
        return self._bits_of[key]

    def _integers(self, product, data, shape):
        function = function_of([(product.activation, 0)], data, self.params)
        thresholds = counted_thresholds(lambda x: function(x.reshape(shape))[0].ravel(), product.bits, shape[1])
        if thresholds is None:
            return None
        attrs = {'planes': str(product.bits), 'counted': '1' if product.bits > 1 else '0', 'zero_one': '1'}
        return data, thresholds if product.bits > 1 else thresholds[0], None, attrs

    def _planes(self, product, scales, data, shape):
        count, channels = product.bits, shape[1]
        function = function_of([(product.activation, 0), scales], data, self.params)

        def planes(x):
            return function(x.reshape(shape))[0].reshape(count, channels)

        ends = [np.full(channels, end, np.float32) for end in (-LARGEST, LARGEST)]
        alphas, other = (function(end.reshape(shape))[1][:, 0] for end in ends)
        if not np.array_equal(alphas, other):  # they are the sample's
            return None
        attrs = {'planes': str(count)}
        values = set(np.unique([planes(end) for end in ends]))
        if values <= {-1, 1}:
            def is_positive(plane):
                return lambda x: planes(x)[plane] > 0

            thresholds = np.stack([find_thresholds(is_positive(plane), channels) for plane in range(count)])
        elif product.pad_value and any(product.pad):
            return None  # 0 and 1 are padded with 0
        else:
            weights = 2 ** np.arange(count)
            thresholds = counted_thresholds(lambda x: weights @ planes(x), count, channels)
            attrs.update(counted='1', zero_one='1')
            if thresholds is None:
                return None
        return data, thresholds, alphas, attrs

    def _of_bits(self, product, weight, activation):
        """Packed weights and a layer of several bits."""
        data, thresholds, scales, attrs = activation
        name = product.activation.name  # of several products of the same input one parameter
        others = {'threshold': (self.variables.make(f'{name}_levels', thresholds, []), 0)}
        if scales is not None:
            others['scales'] = self.variables.make(f'{name}_scales', scales, []), 0
        shape = self.shapes[data[0].name, data[1]]
        if product.node.op == 'Convolution':
            attrs = dict(_attributes(product), **attrs)
            if attrs.get('zero_one') == '1':
                attrs['pad_value'] = '-1'
        else:
            attrs['num_filter'] = product.node.attrs['num_hidden']
            if len(shape) == 4 and not self.exact:
                return self._as_convolution(product, weight, data, others, attrs, tuple(shape[2:]))
            if len(shape) > 2:
                thresholds = np.repeat(thresholds, int(np.prod(shape[2:])), axis=-1)
                others['threshold'] = self.variables.make(f'{name}_levels_of_rows', thresholds, []), 0
                rows = checked_reshape(f'{product.node.name}_rows', (-2, thresholds.shape[-1]), data)
                data = rows, 0
        packed = self._packed_weight(weight)
        return packed, self._xnor(product, weight, data, others, packed, attrs)

    def _binary_input(self, sign):
        """What goes into xnor_popcount for a `binarize` node: its float input, and the thresholds in its place.

        A BatchNorm that others read too is computed in any case: its sign costs nothing more.
        """
        norm, index = sign.inputs[0]
        if norm.op != 'BatchNorm' or index or norm.attr('axis', 1) != 1 or len(self.readers[id(norm)]) > 1 or not all(
                is_parameter(producer) for producer, _ in norm.inputs[1:]):
            return sign.inputs[0], {}
        values = [self.params[producer.name] for producer, _ in norm.inputs[1:]]
        if not self.exact and id(norm) in self._context.fused:
            step = 'norm', norm_values(norm, [value.asnumpy() for value in values])
            threshold = steps_threshold([step], values[0].shape[0])
        else:  # one that stays MXNet's
            attrs = {key: norm.attr(key) for key in norm.attrs if not key.startswith('__')}
            gamma, beta, mean, variance = values
            threshold = batchnorm_threshold(gamma, beta, mean, variance, attrs)
        if threshold is None:
            return sign.inputs[0], {}
        threshold = self.variables.make(norm.name + '_threshold', threshold, [norm.input(1), norm.input(2)])
        return norm.inputs[0], {'threshold': (threshold, 0)}

    def _xnor(self, product, weight, data, others, packed, attrs):
        """The node, given its data and the inputs that it may have, by their names."""
        others = dict(others)
        if len(weight.planes) > 1:
            attrs = dict(attrs, weight_planes=str(len(weight.planes)))
            if weight.scales is not None:
                name = f'{product.node.name}_weight_scales'
                others['weight_scales'] = self.variables.make(name, weight.scales, []), 0
        order = [name for name in CONV_PARAMETERS if name in others]
        attrs = dict(attrs, **{name: 'True' for name in order})
        node = Node('xnor_popcount', product.node.name, attrs, [data, (packed, 0)] + [others[name] for name in order])
        # packed weights fill whole bytes: they do not tell how many channels there are
        taps = int(np.prod(node.attr('kernel', 1)))
        node.attrs['channels'] = str(weight.planes[0, 0].size // taps * node.attr('num_group', 1))
        return node

    def _convolution(self, product, weight):
        packed = self._packed_weight(weight)
        data, others = self._binary_input(product.activation)
        return packed, self._xnor(product, weight, data, others, packed, _attributes(product))

    def _as_convolution(self, product, weight, data, others, attrs, kernel):
        """A dense layer on images as a convolution of their size, and what flattens its result."""
        packed = self._packed_weight(weight, kernel)
        lowered = self._xnor(product, weight, data, others, packed, dict(attrs, kernel=str(kernel), **{WHOLE: '1'}))
        return packed, Node('Flatten', product.node.name + '_rows', {}, [(lowered, 0)])

    def _terms(self, product, weight):
        """Packed weights and a layer of several binarizations, its terms added up."""
        node, data = product.node, product.activation.inputs[0]
        binarizations = {'binarizations': str(product.activation.attr('binarizations'))}
        if node.op == 'Convolution':
            packed = self._packed_weight(weight)
            return packed, self._xnor(product, weight, data, {}, packed, dict(_attributes(product), **binarizations))
        attrs, shape = dict(num_filter=node.attrs['num_hidden'], **binarizations), self.shapes[data[0].name, data[1]]
        if len(shape) == 2:
            packed = self._packed_weight(weight)
            return packed, self._xnor(product, weight, data, {}, packed, attrs)
        # As a convolution of the size of the image: the order in which a scale is added up knows channels and pixels.
        kernel = tuple(shape[2:])
        if len(kernel) == 2 and not self.exact:
            return self._as_convolution(product, weight, data, {}, attrs, kernel)
        if len(kernel) > 2:
            kernel = (int(np.prod(kernel)),)
            data = Node('Reshape', node.name + '_pixels', {'shape': '(0, 0, -1)'}, [data]), 0
        packed = self._packed_weight(weight, kernel)
        lowered = self._xnor(product, weight, data, {}, packed, dict(attrs, kernel=str(kernel)))
        # an image of another size has other rows, or none: an error
        return packed, checked_reshape(node.name + '_rows', (-2, node.attr('num_hidden')), (lowered, 0))

    def _dense(self, product, weight):
        node, sign = product.node, product.activation
        shape = self.shapes[_key(node, 0)]
        attrs = {'num_filter': node.attrs['num_hidden']}
        if node.input(0) is sign and len(shape) == 2:
            packed = self._packed_weight(weight)
            data, others = self._binary_input(sign)
            return packed, self._xnor(product, weight, data, others, packed, attrs)
        if node.input(0) is sign and len(shape) == 4 and node.attr('flatten', True) and not self.exact:
            data, others = self._binary_input(sign)
            return self._as_convolution(product, weight, data, others, attrs, tuple(shape[2:]))
        # A sign and a reshape change places; the product then works on rows of features.
        data = self._without_sign(node.inputs[0], sign)
        packed = self._packed_weight(weight)
        if len(shape) == 2:
            return packed, self._xnor(product, weight, data, {}, packed, attrs)
        flatten = node.attr('flatten', True)
        rows = checked_reshape(node.name + '_rows', (-2, int(np.prod(shape[1:]))) if flatten else (-1, shape[-1]), data)
        lowered = self._xnor(product, weight, (rows, 0), {}, packed, attrs)
        if flatten:
            return packed, lowered
        # the axes before the features are those of the data, however long
        return packed, Node('reshape_like', node.name + '_unrows', {'lhs_begin': '0', 'lhs_end': '1', 'rhs_begin': '0',
                                                                    'rhs_end': '-1'}, [(lowered, 0), data])

    def _without_sign(self, entry, sign):
        """A chain of reshapes after a sign, applied to what is before the sign."""
        node, index = entry
        if node is sign:
            return sign.inputs[0]
        copy = Node(node.op, node.name + '_unsigned', node.attrs, [self._without_sign(node.inputs[0], sign)])
        return copy, index

    def _drop_reshapes(self):
        """Results of xnor_popcount are in the plain layout; what asked for it (`bmx.nn.QConv2D`) is needless."""
        for node in self.graph.nodes:
            if node.op == 'Reshape' and node.input(0).op == 'xnor_popcount' and set(node.attr('shape')) == {0}:
                self.graph.replace(node, node.input(0))


def checked_reshape(name: str, shape: Sequence[int], entry: Entry) -> Node:
    """A reshape to sizes, -2 for that of the same axis and -1 for what is left; MXNet's `Reshape` lets values go astray
    where they are not as many."""
    return Node('_npx_reshape', name, {'newshape': str(shape)}, [entry])


def _attributes(product):
    """Those of a convolution as xnor_popcount takes them."""
    node = product.node
    attrs = {key: str(node.attrs[key]) for key in ('kernel', 'stride', 'dilate', 'num_filter', 'num_group')
             if key in node.attrs and node.attr(key) != ()}
    return dict(attrs, pad=str(tuple(product.pad)), pad_value=str(int(product.pad_value)))


def _key(node, index):
    """The key of a node's input in the shapes."""
    producer, output = node.inputs[index]
    return producer.name, output
