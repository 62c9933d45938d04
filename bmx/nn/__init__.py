"""Gluon blocks of binary networks."""
from .channelwise import PReLU, Scale, scale_channels
from .configuration import Config, config
from .layers import BinaryConv, BinaryDense, QActivation, QConv1D, QConv2D, QDense, binary_parameters, quantized_layers
from .quantizers import (
    QUANTIZERS,
    Quantizer,
    approx_sign,
    k_bit_activation,
    k_bit_weight,
    parse_quantizer,
    residual_sign,
    ste_sign,
)
from .shifts import RPReLU, Shift
from .stems import (
    STEMS,
    AlexNetStem,
    ChannelShuffle,
    GroupedStem,
    ImageNetStem,
    MobileNetStem,
    PlainLayout,
    QuickNetStem,
    ThumbnailStem,
    grouped_conv,
    make_stem,
)

__all__ = ['AlexNetStem', 'approx_sign', 'binary_parameters', 'BinaryConv', 'BinaryDense', 'ChannelShuffle', 'Config',
           'config', 'grouped_conv', 'GroupedStem', 'ImageNetStem', 'k_bit_activation', 'k_bit_weight', 'make_stem',
           'MobileNetStem', 'parse_quantizer', 'PlainLayout', 'PReLU', 'QActivation', 'QConv1D', 'QConv2D', 'QDense',
           'quantized_layers', 'Quantizer', 'QUANTIZERS', 'QuickNetStem', 'residual_sign', 'RPReLU', 'Scale',
           'scale_channels', 'Shift', 'ste_sign', 'STEMS', 'ThumbnailStem']
