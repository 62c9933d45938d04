"""Signs times a scale of each filter: XNOR-Net."""
from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

from ..tensors import Tensor, clip, namespace, spread
from .base import Quantizer, Term, channel_scale, check_number, register
from .sign import ste_sign


@register
@dataclasses.dataclass(frozen=True)
class Xnor(Quantizer):
    """Weights that are signs times alpha = mean |w| of their filter, with XNOR-Net's gradient.

    With n weights in a filter and w~ = alpha sign(w), dL/dw_i = (1/n + alpha [|w_i| <= clip]) dL/dw~_i. The paper
    writes that for the derivative, whose sum over the filter this leaves out; `sign(scaling='gradient')` has it.
    With activations that stay float this is the paper's Binary-Weight-Network.

    Attributes
    ----------
    clip : float
        t of the sign's gradient: 1 where |w| <= t, else 0.
    """
    name: ClassVar[str] = 'xnor'
    source: ClassVar[str] = 'XNOR-Net (Rastegari et al. 2016), Equations 3 to 6, gradient of section 3.1'
    clip: float = 1.0

    def __post_init__(self) -> None:
        check_number('clip', self.clip)

    @property
    def bits(self) -> int:
        return 1

    def quantize_weight(self, weight: Tensor, **learned: Tensor) -> list[Term]:
        F = namespace(weight)
        total = F.BlockGrad(F.sum(F.abs(weight), axis=0, exclude=True, keepdims=True))
        share = F.elemwise_div(weight, spread(total + (total == 0), weight))
        # What comes back to the signs was multiplied with alpha: of w / (n alpha) 1/n is left. Both parts have the sign
        # of w.
        values = ste_sign(clip(weight, -self.clip, self.clip) + share, math.inf)
        return [Term(values, F.BlockGrad(channel_scale(weight)))]
