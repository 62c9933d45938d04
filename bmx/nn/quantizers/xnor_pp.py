"""Signs with learned scales of the product: XNOR-Net++."""
from __future__ import annotations

import dataclasses
from typing import ClassVar, Sequence

import mxnet as mx

from ..tensors import Tensor, namespace
from .base import Learned, Quantizer, Term, check_number, register
from .sign import ste_sign


@register
@dataclasses.dataclass(frozen=True)
class XnorPlusPlus(Quantizer):
    """Sign of weights, and learned scales of the product's channels, rows and columns.

    The product is multiplied with alpha x beta x gamma (case 4 of the paper): alpha (O,), beta (H',) and gamma (W',) of
    the product, all 1 at the beginning, which the paper leaves open. Of rows (N, C, W) and of dense layers there is no
    beta, and no gamma. The gradient goes through the sign where |w| <= 1.

    Attributes
    ----------
    side : int
        How many values beta and gamma have; a product takes the first ones, as many as it has rows and columns, and
        must not have more. 0: alpha alone (case 1).
    """
    name: ClassVar[str] = 'xnor_pp'
    source: ClassVar[str] = 'XNOR-Net++ (Bulat and Tzimiropoulos 2019), cases 1 and 4'
    side: int = 0

    def __post_init__(self) -> None:
        check_number(self, 'side', whole=True)

    @property
    def bits(self) -> int:
        return 1

    def weight_parameters(self, shape: Sequence[int]) -> Learned:
        found: Learned = {'channels': ((shape[0],), 1.0)}
        if self.side:
            # Of a convolution's axes the last is the width.
            for name in ('rows', 'columns')[-(len(shape) - 2):] if len(shape) > 2 else ():
                found[name] = ((self.side,), 1.0)
        return found

    def quantize_weight(self, weight: Tensor, **learned: Tensor) -> list[Term]:
        return [Term(ste_sign(weight, 1.0), learned['channels'])]

    def finish(self, product: Tensor, axes: int, weight: Tensor, **learned: Tensor) -> Tensor:
        F = namespace(product)
        for name, axis in (('rows', 2), ('columns', 1 + axes)):
            if name in learned:
                if isinstance(product, mx.nd.NDArray) and product.shape[axis] > self.side:
                    raise ValueError(f'{self} has factors of {self.side} {name}, but the product has '
                                     f'{product.shape[axis]}: give side={max(product.shape[2:])}')
                shape = [-1 if index == axis else 1 for index in range(2 + axes)]
                factors = F.slice_like(F.reshape(learned[name], shape=shape), product, axes=(axis,),
                                       name=f'side_of_{name}')
                product = F.broadcast_mul(product, factors)
        return product
