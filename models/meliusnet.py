"""MeliusNet (Bethge et al. 2020, "MeliusNet: An Improved Network Architecture for Binary Neural Networks")."""
from mxnet import gluon
from mxnet.gluon import nn

from bmx.nn import BinaryConv, ChannelShuffle, PlainLayout, grouped_conv, make_stem

from .registry import register


class DenseBlock(gluon.HybridBlock):
    """Derive new channels by a binary convolution and append them (section 3.1, Figure 1, above)."""

    def __init__(self, in_channels, growth, bits=None, prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        with self.name_scope():
            self.norm = nn.BatchNorm()
            self.conv = BinaryConv(growth, 3, padding=1, in_channels=in_channels, bits=bits)

    def hybrid_forward(self, F, x):
        return F.concat(x, self.conv(self.norm(x)), dim=1)


class ImprovementBlock(gluon.HybridBlock):
    """Add the result of a binary convolution to the newest channels (section 3.1, Figure 1, below)."""

    def __init__(self, in_channels, growth, bits=None, prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        self._growth = growth
        with self.name_scope():
            self.norm = nn.BatchNorm()
            self.conv = BinaryConv(growth, 3, padding=1, in_channels=in_channels, bits=bits)

    def hybrid_forward(self, F, x):
        kept = F.slice_axis(x, axis=1, begin=0, end=-self._growth)
        improved = F.slice_axis(x, axis=1, begin=-self._growth, end=None) + self.conv(self.norm(x))
        return F.concat(kept, improved, dim=1)


def _transition(index, channels, groups):
    """Halve the resolution by max pooling and reduce the channels by a float 1x1 convolution (sections 3.1, 3.2)."""
    block = nn.HybridSequential(prefix='transition%d_' % index)
    with block.name_scope():
        block.add(nn.BatchNorm(), nn.MaxPool2D(2, 2), nn.Activation('relu'))
        if groups > 1:
            block.add(ChannelShuffle(groups), grouped_conv(channels, 1, groups))
        else:
            block.add(nn.Conv2D(channels, 1, use_bias=False), PlainLayout())
    return block


class MeliusNet(gluon.HybridBlock):
    """A stem, stages of dense and improvement blocks with transitions between them, and a float classifier.

    Parameters
    ----------
    blocks : sequence of int
        Pairs of dense and improvement block in each stage (Table 1, "block numbers").
    reductions : sequence of float
        The share of the channels that each transition keeps (Table 1, "channel reduction factors"), one fewer than
        stages; the result is rounded to a multiple of 32.
    groups : int
        Groups of the transitions' 1x1 convolutions; a channel shuffle goes before them if there is more than one.
    stem : str
        Name in `bmx.nn.STEMS`: 'grouped', 'imagenet' (7x7) or 'thumbnail' (small images).
    classes : int
        Outputs of the classifier.
    growth : int
        Channels that a dense block adds.
    bits : int
        1, or 32 for the float network of the same structure; None takes the scope's, as in every layer.

    Inputs: (N, 3, H, W), H and W of at least 8 (thumbnail) or 32. Outputs: (N, classes).
    """

    def __init__(self, blocks, reductions, groups=1, stem='grouped', classes=1000, growth=64, bits=None,
                 prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        if len(reductions) != len(blocks) - 1:
            raise ValueError('%d stages need %d reductions, got %d' % (len(blocks), len(blocks) - 1, len(reductions)))
        channels = 64
        with self.name_scope():
            self.features = nn.HybridSequential(prefix='')
            self.features.add(make_stem(stem, channels))
            for index, pairs in enumerate(blocks):
                stage = nn.HybridSequential(prefix='stage%d_' % (index + 1))
                with stage.name_scope():
                    for _ in range(pairs):
                        stage.add(DenseBlock(channels, growth, bits), ImprovementBlock(channels + growth, growth, bits))
                        channels += growth
                self.features.add(stage)
                if index < len(reductions):
                    channels = 32 * round(channels * reductions[index] / 32)
                    self.features.add(_transition(index + 1, channels, groups))
            self.features.add(nn.BatchNorm(), nn.Activation('relu'), nn.GlobalAvgPool2D(), nn.Flatten())
            self.output = nn.Dense(classes)

    def hybrid_forward(self, F, x):
        return self.output(self.features(x))


# Table 1 of the paper.
VARIANTS = {
    'meliusnet22': dict(blocks=(4, 5, 4, 4), reductions=(160 / 320, 224 / 480, 256 / 480)),
    'meliusnet29': dict(blocks=(4, 6, 8, 6), reductions=(128 / 320, 192 / 512, 256 / 704)),
    'meliusnet42': dict(blocks=(5, 8, 14, 10), reductions=(160 / 384, 256 / 672, 416 / 1152)),
    'meliusnet59': dict(blocks=(6, 12, 24, 12), reductions=(192 / 448, 320 / 960, 544 / 1856)),
    'meliusnet_a': dict(blocks=(4, 5, 5, 6), reductions=(160 / 320, 256 / 480, 288 / 576), groups=4),
    'meliusnet_b': dict(blocks=(4, 6, 8, 6), reductions=(160 / 320, 224 / 544, 320 / 736), groups=2),
    # The paper prints 224/704 for the last, of 832 channels; its operations and size are those of 288 channels.
    'meliusnet_c': dict(blocks=(3, 5, 10, 6), reductions=(128 / 256, 192 / 448, 288 / 832), groups=4),
}


def _entry_point(name, row):
    def build(**kwargs):
        return MeliusNet(**dict(row, **kwargs))
    build.__name__ = name
    build.__doc__ = 'MeliusNet (Table 1) with %s; keywords of `MeliusNet` override.' % row
    return register(build)


for _name, _row in VARIANTS.items():
    globals()[_name] = _entry_point(_name, _row)
