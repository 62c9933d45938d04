"""Values on a uniform grid: DoReFa-Net."""
from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Sequence

from ..tensors import Tensor, clip, namespace, spread
from .base import Quantizer, Term, check_choice, marked, register
from .sign import ste_sign


def _quantize_k(x: Tensor, bits: int) -> Tensor:
    # bmx/graph/products.py recognises these operators. MXNet's round_ste passes the gradient on, and clip where
    # 0 <= x <= 1.
    steps = 2 ** bits - 1
    return namespace(x).contrib.round_ste(clip(x, 0, 1) * steps) / steps


def k_bit_activation(x: Tensor, bits: int) -> Tensor:
    """Activations of several bits (DoReFa-Net, Zhou et al. 2016, section 2.4).

    quantize_k(clip(x, 0, 1)) with quantize_k(x) = round((2^bits - 1) x) / (2^bits - 1). A half is rounded up. The
    gradient is 1 where 0 <= x <= 1, both ends included, else 0.

    Parameters
    ----------
    x : NDArray or Symbol
        float16, float32 or float64, any shape.
    bits : int
        2 to 8. With 1 the result is 0 or 1, not a sign.

    Returns
    -------
    NDArray or Symbol
        2^bits levels from 0 to 1, of x's shape and dtype.
    """
    return _quantize_k(x, bits)


def k_bit_weight(x: Tensor, bits: int) -> Tensor:
    """Weights of several bits (DoReFa-Net, Zhou et al. 2016, section 2.3).

    2 quantize_k(tanh(x) / (2 m) + 1/2) - 1 with m = max |tanh(x)| over the whole array and the quantize_k of
    `k_bit_activation`. The gradient takes quantize_k for the identity and is otherwise the true one: of tanh, and
    of the quotient, m included, so that the largest weight also receives what it does to all others. Weights which are
    all 0 are divided by 1.

    Parameters
    ----------
    x : NDArray or Symbol
        float16, float32 or float64, any shape.
    bits : int
        2 to 8.

    Returns
    -------
    NDArray or Symbol
        2^bits levels from -1 to 1, 0 not among them, of x's shape and dtype.
    """
    F = namespace(x)
    squashed = F.tanh(x)
    largest = F.max(F.abs(squashed), keepdims=True)
    largest = largest + (largest == 0)
    normalised = F.elemwise_div(squashed, spread(2 * largest, squashed)) + 0.5
    return 2 * _quantize_k(normalised, bits) - 1


@register
@dataclasses.dataclass(frozen=True)
class DoReFa(Quantizer):
    """Activations on a uniform grid from 0 to 1, weights on one from -1 to 1.

    Attributes
    ----------
    k : int
        Bits, 1 to 8. With 1 activations are 0 or 1, and weights signs times alpha = mean |w| of the whole layer, whose
        gradient passes through unchanged; with more they are `k_bit_activation` and `k_bit_weight`.
    """
    name: ClassVar[str] = 'dorefa'
    source: ClassVar[str] = 'DoReFa-Net (Zhou et al. 2016), Equations 5 to 11'
    k: int

    def __post_init__(self) -> None:
        check_choice(self, 'k', tuple(range(1, 9)))

    @property
    def bits(self) -> int:
        return self.k

    @property
    def step(self) -> float:
        return 1 / (2 ** self.k - 1)

    def integers(self, x: Tensor) -> Tensor:
        return x * (2 ** self.k - 1)  # exact, as a test of all of them shows

    def quantize_activation(self, x: Tensor, padding: Sequence[int] = (), pad_value: int = -1,
                            **learned: Tensor) -> Tensor:
        return k_bit_activation(x, self.k)

    def quantize_weight(self, weight: Tensor, **learned: Tensor) -> list[Term]:
        F = namespace(weight)
        if self.k == 1:
            alpha = F.BlockGrad(F.mean(F.abs(weight), keepdims=True))
            divisor = spread(alpha + (alpha == 0), weight)
            # What comes back to the signs was multiplied with alpha, as the product is.
            return [Term(ste_sign(F.elemwise_div(weight, divisor), math.inf), F.reshape(alpha, shape=(1,)))]
        largest = 2 ** self.k - 1
        codes = F.contrib.round_ste(k_bit_weight(weight, self.k) * largest)
        return [Term(marked(codes, bits=self.k), step=1 / largest)]
