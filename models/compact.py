"""The compact binary networks of Tang et al. 2017 ("How to Train a Compact Binary Neural Network with High Accuracy?").

Network in Network and AlexNet as Caffe's model zoo has them, their layers binary: batch normalisation, sign,
convolution, PReLU. Deployed, its 1.2 MiB and 7.4 MiB hold the classifier, too.
"""
from __future__ import annotations

from typing import Any, Mapping, Sequence

from mxnet import gluon
from mxnet.gluon import nn

from bmx.nn import BinaryConv, BinaryDense, Scale, make_stem
from bmx.nn.tensors import Tensor

from .blocks import check_counts, make_activation, widen
from .registry import register_family


def _conv(channels, kernel_size, groups=1):
    return dict(kind='conv', channels=channels, kernel_size=kernel_size, groups=groups)


def _dense(units):
    return dict(kind='dense', channels=units)


POOL = dict(kind='pool')

# Behind the first convolution; a 1x1 convolution is what Network in Network calls cccp. The classifier comes on top.
_NIN_TOP = (_conv(384, 3), _conv(384, 1), _conv(384, 1), POOL, _conv(1024, 3), _conv(1024, 1))
NIN = (_conv(96, 1), _conv(96, 1), POOL, _conv(256, 5), _conv(256, 1), _conv(256, 1), POOL) + _NIN_TOP
NIN_EXPANDED = (_conv(128, 3), _conv(128, 3), POOL, _conv(256, 5), _conv(256, 3), _conv(256, 3), POOL) + _NIN_TOP
ALEXNET = (POOL, _conv(256, 5, 2), POOL, _conv(384, 3), _conv(384, 3, 2), _conv(256, 3, 2), POOL, _dense(4096),
           _dense(4096))
# Without groups, which were for two GPUs.
ALEXNET_WHOLE = tuple(dict(layer, groups=1) if layer['kind'] == 'conv' else layer for layer in ALEXNET)


class CompactNet(gluon.HybridBlock):
    """A float convolution, binary layers one after the other, and a classifier that may be binary.

    Inputs: (N, 3, H, W). Outputs: (N, classes).

    Parameters
    ----------
    layers : sequence of dict
        The layers between: 'kind' is 'conv' ('channels', 'kernel_size', 'groups'; the resolution stays), 'dense'
        ('channels') or 'pool' (3x3 max pooling with stride 2).
    width : float
        Multiplies the channels of all layers, the first convolution's 96 too.
    binary_classifier : bool
        Binarize the last layer.
    scale : bool
        A learned scalar behind a binary classifier, without which its integers saturate the softmax.
    activation : str
        'prelu' (a slope a channel) or 'relu'.
    binarizations : int
        How many scaled signs approximate the activations (Equation 3); None takes the scope's, as in every layer.
    stem : str
        Name in `bmx.nn.STEMS`.
    classes : int
        Outputs of the classifier: of a dense layer where the last of `layers` is one, else of a 1x1 convolution that
        global pooling follows.
    bits : int
        See `bmx.nn.Config`; None takes the scope's.
    """

    def __init__(self, layers: Sequence[Mapping[str, Any]], width: float = 1, binary_classifier: bool = True,
                 scale: bool = True, activation: str = 'prelu', binarizations: int | None = None,
                 stem: str = 'alexnet', classes: int = 1000, bits: int | None = None, prefix: str | None = None,
                 params: gluon.ParameterDict | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        settings, channels = dict(bits=bits, binarizations=binarizations), widen(96, width)
        layers = [dict(layer, channels=widen(layer['channels'], width)) if layer['kind'] != 'pool' else layer
                  for layer in layers]
        check_counts(classes=classes, channels=[channels] + [
            layer['channels'] for layer in layers if layer['kind'] != 'pool'])
        with self.name_scope():
            self.features = nn.HybridSequential(prefix='')
            self.features.add(make_stem(stem, channels), make_activation(activation, channels))
            dense = False
            for layer in layers:
                if layer['kind'] == 'pool':
                    self.features.add(nn.MaxPool2D(3, 2, ceil_mode=True))  # as Caffe's
                    continue
                dense = dense or layer['kind'] == 'dense'
                self.features.add(nn.BatchNorm(), self._product(layer, channels, settings),
                                  make_activation(activation, layer['channels']))
                channels = layer['channels']
            self.features.add(nn.BatchNorm())
            classifier = _dense(classes) if dense else _conv(classes, 1)
            self.output = nn.HybridSequential(prefix='')
            if binary_classifier:
                self.output.add(self._product(classifier, channels, settings))
                if scale:
                    self.output.add(Scale())
            else:
                self.output.add(nn.Dense(classes) if dense else nn.Conv2D(classes, 1))
            if not dense:
                self.output.add(nn.GlobalAvgPool2D(), nn.Flatten())

    @staticmethod
    def _product(layer, in_channels, settings):
        if layer['kind'] == 'dense':
            return BinaryDense(layer['channels'], **settings)
        if in_channels % layer['groups'] or layer['channels'] % layer['groups']:
            raise ValueError(f'{layer["groups"]} groups do not divide {in_channels} and {layer["channels"]} channels: '
                             'choose another width')
        return BinaryConv(layer['channels'], layer['kernel_size'], padding=layer['kernel_size'] // 2,
                          groups=layer['groups'], in_channels=in_channels, **settings)

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:
        return self.output(self.features(x))


MEMBERS: dict[str, dict[str, Any]] = {
    'nin_binary': dict(layers=NIN),
    # Cccp layers 1 and 2 with 128 channels, 1 to 4 with 3x3 kernels.
    'nin_binary_expanded': dict(layers=NIN_EXPANDED),
    'alexnet_binary': dict(layers=ALEXNET),
    # The AlexNet of XNOR-Net (Rastegari et al. 2016): its first and last layer are float.
    'alexnet_xnor': dict(layers=ALEXNET_WHOLE, binary_classifier=False, activation='relu'),
}
register_family(CompactNet, MEMBERS)
