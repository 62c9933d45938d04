"""Half-wave Gaussian quantization: HWGQ-Net."""
from __future__ import annotations

import dataclasses
from typing import ClassVar, Sequence

from ..tensors import Tensor, clip, namespace
from .base import Quantizer, check_choice, register, straight_through

# Bits -> the step of least mean squared error for the positive half of a standard normal distribution, with thresholds
# in the middle of the levels. The paper prints that of 2 bits; the others solve the same equations.
_STEPS = {1: 0.7979, 2: 0.538, 3: 329 / 1024}
HWGQ_ESTIMATORS = ('clipped', 'relu', 'log_tailed')


@register
@dataclasses.dataclass(frozen=True)
class HWGQ(Quantizer):
    """Activations of a normal distribution on a uniform grid from 0 on, whose least positive level begins at 0.

    0 where x <= 0, else the nearest of q_i = i * step, i from 1 to 2^k - 1, the lower one in the middle between two.
    The levels are for what a batch normalization makes.

    Attributes
    ----------
    k : int
        Bits, 1 to 3.
    estimator : str
        The gradient, one of the paper's; q_m is the largest level. 'clipped': 1 where 0 < x <= q_m, else 0. 'relu': 1
        where x > 0. 'log_tailed': that of 'clipped', and 1 / (x - q_m + 1) where x > q_m.
    """
    name: ClassVar[str] = 'hwgq'
    source: ClassVar[str] = 'HWGQ-Net (Cai et al. 2017), section 4'
    k: int
    estimator: str = 'clipped'

    def __post_init__(self) -> None:
        check_choice(self, 'k', tuple(_STEPS))
        check_choice(self, 'estimator', HWGQ_ESTIMATORS)

    @property
    def bits(self) -> int:
        return self.k

    @property
    def step(self) -> float:
        return _STEPS[self.k]

    def quantize_activation(self, x: Tensor, padding: Sequence[int] = (), pad_value: int = -1,
                            **learned: Tensor) -> Tensor:
        code = x > 0
        for i in range(1, 2 ** self.k - 1):
            code = code + (x > (i + 0.5) * self.step)
        return straight_through(code * self.step, self._surrogate(x))

    def _surrogate(self, x: Tensor) -> Tensor:
        """What has the estimator's gradient."""
        F, positive, largest = namespace(x), x > 0, (2 ** self.k - 1) * self.step
        if self.estimator == 'relu':
            return F.where(positive, x, 0 * positive)
        found = clip(x, 0, largest) * positive  # MXNet's clip passes the gradient at 0, too
        if self.estimator == 'log_tailed':
            found = found + F.where(x > largest, x / F.BlockGrad(x - (largest - 1)), 0 * positive)
        return found
