"""What families of models share: the dense block, the transition, and the network that grows by blocks between them."""
from __future__ import annotations

import numbers
from typing import Any, Sequence

from mxnet import gluon
from mxnet.gluon import nn

from bmx.nn import BinaryConv, ChannelShuffle, PlainLayout, PReLU, grouped_conv, make_stem
from bmx.nn.configuration import resolve
from bmx.nn.tensors import Tensor

# The largest number of channels, classes, groups; of blocks in a stage.
MAX_COUNT, MAX_BLOCKS = 1 << 20, 1000


def check_counts(**given: object) -> None:
    """Refuse, by a ValueError, what is neither a whole number from 1 to `MAX_COUNT` nor a sequence of such."""
    for name, value in given.items():
        most = MAX_BLOCKS if name in ('blocks', 'layers') else MAX_COUNT
        counts = value if isinstance(value, (list, tuple)) else [value]
        if not counts or not all(isinstance(count, numbers.Integral) and 1 <= int(count) <= most for count in counts):
            raise ValueError(f'{name} takes whole numbers from 1 to {most}, got {value!r}')


def unless_named(default: Any, *roles: str) -> Any:
    """A setting of the layers that a model has by default; None where the scope names quantizers for these roles."""
    return None if any(getattr(resolve(), role) for role in roles) else default


def widen(channels: int, width: float) -> int:
    """So many channels times `width`, rounded.

    Raises
    ------
    ValueError
        `width` is no number above 0 and at most 1000.
    """
    if not isinstance(width, (float, numbers.Real)) or not 0 < width <= 1000:
        raise ValueError(f'width must be a number above 0 and at most 1000, got {width!r}')
    return round(channels * width)


def make_activation(name: str, channels: int = 1) -> gluon.HybridBlock:
    """'relu', or 'prelu' with a slope for each of so many channels, or one for all.

    Raises
    ------
    ValueError
        Another name.
    """
    if name not in ('prelu', 'relu'):
        raise ValueError(f'activation must be one of prelu, relu, got {name!r}')
    return PReLU(in_channels=channels) if name == 'prelu' else nn.Activation('relu')


class DenseBlock(gluon.HybridBlock):
    """Derive new channels by a binary convolution and append them (BinaryDenseNet; MeliusNet, section 3.1, Figure 1).

    Inputs: (N, in_channels, H, W). Outputs: (N, in_channels + growth, H, W).
    """

    def __init__(self, in_channels: int, growth: int, bits: int | None = None, prefix: str | None = None,
                 params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        with self.name_scope():
            self.norm = nn.BatchNorm()
            self.conv = BinaryConv(growth, 3, padding=1, in_channels=in_channels, bits=bits)

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:
        return F.concat(x, self.conv(self.norm(x)), dim=1)


def _transition(index, channels, groups):
    """Halve the resolution by max pooling and reduce the channels by a float 1x1 convolution (MeliusNet, section 3)."""
    block = nn.HybridSequential(prefix=f'transition{index}_')
    with block.name_scope():
        block.add(nn.BatchNorm(), nn.MaxPool2D(2, 2), nn.Activation('relu'))
        if groups > 1:
            block.add(ChannelShuffle(groups), grouped_conv(channels, 1, groups))
        else:
            block.add(nn.Conv2D(channels, 1, use_bias=False), PlainLayout())
    return block


class GrowingNet(gluon.HybridBlock):
    """A stem, stages whose blocks append channels, transitions between them, and a float classifier.

    Inputs: (N, 3, H, W), with four stages H and W of at least 8 (thumbnail) or 29. Outputs: (N, classes).

    Parameters
    ----------
    blocks : sequence of int
        How often `add_blocks` is called in each stage, at least once.
    reductions : sequence of float
        The share of the channels that each transition keeps, one fewer than stages; the result is rounded to a
        multiple of 32, at least 32.
    groups : int
        Groups of the transitions' 1x1 convolutions; a channel shuffle goes before them if there is more than one.
    stem : str
        Name in `bmx.nn.STEMS`.
    classes : int
        Outputs of the classifier.
    growth : int
        Channels that a dense block appends.
    bits : int
        Of the binary layers: 1, 2 to 8, or 32 for the float network of the same structure; None takes the scope's, as
        in every layer.
    """

    def __init__(self, blocks: Sequence[int], reductions: Sequence[float], groups: int = 1, stem: str = 'grouped',
                 classes: int = 1000, growth: int = 64, bits: int | None = None, prefix: str | None = None,
                 params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        check_counts(blocks=blocks, groups=groups, classes=classes, growth=growth)
        if len(reductions) != len(blocks) - 1:
            raise ValueError(f'{len(blocks)} stages need {len(blocks) - 1} reductions, got {len(reductions)}')
        if not all(isinstance(share, numbers.Real) and 0 < share <= 1000 for share in reductions):
            raise ValueError('reductions must be shares of channels, numbers above 0 and at most 1000, got '
                             f'{reductions!r}')
        channels = 64
        with self.name_scope():
            self.features = nn.HybridSequential(prefix='')
            self.features.add(make_stem(stem, channels))
            for index, count in enumerate(blocks):
                stage = nn.HybridSequential(prefix=f'stage{index + 1}_')
                with stage.name_scope():
                    for _ in range(count):
                        self.add_blocks(stage, channels, growth, bits)
                        channels += growth
                self.features.add(stage)
                if index < len(reductions):
                    channels = max(32, 32 * round(channels * reductions[index] / 32))
                    self.features.add(_transition(index + 1, channels, groups))
            self.features.add(nn.BatchNorm(), nn.Activation('relu'), nn.GlobalAvgPool2D(), nn.Flatten())
            self.output = nn.Dense(classes)

    def add_blocks(self, stage: nn.HybridSequential, channels: int, growth: int, bits: int | None) -> None:
        """Add to a stage what turns `channels` channels into `channels + growth`."""
        raise NotImplementedError

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:
        return self.output(self.features(x))
