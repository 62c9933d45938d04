"""ReActNet (Liu et al., ECCV 2020, "ReActNet: Towards Precise Binary Neural Network with Generalized Activation
Functions"): a binary MobileNet-v1 with shortcuts and learned shifts.

The paper's quantization is `activation='approx_sign', weight='sign(scaling="constant",clip=1.0)', pad_value=0` of the
scope `bmx.nn.config`.
"""
from __future__ import annotations

from typing import Any, Sequence

from mxnet import gluon
from mxnet.gluon import nn
from mxnet.gluon.contrib.nn import HybridConcurrent

from bmx.nn import BinaryConv, RPReLU, Shift, grouped_conv, make_stem
from bmx.nn.tensors import Tensor

from .blocks import check_counts
from .mobinet import CHANNELS, HALVING
from .registry import register_family


class Segment(gluon.HybridBlock):
    """RSign, binary convolution, batch normalisation, shortcut, RPReLU (Figure 5).

    Where the channels are doubled, the paper puts two convolutions of the same signs side by side and the shortcut
    around each of them: that is one convolution with all filters, and a shortcut of the input beside itself.

    Inputs: (N, in_channels, H, W). Outputs: (N, channels, H / strides, W / strides), rounded up.

    Parameters
    ----------
    in_channels, channels : int
        `channels` are as many or a multiple.
    kernel_size, strides : int
        With strides of 2 the shortcut is average pooling.
    groups : int, optional
        None, or how many groups the float convolutions have that stand in the place of sign and binary convolution,
        one for each time that `in_channels` go into `channels`.
    bits : int
        See `bmx.nn.Config`.
    """

    def __init__(self, in_channels: int, channels: int, kernel_size: int, strides: int = 1, groups: int | None = None,
                 bits: int | None = None, prefix: str | None = None, params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        self._copies = channels // in_channels
        with self.name_scope():
            if groups is None:
                self.conv = nn.HybridSequential(prefix='')
                self.conv.add(Shift(in_channels),
                              BinaryConv(channels, kernel_size, strides, kernel_size // 2, in_channels=in_channels,
                                         bits=bits))
            else:
                self.conv = HybridConcurrent(axis=1, prefix='')
                self.conv.add(*[grouped_conv(in_channels, kernel_size, groups, strides=strides,
                                             padding=kernel_size // 2) for _ in range(self._copies)])
            self.norm = nn.BatchNorm()
            self.shortcut = None
            if strides > 1:  # of an odd edge the last row and column count by themselves
                self.shortcut = nn.AvgPool2D(strides, strides, ceil_mode=True, count_include_pad=False)
            self.activation = RPReLU(channels)

    @property
    def residual_norm(self) -> gluon.HybridBlock:
        """The batch normalisation whose result is added to the shortcut."""
        return self.norm

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:
        kept = x if self.shortcut is None else self.shortcut(x)
        if self._copies > 1:
            kept = F.concat(*[kept] * self._copies, dim=1)
        return self.activation(kept + self.norm(self.conv(x)))


class ReActNet(gluon.HybridBlock):
    """A float convolution, MobileNet-v1's thirteen blocks made of binary 3x3 and 1x1 convolutions, a float classifier.

    Inputs: (N, 3, H, W). Outputs: (N, classes).

    Parameters
    ----------
    groups : int, optional
        None, or the groups of the float 1x1 convolutions in the blocks that double the channels. By the FLOPs of
        ReActNet-B and C these blocks are all five, the first one too, which keeps its resolution; what these
        convolutions multiply is taken to be float, without a sign.
    channels : sequence of int
        Output channels of each block, each a multiple of the one before and the first one of 32.
    halving : sequence of int
        Blocks, from 0, whose 3x3 convolution halves the resolution.
    stem : str
        Name in `bmx.nn.STEMS`.
    classes : int
        Outputs of the classifier.
    bits : int
        See `bmx.nn.Config`; None takes the scope's.
    """

    def __init__(self, groups: int | None = None, channels: Sequence[int] = CHANNELS, halving: Sequence[int] = HALVING,
                 stem: str = 'mobilenet', classes: int = 1000, bits: int | None = None, prefix: str | None = None,
                 params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        check_counts(channels=channels, classes=classes, groups=1 if groups is None else groups)
        for name, value in (('channels', channels), ('halving', halving)):
            if not isinstance(value, (list, tuple)):
                raise ValueError(f'{name} must be a sequence of numbers, got {value!r}')
        if not set(halving) <= set(range(len(channels))):
            raise ValueError(f'halving names blocks from 0 to {len(channels) - 1}, of which there are {len(channels)}: '
                             f'got {halving!r}; give --set halving=... with other channels')
        current = 32
        with self.name_scope():
            self.features = nn.HybridSequential(prefix='')
            self.features.add(make_stem(stem, current), nn.BatchNorm())
            for index, width in enumerate(channels):
                if width % current:
                    raise ValueError(f'channels of block {index} must be a multiple of the {current} before it, got '
                                     f'{width}')
                if groups is not None and width > current and current % groups:
                    raise ValueError(f'groups={groups} do not divide {current} channels')
                block = nn.HybridSequential(prefix=f'block{index + 1}_')
                with block.name_scope():
                    block.add(Segment(current, current, 3, 2 if index in halving else 1, bits=bits),
                              Segment(current, width, 1, groups=groups if width > current else None, bits=bits))
                self.features.add(block)
                current = width
            self.features.add(nn.GlobalAvgPool2D(), nn.Flatten())
            self.output = nn.Dense(classes)

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:
        return self.output(self.features(x))


MEMBERS: dict[str, dict[str, Any]] = {
    'reactnet_a': dict(),
    'reactnet_b': dict(groups=4),
    'reactnet_c': dict(groups=1),
}
register_family(ReActNet, MEMBERS)
