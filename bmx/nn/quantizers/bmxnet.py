"""Products that count: BMXNet."""
from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

from ..tensors import Tensor, namespace
from .base import Quantizer, Term, check_number, register
from .sign import ste_sign


@register
@dataclasses.dataclass(frozen=True)
class BMXNet(Quantizer):
    """Sign of weights; a product is (dot + K) / 2, how many of its K signs agree with those of the weights.

    With it parameters that BMXNet trained compute here what they compute there (docs/bmxnet.md). K counts all taps of a
    filter, also those on a border.

    Attributes
    ----------
    clip : float
        t of the gradient: 1 where |w| <= t, else 0; BMXNet lets it through everywhere.
    """
    name: ClassVar[str] = 'bmxnet'
    source: ClassVar[str] = 'BMXNet (Yang et al. 2017)'
    clip: float = math.inf

    def __post_init__(self) -> None:
        check_number(self, 'clip')

    @property
    def bits(self) -> int:
        return 1

    def quantize_weight(self, weight: Tensor, **learned: Tensor) -> list[Term]:
        return [Term(ste_sign(weight, self.clip))]

    def finish(self, product: Tensor, axes: int, weight: Tensor, **learned: Tensor) -> Tensor:
        F = namespace(product)
        # counted by operators: a network may be traced before the shape of its weights is known
        taps = F.sum(F.ones_like(weight), axis=0, exclude=True)
        return F.broadcast_add(product, F.reshape(taps, shape=(1, -1) + (1,) * axes if axes else (-1,))) * 0.5
