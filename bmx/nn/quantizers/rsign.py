"""Signs of shifted channels: ReActNet."""
from __future__ import annotations

import dataclasses
from typing import ClassVar, Sequence

import mxnet as mx

from ..tensors import Tensor, namespace
from .base import Learned, Quantizer, check_number, register
from .sign import approx_sign, ste_sign


@register
@dataclasses.dataclass(frozen=True)
class RSign(Quantizer):
    """Sign of x plus a learned shift of the channel, of images; the paper's threshold is minus the shift.

    Attributes
    ----------
    clip : float, optional
        t of a gradient that is 1 where |x + shift| <= t, else 0. None: that of `approx_sign`, as in the paper.
    """
    name: ClassVar[str] = 'rsign'
    source: ClassVar[str] = 'ReActNet (Liu et al. 2020), section 4.3, Equation 1'
    signs: ClassVar[bool] = True
    by_channel: ClassVar[bool] = True
    clip: float | None = None

    def __post_init__(self) -> None:
        if self.clip is not None:
            check_number(self, 'clip')

    @property
    def bits(self) -> int:
        return 1

    def activation_parameters(self, channels: int) -> Learned:
        return {'shift': ((1, channels, 1, 1), 0.0)}

    def quantize_activation(self, x: Tensor, padding: Sequence[int] = (), pad_value: int = -1,
                            **learned: Tensor) -> Tensor:
        F = namespace(x)
        if isinstance(x, mx.sym.Symbol):
            x = F.reshape(x, shape=(0, 0, 0, 0), name='images')  # fails where there are not four axes
        elif x.ndim != 4:
            raise ValueError(f'{self} shifts the channels of images (N, C, H, W), got data of shape {x.shape}')
        shifted = F.broadcast_add(x, learned['shift'])
        if self.clip is None:
            return approx_sign(shifted, padding=padding, pad_value=pad_value)
        return ste_sign(shifted, self.clip, padding=padding, pad_value=pad_value)
