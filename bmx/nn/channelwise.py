"""Products with one value a channel: scaling factors, PReLU.

On the CPU they are one pass of the operator `channelwise` each way, elsewhere MXNet's broadcasting operators.
"""
from __future__ import annotations

from typing import Any

import mxnet as mx
from mxnet import gluon
from mxnet.gluon import nn

from .tensors import Tensor, has_operator, namespace


def scale_channels(x: Tensor, scale: Tensor, channel_shape: tuple[int, ...]) -> Tensor:
    """Multiply each channel by its factor.

    Parameters
    ----------
    x : NDArray or Symbol
        (N, C, ...) or (..., C), float32 or float64.
    scale : NDArray or Symbol
        (C,).
    channel_shape : tuple of int
        The shape in which `scale` broadcasts: (1, -1, 1, 1) for instance; (-1,) where channels are the last axis.

    Returns
    -------
    NDArray or Symbol
        Of x's shape.
    """
    F = namespace(x)
    if has_operator(x) and len(channel_shape) > 1:
        return F.channelwise(x, scale, kind='scale')
    return F.broadcast_mul(x, F.reshape(scale, shape=channel_shape))


class Scale(gluon.HybridBlock):
    """Multiply by one learned number (Tang et al. 2017, "Improving the overall compression rate").

    Behind a binary classifier it brings sums of as many +1 and -1 as there are inputs to the range of a softmax.

    Inputs and outputs: (N, C, ...).

    Parameters
    ----------
    initial : float
        What it begins with.
    """

    def __init__(self, initial: float = 0.001, prefix: str | None = None,
                 params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        with self.name_scope():
            self.scale = self.params.get('scale', shape=(1,), init=mx.init.Constant(float(initial)))

    def hybrid_forward(self, F: Any, x: Tensor, scale: Tensor) -> Tensor:
        if has_operator(x):
            return F.channelwise(x, scale, kind='scale')
        return F.broadcast_mul(x, scale)


class PReLU(nn.PReLU):
    """PReLU (He et al. 2015): x where x > 0, else a learned slope times x.

    Of its parent's arguments `alpha_initializer` is that of the slopes, 0.25 by default; `in_channels` is 1 for one
    slope, or the number of channels for one each.

    Inputs and outputs: (N, C, ...).
    """

    def hybrid_forward(self, F: Any, x: Tensor, alpha: Tensor) -> Tensor:
        if has_operator(x):
            return F.channelwise(x, alpha, kind='prelu')
        return super().hybrid_forward(F, x, alpha)
