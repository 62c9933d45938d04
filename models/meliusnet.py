"""MeliusNet (Bethge et al. 2021, "MeliusNet: An Improved Network Architecture for Binary Neural Networks")."""
from __future__ import annotations

from typing import Any

from mxnet import gluon
from mxnet.gluon import nn

from bmx.nn import BinaryConv
from bmx.nn.tensors import Tensor

from .blocks import DenseBlock, GrowingNet
from .registry import register_family


class ImprovementBlock(gluon.HybridBlock):
    """Add the result of a binary convolution to the newest channels (section 3.1, Figure 1, below).

    Inputs and outputs: (N, in_channels, H, W).

    Parameters
    ----------
    in_channels : int
    improved : int
        How many channels, from the last, are improved. With all of them it is an ordinary residual connection.
    bits : int
        See `bmx.nn.Config`.
    """

    def __init__(self, in_channels: int, improved: int, bits: int | None = None, prefix: str | None = None,
                 params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        self._in_channels, self._improved = in_channels, improved
        with self.name_scope():
            self.norm = nn.BatchNorm()
            self.conv = BinaryConv(improved, 3, padding=1, in_channels=in_channels, bits=bits)

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:
        improvement = self.conv(self.norm(x))
        if self._improved == self._in_channels:
            return x + improvement
        kept = F.slice_axis(x, axis=1, begin=0, end=-self._improved)
        return F.concat(kept, F.slice_axis(x, axis=1, begin=-self._improved, end=None) + improvement, dim=1)


class MeliusNet(GrowingNet):
    """Stages of dense and improvement blocks in pairs.

    Inputs: (N, 3, H, W), with four stages H and W of at least 8 (thumbnail) or 29. Outputs: (N, classes).

    Parameters
    ----------
    improve : str
        'newest': an improvement block improves what the dense block before it appended. 'all': it improves the whole
        feature map, the naive residual connection that the paper decides against (section 3.1).
    **kwargs
        Those of `GrowingNet`: blocks, reductions, groups, stem, classes, growth, bits.
    """

    def __init__(self, improve: str = 'newest', **kwargs: Any) -> None:
        if improve not in ('newest', 'all'):
            raise ValueError(f"improve must be 'newest' or 'all', got {improve!r}")
        self._improve = improve
        super().__init__(**kwargs)

    def add_blocks(self, stage: nn.HybridSequential, channels: int, growth: int, bits: int | None) -> None:
        widened = channels + growth
        stage.add(DenseBlock(channels, growth, bits),
                  ImprovementBlock(widened, growth if self._improve == 'newest' else widened, bits))


# Block numbers and channel reduction factors: Table 1 of the paper.
MEMBERS: dict[str, dict[str, Any]] = {
    # Not the paper's: fewer blocks, for photographs of few classes; named as the paper does, by its layers.
    'meliusnet13': dict(blocks=(2, 2, 2, 2), reductions=(96 / 192, 96 / 224, 128 / 224), classes=10),
    'meliusnet22': dict(blocks=(4, 5, 4, 4), reductions=(160 / 320, 224 / 480, 256 / 480)),
    'meliusnet29': dict(blocks=(4, 6, 8, 6), reductions=(128 / 320, 192 / 512, 256 / 704)),
    'meliusnet42': dict(blocks=(5, 8, 14, 10), reductions=(160 / 384, 256 / 672, 416 / 1152)),
    'meliusnet59': dict(blocks=(6, 12, 24, 12), reductions=(192 / 448, 320 / 960, 544 / 1856)),
    'meliusnet_a': dict(blocks=(4, 5, 5, 6), reductions=(160 / 320, 256 / 480, 288 / 576), groups=4),
    'meliusnet_b': dict(blocks=(4, 6, 8, 6), reductions=(160 / 320, 224 / 544, 320 / 736), groups=2),
    # The paper prints 224/704 for the last, of 832 channels; its operations and size are those of 288 channels.
    'meliusnet_c': dict(blocks=(3, 5, 10, 6), reductions=(128 / 256, 192 / 448, 288 / 832), groups=4),
    # Section 3.1's residual connection over the whole feature map, with as many operations as MeliusNet-22 needs.
    'meliusnet_naive': dict(blocks=(3, 3, 3, 3), reductions=(128 / 256, 160 / 320, 192 / 352), improve='all'),
    # Section 4.2. The paper does not print the transitions; with these the size is the printed one, 20.87 MiB.
    'meliusnet_float': dict(blocks=(4, 4, 4, 3), reductions=(160 / 320, 192 / 416, 224 / 448), stem='imagenet',
                            bits=32),
}
register_family(MeliusNet, MEMBERS)
