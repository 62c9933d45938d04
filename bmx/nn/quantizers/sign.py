"""The sign, with the gradients that stand in the place of its own: BNN, MeliusNet, Bi-Real-Net."""
from __future__ import annotations

import dataclasses
from typing import Any, Callable, ClassVar, Sequence

from ..tensors import Tensor, awaits_shape, clip, has_operator, namespace, pad
from .base import Quantizer, Term, channel_scale, check_choice, check_number, register, straight_through


def _clipped(x: Tensor, clip_threshold: float) -> Tensor:
    return clip(x, -clip_threshold, clip_threshold)


def _polynomial(x: Tensor, clip_threshold: float | None) -> Tensor:
    F, clipped = namespace(x), clip(x, -1, 1)
    return clipped * (2 - F.abs(clipped))


@dataclasses.dataclass(frozen=True)
class _Estimator:
    """What takes the sign's gradient: the operators' name for it, its function, whether that has a threshold."""
    name: str
    function: Callable
    has_threshold: bool

    def attributes(self, clip_threshold: float | None, padding: Sequence[int], pad_value: int) -> dict[str, Any]:
        """Those of the operators, but for what would be the default."""
        found: dict[str, Any] = {'estimator': self.name}
        if self.has_threshold:
            found.update(clip_threshold=clip_threshold)
        if any(padding):
            found.update(pad=padding, pad_value=pad_value)
        return found


SIGN_ESTIMATORS = {'ste_sign': _Estimator('clip', _clipped, True),
                   'approx_sign': _Estimator('polynomial', _polynomial, False)}


def _sign(quantizer: str, x: Tensor, clip_threshold: float | None, composed: bool, padding: Sequence[int],
          pad_value: int) -> Tensor:
    estimator = SIGN_ESTIMATORS[quantizer]
    if has_operator(x) and not composed and not awaits_shape(x):
        return namespace(x).binarize(x, **estimator.attributes(clip_threshold, padding, pad_value))
    sign = straight_through(namespace(x).BlockGrad((x >= 0) * 2 - 1), estimator.function(x, clip_threshold))
    return pad(sign, padding, pad_value)


def ste_sign(x: Tensor, clip_threshold: float = 1.3, composed: bool = False, padding: Sequence[int] = (),
             pad_value: int = -1) -> Tensor:
    """Sign with the clipped straight-through estimator (Hubara et al. 2016; MeliusNet, Equations 1 to 3).

    Parameters
    ----------
    x : NDArray or Symbol
        float16, float32 or float64, any shape.
    clip_threshold : float
        t of the gradient: 1 where |x| <= t, else 0.
    composed : bool
        Use built-in operators also where the operator `binarize` could serve.
    padding, pad_value
        The border around the signs, see `pad`.

    Returns
    -------
    NDArray or Symbol
        +1 or -1, of x's shape (and the border) and dtype.
    """
    return _sign('ste_sign', x, clip_threshold, composed, padding, pad_value)


def approx_sign(x: Tensor, clip_threshold: float | None = None, composed: bool = False, padding: Sequence[int] = (),
                pad_value: int = -1) -> Tensor:
    """Sign with the gradient of a piecewise polynomial (Bi-Real-Net, Liu et al., ECCV 2018).

    The gradient is 2 + 2x where -1 <= x < 0, 2 - 2x where 0 <= x <= 1, else 0. `clip_threshold` is ignored: the
    polynomial ends at 1. All else is as of `ste_sign`.
    """
    return _sign('approx_sign', x, clip_threshold, composed, padding, pad_value)


# By what `binarize` calls neither: the functions, of (x, clip_threshold, composed, padding, pad_value).
ESTIMATORS = {'ste_sign': ste_sign, 'approx_sign': approx_sign}
SCALINGS = ('none', 'constant', 'gradient')


@dataclasses.dataclass(frozen=True)
class _SignQuantizer(Quantizer):
    """What those of one sign share.

    Attributes
    ----------
    scaling : str
        Of weights, by alpha = mean |w| of an output channel: 'none', 'gradient' (XNOR-Net: the gradient goes through
        the sign, straight, and through alpha) or 'constant' (Bi-Real-Net's magnitude-aware gradient: alpha multiplies
        the gradient of the sign, its own is not taken). See docs/semantics.md, "Weight scaling".
    """
    signs: ClassVar[bool] = True
    estimator: ClassVar[str] = ''
    scaling: str = 'none'

    def __post_init__(self) -> None:
        check_choice(self, 'scaling', SCALINGS)

    @property
    def bits(self) -> int:
        return 1

    @property
    def threshold(self) -> float:
        """t of the gradient."""
        return 1.0

    def quantize_activation(self, x: Tensor, padding: Sequence[int] = (), pad_value: int = -1,
                            **learned: Tensor) -> Tensor:
        return ESTIMATORS[self.estimator](x, self.threshold, padding=padding, pad_value=pad_value)

    def quantize_weight(self, weight: Tensor, **learned: Tensor) -> list[Term]:
        values = ESTIMATORS[self.estimator](weight, self.threshold)
        if self.scaling == 'none':
            return [Term(values)]
        alpha = channel_scale(weight)
        return [Term(values, namespace(weight).BlockGrad(alpha) if self.scaling == 'constant' else alpha)]


@register
@dataclasses.dataclass(frozen=True)
class Sign(_SignQuantizer):
    """Sign with the clipped straight-through estimator.

    Attributes
    ----------
    clip : float
        t of the gradient: 1 where |x| <= t, else 0.
    """
    name: ClassVar[str] = 'sign'
    source: ClassVar[str] = 'BNN (Hubara et al. 2016), Equations 1 and 4; MeliusNet (Bethge et al. 2021), 1 to 3'
    estimator: ClassVar[str] = 'ste_sign'
    clip: float = 1.3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, 'clip')

    @property
    def threshold(self) -> float:
        return self.clip


@register
@dataclasses.dataclass(frozen=True)
class ApproxSign(_SignQuantizer):
    """Sign with the gradient of a piecewise polynomial."""
    name: ClassVar[str] = 'approx_sign'
    source: ClassVar[str] = 'Bi-Real-Net (Liu et al. 2018), Equations 5 to 7'
    estimator: ClassVar[str] = 'approx_sign'
