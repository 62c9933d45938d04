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
