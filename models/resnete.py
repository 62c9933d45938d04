"""ResNetE (Bethge et al. 2019, "Back to Simplicity"), Bi-Real-Net (Liu et al. 2018), and ResNet with binary layers.

The first two have a shortcut around every binary convolution, ResNet around every two.
"""
from __future__ import annotations

from typing import Any, Sequence

from mxnet import gluon
from mxnet.gluon import nn

from bmx.nn import BinaryConv, PlainLayout, make_stem
from bmx.nn.tensors import Tensor

from .blocks import check_counts, widen
from .registry import register_family


def make_shortcut(in_channels: int, channels: int, strides: int, norm: bool = True) -> gluon.HybridBlock | None:
    """Average pooling and a float 1x1 convolution, where the shape changes; None where it does not."""
    if strides == 1 and channels == in_channels:
        return None
    shortcut = nn.HybridSequential(prefix='shortcut_')
    with shortcut.name_scope():
        if strides > 1:  # of an odd edge the last row and column count by themselves
            shortcut.add(nn.AvgPool2D(strides, strides, ceil_mode=True, count_include_pad=False))
        shortcut.add(nn.Conv2D(channels, 1, use_bias=False), PlainLayout())
        if norm:
            shortcut.add(nn.BatchNorm())
    return shortcut


class ResidualBlock(gluon.HybridBlock):
    """3x3 binary convolutions, most often one, with a shortcut around them.

    Inputs: (N, in_channels, H, W), and if it is given the shortcut's result. Outputs: (N, channels, H / strides,
    W / strides), rounded up.

    Parameters
    ----------
    in_channels, channels : int
    strides : int
        1, or 2 to halve the resolution.
    preactivation : bool
        Batch normalisation before the sign instead of behind the convolution (ResNet, version 2).
    bits : int
        See `bmx.nn.Config`.
    convolutions : int
        How many.
    shortcut : str
        Where the shape changes: 'float' (`make_shortcut`); 'binary': a binary 1x1 convolution with the strides;
        'given': the block is called with what the shortcut makes of the input.
    """

    def __init__(self, in_channels: int, channels: int, strides: int, preactivation: bool = False,
                 bits: int | None = None, convolutions: int = 1, shortcut: str = 'float', prefix: str | None = None,
                 params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        self._preactivation = preactivation
        with self.name_scope():
            self.norm = nn.BatchNorm()
            self.conv = self.make_conv(channels, strides, in_channels, bits)
            self.shortcut = None
            if shortcut == 'float':
                self.shortcut = make_shortcut(in_channels, channels, strides, not preactivation)
            elif shortcut == 'binary' and (strides > 1 or channels != in_channels):
                self.shortcut = nn.HybridSequential(prefix='shortcut_')
                with self.shortcut.name_scope():
                    self.shortcut.add(BinaryConv(channels, 1, strides, in_channels=in_channels, bits=bits))
                    if not preactivation:
                        self.shortcut.add(nn.BatchNorm())
            self.others = nn.HybridSequential(prefix='')
            for _ in range(convolutions - 1):
                pair = [self.make_conv(channels, 1, channels, bits), nn.BatchNorm()]
                self.others.add(*(pair[::-1] if preactivation else pair))

    def make_conv(self, channels: int, strides: int, in_channels: int, bits: int | None) -> gluon.HybridBlock:
        """The 3x3 convolution, and what quantizes its input."""
        return BinaryConv(channels, 3, strides, 1, in_channels=in_channels, bits=bits)

    @property
    def residual_norm(self) -> gluon.HybridBlock | None:
        """The batch normalisation whose result is added to the shortcut, if one is."""
        return None if self._preactivation else self.others[-1] if len(self.others) else self.norm

    def hybrid_forward(self, F: Any, x: Tensor, kept: Tensor | None = None) -> Tensor:
        read = self.norm(x) if self._preactivation else x
        if kept is None:
            kept = x if self.shortcut is None else self.shortcut(read)
        out = self.conv(read)
        if not self._preactivation:
            out = self.norm(out)
        return kept + (self.others(out) if len(self.others) else out)


class ResNetE(gluon.HybridBlock):
    """A stem, four stages of residual blocks, and a float classifier.

    Inputs: (N, 3, H, W), with four stages and float shortcuts H and W of at least 5 (thumbnail) or 17. Outputs: (N,
    classes).

    Parameters
    ----------
    layers : sequence of int
        Residual blocks in each stage, at least one; every stage but the first begins with one that halves the
        resolution.
    channels : sequence of int
        Channels of each stage.
    width : float
        Multiplies the channels of all layers, the stem's too (WRPN, Mishra et al. 2018, section 3: 2 or 3 times as many
        filters make up for activations and weights of few bits).
    extras : bool
        A batch normalisation behind the stem and a ReLU before the last pooling: what ResNetE has and Bi-Real-Net has
        not (MeliusNet, section 4.1).
    preactivation : bool
        See `ResidualBlock`. The normalisation goes before the last pooling then, not behind the stem.
    convolutions, shortcut
        See `ResidualBlock`.
    stem : str
        Name in `bmx.nn.STEMS`.
    classes : int
        Outputs of the classifier.
    bits : int
        Of the binary layers: 1, 2 to 8, or 32 for the float network of the same structure; None takes the scope's, as
        in every layer.
    """

    def __init__(self, layers: Sequence[int], channels: Sequence[int] = (64, 128, 256, 512), width: float = 1,
                 extras: bool = True, preactivation: bool = False, convolutions: int = 1, shortcut: str = 'float',
                 stem: str = 'grouped', classes: int = 1000, bits: int | None = None, prefix: str | None = None,
                 params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        check_counts(layers=layers, channels=channels, convolutions=convolutions, classes=classes)
        if len(layers) != len(channels):
            raise ValueError(f'layers and channels must tell of as many stages, got {len(layers)} and {len(channels)}')
        if shortcut not in ('float', 'binary'):
            raise ValueError(f"shortcut must be 'float' or 'binary', got {shortcut!r}")
        channels = [widen(count, width) for count in channels]
        check_counts(channels=channels)
        self._settings: dict[str, Any] = dict(preactivation=preactivation, bits=bits, convolutions=convolutions,
                                              shortcut=shortcut)
        current = channels[0]
        with self.name_scope():
            self.features = nn.HybridSequential(prefix='')
            self.features.add(make_stem(stem, current))
            if extras and not preactivation:
                self.features.add(nn.BatchNorm())
            for index, (count, filters) in enumerate(zip(layers, channels)):
                self.features.add(self.make_stage(f'stage{index + 1}_', count, current, filters, 2 if index else 1))
                current = filters
            if extras and preactivation:
                self.features.add(nn.BatchNorm())
            if extras:
                self.features.add(nn.Activation('relu'))
            self.features.add(nn.GlobalAvgPool2D(), nn.Flatten())
            self.output = nn.Dense(classes)

    def make_stage(self, prefix: str, count: int, in_channels: int, channels: int, strides: int) -> gluon.HybridBlock:
        """`count` residual blocks of which the first one has the strides."""
        stage = nn.HybridSequential(prefix=prefix)
        with stage.name_scope():
            stage.add(self.make_block(in_channels, channels, strides),
                      *[self.make_block(channels, channels, 1) for _ in range(count - 1)])
        return stage

    def make_block(self, in_channels: int, channels: int, strides: int) -> gluon.HybridBlock:
        return ResidualBlock(in_channels, channels, strides, **self._settings)

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:
        return self.output(self.features(x))


MEMBERS: dict[str, dict[str, Any]] = {
    'resnete18': dict(layers=(4, 4, 4, 4)),
    'resnete34': dict(layers=(6, 8, 12, 6)),
    'resnete18_v2': dict(layers=(4, 4, 4, 4), preactivation=True),
    'birealnet18': dict(layers=(4, 4, 4, 4), extras=False),
    'birealnet34': dict(layers=(6, 8, 12, 6), extras=False),
    # ResNet as it is, which BNN, XNOR-Net and ABC-Net binarize, its 1x1 convolutions too.
    'resnet18_binary': dict(layers=(2, 2, 2, 2), convolutions=2, shortcut='binary'),
    'resnet34_binary': dict(layers=(3, 4, 6, 3), convolutions=2, shortcut='binary'),
}
register_family(ResNetE, MEMBERS)
