"""Learned bases: LQ-Nets."""
from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Sequence

from ..tensors import Tensor, namespace, spread
from .base import Learned, Quantizer, Term, check_choice, concat_planes, marked, register, straight_through
from .least_squares import fit_scales
from .sign import ste_sign

_QUARTILE = 0.6745  # of the standard normal distribution: the paper's code begins with bases that reach it
_ITERATIONS = 4


def _ordered(basis: Sequence[Tensor]) -> list[Tensor]:
    """A basis whose levels are in the order of their codes: positive and ascending, none less than the sum of
    those before.

    Signs and order of a basis do not matter to its levels.
    """
    F = namespace(basis[0])
    found = [F.abs(value) for value in basis]
    for end in range(len(found) - 1, 0, -1):
        for i in range(end):
            pair = found[i], found[i + 1]
            found[i], found[i + 1] = F.broadcast_minimum(*pair), F.broadcast_maximum(*pair)
    for j in range(1, len(found)):
        found[j] = F.broadcast_maximum(found[j], sum(found[1:j], found[0]))
    return found


def _not_zero(x: Tensor) -> Tensor:
    return x + (x == 0)


@register
@dataclasses.dataclass(frozen=True)
class LQ(Quantizer):
    """Sums of a basis of k numbers: of activations those of set bits, of weights with signs, a basis for each filter.

    Levels are the products of a basis v with all codes of k bits, a value is the nearest level.

    Weights: codes are signs. The basis minimizes the squared error of each filter by the paper's QEM, which alternates
    nearest codes with the least squares of the basis (Equations 9 to 11). The paper does a step of it for each training
    step and averages over these; here the basis depends on the weight alone, four steps from the paper's
    initialization, v_j = 2^j 0.6745 s / 2^(k - 1), with the root of the mean square of the filter for s, the deviation
    that the paper's initializer gives to weights. The gradient passes straight to the weight.

    Activations: codes are 0 and 1, negative values become 0. The paper follows the QEM of the batches with a moving
    average, a state; here the basis is learned, with the gradient of the values by it, from the paper's initialization.
    The gradient of x is 1 where 0 < x <= the largest level, else 0.

    Both: a basis is kept such that levels are in the order of their codes, v_j >= v_0 + ... + v_(j-1) >= 0.

    Attributes
    ----------
    k : int
        Bits, 1 to 3.
    """
    name: ClassVar[str] = 'lq'
    source: ClassVar[str] = 'LQ-Nets (Zhang et al. 2018), section 3, Equations 9 to 11'
    k: int

    def __post_init__(self) -> None:
        check_choice(self, 'k', (1, 2, 3))

    @property
    def bits(self) -> int:
        return self.k

    @property
    def planes(self) -> int:
        return self.k

    @property
    def has_scales(self) -> bool:
        return True

    def activation_parameters(self, channels: int) -> Learned:
        unit = 2 * _QUARTILE / (2 ** self.k - 1)
        return {'basis': ((self.k,), [unit * 2 ** j for j in range(self.k)])}

    def quantize_activation(self, x: Tensor, padding: Sequence[int] = (), pad_value: int = -1,
                            **learned: Tensor) -> tuple[Tensor, Tensor]:
        F = namespace(x)
        basis = _ordered([F.slice_axis(learned['basis'], axis=0, begin=j, end=j + 1) for j in range(self.k)])
        # Plane j is bit j of the number of thresholds that x passes.
        level, passed = F.zeros_like(basis[0]), 0
        for code in range(1, 2 ** self.k):
            following = sum(basis[j] for j in range(self.k) if code >> j & 1)
            passed = passed + F.broadcast_greater(x, (level + following) / 2)
            level = following
        planes = [F.floor(passed / 2 ** j) - 2 * F.floor(passed / 2 ** (j + 1)) for j in range(self.k)]
        # x gets the gradient of the sum through the plane of the largest scale, which multiplies it again.
        inside = (x > 0) * F.broadcast_lesser_equal(x, level)
        surrogate = F.broadcast_div(F.where(inside, x, inside * 0), F.BlockGrad(_not_zero(basis[-1])))
        planes[-1] = straight_through(planes[-1], surrogate)
        scales = F.reshape(F.concat(*basis, dim=0), shape=(self.k, 1))
        planes = [marked(plane, bits=1) for plane in planes]
        return concat_planes(planes), F.broadcast_like(scales, x, lhs_axes=(1,), rhs_axes=(0,))

    def quantize_weight(self, weight: Tensor, **learned: Tensor) -> list[Term]:
        F = namespace(weight)
        fixed = F.BlockGrad(weight)

        def mean(x: Tensor) -> Tensor:
            return F.mean(x, axis=0, exclude=True, keepdims=True)

        deviation = F.sqrt(mean(fixed * fixed))
        basis = [_QUARTILE * 2.0 ** (j + 1 - self.k) * deviation for j in range(self.k)]
        for _ in range(_ITERATIONS):
            basis = _ordered(fit_scales(fixed, self._codes(fixed, basis), mean, near=basis))
        codes = self._codes(fixed, basis)
        # What comes back to the signs of the last term was multiplied with its scale, as the product is.
        divisor = spread(_not_zero(basis[-1]), fixed)
        codes[-1] = ste_sign(F.elemwise_div(weight, divisor), math.inf)
        return [Term(code, F.reshape(scale, shape=(-1,))) for code, scale in zip(codes, basis)]

    def _codes(self, weight: Tensor, basis: Sequence[Tensor]) -> list[Tensor]:
        """The signs of the nearest levels: each is that of what those of larger scales leave."""
        found, rest = [], weight
        for scale in reversed(basis):
            found.append(ste_sign(rest))
            rest = rest - found[-1] * spread(scale, rest)
        return found[::-1]
