"""ResNetE (Bethge et al. 2019, "Back to Simplicity") and Bi-Real-Net (Liu et al. 2018).

Both have a shortcut around every binary convolution.
"""
from __future__ import annotations

from typing import Any, Sequence

from mxnet import gluon
from mxnet.gluon import nn

from bmx.nn import BinaryConv, PlainLayout, make_stem
from bmx.nn.tensors import Tensor

from .blocks import check_counts
from .registry import register_family


class ResidualBlock(gluon.HybridBlock):
    """One 3x3 binary convolution with a shortcut around it; float where the shape changes.

    Parameters
    ----------
    in_channels, channels : int
    strides : int
        1, or 2 to halve the resolution. If the shape changes, the shortcut is average pooling and a float 1x1
        convolution.
    preactivation : bool
        Batch normalisation before the sign instead of behind the convolution (ResNet, version 2).
    bits : int
        See `bmx.nn.Config`.

    Inputs: (N, in_channels, H, W). Outputs: (N, channels, H / strides, W / strides), rounded up.
    """

    def __init__(self, in_channels: int, channels: int, strides: int, preactivation: bool = False,
                 bits: int | None = None, prefix: str | None = None, params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        self._preactivation = preactivation
        with self.name_scope():
            self.norm = nn.BatchNorm()
            self.conv = BinaryConv(channels, 3, strides, 1, in_channels=in_channels, bits=bits)
            self.shortcut = None
            if strides > 1 or channels != in_channels:
                self.shortcut = nn.HybridSequential(prefix='shortcut_')
                with self.shortcut.name_scope():
                    if strides > 1:  # of an odd edge the last row and column count by themselves
                        self.shortcut.add(nn.AvgPool2D(strides, strides, ceil_mode=True, count_include_pad=False))
                    self.shortcut.add(nn.Conv2D(channels, 1, use_bias=False), PlainLayout())
                    if not preactivation:
                        self.shortcut.add(nn.BatchNorm())

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:
        if self._preactivation:
            normed = self.norm(x)
            kept = x if self.shortcut is None else self.shortcut(normed)
            return kept + self.conv(normed)
        kept = x if self.shortcut is None else self.shortcut(x)
        return kept + self.norm(self.conv(x))


class ResNetE(gluon.HybridBlock):
    """A stem, four stages of residual blocks, and a float classifier.

    Parameters
    ----------
    layers : sequence of int
        Residual blocks in each stage, at least one; every stage but the first begins with one that halves the
        resolution.
    channels : sequence of int
        Channels of each stage.
    extras : bool
        A batch normalisation behind the stem and a ReLU before the last pooling: what ResNetE has and Bi-Real-Net has
        not (MeliusNet, section 4.1).
    preactivation : bool
        See `ResidualBlock`. The normalisation goes before the last pooling then, not behind the stem.
    stem : str
        Name in `bmx.nn.STEMS`.
    classes : int
        Outputs of the classifier.
    bits : int
        Of the binary layers: 1, 2 to 8, or 32 for the float network of the same structure; None takes the scope's, as
        in every layer.

    Inputs: (N, 3, H, W), with four stages H and W of at least 5 (thumbnail) or 17. Outputs: (N, classes).
    """

    def __init__(self, layers: Sequence[int], channels: Sequence[int] = (64, 128, 256, 512), extras: bool = True,
                 preactivation: bool = False, stem: str = 'grouped', classes: int = 1000, bits: int | None = None,
                 prefix: str | None = None, params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        check_counts(layers=layers, channels=channels, classes=classes)
        if len(layers) != len(channels):
            raise ValueError(f'layers and channels must tell of as many stages, got {len(layers)} and {len(channels)}')
        current = channels[0]
        with self.name_scope():
            self.features = nn.HybridSequential(prefix='')
            self.features.add(make_stem(stem, current))
            if extras and not preactivation:
                self.features.add(nn.BatchNorm())
            for index, (count, width) in enumerate(zip(layers, channels)):
                stage = nn.HybridSequential(prefix=f'stage{index + 1}_')
                with stage.name_scope():
                    for layer in range(count):
                        strides = 2 if index > 0 and layer == 0 else 1
                        stage.add(ResidualBlock(current, width, strides, preactivation, bits))
                        current = width
                self.features.add(stage)
            if extras and preactivation:
                self.features.add(nn.BatchNorm())
            if extras:
                self.features.add(nn.Activation('relu'))
            self.features.add(nn.GlobalAvgPool2D(), nn.Flatten())
            self.output = nn.Dense(classes)

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:
        return self.output(self.features(x))


MEMBERS: dict[str, dict[str, Any]] = {
    'resnete18': dict(layers=(4, 4, 4, 4)),
    'resnete34': dict(layers=(6, 8, 12, 6)),
    'resnete18_v2': dict(layers=(4, 4, 4, 4), preactivation=True),
    'birealnet18': dict(layers=(4, 4, 4, 4), extras=False),
    'birealnet34': dict(layers=(6, 8, 12, 6), extras=False),
}
register_family(ResNetE, MEMBERS)
