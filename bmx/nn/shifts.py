"""Learned shifts of channels: the activations of ReActNet (Liu et al., ECCV 2020, section 4.3)."""
from __future__ import annotations

from typing import Any

import mxnet as mx
from mxnet import gluon
from mxnet.gluon import nn

from .channelwise import PReLU
from .tensors import Tensor


class Shift(gluon.HybridBlock):
    """Add a learned number to each channel.

    Before a `BinaryConv` of any quantizer it makes of signs what the quantizer `rsign` is.

    Inputs and outputs: (N, C, H, W).

    Parameters
    ----------
    in_channels : int
        C.
    initializer : str or Initializer
        Of the shifts.
    """

    def __init__(self, in_channels: int, initializer: str | mx.init.Initializer = 'zeros', prefix: str | None = None,
                 params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        with self.name_scope():
            self.shift = self.params.get('shift', shape=(1, in_channels, 1, 1), init=initializer,
                                         allow_deferred_init=True)

    def hybrid_forward(self, F: Any, x: Tensor, shift: Tensor) -> Tensor:
        return F.broadcast_add(x, shift)


class RPReLU(nn.HybridSequential):
    """PReLU with a slope for each channel between two shifts (Equation 2): x - gamma + zeta where x > gamma, else
    beta (x - gamma) + zeta.

    Inputs and outputs: (N, C, H, W).

    Parameters
    ----------
    in_channels : int
        C.
    """

    def __init__(self, in_channels: int, prefix: str | None = None, params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        with self.name_scope():
            self.add(Shift(in_channels), PReLU(in_channels=in_channels), Shift(in_channels))
