"""What programs know of MXNet's operators: a row for each operator that can be fused, when, and what it becomes."""
import dataclasses
import math
from typing import Callable

import numpy as np

from ..ops.program import Conv, Map, Slice, Step


@dataclasses.dataclass(frozen=True)
class Operator:
    """A row of `OPERATORS`.

    Attributes
    ----------
    matches : callable
        (node, shapes, plain) to bool: whether the node can be fused, given the shapes of the graph and the ids of the
        nodes whose results are in the plain NCHW layout.
    becomes : callable
        (builder, node) to the slices of its result; adds instructions and steps to a `build.Builder`.
    """
    matches: Callable
    becomes: Callable


def can_be_fused(node, shapes, plain):
    """Whether a node can be part of a program."""
    if node.op not in OPERATORS or any(index for _, index in node.inputs):
        return False
    values = [shapes[producer.name, 0] for producer, _ in node.inputs[:1]] + [shapes[node.name, 0]]
    return all(len(shape) == 4 for shape in values) and OPERATORS[node.op].matches(node, shapes, plain)


def is_identity(node):
    """Whether a node is the identity of `bmx.nn.PlainLayout`."""
    return node.op == 'clip' and (float(node.attrs['a_min']), float(node.attrs['a_max'])) == (-math.inf, math.inf)


def _always(node, shapes, plain):
    return True


# Channels: slices, nothing is computed --------------------------------------------------------------------------------


def _clip(builder, node):
    return builder.value(node, 0)


def _joins_channels(node, shapes, plain):
    return node.attr('dim', 1) == 1


def _concatenation(builder, node):
    return [piece for position in range(len(node.inputs)) for piece in builder.value(node, position)]


def _cuts_channels(node, shapes, plain):
    return node.attr('axis') == 1


def _slice(builder, node):
    begin, end, _ = slice(node.attr('begin'), node.attr('end')).indices(builder.channels(node))
    found, first = [], 0
    for piece in builder.value(node, 0):
        low, high = max(begin, first), min(end, first + piece.channels)
        if low < high:
            found.append(Slice(piece.tensor, piece.begin + low - first, piece.begin + high - first))
        first += piece.channels
    return found


# Convolutions ---------------------------------------------------------------------------------------------------------


def _convolution(builder, node):
    window = {key: node.attr(key) for key in ('kernel', 'stride', 'pad', 'dilate') if key in node.attrs}
    return builder.add(Conv, node, weight=builder.parameter(node.input(1)),
                       threshold=builder.parameter(node.input(2)) if len(node.inputs) > 2 else None,
                       filters=node.attr('num_filter'), groups=node.attr('num_group', 1),
                       pad_value=node.attr('pad_value', -1), binarizations=node.attr('binarizations', 1), **window)


# Elementwise ----------------------------------------------------------------------------------------------------------


def _sum(builder, node):
    # where one summand is an instruction's own result, the other is added to it
    first, second = (builder.own(node, position) for position in (0, 1))
    own = 1 if first is None or (second is not None and isinstance(builder.instructions[second], Conv)) else 0
    other = builder.value(node, 1 - own)
    if len(other) > 1:
        other = builder.add(Map, node, 1 - own)
    return builder.step(node, 'plus', other[0], own)


def _follows_plain(node, shapes, plain):
    # in another layout than the plain one MXNet rounds otherwise
    return node.attr('axis', 1) == 1 and id(node.input(0)) in plain and all(
        producer.is_variable for producer, _ in node.inputs[1:])


def _normalisation(builder, node):
    gamma, beta, mean, variance = (builder.values_of(producer) for producer, _ in node.inputs[1:])
    if node.attr('fix_gamma', True):
        gamma = np.ones_like(gamma)
    scale = gamma / np.sqrt(variance + np.float32(node.attr('eps', 1e-3)))  # as oneDNN, in float32
    return builder.step(node, 'norm', builder.constant(node.name + '_norm', np.stack([mean, scale, beta])))


def _is_relu(node, shapes, plain):
    return node.attr('act_type') == 'relu'


def _relu(builder, node):
    return builder.step(node, 'relu')


def _is_prelu(node, shapes, plain):
    return node.attr('act_type') == 'prelu' and node.input(1).is_variable


def _prelu(builder, node):
    return builder.step(node, 'prelu', builder.parameter(node.input(1)))


def _is_by_channel(node, shapes, plain):
    # a factor of all channels is no step of a program
    operand = node.input(1)
    return operand.is_variable and (node.attr('kind') == 'prelu'
                                    or shapes[operand.name, 0] == (shapes[node.name, 0][1],))


def _channelwise(builder, node):
    return builder.step(node, {'scale': 'mul', 'prelu': 'prelu'}[node.attr('kind')], builder.parameter(node.input(1)))


def _broadcasts_channels(node, shapes, plain):
    operand = node.input(1)
    return operand.is_variable and shapes[operand.name, 0] == (1, shapes[node.name, 0][1], 1, 1)


def _broadcast(word):
    def becomes(builder, node):
        name = node.input(1).name + '_channels'
        return builder.step(node, word, builder.constant(name, builder.values_of(node.input(1)).reshape(-1)))
    return becomes


def _scalar_factor(builder, node):
    values = np.full(builder.channels(node), node.attr('scalar'), np.float32)
    return builder.step(node, 'mul', builder.constant(node.name + '_channels', values))


# Pooling --------------------------------------------------------------------------------------------------------------


def _is_pooling(node, shapes, plain):
    kind, convention = node.attr('pool_type', 'max'), node.attr('pooling_convention', 'valid')
    if (kind not in ('max', 'avg') or convention not in ('valid', 'full')
            or node.attr('global_pool') not in (None, False) or node.attr('layout') not in (None, 'None', 'NCHW')):
        return False
    # divided by 1, 2 or 4: another count might be rounded otherwise
    return kind == 'max' or node.attr('kernel') == (2, 2) and not any(node.attr('pad') or ()) and (
        convention == 'valid' or node.attr('count_include_pad') is False)


def _pooling(builder, node):
    return builder.pool(node, pool=node.attr('pool_type', 'max'), kernel=node.attr('kernel'),
                        stride=node.attr('stride') or (1, 1), pad=node.attr('pad') or (0, 0),
                        full=int(node.attr('pooling_convention') == 'full'))


OPERATORS = {
    'xnor_popcount': Operator(_always, _convolution),
    'Concat': Operator(_joins_channels, _concatenation),
    'slice_axis': Operator(_cuts_channels, _slice),
    'clip': Operator(lambda node, shapes, plain: is_identity(node), _clip),
    'elemwise_add': Operator(_always, _sum),
    'BatchNorm': Operator(_follows_plain, _normalisation),
    'Activation': Operator(_is_relu, _relu),
    'relu': Operator(_always, _relu),
    'LeakyReLU': Operator(_is_prelu, _prelu),
    'channelwise': Operator(_is_by_channel, _channelwise),
    'Pooling': Operator(_is_pooling, _pooling),
    '_mul_scalar': Operator(_always, _scalar_factor),
    'broadcast_mul': Operator(_broadcasts_channels, _broadcast('mul')),
    'broadcast_add': Operator(_broadcasts_channels, _broadcast('add')),
}
