"""GroupNet (Zhuang et al. 2019, "Structured Binary Neural Networks for Accurate Image Classification and Semantic
Segmentation"): several binary branches in the place of each part of a float ResNet.

They have the shortcuts of Bi-Real-Net, around every binary convolution, as the networks that the MeliusNet paper
compares with.
"""
from __future__ import annotations

from typing import Any

import mxnet as mx
from mxnet import gluon
from mxnet.gluon import nn

from bmx.nn import BinaryConv, Scale, scale_channels
from bmx.nn.tensors import Tensor

from .blocks import check_counts
from .registry import register_family
from .resnete import ResidualBlock, ResNetE, make_shortcut

GROUP = 2  # residual blocks of one convolution in a group: the residual block of ResNet that a group stands for
DECOMPOSITIONS = ('layer', 'group')


class ScaledSum(gluon.HybridBlock):
    """The sum of the branches, each times a learned number, which begins with one over how many they are.

    Inputs: as many tensors of one shape as branches. Outputs: one of that shape.
    """

    def __init__(self, branches: int, prefix: str | None = None, params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        with self.name_scope():
            self.scales = nn.HybridSequential(prefix='')
            self.scales.add(*[Scale(1 / branches) for _ in range(branches)])

    def hybrid_forward(self, F: Any, *branches: Tensor) -> Tensor:
        total = None
        for scale, branch in zip(self.scales, branches):
            total = scale(branch) if total is None else total + scale(branch)
        return total


class SoftConnection(gluon.HybridBlock):
    """What a branch reads: its own result in the group before and the sum of all branches, mixed by a learned gate.

    g * own + (1 - g) * total with g = sigmoid(theta) (section 3.2.3); theta, a number, begins with 0.

    Inputs: own and total, of one shape. Outputs: of that shape.
    """

    def __init__(self, prefix: str | None = None, params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        with self.name_scope():
            self.theta = self.params.get('theta', shape=(1,), init=mx.init.Zero())

    def hybrid_forward(self, F: Any, own: Tensor, total: Tensor, theta: Tensor) -> Tensor:
        gate, shape = F.sigmoid(theta), (1, -1, 1, 1)
        return scale_channels(own, gate, shape) + scale_channels(total, 1 - gate, shape)


class Bases(gluon.HybridBlock):
    """A float convolution as the scaled sum of binary ones (section 3.2.1, layer-wise decomposition).

    Inputs: (N, C, H, W). Outputs: (N, channels, H', W').

    Parameters
    ----------
    bases : int
        How many.
    *args, **kwargs
        Those of `bmx.nn.BinaryConv`.
    """

    def __init__(self, bases: int, *args: Any, prefix: str | None = None, params: gluon.ParameterDict | None = None,
                 **kwargs: Any) -> None:
        super().__init__(prefix=prefix, params=params)
        with self.name_scope():
            self.bases = nn.HybridSequential(prefix='')
            self.bases.add(*[BinaryConv(*args, **kwargs) for _ in range(bases)])
            self.sum = ScaledSum(bases)

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:
        return self.sum(*[base(x) for base in self.bases])


class DecomposedBlock(ResidualBlock):
    """A residual block whose convolution is `Bases`; parameters of `ResidualBlock`."""

    def __init__(self, bases: int, *args: Any, **kwargs: Any) -> None:
        self._bases = bases
        super().__init__(*args, **kwargs)

    def make_conv(self, channels: int, strides: int, in_channels: int, bits: int | None) -> gluon.HybridBlock:
        return Bases(self._bases, channels, 3, strides, 1, in_channels=in_channels, bits=bits)


class GroupStage(gluon.HybridBlock):
    """A stage of groups, each the scaled sum of binary branches (section 3.2.2), with soft connections between them.

    Between stages the branches are one: where the resolution changes all of them begin with the sum, whose float
    shortcut they share. (That is how the operations and sizes come out that the MeliusNet paper prints.)

    Inputs: (N, in_channels, H, W). Outputs: (N, channels, H / strides, W / strides), rounded up.

    Parameters
    ----------
    groups : int
        How many; a branch has two residual blocks in each.
    in_channels, channels, strides
        Those of `ResidualBlock`, of the first one.
    bases : int
        Branches.
    bits : int
        See `bmx.nn.Config`.
    """

    def __init__(self, groups: int, in_channels: int, channels: int, strides: int, bases: int, bits: int | None = None,
                 prefix: str | None = None, params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        with self.name_scope():
            self.shortcut = make_shortcut(in_channels, channels, strides)
            self.groups = nn.HybridSequential(prefix='')
            for index in range(groups):
                group = nn.HybridSequential(prefix=f'group{index + 1}_')
                with group.name_scope():
                    for _ in range(bases):
                        first = (channels, channels, 1) if index else (in_channels, channels, strides)
                        group.add(ResidualBlock(*first, bits=bits, shortcut='given'))
                        group.add(*[ResidualBlock(channels, channels, 1, bits=bits) for _ in range(GROUP - 1)])
                self.groups.add(group)
            self.connections = nn.HybridSequential(prefix='')
            self.connections.add(*[SoftConnection() for _ in range(bases * (groups - 1))])
            self.sums = nn.HybridSequential(prefix='')
            self.sums.add(*[ScaledSum(bases) for _ in range(groups)])
        self._bases = bases

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:
        kept = x if self.shortcut is None else self.shortcut(x)
        read, own = [(x, kept)] * self._bases, []
        for index, (group, add) in enumerate(zip(self.groups, self.sums)):
            if index:
                connections = self.connections[self._bases * (index - 1):self._bases * index]
                read = [(connect(branch, x),) * 2 for connect, branch in zip(connections, own)]
            own = []
            for branch, (entering, kept) in enumerate(read):
                first, *others = group[GROUP * branch:GROUP * (branch + 1)]
                out = first(entering, kept)
                for block in others:
                    out = block(out)
                own.append(out)
            x = add(*own)
        return x


class GroupNet(ResNetE):
    """A stem, four stages of binary branches, and a float classifier.

    Inputs: (N, 3, H, W), with four stages H and W of at least 5 (thumbnail) or 17. Outputs: (N, classes).

    Parameters
    ----------
    bases : int
        Binary branches.
    decomposition : str
        'group': each residual block of two convolutions is decomposed into branches, with soft connections between
        these blocks (sections 3.2.2 and 3.2.3). 'layer': each convolution (section 3.2.1).
    **kwargs
        Those of `ResNetE` but preactivation, convolutions and shortcut. `layers` counts convolutions; decomposed by
        groups they are even numbers.
    """

    def __init__(self, bases: int = 5, decomposition: str = 'group', **kwargs: Any) -> None:
        check_counts(bases=bases)
        if decomposition not in DECOMPOSITIONS:
            raise ValueError(f'decomposition must be one of {", ".join(DECOMPOSITIONS)}, got {decomposition!r}')
        for name in ('preactivation', 'convolutions', 'shortcut'):
            if name in kwargs:
                raise ValueError(f'GroupNet has the blocks of Bi-Real-Net, without {name}=')
        self._bases, self._decomposition = bases, decomposition
        super().__init__(**kwargs)

    def make_stage(self, prefix: str, count: int, in_channels: int, channels: int, strides: int) -> gluon.HybridBlock:
        if self._decomposition == 'layer':
            return super().make_stage(prefix, count, in_channels, channels, strides)
        if count % GROUP:
            raise ValueError(f'layers must be multiples of {GROUP} where groups of so many are decomposed, got {count}')
        return GroupStage(count // GROUP, in_channels, channels, strides, self._bases, self._settings['bits'],
                          prefix=prefix)

    def make_block(self, in_channels: int, channels: int, strides: int) -> gluon.HybridBlock:
        return DecomposedBlock(self._bases, in_channels, channels, strides, **self._settings)


MEMBERS: dict[str, dict[str, Any]] = {
    'groupnet18': dict(layers=(4, 4, 4, 4), extras=False),
    'groupnet34': dict(layers=(6, 8, 12, 6), extras=False),
}
register_family(GroupNet, MEMBERS)
