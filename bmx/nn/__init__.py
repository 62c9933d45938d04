"""Gluon blocks of binary networks."""
from .channelwise import PReLU, Scale, scale_channels
from .configuration import Config, config
from .layers import BinaryConv, BinaryDense, QActivation, QConv1D, QConv2D, QDense, binary_parameters, quantized_layers
from .quantizers import QUANTIZERS, approx_sign, k_bit_activation, k_bit_weight, residual_sign, ste_sign
from .stems import (
    STEMS,
    AlexNetStem,
    ChannelShuffle,
    GroupedStem,
    ImageNetStem,
    MobileNetStem,
    PlainLayout,
    ThumbnailStem,
    grouped_conv,
    make_stem,
)

__all__ = ['AlexNetStem', 'BinaryConv', 'BinaryDense', 'ChannelShuffle', 'Config', 'GroupedStem', 'ImageNetStem',
           'MobileNetStem', 'PReLU', 'PlainLayout', 'QActivation', 'QConv1D', 'QConv2D', 'QDense', 'QUANTIZERS',
           'STEMS', 'Scale', 'ThumbnailStem', 'approx_sign', 'binary_parameters', 'config', 'grouped_conv',
           'k_bit_activation', 'k_bit_weight', 'make_stem', 'quantized_layers', 'residual_sign', 'scale_channels',
           'ste_sign']
