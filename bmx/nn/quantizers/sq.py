"""Binary weights, of some filters at a time: Stochastic Quantization."""
from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

from ..tensors import Tensor, namespace, spread
from .base import Quantizer, Term, check_number, marked, register, straight_through
from .sign import ste_sign


@register
@dataclasses.dataclass(frozen=True)
class SQBWN(Quantizer):
    """In training a random share of the filters is sign(w) times alpha = mean |w| of the filter, else all are.

    A filter's quantization error is e = sum |w - alpha sign(w)| / sum |w|. As many filters as `ratio` tells, rounded
    up, are drawn without replacement with the linear probability, that of 1 / (e + 1e-7) among those that are left, in
    each forward pass anew; the others stay float. The gradient of the hybrid weight goes to w unchanged.
    The paper trains with the ratios 0.5, 0.75, 0.875 and 1, one training after the other, each beginning with what the
    one before it has learned: they are settings of four trainings here.

    Attributes
    ----------
    ratio : float
        Share of the filters that is quantized in training, above 0 and up to 1.
    """
    name: ClassVar[str] = 'sq_bwn'
    source: ClassVar[str] = 'Stochastic Quantization (Dong et al. 2017), Equations 3 to 6, Algorithm 1'
    ratio: float = 0.5

    def __post_init__(self) -> None:
        check_number(self, 'ratio')
        if not 0 < self.ratio <= 1:
            raise ValueError(f'ratio must be above 0 and at most 1, got {self.ratio!r}')

    @property
    def bits(self) -> int:
        return 1

    def quantize_weight(self, weight: Tensor, **learned: Tensor) -> list[Term]:
        F = namespace(weight)
        plain = F.BlockGrad(weight)
        alpha = F.mean(F.abs(plain), axis=0, exclude=True, keepdims=True)
        signs = (plain >= 0) * 2 - 1
        chosen = self._choose(plain, signs, alpha) if self.ratio < 1 else F.ones_like(alpha)
        scale = chosen * alpha + (1 - chosen)
        # What comes back to the values was multiplied with the scale, as the product is.
        surrogate = F.elemwise_div(weight, spread(scale + (scale == 0), weight))
        if self.ratio == 1:
            values = ste_sign(surrogate, math.inf)
        else:
            mixed = F.where(spread(chosen, weight), signs, plain)
            values = marked(straight_through(mixed, surrogate), bits=1)
        return [Term(values, F.reshape(scale, shape=(-1,)))]

    def _choose(self, weight: Tensor, sign: Tensor, alpha: Tensor) -> Tensor:
        """1 of the filters to be quantized, else 0, (O, 1, ...)."""
        F = namespace(weight)

        def total(x: Tensor) -> Tensor:
            return F.sum(F.abs(x), axis=0, exclude=True)

        size = total(weight)
        error = total(weight - sign * spread(alpha, weight)) / (size + (size == 0))
        # Draws of a roulette without replacement take filters in the order in which clocks strike whose rates are the
        # filters' shares.
        clocks = F.random.exponential_like(error) * (error + 1e-7)
        rank = F.argsort(F.argsort(F.cast(clocks, 'float32')))  # MXNet does not sort float16
        count = F.sum(F.ones_like(rank), keepdims=True)
        drawn = F.broadcast_lesser(rank, self.ratio * count)
        # Dropout makes of ones 0 or 2 in training, and leaves them what they are else.
        trains = F.Dropout(F.ones_like(rank), p=0.5) != 1
        # Ranks are float32, whatever the weight is.
        chosen = F.where(1 - trains * (1 - drawn), F.ones_like(error), F.zeros_like(error))
        return F.reshape_like(chosen, alpha)
