"""Signs times a scale of each filter, and of each window of the input: XNOR-Net."""
from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar, Sequence

from ..tensors import Tensor, clip, namespace, pad, spread
from .base import Quantizer, Term, channel_scale, check_number, register
from .sign import ste_sign


def _mean_of_windows(x: Tensor, kernel: Sequence[int], stride: Sequence[int], pad: Sequence[int],
                     dilate: Sequence[int]) -> Tensor:
    """Means over the windows of a convolution of an array of one channel; its border is 0."""
    F, taps = namespace(x), math.prod(kernel)
    if set(dilate) == {1} and all(width < size for width, size in zip(pad, kernel)):
        return F.Pooling(x, pool_type='avg', count_include_pad=True, kernel=kernel, stride=stride, pad=pad)
    # What MXNet does not pool is a product with a filter of 1 / taps, of x's dtype.
    taken = F.slice_axis(F.reshape(x, shape=(-1,)), axis=0, begin=0, end=1)
    tap = F.reshape(F.zeros_like(taken) + 1 / taps, shape=(1,) * (2 + len(kernel)))
    weight = F.broadcast_to(tap, shape=(1, 1) + tuple(kernel))
    return F.Convolution(x, weight, num_filter=1, no_bias=True, kernel=kernel, stride=stride, pad=pad, dilate=dilate)


@register
@dataclasses.dataclass(frozen=True)
class Xnor(Quantizer):
    """Signs times scales: of weights the mean |w| of the filter, of activations the mean |x| of each window.

    Of weights with n in a filter and w~ = alpha sign(w), alpha = mean |w|, dL/dw_i = (1/n + alpha [|w_i| <= clip])
    dL/dw~_i. The paper writes that for the derivative, whose sum over the filter this leaves out;
    `sign(scaling='gradient')` has it. With activations that stay float this is the paper's Binary-Weight-Network.

    Activations are signs, with A, the mean of |x| over the channels. A product is multiplied with K, the mean of A over
    the window of each of its pixels, where a border counts 0; of a dense layer with the mean of |x| of the sample. The
    gradient goes through the signs, and through K as it is.

    Attributes
    ----------
    clip : float
        t of the sign's gradient: 1 where |w| <= t, else 0.
    """
    name: ClassVar[str] = 'xnor'
    source: ClassVar[str] = 'XNOR-Net (Rastegari et al. 2016), Equations 3 to 11, gradient of section 3.1'
    signs: ClassVar[bool] = True
    clip: float = 1.0

    def __post_init__(self) -> None:
        check_number(self, 'clip')

    @property
    def bits(self) -> int:
        return 1

    @property
    def has_scales(self) -> bool:
        return True

    def quantize_activation(self, x: Tensor, padding: Sequence[int] = (), pad_value: int = -1,
                            **learned: Tensor) -> tuple[Tensor, Tensor]:
        F = namespace(x)
        average = F.mean(F.abs(x), axis=1, keepdims=True)
        return ste_sign(x, self.clip, padding=padding, pad_value=pad_value), pad(average, padding, 0)

    def combine(self, product: Tensor, scales: Tensor, shape: tuple[int, ...], window: dict[str, Any]) -> Tensor:
        F = namespace(product)
        if not window:
            return F.broadcast_mul(product, F.reshape(F.mean(scales, axis=0, exclude=True), shape=shape))
        return F.broadcast_mul(product, _mean_of_windows(scales, **window))

    def quantize_weight(self, weight: Tensor, **learned: Tensor) -> list[Term]:
        F = namespace(weight)
        total = F.BlockGrad(F.sum(F.abs(weight), axis=0, exclude=True, keepdims=True))
        share = F.elemwise_div(weight, spread(total + (total == 0), weight))
        # What comes back to the signs was multiplied with alpha: of w / (n alpha) 1/n is left. Both parts have the sign
        # of w.
        values = ste_sign(clip(weight, -self.clip, self.clip) + share, math.inf)
        return [Term(values, F.BlockGrad(channel_scale(weight)))]
