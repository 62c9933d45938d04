"""QuickNet (Bannink et al., MLSys 2021, "Larq Compute Engine"; Larq Zoo, version 1.0): fast on a CPU by design."""
from __future__ import annotations

from typing import Any, Sequence

import mxnet as mx
from mxnet import gluon
from mxnet.gluon import nn

from bmx.nn import BinaryConv, PlainLayout, grouped_conv, make_stem
from bmx.nn.tensors import Tensor

from .blocks import check_counts, unless_named
from .registry import register_family


class QuickNetBlock(gluon.HybridBlock):
    """A 3x3 binary convolution, ReLU and batch normalisation, with a shortcut around them.

    Inputs and outputs: (N, channels, H, W).

    Parameters
    ----------
    channels : int
    bits, clip_threshold, pad_value
        See `bmx.nn.Config`.
    """

    def __init__(self, channels: int, bits: int | None = None, clip_threshold: float | None = None,
                 pad_value: int | None = None, prefix: str | None = None,
                 params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        with self.name_scope():
            self.conv = BinaryConv(channels, 3, padding=1, in_channels=channels, bits=bits,
                                   clip_threshold=clip_threshold, pad_value=pad_value)
            self.norm = nn.BatchNorm()

    @property
    def residual_norm(self) -> gluon.HybridBlock:
        """The batch normalisation whose result is added to the input."""
        return self.norm

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:
        return x + self.norm(F.relu(self.conv(x)))


def _blur(channels: int) -> gluon.HybridBlock:
    """Depthwise convolution with a fixed binomial kernel and stride 2 (Zhang 2019, "Making Convolutional Networks
    Shift-Invariant Again")."""
    kernel = mx.nd.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    block = grouped_conv(channels, 3, channels, strides=2, padding=1, in_channels=channels,
                         weight_initializer=mx.init.Constant(kernel))
    block[1].weight.grad_req = 'null'
    return block


def _transition(index: int, in_channels: int, channels: int) -> gluon.HybridBlock:
    """Halve the resolution by max pooling and blurring, reach the next channels by a float 1x1 convolution."""
    block = nn.HybridSequential(prefix=f'transition{index}_')
    with block.name_scope():
        block.add(nn.Activation('relu'), nn.MaxPool2D(2, 1), _blur(in_channels),
                  nn.Conv2D(channels, 1, use_bias=False, in_channels=in_channels), PlainLayout(), nn.BatchNorm())
    return block


class QuickNet(gluon.HybridBlock):
    """A stem, sections of residual blocks with transitions between them, and a float classifier.

    TensorFlow pads an even edge behind its end only where a convolution has stride 2, as those of the stem; here both
    ends are padded, as everywhere in MXNet.

    Inputs: (N, 3, H, W). Outputs: (N, classes).

    Parameters
    ----------
    layers : sequence of int
        Blocks of each section, at least one.
    channels : sequence of int
        Channels of each section.
    clip_threshold, pad_value
        See `bmx.nn.Config`; Larq's by default, the threshold where the scope names no quantizers: 1.25 and +1.
    stem : str
        Name in `bmx.nn.STEMS`.
    classes : int
        Outputs of the classifier.
    bits : int
        See `bmx.nn.Config`; None takes the scope's.
    """

    def __init__(self, layers: Sequence[int] = (4, 4, 4, 4), channels: Sequence[int] = (64, 128, 256, 512),
                 clip_threshold: float | None = None, pad_value: int = 1, stem: str = 'quicknet', classes: int = 1000,
                 bits: int | None = None, prefix: str | None = None,
                 params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        check_counts(layers=layers, channels=channels, classes=classes)
        if len(layers) != len(channels):
            raise ValueError(f'layers and channels must tell of as many sections, got {len(layers)} and '
                             f'{len(channels)}')
        if clip_threshold is None:
            clip_threshold = unless_named(1.25, 'activation', 'weight')
        with self.name_scope():
            self.features = nn.HybridSequential(prefix='')
            self.features.add(make_stem(stem, channels[0]), nn.BatchNorm())
            for index, (count, width) in enumerate(zip(layers, channels)):
                if index:
                    self.features.add(_transition(index, channels[index - 1], width))
                section = nn.HybridSequential(prefix=f'section{index + 1}_')
                with section.name_scope():
                    section.add(*[QuickNetBlock(width, bits, clip_threshold, pad_value) for _ in range(count)])
                self.features.add(section)
            self.features.add(nn.Activation('relu'), nn.GlobalAvgPool2D(), nn.Flatten())
            self.output = nn.Dense(classes)

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:
        return self.output(self.features(x))


MEMBERS: dict[str, dict[str, Any]] = {
    'quicknet_small': dict(channels=(32, 64, 256, 512)),
    'quicknet': dict(),
    'quicknet_large': dict(layers=(6, 8, 12, 6)),
}
register_family(QuickNet, MEMBERS)
