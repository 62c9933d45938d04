"""Blocks around the binary layers that stay float: stems and channel shuffle."""
from __future__ import annotations

from typing import Any, Sequence

from mxnet import gluon
from mxnet.gluon import nn

from .tensors import Tensor, clip


class ChannelShuffle(gluon.HybridBlock):
    """Interleave the channels of groups (ShuffleNet): channel i of group j becomes channel i * groups + j.

    Inputs and outputs: (N, C, H, W).

    Parameters
    ----------
    groups : int
        Must divide the number of channels.
    """

    def __init__(self, groups: int, prefix: str | None = None, params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        self._groups = groups

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:
        x = F.reshape(x, shape=(0, -4, self._groups, -1, -2))
        return F.reshape(F.swapaxes(x, 1, 2), shape=(0, -3, -2))

    def __repr__(self) -> str:
        return f'ChannelShuffle(groups={self._groups})'


class PlainLayout(gluon.HybridBlock):
    """The identity, which makes MXNet return to the plain NCHW layout, for values and for their gradients.

    After a convolution with 4 or 8 channels a group oneDNN leaves the data blocked by 4 channels, and so it leaves the
    gradient of the input. In that layout BatchNorm and Pooling fall back to reference code some 20 times slower: such a
    convolution wants this block before and behind it. Behind any float convolution it lets a following BatchNorm round
    as in the plain layout, in which thresholds are found (docs/semantics.md).
    """

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:
        # An identity that oneDNN does not know and that writes elsewhere: not true of identity, reshape or x * 1.
        return clip(x, -float('inf'), float('inf'))


def grouped_conv(channels: int, kernel_size: int | Sequence[int], groups: int, **kwargs: Any) -> gluon.HybridBlock:
    """A float grouped convolution without bias between two `PlainLayout`."""
    block = nn.HybridSequential(prefix='')
    block.add(PlainLayout(), nn.Conv2D(channels, kernel_size, groups=groups, use_bias=False, **kwargs), PlainLayout())
    return block


def _add_norm(stem: gluon.HybridBlock, convolution: gluon.HybridBlock) -> None:
    stem.add(convolution, nn.BatchNorm(), nn.Activation('relu'))


class _Stem(nn.HybridSequential):
    """A sequence that builds its own layers; a slice of it is a plain sequence of those."""

    def __getitem__(self, key):
        plain = nn.HybridSequential(prefix=self._prefix)
        plain.add(*self._children.values())
        return plain[key]


class GroupedStem(_Stem):
    """Three 3x3 convolutions, two of them grouped, and max pooling (MeliusNet, section 3.2, Figure 3b).

    Inputs: (N, 3, H, W). Outputs: (N, channels, H/4, W/4).

    Parameters
    ----------
    channels : int
        Output channels; the first two convolutions have half of them.
    """

    def __init__(self, channels: int = 64, prefix: str | None = None,
                 params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        with self.name_scope():
            _add_norm(self, nn.Conv2D(channels // 2, 3, 2, 1, use_bias=False))
            _add_norm(self, grouped_conv(channels // 2, 3, groups=4, padding=1))
            _add_norm(self, grouped_conv(channels, 3, groups=8, padding=1))
            self.add(nn.MaxPool2D(3, 2, 1))


class ImageNetStem(_Stem):
    """The 7x7 convolution with stride 2 and max pooling of ResNet and DenseNet (MeliusNet, Figure 3a).

    Inputs: (N, 3, H, W). Outputs: (N, channels, H/4, W/4).
    """

    def __init__(self, channels: int = 64, prefix: str | None = None,
                 params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        with self.name_scope():
            _add_norm(self, nn.Conv2D(channels, 7, 2, 3, use_bias=False))
            self.add(nn.MaxPool2D(3, 2, 1), PlainLayout())


class ThumbnailStem(_Stem):
    """One 3x3 convolution, for small images as those of CIFAR-10; the resolution stays.

    Inputs: (N, 3, H, W). Outputs: (N, channels, H, W).
    """

    strides = 1

    def __init__(self, channels: int = 64, prefix: str | None = None,
                 params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        with self.name_scope():
            self.add(nn.Conv2D(channels, 3, self.strides, 1, use_bias=False), PlainLayout())


class MobileNetStem(ThumbnailStem):
    """One 3x3 convolution with stride 2 (MobileNet-v1; MoBiNet).

    Inputs: (N, 3, H, W). Outputs: (N, channels, H/2, W/2).
    """

    strides = 2


class QuickNetStem(_Stem):
    """A 3x3 convolution, a depthwise one and one of 1x1 (QuickNet), the first two with stride 2.

    Inputs: (N, 3, H, W). Outputs: (N, channels, H/4, W/4).

    Parameters
    ----------
    channels : int
        Output channels; the convolutions before the last have a quarter of them.
    """

    def __init__(self, channels: int = 64, prefix: str | None = None,
                 params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        with self.name_scope():
            _add_norm(self, nn.Conv2D(channels // 4, 3, 2, 1, use_bias=False))
            self.add(grouped_conv(channels // 4, 3, groups=channels // 4, strides=2, padding=1),
                     nn.BatchNorm(center=False, scale=False),
                     nn.Conv2D(channels, 1, use_bias=False), PlainLayout())


class AlexNetStem(_Stem):
    """One 11x11 convolution with stride 4 (AlexNet; Network in Network).

    Inputs: (N, 3, H, W). Outputs: (N, channels, (H - 11) / 4 + 1, (W - 11) / 4 + 1), rounded down.
    """

    def __init__(self, channels: int = 96, prefix: str | None = None,
                 params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        with self.name_scope():
            self.add(nn.Conv2D(channels, 11, 4, use_bias=False), PlainLayout())


STEMS = {'alexnet': AlexNetStem, 'grouped': GroupedStem, 'imagenet': ImageNetStem, 'mobilenet': MobileNetStem,
         'quicknet': QuickNetStem, 'thumbnail': ThumbnailStem}


def make_stem(name: str, channels: int = 64) -> gluon.HybridBlock:
    """The stem of that name in `STEMS`.

    Raises
    ------
    ValueError
        Unknown name; the message lists the known ones.
    """
    if name not in STEMS:
        raise ValueError(f'unknown stem {name!r}; choose from {", ".join(STEMS)}')
    return STEMS[name](channels)
