"""BinaryDenseNet (Bethge et al. 2019, "BinaryDenseNet: Developing an Architecture for Binary Neural Networks").

Dense blocks of one 3x3 convolution, without the bottleneck of the float DenseNet, and float 1x1 transitions.
"""
from __future__ import annotations

from typing import Any

from mxnet.gluon import nn

from .blocks import DenseBlock, GrowingNet
from .registry import register_family


class BinaryDenseNet(GrowingNet):
    """Stages of dense blocks; the parameters are those of `GrowingNet`."""

    def add_blocks(self, stage: nn.HybridSequential, channels: int, growth: int, bits: int | None) -> None:
        stage.add(DenseBlock(channels, growth, bits))


# The published reductions divide by 2.7, 2.7, 2.2 (28), 3.3, 3.3, 4 (37) and 2.7, 3.3, 4 (45), then round to 32.
MEMBERS: dict[str, dict[str, Any]] = {
    'binarydensenet28': dict(blocks=(6, 6, 6, 5), reductions=(160 / 448, 192 / 544, 256 / 576)),
    'binarydensenet37': dict(blocks=(6, 8, 12, 6), reductions=(128 / 448, 192 / 640, 256 / 960)),
    'binarydensenet45': dict(blocks=(6, 12, 14, 8), reductions=(160 / 448, 288 / 928, 288 / 1184)),
    # MeliusNet, section 4.2. The transitions are not printed there; with these the size is the printed one, 19.58 MiB.
    'densenet_float': dict(blocks=(6, 6, 6, 5), reductions=(160 / 448, 192 / 544, 256 / 576), stem='imagenet', bits=32),
}
register_family(BinaryDenseNet, MEMBERS)
