"""Several shifted signs: ABC-Net."""
from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Sequence

from ..tensors import Tensor, namespace, spread
from .base import Learned, Quantizer, Term, check_choice, concat_planes, register
from .least_squares import fit_scales
from .sign import ste_sign


@register
@dataclasses.dataclass(frozen=True)
class ABC(Quantizer):
    """Sums of m signs of a value with m shifts.

    Weights: B_i = sign(W - mean(W) + u_i std(W)), u_i = -1 + 2 (i - 1) / (m - 1), 0 where m is 1; their
    scales alpha are the least squares of W - sum_i alpha_i B_i. The gradient of W is the sum of the
    gradients of all B_i (Equation 6), those of mean, deviation and alpha are not taken.

    Activations: A_i = sign(clip(x + v_i, 0, 1) - 0.5), sum_i beta_i A_i (Equations 8 to 10). The gradient of A_i by
    x + v_i is 1 where 0 <= x + v_i <= 1, else 0; v and beta are learned, numbers of the layer. Where they begin the
    paper leaves open: here v_i = 0.5 - u_i, so that the thresholds of x are the u_i, and beta_i = 1 / m.

    Attributes
    ----------
    m : int
        Signs, 1 to 8.
    by_filter : bool
        Mean, deviation and alpha of a weight are those of each filter, not of the whole layer.
    """
    name: ClassVar[str] = 'abc'
    source: ClassVar[str] = 'ABC-Net (Lin et al. 2017), section 3, Equations 6 and 8 to 10'
    signs: ClassVar[bool] = True
    m: int
    by_filter: bool = False

    def __post_init__(self) -> None:
        check_choice(self, 'm', tuple(range(1, 9)))
        check_choice(self, 'by_filter', (False, True))

    @property
    def bits(self) -> int:
        return self.m

    @property
    def planes(self) -> int:
        return self.m

    @property
    def has_scales(self) -> bool:
        return True

    @property
    def _shifts(self) -> list[float]:
        return [-1 + 2 * i / (self.m - 1) for i in range(self.m)] if self.m > 1 else [0.0]

    def activation_parameters(self, channels: int) -> Learned:
        return {'shift': ((self.m,), [0.5 - shift for shift in self._shifts]),
                'scale': ((self.m,), 1 / self.m)}

    def quantize_activation(self, x: Tensor, padding: Sequence[int] = (), pad_value: int = -1,
                            **learned: Tensor) -> tuple[Tensor, Tensor]:
        F = namespace(x)
        shifts = learned['shift'] - 0.5
        signs = [ste_sign(F.broadcast_add(x, F.slice_axis(shifts, axis=0, begin=i, end=i + 1)), 0.5,
                          padding=padding, pad_value=pad_value) for i in range(self.m)]
        scales = F.reshape(learned['scale'], shape=(self.m, 1))
        return concat_planes(signs), F.broadcast_like(scales, x, lhs_axes=(1,), rhs_axes=(0,))

    def quantize_weight(self, weight: Tensor, **learned: Tensor) -> list[Term]:
        F = namespace(weight)
        fixed = F.BlockGrad(weight)

        def mean(x: Tensor) -> Tensor:
            return F.mean(x, axis=0, exclude=True, keepdims=True) if self.by_filter else F.mean(x, keepdims=True)

        average = spread(mean(fixed), fixed)
        deviation = F.sqrt(mean(F.square(fixed - average)))
        signs = [ste_sign(weight - average + spread(shift * deviation, fixed), math.inf)
                 for shift in self._shifts]
        scales = fit_scales(fixed, [F.BlockGrad(sign) for sign in signs], mean)
        return [Term(sign, F.reshape(scale, shape=(-1,))) for sign, scale in zip(signs, scales)]
