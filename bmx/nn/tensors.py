"""Tools for functions of an NDArray or a Symbol."""
from __future__ import annotations

import ast
import json
from typing import Any, Sequence, Union

import mxnet as mx

from .. import ops

Tensor = Union[mx.nd.NDArray, mx.sym.Symbol]


def namespace(x: Tensor) -> Any:
    """`mx.nd` or `mx.sym`, whichever an array belongs to."""
    return mx.sym if isinstance(x, mx.sym.Symbol) else mx.nd


def has_operator(x: Tensor) -> bool:
    """Whether the operators of this package can serve: they compute on the CPU."""
    # A symbol has no device: Gluon traces a graph inside the context of the data it was called with.
    context = mx.current_context() if isinstance(x, mx.sym.Symbol) else x.context
    return context.device_type.startswith('cpu')


def holds_signs(x: Tensor, pad: Sequence[int] = ()) -> bool:
    """Whether a tensor is known to be signs: a symbol of `binarize` or `residual_binarize`; an array does not tell.

    A border of zeros is none of signs, unless it becomes the padding of the convolution that reads it, with `pad`.
    """
    # `binary_convolution` has an estimator, too, of its data
    if not isinstance(x, mx.sym.Symbol) or x.attr('estimator') is None or x.attr('num_filter') is not None:
        return False
    return not any(_border(x)) or x.attr('pad_value') != '0' or _replaceable(x, pad)


def _border(signs: mx.sym.Symbol) -> tuple[int, ...]:
    return ast.literal_eval(signs.attr('pad') or '()')


def _replaceable(signs: mx.sym.Symbol, pad: Sequence[int]) -> bool:
    """Whether a convolution with `pad` can take what the signs are of, and their border for its padding."""
    border = _border(signs)
    return not signs.attr('binarizations') and not (any(border) and (any(pad) or len(border) != len(pad)))


def awaits_shape(x: Tensor) -> bool:
    """Whether a symbol is made of parameters whose shapes are not all known: they follow from what comes behind it.

    A shape passes backwards through built-in operators only, and MXNet takes what an external operator says of an
    unknown dimension for a size.
    """
    # A variable of data declares no shape; that of an activation is the first of its nodes, which spares the others.
    if not isinstance(x, mx.sym.Symbol) or x.get_internals()[0].attr('__shape__') is None:
        return False
    attributes = x.attr_dict()
    shapes = [attributes.get(name, {}).get('__shape__') for name in x.list_arguments()]
    return None not in shapes and any(size <= 0 for shape in shapes for size in ast.literal_eval(shape))


def spread(x: Tensor, weight: Tensor) -> Tensor:
    """Broadcast to a weight's shape, which MXNet may still have to infer from what comes behind.

    Parameters
    ----------
    x : NDArray or Symbol
        Has 1 where it is broadcast.
    weight : NDArray or Symbol
        A parameter, or what elementwise operators make of it. An elementwise operator of both passes the shape on.
    """
    F = namespace(weight)
    if awaits_shape(weight):
        # broadcast_like takes a size that is unknown for 1, but it waits for its input, which waits for this maximum.
        x = F.broadcast_mul(x, F.max(F.ones_like(weight), keepdims=True))
    return F.broadcast_like(x, weight)


def binary_convolution(data: mx.sym.Symbol, weight: mx.sym.Symbol, pad: Sequence[int] = (),
                       **attributes: Any) -> mx.sym.Symbol:
    """The operator `binary_convolution` of symbols that hold signs (`holds_signs`).

    It takes the place of a `binarize` that computes the data alone: what is kept for the backward pass is then what the
    signs are of, not the signs as well.
    """
    border = _border(data)
    if not _replaceable(data, pad):
        return mx.sym.binary_convolution(data, weight, name='fwd', pad=pad, **attributes)
    # what the node of the signs was, for those who read the graph
    marks = {key: value for key, value in data.list_attr().items() if key.startswith('__')}
    if any(border):
        pad, attributes['pad_value'] = border, int(data.attr('pad_value') or -1)
        marks.update(pad=str(border), pad_value=str(attributes['pad_value']))
    attributes.update({key: data.attr(key) for key in ('estimator', 'clip_threshold') if data.attr(key)})
    source, = data.get_children()
    if ops.is_identity(source):  # which the product gets as well
        source, = source.get_children()
    return mx.sym.binary_convolution(source, weight, name='fwd', pad=pad, **attributes,
                                     attr={'__signs__': json.dumps([data.name, marks])})


def clip(x: Tensor, low: float, high: float) -> Tensor:
    """MXNet's `clip`, but for its gradient, which it would not add to what is there."""
    return namespace(x).clip(ops.behind_identity(x), low, high)


def pad(x: Tensor, padding: Sequence[int], value: float) -> Tensor:
    """Put a border of `value` around the last axes of an image (N, C, H, W) or a row (N, C, W).

    Parameters
    ----------
    x : NDArray or Symbol
    padding : tuple of int
        Width of the border at both ends of each axis; empty or 0: none.
    value : float
    """
    if not any(padding):
        return x
    F = namespace(x)
    # MXNet pads 4-D arrays only: a row becomes an image of height 1.
    row = len(padding) == 1
    height, width = (0, padding[0]) if row else padding
    x = F.Pad(F.expand_dims(x, axis=2) if row else x, mode='constant', constant_value=value,
              pad_width=(0, 0, 0, 0, height, height, width, width))
    return F.squeeze(x, axis=2) if row else x
