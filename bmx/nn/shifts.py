"""Learned shifts of channels: the activations of ReActNet (Liu et al., ECCV 2020, section 4.3)."""
from __future__ import annotations

from typing import Any, Sequence

import mxnet as mx
from mxnet import gluon
from mxnet.gluon import nn

from .channelwise import PReLU
from .layers import QActivation
from .tensors import Tensor


class Shift(gluon.HybridBlock):
    """Add a learned number to each channel.

    Before a `BinaryConv`, which takes the signs and knows their border, it makes an RSign of these.

    Parameters
    ----------
    in_channels : int
        C.
    initializer : str or Initializer
        Of the shifts.

    Inputs and outputs: (N, C, H, W).
    """

    def __init__(self, in_channels: int, initializer: str | mx.init.Initializer = 'zeros', prefix: str | None = None,
                 params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        with self.name_scope():
            self.shift = self.params.get('shift', shape=(1, in_channels, 1, 1), init=initializer,
                                         allow_deferred_init=True)

    def hybrid_forward(self, F: Any, x: Tensor, shift: Tensor) -> Tensor:
        return F.broadcast_add(x, shift)


class RSign(nn.HybridSequential):
    """Signs of shifted channels (Equation 1): +1 where x + shift >= 0, else -1.

    The paper's threshold alpha is -shift. What becomes of the sum, and which gradient passes, the scope `bmx.nn.config`
    tells, as for `QActivation`; with 32 bits the sum is passed through.

    Parameters
    ----------
    in_channels : int
        C.
    padding : tuple of int
        Border of the scope's `pad_value`, in place of that of the convolution that follows; see `QActivation`.

    Inputs: (N, C, H, W). Outputs: signs, of the same shape, but for the border.
    """

    def __init__(self, in_channels: int, padding: Sequence[int] = (), prefix: str | None = None,
                 params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        with self.name_scope():
            self.add(Shift(in_channels), QActivation(padding=padding))


class RPReLU(nn.HybridSequential):
    """PReLU with a slope for each channel between two shifts (Equation 2): x - gamma + zeta where x > gamma, else
    beta (x - gamma) + zeta.

    Parameters
    ----------
    in_channels : int
        C.

    Inputs and outputs: (N, C, H, W).
    """

    def __init__(self, in_channels: int, prefix: str | None = None, params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        with self.name_scope():
            self.add(Shift(in_channels), PReLU(in_channels=in_channels), Shift(in_channels))
