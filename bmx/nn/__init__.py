"""Gluon blocks of binary networks."""
from .blocks import (
    STEMS, ChannelShuffle, GroupedStem, ImageNetStem, PlainLayout, ThumbnailStem, grouped_conv, make_stem)
from .config import Config, config
from .layers import (
    BinaryConv, BinaryDense, QActivation, QConv1D, QConv2D, QDense, binary_parameters, quantized_layers)
from .quantizers import QUANTIZERS, approx_sign, k_bit_activation, k_bit_weight, residual_sign, ste_sign
