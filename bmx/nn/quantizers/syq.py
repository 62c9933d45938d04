"""Signs or ternary weights with learned scales of parts of the kernel: SYQ."""
from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Sequence

from ..tensors import Tensor, namespace, spread
from .base import Learned, Quantizer, Term, check_choice, check_number, marked, register, straight_through
from .sign import ste_sign
from .twn import ternary


@register
@dataclasses.dataclass(frozen=True)
class SYQ(Quantizer):
    """Weights that are signs, or -1, 0 and 1, times learned alphas, one for each row or pixel of the kernel.

    A layer's filters share the alphas; those of dense layers have one. With k = 2 weights up to `eta` max |w| are 0.
    The gradient of the quantized weight goes to w times alpha, and its product with the signs, summed over a part, to
    the part's alpha. Assumed: alphas begin with 1 (in the paper with the mean |w| of a trained float network).

    Attributes
    ----------
    k : int
        Bits: 1 (signs) or 2 (ternary).
    by : str
        What has an alpha of its own: each 'row' or 'pixel' of the kernel, or the 'layer'.
    eta : float
        The threshold of ternary weights as a share of the largest |w|, less than 1.
    """
    name: ClassVar[str] = 'syq'
    source: ClassVar[str] = 'SYQ (Faraone et al. 2018), section 3'
    k: int
    by: str = 'row'
    eta: float = 0.05

    def __post_init__(self) -> None:
        check_choice(self, 'k', (1, 2))
        check_choice(self, 'by', ('row', 'pixel', 'layer'))
        check_number(self, 'eta', below=1)

    @property
    def bits(self) -> int:
        return self.k

    def weight_parameters(self, shape: Sequence[int]) -> Learned:
        kernel = tuple(shape[2:])
        rows = kernel[:-1] + (1,) * len(kernel[-1:])
        parts = {'row': rows, 'pixel': kernel, 'layer': (1,) * len(kernel)}[self.by]
        return {'alpha': ((1, 1) + parts, 1.0)}

    def quantize_weight(self, weight: Tensor, **learned: Tensor) -> list[Term]:
        F, alpha = namespace(weight), learned['alpha']
        if self.k == 1:
            values = ste_sign(weight, math.inf)
        else:
            codes = ternary(weight, self.eta * F.max(F.abs(F.BlockGrad(weight)), keepdims=True))
            values = marked(straight_through(codes, weight), bits=2)
        if self.by == 'layer':
            return [Term(values, F.reshape(alpha, shape=(1,)))]
        return [Term(marked(values * spread(alpha, weight), bits=self.k))]
