"""Weights of three values: Ternary Weight Networks."""
from __future__ import annotations

import dataclasses
from typing import ClassVar

from ..tensors import Tensor, namespace, spread
from .base import Quantizer, Term, check_choice, marked, register, straight_through


def ternary(weight: Tensor, threshold: Tensor) -> Tensor:
    """1 where w > threshold, -1 where w < -threshold, else 0; without a gradient.

    Parameters
    ----------
    weight, threshold : NDArray or Symbol
        The threshold broadcasts to the weight and is at least 0.
    """
    threshold = spread(threshold, weight)
    return (weight > threshold) - (weight < -threshold)


@register
@dataclasses.dataclass(frozen=True)
class TWN(Quantizer):
    """Weights that are -alpha, 0 or alpha: 0 up to 0.7 mean |w|, alpha the mean |w| of the others.

    The gradient of the quantized weight goes to w unchanged.

    Attributes
    ----------
    by : str
        What has an alpha and a threshold of its own: the 'layer', as in the paper, or each output 'channel'.
    """
    name: ClassVar[str] = 'twn'
    source: ClassVar[str] = 'Ternary Weight Networks (Li et al. 2016), Equations 3 to 6'
    by: str = 'layer'

    def __post_init__(self) -> None:
        check_choice(self, 'by', ('layer', 'channel'))

    @property
    def bits(self) -> int:
        return 2

    def quantize_weight(self, weight: Tensor, **learned: Tensor) -> list[Term]:
        F = namespace(weight)
        over = {'axis': 0, 'exclude': True} if self.by == 'channel' else {}
        size = F.abs(F.BlockGrad(weight))
        codes = ternary(weight, 0.7 * F.mean(size, keepdims=True, **over))
        count = F.sum(F.abs(codes), keepdims=True, **over)
        alpha = F.broadcast_div(F.sum(size * F.abs(codes), keepdims=True, **over), count + (count == 0))
        # What comes back to the values was multiplied with alpha, as the product is.
        surrogate = F.elemwise_div(weight, spread(alpha + (alpha == 0), weight))
        return [Term(marked(straight_through(codes, surrogate), bits=2), F.reshape(alpha, shape=(-1,)))]
