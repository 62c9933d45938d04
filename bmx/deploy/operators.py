"""What programs know of MXNet's operators: a row for each operator that can be fused, when, and what it becomes."""
from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Callable, Iterable, Sequence

import numpy as np

from ..graph import Node
from ..ops import can_interleave, interleave_weights, pack_float_weights
from ..ops.program import CONV_PARAMETERS, Conv, Map, Slice
from .stored import mark_packed
from .threshold import norm_values

if TYPE_CHECKING:
    from .build import Builder

# An attribute of xnor_popcount nodes: the kernel has to be the image. MXNet ignores it.
WHOLE = '__whole__'


@dataclasses.dataclass(frozen=True)
class Operator:
    """A row of `OPERATORS`.

    Attributes
    ----------
    matches : callable
        (node, `Context`) to bool: whether the node can be fused.
    becomes : callable
        (builder, node) to the slices of its result; adds instructions and steps to a `build.Builder`.
    exact : bool
        Programs compute it as MXNet does, to the last bit, in the plain layout; else in an order of their own.
    pixelwise : bool
        A result has the pixels of its data.
    """
    matches: Callable
    becomes: Callable
    exact: bool = True
    pixelwise: bool = True


@dataclasses.dataclass
class Context:
    """What is known where a node is asked for.

    Attributes
    ----------
    shapes : dict
        `Graph.infer_shapes`.
    exact : bool
        Only what MXNet computes to the last bit may be fused.
    plain, fused : set of int
        The ids of nodes whose results are in the plain NCHW layout, and of those that are fused.
    """
    shapes: dict
    exact: bool
    plain: set = dataclasses.field(default_factory=set)
    fused: set = dataclasses.field(default_factory=set)

    def shape(self, node: Node) -> tuple[int, ...]:
        return self.shapes[node.name, 0]

    def pixels(self, node: Node) -> int:
        """Pixels of a result: of (N, C) those of the image that was flattened to it, or 1."""
        while len(self.shape(node)) == 2:
            if id(node) not in self.fused or not OPERATORS[node.op].pixelwise:
                return 1
            node = node.input(0)
        return math.prod(self.shape(node)[2:])

    def ask(self, nodes: Iterable[Node]) -> None:
        """Ask for all nodes of a graph, producers first; `fused` then has those that can be part of a program."""
        for node in nodes:
            if not node.is_variable and self.can_be_fused(node):
                self.fused.add(id(node))

    def can_be_fused(self, node: Node) -> bool:
        """Whether a node can be part of a program; its producers were asked before."""
        row = OPERATORS.get(node.op)
        if row is None or any(index for _, index in node.inputs) or (self.exact and not row.exact):
            return False
        data = node.input(0)
        if len(self.shape(node)) not in (2, 4) or len(self.shape(data)) not in (2, 4):
            return False
        if len(self.shape(data)) == 2 and self.exact:
            return False
        if len(self.shape(node)) == 2 and row.pixelwise and row.becomes is not _same and any(
                self.pixels(producer) > 1 for producer, _ in node.inputs if not is_parameter(producer)):
            return False  # a channel of it is a pixel
        return row.matches(node, self)


def rounds_otherwise(node: Node) -> bool:
    """Whether programs may round otherwise than MXNet what a node computes."""
    return (node.op in ('Convolution', 'FullyConnected', 'BatchNorm')
            or node.op == 'Pooling' and node.attr('pool_type', 'max') == 'avg')


def is_parameter(node: Node) -> bool:
    """Whether a node is a variable other than the network's input."""
    return node.is_variable and node.name != 'data'


def is_identity(node: Node) -> bool:
    """Whether a node is the identity of `bmx.nn.PlainLayout`."""
    return node.op == 'clip' and (float(node.attrs['a_min']), float(node.attrs['a_max'])) == (-math.inf, math.inf)


def _always(node: Node, context: Context) -> bool:
    return True


# Values stay as they are ---------------------------------------------------------------------------------------------


def _same(builder: Builder, node: Node) -> list[Slice]:
    return builder.value(node, 0)


def _flattens(node: Node, context: Context) -> bool:
    return not context.exact and len(context.shape(node)) == 2


def _keeps_pixels(node: Node, context: Context) -> bool:
    shape = node.attr('shape')
    if context.exact or node.attr('reverse'):
        return False
    return shape == (0, -1) or set(shape) == {0} and len(shape) == len(context.shape(node.input(0)))


# Channels: slices, nothing is computed --------------------------------------------------------------------------------


def _joins_channels(node: Node, context: Context) -> bool:
    return node.attr('dim', 1) == 1


def _concatenation(builder: Builder, node: Node) -> list[Slice]:
    return [piece for position in range(len(node.inputs)) for piece in builder.value(node, position)]


def _cuts_channels(node: Node, context: Context) -> bool:
    return node.attr('axis') == 1


def _slice(builder: Builder, node: Node) -> list[Slice]:
    begin, end, _ = slice(node.attr('begin'), node.attr('end')).indices(builder.channels(node))
    found, first = [], 0
    for piece in builder.value(node, 0):
        low, high = max(begin, first), min(end, first + piece.channels)
        if low < high:
            found.append(Slice(piece.tensor, piece.begin + low - first, piece.begin + high - first))
        first += piece.channels
    return found


# Convolutions and dense layers ----------------------------------------------------------------------------------------


def _window(node: Node) -> dict[str, Any]:
    window = {key: tuple(node.attr(key)) for key in ('kernel', 'stride', 'pad', 'dilate') if node.attr(key)}
    return dict(window, whole=1) if node.attr(WHOLE) else window


def _is_binary(node: Node, context: Context) -> bool:
    data = node.input(0)
    return len(node.attr('kernel', ())) == 2 or (
        not node.attr('kernel') and len(context.shape(data)) == 2 and context.pixels(data) == 1)


def _binary_convolution(builder: Builder, node: Node) -> list[Slice]:
    weight, window, groups = node.input(1), _window(node), node.attr('num_group', 1)
    packed, filters = builder.values_of(weight), node.attr('num_filter')
    if 'kernel' not in node.attrs:
        window = {'kernel': (1, 1), 'whole': 1}
        packed = packed.reshape(len(packed), 1, 1, -1)
    interleaved = can_interleave((filters,) + packed.shape[1:], groups)
    if interleaved:
        weight = builder.variables.make_weight(weight, interleave_weights(packed), 'interleaved')
    elif 'kernel' not in node.attrs:
        weight = builder.variables.make_weight(weight, packed, '1x1')
    given = [name for name in CONV_PARAMETERS[1:] if node.attr(name, False)]
    others = {name: builder.parameter(producer) for name, (producer, _) in zip(given, node.inputs[2:])}
    planes = {name: int(node.attr(name, missing)) for name, missing in (
        ('pad_value', -1), ('binarizations', 1), ('planes', 1), ('counted', 0), ('zero_one', 0), ('weight_planes', 1))}
    return builder.add(Conv, node, weight=builder.parameter(weight), filters=filters, groups=groups,
                       interleaved=int(interleaved), **others, **planes, **window)


def _is_float_product(node: Node, context: Context) -> bool:
    if not all(is_parameter(producer) for producer, _ in node.inputs[1:]):
        return False
    if node.op == 'FullyConnected':
        return len(context.shape(node.input(0))) == 2 or bool(node.attr('flatten', True))
    return len(node.attr('kernel')) == 2 and node.attr('layout') in (None, 'None', 'NCHW')


def _float_convolution(builder: Builder, node: Node) -> list[Slice]:
    filters, groups, window = node.attr('num_filter'), node.attr('num_group', 1), _window(node)
    return _float_product(builder, node, builder.values_of(node.input(1)), filters, groups, window)


def _float_dense(builder: Builder, node: Node) -> list[Slice]:
    kernel, weight = builder.size(node), builder.values_of(node.input(1))
    return _float_product(builder, node, weight.reshape((len(weight), -1) + kernel), len(weight), 1,
                          {'kernel': kernel, 'whole': 1})


def _float_product(builder: Builder, node: Node, weight: np.ndarray, filters: int, groups: int,
                   window: dict[str, Any]) -> list[Slice]:
    packed = builder.variables.make_weight(node.input(1), pack_float_weights(weight, groups), 'packed', str(groups))
    mark_packed(packed, node.input(1), groups)
    result = builder.float_convolution(node, weight=builder.parameter(packed), filters=filters, groups=groups, **window)
    if len(node.inputs) > 2:
        result = builder.add_step(result, 'add', builder.parameter(node.input(2)))
    return result


# Elementwise ----------------------------------------------------------------------------------------------------------


def _sum(builder: Builder, node: Node) -> list[Slice]:
    # where one summand is an instruction's own result, the other is added to it
    first, second = (builder.own(node, position) for position in (0, 1))
    own = 1 if first is None or (second is not None and isinstance(builder.instructions[second], Conv)) else 0
    other = builder.value(node, 1 - own)
    if len(set(other)) > 1:
        other = builder.add(Map, node, 1 - own)
    return builder.step(node, 'plus' if len(other) == 1 else 'repeat', other[0], own)


def _follows_plain(node: Node, context: Context) -> bool:
    # in another layout than the plain one MXNet rounds otherwise
    return node.attr('axis', 1) == 1 and (not context.exact or id(node.input(0)) in context.plain) and all(
        is_parameter(producer) for producer, _ in node.inputs[1:])


def _normalisation(builder: Builder, node: Node) -> list[Slice]:
    values = norm_values(node, [builder.values_of(producer) for producer, _ in node.inputs[1:]])
    return builder.step(node, 'norm', builder.constant(node.name + '_norm', values, [node.input(1), node.input(2)]))


def _is_relu(node: Node, context: Context) -> bool:
    return node.attr('act_type') == 'relu'


def _relu(builder: Builder, node: Node) -> list[Slice]:
    return builder.step(node, 'relu')


def _is_prelu(node: Node, context: Context) -> bool:
    return node.attr('act_type') == 'prelu' and is_parameter(node.input(1))


def _prelu(builder: Builder, node: Node) -> list[Slice]:
    return builder.step(node, 'prelu', builder.parameter(node.input(1)))


def _is_by_channel(node: Node, context: Context) -> bool:
    return is_parameter(node.input(1))


def _channelwise(builder: Builder, node: Node) -> list[Slice]:
    step = {'scale': 'mul', 'prelu': 'prelu'}[node.attr('kind')]
    values = builder.values_of(node.input(1))
    if step == 'mul' and values.size == 1:  # one factor for all channels
        return _same_factor(builder, node, values[0], [node.input(1)])
    return builder.step(node, step, builder.parameter(node.input(1)))


def _broadcasts_channels(node: Node, context: Context) -> bool:
    operand, channels = node.input(1), context.shape(node)[1]
    wanted = ((1, channels, 1, 1),) if len(context.shape(node)) == 4 else ((channels,), (1, channels))
    return is_parameter(operand) and context.shape(operand) in wanted


def _broadcast(word: str) -> Callable[[Builder, Node], list[Slice]]:
    def becomes(builder, node):
        values = builder.values_of(node.input(1)).reshape(-1)
        return builder.step(node, word, builder.constant(node.input(1).name + '_channels', values, [node.input(1)]))
    return becomes


def _scalar_factor(builder: Builder, node: Node) -> list[Slice]:
    return _same_factor(builder, node, node.attr('scalar'), [])


def _halves(node: Node, context: Context) -> bool:
    # by a power of two, of which the reciprocal is exact
    return math.frexp(abs(node.attr('scalar')))[0] == 0.5


def _scalar_divisor(builder: Builder, node: Node) -> list[Slice]:
    return _same_factor(builder, node, 1 / node.attr('scalar'), [])


def _scalar_summand(builder: Builder, node: Node) -> list[Slice]:
    values = np.full(builder.channels(node), node.attr('scalar'), np.float32)
    return builder.step(node, 'add', builder.constant(node.name + '_channels', values, []))


def _same_factor(builder: Builder, node: Node, factor: float, sources: Sequence[Node]) -> list[Slice]:
    values = np.full(builder.channels(node), factor, np.float32)
    return builder.step(node, 'mul', builder.constant(node.name + '_channels', values, sources))


# Pooling and shuffle --------------------------------------------------------------------------------------------------


def _is_pooling(node: Node, context: Context) -> bool:
    kind, full = node.attr('pool_type', 'max'), node.attr('pooling_convention') == 'full'
    if (kind not in ('max', 'avg') or node.attr('pooling_convention', 'valid') not in ('valid', 'full')
            or node.attr('layout') not in (None, 'None', 'NCHW')):
        return False
    if not node.attr('global_pool'):
        kernel = node.attr('kernel')
        if len(kernel) != 2 or any(pad >= size for pad, size in zip(node.attr('pad') or (0, 0), kernel)):
            return False
    if not context.exact:
        return True
    # divided by 1, 2 or 4: another count might be rounded otherwise
    return not node.attr('global_pool') and (kind == 'max' or node.attr('kernel') == (2, 2) and not any(
        node.attr('pad') or ()) and (not full or node.attr('count_include_pad') is False))


def _pooling(builder: Builder, node: Node) -> list[Slice]:
    kind = node.attr('pool_type', 'max')
    if node.attr('global_pool'):
        return builder.pool(node, pool=kind, global_=1)
    padded = any(node.attr('pad') or ()) or node.attr('pooling_convention') == 'full'
    return builder.pool(node, pool=kind, kernel=node.attr('kernel'), stride=node.attr('stride') or (1, 1),
                        pad=node.attr('pad') or (0, 0), full=int(node.attr('pooling_convention') == 'full'),
                        count_pad=int(kind == 'avg' and padded and node.attr('count_include_pad') is not False))


def _shuffle(builder: Builder, node: Node) -> list[Slice]:
    return builder.shuffle(node, node.attr('groups'))


OPERATORS = {
    'xnor_popcount': Operator(_is_binary, _binary_convolution, pixelwise=False),
    'Convolution': Operator(_is_float_product, _float_convolution, exact=False, pixelwise=False),
    'FullyConnected': Operator(_is_float_product, _float_dense, exact=False, pixelwise=False),
    'Concat': Operator(_joins_channels, _concatenation),
    'slice_axis': Operator(_cuts_channels, _slice),
    'clip': Operator(lambda node, context: is_identity(node), _same),
    'Dropout': Operator(lambda node, context: node.attr('mode', 'training') == 'training', _same),
    'Flatten': Operator(_flattens, _same),
    'Reshape': Operator(_keeps_pixels, _same),
    'elemwise_add': Operator(_always, _sum),
    'BatchNorm': Operator(_follows_plain, _normalisation),
    'Activation': Operator(_is_relu, _relu),
    'relu': Operator(_always, _relu),
    'LeakyReLU': Operator(_is_prelu, _prelu),
    'channelwise': Operator(_is_by_channel, _channelwise),
    'Pooling': Operator(_is_pooling, _pooling, pixelwise=False),
    'channel_shuffle': Operator(_always, _shuffle),
    '_mul_scalar': Operator(_always, _scalar_factor),
    '_div_scalar': Operator(_halves, _scalar_divisor),
    '_plus_scalar': Operator(_always, _scalar_summand),
    'broadcast_mul': Operator(_broadcasts_channels, _broadcast('mul')),
    'broadcast_add': Operator(_broadcasts_channels, _broadcast('add')),
}
