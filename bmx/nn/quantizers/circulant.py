"""Filters that are rotations of others: Circulant Binary Convolutional Networks."""
from __future__ import annotations

import dataclasses
from typing import ClassVar, Sequence

from ..tensors import Tensor, namespace
from .base import Learned, Quantizer, Term, check_choice, check_number, register
from .sign import ste_sign

# The pixels of a 3x3 kernel around its middle, clockwise.
_RING = (0, 1, 2, 5, 8, 7, 6, 3)


def _rotation(steps: int) -> list[int]:
    """Which pixel of a 3x3 kernel comes to each, where it is turned clockwise by so many times 45 degrees."""
    pixels = list(range(9))
    for place, pixel in enumerate(_RING):
        pixels[pixel] = _RING[place - steps]
    return pixels


@register
@dataclasses.dataclass(frozen=True)
class Circulant(Quantizer):
    """Signs of filters of 3x3 pixels of which one of several is learned and the others are its rotations.

    A learned filter is turned about its middle pixel clockwise, by 360 degrees / `rotations` from one to the next, its
    channels alike; the gradient of a learned filter is the sum of theirs, turned back. Assumed: the rotations of a
    filter are next to each other among the output channels; filters have no scale; of the layer's weight, which has a
    place for all of them, the first of each `rotations` filters is the learned one and the others are not used.

    Attributes
    ----------
    rotations : int
        4 (by 90 degrees) or 8 (by 45 degrees); of the output channels a divisor.
    clip : float
        t of the sign's gradient: 1 where |w| <= t, else 0.
    """
    name: ClassVar[str] = 'circulant'
    source: ClassVar[str] = 'CBCN (Liu et al. 2019), sections 3.1 to 3.3'
    rotations: int = 4
    clip: float = 1.0

    def __post_init__(self) -> None:
        check_choice(self, 'rotations', (4, 8))
        check_number(self, 'clip')

    @property
    def bits(self) -> int:
        return 1

    def weight_parameters(self, shape: Sequence[int]) -> Learned:
        if tuple(shape[2:]) != (3, 3) or shape[0] % self.rotations:
            raise ValueError(f'{self}: is for weights of kernels of 3x3 pixels and a multiple of {self.rotations} '
                             f'output channels, got a weight of shape {tuple(shape)}')
        return {}

    def quantize_weight(self, weight: Tensor, **learned: Tensor) -> list[Term]:
        F = namespace(weight)
        sets = F.reshape(weight, shape=(-4, -1, self.rotations, -2))
        first = F.reshape(F.slice_axis(sets, axis=1, begin=0, end=1), shape=(0, -3, -3))
        pixels = F.SliceChannel(first, num_outputs=9, axis=2)
        turned = [F.concat(*[pixels[pixel] for pixel in _rotation(turn * 8 // self.rotations)], dim=2)
                  for turn in range(self.rotations)]
        filters = F.reshape(F.stack(*turned, axis=1), shape=(-3, 0, 3, 3))
        # The sum with zeros tells MXNet the weight's shape, which it does not infer through what is before.
        return [Term(ste_sign(filters + F.zeros_like(weight), self.clip))]
