"""Residual binarizations of activations: several signs, each scaled by a number of the sample (Tang et al.)."""
from __future__ import annotations

import dataclasses
from typing import ClassVar, Sequence

from ..tensors import Tensor, has_operator, namespace, pad
from .base import Quantizer, check_choice, check_number, register, straight_through
from .sign import ESTIMATORS, SIGN_ESTIMATORS


def residual_sign(x: Tensor, binarizations: int, quantizer: str = 'ste_sign', clip_threshold: float = 1.3,
                  composed: bool = False, padding: Sequence[int] = (), pad_value: int = -1) -> tuple[Tensor, Tensor]:
    """Several binarizations of each sample (Tang, Hua and Wang, AAAI 2017, Equations 3 and 4, Algorithm 1).

    E_1 = x, H_i = sign(E_i), alpha_i = mean |E_i| over the sample, E_(i+1) = E_i - alpha_i H_i: x is about the sum of
    alpha_i H_i. What follows is to multiply each term with its alpha; then x receives the gradient of that sum, where
    the quantizer lets it through. It passes through the first term, divided by alpha_1; other gradients stop here.

    Parameters
    ----------
    x : NDArray or Symbol
        float16, float32 or float64, shape (N, C, ...).
    binarizations : int
        m, how many terms.
    quantizer : str
        Name in `ESTIMATORS`, whose gradient is taken.
    clip_threshold : float
        That of `ste_sign`.
    composed : bool
        Use built-in operators also where the operator `residual_binarize` could serve. The scales then may differ in
        the last bit, and with them a sign of a residual next to 0.
    padding, pad_value
        The border around the signs of every term, see `pad`.

    Returns
    -------
    (NDArray or Symbol, NDArray or Symbol)
        The signs H, +1 or -1, shape (m * N, C, ...), one term behind the other, and the scales alpha, shape (m, N); of
        x's dtype.
    """
    F = namespace(x)
    estimator = SIGN_ESTIMATORS[quantizer]
    if has_operator(x) and not composed:
        signs, scales = F.residual_binarize(x, binarizations=binarizations,
                                            **estimator.attributes(clip_threshold, padding, pad_value))
        return signs, scales
    residual, signs, scales = F.BlockGrad(x), [], []
    for _ in range(binarizations):
        signs.append((residual >= 0) * 2 - 1)
        scales.append(F.mean(F.abs(residual), axis=0, exclude=True, keepdims=True))
        residual = residual - F.broadcast_mul(signs[-1], scales[-1])
    # |surrogate| is at most a few times the sum of |x|: the quotient is finite. Where alpha_1 is 0, so is x.
    zero = scales[0] == 0
    surrogate = F.broadcast_div(estimator.function(x, clip_threshold), scales[0] + zero)
    surrogate = F.broadcast_mul(surrogate, 1 - zero)
    signs[0] = straight_through(signs[0], surrogate)
    return (F.concat(*[pad(sign, padding, pad_value) for sign in signs], dim=0),
            F.concat(*[F.reshape(scale, shape=(1, -1)) for scale in scales], dim=0))


BINARIZATIONS = tuple(range(1, 9))


@register
@dataclasses.dataclass(frozen=True)
class Residual(Quantizer):
    """Several scaled signs for each activation, each of what those before it leave.

    Attributes
    ----------
    binarizations : int
        How many signs, 2 to 8; one alone, not scaled, is `sign`.
    clip : float
        t of the gradient, of the estimator 'ste_sign'.
    estimator : str
        'ste_sign' or 'approx_sign', as of the quantizers `sign` and `approx_sign`.
    """
    name: ClassVar[str] = 'residual'
    source: ClassVar[str] = 'Tang, Hua and Wang 2017, Equations 3 and 4, Algorithm 1'
    signs: ClassVar[bool] = True
    binarizations: int
    clip: float = 1.3
    estimator: str = 'ste_sign'

    def __post_init__(self) -> None:
        check_choice(self, 'binarizations', BINARIZATIONS[1:])
        check_number(self, 'clip')
        check_choice(self, 'estimator', tuple(ESTIMATORS))

    @property
    def bits(self) -> int:
        return self.binarizations

    @property
    def planes(self) -> int:
        return self.binarizations

    @property
    def has_scales(self) -> bool:
        return True

    def quantize_activation(self, x: Tensor, padding: Sequence[int] = (), pad_value: int = -1,
                            **learned: Tensor) -> tuple[Tensor, Tensor]:
        return residual_sign(x, self.binarizations, self.estimator, self.clip, padding=padding, pad_value=pad_value)
