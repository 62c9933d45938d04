"""MoBiNet (Phan et al. 2020, "MoBiNet: A Mobile Binary Network for Image Classification"): a binary MobileNet-v1."""
from __future__ import annotations

import numbers
from typing import Any, Sequence

from mxnet import gluon
from mxnet.gluon import nn

from bmx.nn import BinaryConv, make_stem
from bmx.nn.tensors import Tensor

from .blocks import check_counts, make_activation, unless_named
from .registry import register_family

# Convolutions of a block (Figure 2): kernel, its filters (as many as the block has input or output channels), and
# whether a skip connection goes around it. The 3x3 ones have groups of 2^k channels (section 3.3).
BLOCKS = {
    'plain': ((3, 'in', False), (1, 'out', False)),
    'pre': ((1, 'out', False), (3, 'out', True), (1, 'out', True)),
    'mid': ((3, 'in', True), (1, 'out', False), (1, 'out', True)),
    'post': ((3, 'in', True), (1, 'in', True), (1, 'out', False)),
}

# Output channels of MobileNet-v1's blocks; the resolution is halved behind every block of `HALVING`.
CHANNELS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
HALVING = (1, 3, 5, 11)

class MinPool2D(gluon.HybridBlock):
    """Min pooling; the arguments of `mxnet.gluon.nn.MaxPool2D`.

    Inputs: (N, C, H, W). Outputs: (N, C, H', W').
    """

    def __init__(self, *args: Any, prefix: str | None = None, params: gluon.ParameterDict | None = None,
                 **kwargs: Any) -> None:
        super().__init__(prefix=prefix, params=params)
        with self.name_scope():
            self.max = nn.MaxPool2D(*args, **kwargs)

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:
        return -self.max(-x)


# Of an odd edge the last row and column count by themselves.
POOLS = {
    'avg': lambda: nn.AvgPool2D(2, 2, ceil_mode=True, count_include_pad=False),
    'max': lambda: nn.MaxPool2D(2, 2, ceil_mode=True),
    'min': lambda: MinPool2D(2, 2, ceil_mode=True),
}


class Segment(gluon.HybridBlock):
    """Sign, binary convolution, activation, batch normalisation, around which a skip connection may go (Figure 2).

    Inputs: (N, in_channels, H, W). Outputs: (N, channels, H, W).

    Parameters
    ----------
    channels, kernel_size, groups, in_channels
        Those of the convolution, which keeps the resolution.
    skip : bool
        Add the input to the output.
    activation : str
        'prelu' (one slope) or 'relu'.
    bits, scaling
        See `bmx.nn.Config`.
    """

    def __init__(self, channels: int, kernel_size: int, groups: int, in_channels: int, skip: bool, activation: str,
                 bits: int | None = None, scaling: str | None = None, prefix: str | None = None,
                 params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        self._skip = skip
        with self.name_scope():
            self.conv = BinaryConv(channels, kernel_size, padding=kernel_size // 2, groups=groups,
                                   in_channels=in_channels, bits=bits, scaling=scaling)
            self.activation = make_activation(activation)
            self.norm = nn.BatchNorm()

    @property
    def residual_norm(self) -> gluon.HybridBlock | None:
        """The batch normalisation whose result is added to the input, if it is."""
        return self.norm if self._skip else None

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:
        out = self.norm(self.activation(self.conv(x)))
        return x + out if self._skip else out


class MoBiNet(gluon.HybridBlock):
    """A stem, MobileNet-v1's thirteen blocks made of binary convolutions, and a float classifier.

    Inputs: (N, 3, H, W). Outputs: (N, classes).

    Parameters
    ----------
    block : str
        Name in `BLOCKS`: where the additional 1x1 convolution stands, 'plain' without one.
    k : int
        The 3x3 convolutions have groups of 2^k channels (the paper's K-dependency; 0: depthwise).
    skip : bool
        Skip connections where `BLOCKS` has them; False: nowhere.
    activation : str
        'prelu' (one slope a layer) or 'relu'.
    pool : str
        Name in `POOLS`: 'avg', 'max' or 'min', 2x2, at the end of the blocks that halve the resolution.
    channels : sequence of int
        Output channels of each block, multiples of 2^k.
    halving : sequence of int
        Blocks, from 0, behind which the resolution is halved.
    stem : str
        Name in `bmx.nn.STEMS`.
    classes : int
        Outputs of the classifier.
    bits : int
        See `bmx.nn.Config`; None takes the scope's.
    scaling : str
        See `bmx.nn.Config`. None: 'gradient', the paper's Equation 5, where the scope names no quantizer of weights.
    """

    def __init__(self, block: str, k: int = 3, skip: bool = True, activation: str = 'prelu', pool: str = 'avg',
                 channels: Sequence[int] = CHANNELS, halving: Sequence[int] = HALVING, stem: str = 'mobilenet',
                 classes: int = 1000, bits: int | None = None, scaling: str | None = None, prefix: str | None = None,
                 params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        check_counts(channels=channels, classes=classes)
        for name, choice, known in (('block', block, BLOCKS), ('pool', pool, POOLS)):
            if choice not in known:
                raise ValueError(f'{name} must be one of {", ".join(known)}, got {choice!r}')
        if not isinstance(k, (int, numbers.Integral)) or isinstance(k, bool) or not 0 <= k <= 16:
            raise ValueError(f'k must be a whole number from 0 to 16, got {k!r}')
        if not set(halving) <= set(range(len(channels))):
            raise ValueError(f'halving names blocks from 0 to {len(channels) - 1}, of which there are {len(channels)}: '
                             f'got {halving!r}; give --set halving=... with other channels')
        if scaling is None:
            scaling = unless_named('gradient', 'weight')
        current = 32
        with self.name_scope():
            self.features = nn.HybridSequential(prefix='')
            self.features.add(make_stem(stem, current), make_activation(activation), nn.BatchNorm())
            for index, width in enumerate(channels):
                stage = nn.HybridSequential(prefix=f'block{index + 1}_')
                with stage.name_scope():
                    widths = {'in': current, 'out': width}
                    for kernel_size, filters, around in BLOCKS[block]:
                        groups = 1 if kernel_size == 1 else self._groups(current, k)
                        stage.add(Segment(widths[filters], kernel_size, groups, current, around and skip, activation,
                                          bits, scaling))
                        current = widths[filters]
                    if index in halving:
                        stage.add(POOLS[pool]())
                self.features.add(stage)
            self.features.add(nn.GlobalAvgPool2D(), nn.Flatten())
            self.output = nn.Dense(classes)

    @staticmethod
    def _groups(channels: int, k: int) -> int:
        if channels % 2 ** k:
            raise ValueError(f'k={k} makes groups of {2 ** k} channels, which do not divide {channels} channels')
        return channels // 2 ** k

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:
        return self.output(self.features(x))


# Table 3's best k is the default; Table 1 compares with the network without the additional convolution.
MEMBERS: dict[str, dict[str, Any]] = {
    'mobinet_pre': dict(block='pre'),
    'mobinet_mid': dict(block='mid'),
    'mobinet_post': dict(block='post'),
    'mobinet_plain': dict(block='plain', k=0),
}
register_family(MoBiNet, MEMBERS)
