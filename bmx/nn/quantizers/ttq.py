"""Weights of three learned values: Trained Ternary Quantization."""
from __future__ import annotations

import dataclasses
from typing import ClassVar, Sequence

from ..tensors import Tensor, namespace, spread
from .base import Learned, Quantizer, Term, check_number, marked, register, straight_through
from .twn import ternary


@register
@dataclasses.dataclass(frozen=True)
class TTQ(Quantizer):
    """Weights that are Wp, 0 or -Wn, both learned, of a layer: 0 up to t max |w|.

    The gradient of the quantized weight goes to w, times Wp where it is Wp, times Wn where it is -Wn, unchanged where
    it is 0; those of Wp and Wn are its sum over the first and minus its sum over the second (the derivative: Equation 7
    leaves out the sign of -Wn). Assumed, as the paper does not say: both begin with 1.

    Attributes
    ----------
    t : float
        The threshold as a share of the largest |w|, less than 1.
    """
    name: ClassVar[str] = 'ttq'
    source: ClassVar[str] = 'Trained Ternary Quantization (Zhu et al. 2017), Equations 6 to 9'
    t: float = 0.05

    def __post_init__(self) -> None:
        check_number(self, 't', below=1)

    @property
    def bits(self) -> int:
        return 2

    def weight_parameters(self, shape: Sequence[int]) -> Learned:
        return {name: ((1,) * len(shape), 1.0) for name in ('positive', 'negative')}

    def quantize_weight(self, weight: Tensor, **learned: Tensor) -> list[Term]:
        F = namespace(weight)
        codes = ternary(weight, self.t * F.max(F.abs(F.BlockGrad(weight)), keepdims=True))
        above, below = codes > 0, codes < 0
        positive, negative = (part * spread(learned[name], weight)
                              for part, name in ((above, 'positive'), (below, 'negative')))
        slope = F.BlockGrad(positive + negative + (codes == 0))
        return [Term(marked(straight_through(positive - negative, weight * slope), bits=2))]
