"""Quantized Gluon layers: the signatures of their Gluon parents, plus how to quantize.

A layer multiplies what it is given with its quantized weights; `QActivation` before it quantizes the input. With both
binary the result is exactly `xnor_popcount` of docs/semantics.md. With bits=32 a layer is its parent. How many bits its
input has a layer cannot see: where these are not `bits`, the scope's `activation_bits` tells it. With several
binarizations an activation has two outputs, signs and scales, and a layer two inputs, also as a pair:
`layer(activation(x))`, as in a `HybridSequential`, or `layer(signs, scales)`.
"""
from __future__ import annotations

from numbers import Integral
from typing import Any, Sequence

import mxnet as mx
from mxnet import gluon
from mxnet.gluon import nn
from mxnet.symbol import Symbol

from .channelwise import scale_channels
from .configuration import config, resolve
from .quantizers import Tensor, pad


class QActivation(gluon.HybridBlock):
    """Quantize activations: sign or rounding in the forward pass, an estimator in the backward pass.

    Parameters
    ----------
    bits : int
        Of the activations, `activation_bits` of `bmx.nn.Config`. 32 passes the input through.
    quantizer, clip_threshold, pad_value, binarizations
        See `bmx.nn.Config`; what is None, bits too, comes from the scope `bmx.nn.config`.
    padding : tuple of int
        Border of `pad_value` around the last axes, (height, width) or (width,), in place of the padding of the
        convolution that follows: it costs nothing here and a copy of the features there. With bits=1 only.

    Inputs: data of any shape. Outputs: +1 or -1, or 2^bits levels from 0 to 1, of the same shape, but for the border,
    and dtype. With m > 1 binarizations data is (N, C, ...), and there are two outputs for the layer that follows: the
    signs, (m * N, C, ...), and their scales, (m, N).
    """

    def __init__(self, bits: int | None = None, quantizer: str | None = None, clip_threshold: float | None = None,
                 padding: Sequence[int] = (), pad_value: int | None = None, prefix: str | None = None,
                 params: gluon.ParameterDict | None = None, binarizations: int | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        self.quantization = resolve(activation_bits=bits, quantizer=quantizer, clip_threshold=clip_threshold,
                                    pad_value=pad_value, binarizations=binarizations)
        self._padding = self._widths(padding)
        if self.quantization.input_bits > 1 and any(self._padding):
            raise ValueError(f'{self.name}: activations of {self.quantization.input_bits} bits get no border, only '
                             f'signs do, got padding={self._padding}; pad in the layer that follows')

    def _widths(self, padding: object) -> tuple[int, ...]:
        """The widths of the border as Python's integers; how many axes one number would be for is not known yet."""
        if not (isinstance(padding, (tuple, list)) and len(padding) <= 2
                and all(isinstance(width, Integral) and int(width) >= 0 for width in padding)):
            raise ValueError(f'{self.name}: padding must be a tuple of the widths at the last axes, such as (1, 1) for '
                             f'images and (1,) for rows, got {padding!r}')
        return tuple(map(int, padding))

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return self.quantization.quantize_activation(x, padding=self._padding)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.quantization})'


class _QuantizedLayer(gluon.HybridBlock):
    """What quantized layers share: the weight's quantization; several binarizations, scaling, bias and activation after
    the product."""

    def _inputs(self, x: Tensor | Sequence[Tensor], scales: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The data or signs, and the scales or None; `HybridSequential` hands both on as one argument."""
        if isinstance(x, (list, tuple)):
            x, scales = x
        terms = self.quantization.terms
        if terms > 1 and scales is None:
            raise ValueError(f'{self.name}: of {terms} binarizations there are two inputs, the signs and the scales '
                             'that QActivation returns, got one; for an input that is binarized once, or not, give the '
                             'layer binarizations=1')
        if terms == 1 and scales is not None:
            raise ValueError(f'{self.name}: two inputs, as of several binarizations, but the layer has '
                             f'{self.quantization}')
        return x, scales

    def _combine(self, F: Any, product: Tensor, scales: Tensor | None, shape: tuple[int, ...]) -> Tensor:
        """Add the terms of a product, each with its scale, in their order; `shape`: of scales (N,) beside a term."""
        if scales is None:
            return product
        terms, total = self.quantization.terms, None
        # squeeze_axis makes MXNet compare the number of terms
        by_term = F.SliceChannel(scales, num_outputs=terms, axis=0, squeeze_axis=True)
        for term, scale in zip(F.SliceChannel(product, num_outputs=terms, axis=0), by_term):
            term = F.broadcast_mul(term, F.reshape(scale, shape=shape))
            total = term if total is None else total + term
        return total

    def _quantize_weight(self, weight: Tensor) -> Tensor:
        if isinstance(weight, Symbol) and all(self.weight.shape):
            # Gluon keeps the variable of the first trace, which may have declared less than is known now.
            weight._set_attr(__shape__=str(self.weight.shape))
        return self.quantization.quantize_weight(weight)

    def _finish(self, F: Any, product: Tensor, weight: Tensor, bias: Tensor | None,
                channel_shape: tuple[int, ...]) -> Tensor:
        """Scale, shift, activate; after the product, because the product of signs is an exact integer."""
        if self.quantization.bits == 1 and self.quantization.scaling != 'none':
            alpha = F.mean(F.abs(weight), axis=0, exclude=True)
            if self.quantization.scaling == 'constant':
                alpha = F.BlockGrad(alpha)
            product = scale_channels(product, alpha, channel_shape)
        if bias is not None:
            product = F.broadcast_add(product, F.reshape(bias, shape=channel_shape))
        return product if self.act is None else self.act(product)

    def __repr__(self) -> str:
        return f'{super().__repr__()}[{self.quantization}]'


class _QConv(_QuantizedLayer):
    def _init_quantization(self, **given: Any) -> None:
        self.quantization = resolve(**given)
        if self.quantization.bits < 32 and self._kwargs['layout'] not in ('NCW', 'NCHW'):
            raise ValueError(f'{self.name}: layout must be NCW or NCHW for a quantized convolution, got '
                             f'{self._kwargs["layout"]}')

    def hybrid_forward(self, F: Any, x: Tensor | Sequence[Tensor], scales: Tensor | None = None, weight: Tensor = None,
                       bias: Tensor | None = None) -> Tensor:
        x, scales = self._inputs(x, scales)
        if self.quantization.bits == 32:
            return super().hybrid_forward(F, x, weight, bias)
        attributes = dict(self._kwargs, no_bias=True)
        padding = attributes['pad']
        if self.quantization.border != 0:
            x = pad(x, padding, self.quantization.border)
            attributes['pad'] = (0,) * len(padding)
        product = F.Convolution(x, self._quantize_weight(weight), name='fwd', **attributes)
        # A reshape to the same shape brings back the plain layout: networks concatenate and add these results to
        # features in it, and normalise them, which in mixed layouts is slow and rounds otherwise.
        product = F.reshape(product, shape=(0,) * (2 + len(padding)))
        product = self._combine(F, product, scales, (-1, 1) + (1,) * len(padding))
        return self._finish(F, product, weight, bias, (1, -1) + (1,) * len(padding))


class QConv1D(_QConv, nn.Conv1D):
    """Convolution over (N, C, W) with quantized weights; `mxnet.gluon.nn.Conv1D`'s parameters, and those of `Config`.

    Parameters
    ----------
    bits, quantizer, clip_threshold, scaling, pad_value, binarizations
        See `bmx.nn.Config`; what is None comes from the scope `bmx.nn.config`.
    """

    def __init__(self, channels: int, kernel_size: int | Sequence[int], strides: int | Sequence[int] = 1,
                 padding: int | Sequence[int] = 0, dilation: int | Sequence[int] = 1, groups: int = 1,
                 layout: str = 'NCW', activation: str | None = None, use_bias: bool = True,
                 weight_initializer: str | mx.init.Initializer | None = None,
                 bias_initializer: str | mx.init.Initializer | None = 'zeros', in_channels: int = 0,
                 bits: int | None = None, quantizer: str | None = None, clip_threshold: float | None = None,
                 scaling: str | None = None, pad_value: int | None = None, binarizations: int | None = None,
                 **kwargs: Any) -> None:
        super().__init__(channels, kernel_size, strides, padding, dilation, groups, layout, activation, use_bias,
                         weight_initializer, bias_initializer, in_channels, **kwargs)
        self._init_quantization(bits=bits, quantizer=quantizer, clip_threshold=clip_threshold, scaling=scaling,
                                pad_value=pad_value, binarizations=binarizations)


class QConv2D(_QConv, nn.Conv2D):
    """Convolution over (N, C, H, W) with quantized weights; parameters of `mxnet.gluon.nn.Conv2D` and of `Config`.

    Parameters
    ----------
    bits, quantizer, clip_threshold, scaling, pad_value, binarizations
        See `bmx.nn.Config`; what is None comes from the scope `bmx.nn.config`.
    """

    def __init__(self, channels: int, kernel_size: int | Sequence[int], strides: int | Sequence[int] = (1, 1),
                 padding: int | Sequence[int] = (0, 0), dilation: int | Sequence[int] = (1, 1), groups: int = 1,
                 layout: str = 'NCHW', activation: str | None = None, use_bias: bool = True,
                 weight_initializer: str | mx.init.Initializer | None = None,
                 bias_initializer: str | mx.init.Initializer | None = 'zeros', in_channels: int = 0,
                 bits: int | None = None, quantizer: str | None = None, clip_threshold: float | None = None,
                 scaling: str | None = None, pad_value: int | None = None, binarizations: int | None = None,
                 **kwargs: Any) -> None:
        super().__init__(channels, kernel_size, strides, padding, dilation, groups, layout, activation, use_bias,
                         weight_initializer, bias_initializer, in_channels, **kwargs)
        self._init_quantization(bits=bits, quantizer=quantizer, clip_threshold=clip_threshold, scaling=scaling,
                                pad_value=pad_value, binarizations=binarizations)


class QDense(_QuantizedLayer, nn.Dense):
    """Fully connected layer with quantized weights; `mxnet.gluon.nn.Dense`'s parameters, and those of `Config`.

    Parameters
    ----------
    bits, quantizer, clip_threshold, scaling, binarizations
        See `bmx.nn.Config`; what is None comes from the scope `bmx.nn.config`. With several binarizations an input has
        two axes, or any number where `flatten`.
    """

    def __init__(self, units: int, activation: str | None = None, use_bias: bool = True, flatten: bool = True,
                 dtype: str = 'float32', weight_initializer: str | mx.init.Initializer | None = None,
                 bias_initializer: str | mx.init.Initializer | None = 'zeros', in_units: int = 0,
                 bits: int | None = None, quantizer: str | None = None, clip_threshold: float | None = None,
                 scaling: str | None = None, binarizations: int | None = None, **kwargs: Any) -> None:
        super().__init__(units, activation, use_bias, flatten, dtype, weight_initializer, bias_initializer, in_units,
                         **kwargs)
        self.quantization = resolve(bits=bits, quantizer=quantizer, clip_threshold=clip_threshold, scaling=scaling,
                                    binarizations=binarizations)
        if self.quantization.terms > 1 and not flatten:
            raise ValueError(f'{self.name}: flatten=False is for one binarization, got {self.quantization.terms}; the '
                             'scales are of whole samples')

    def hybrid_forward(self, F: Any, x: Tensor | Sequence[Tensor], scales: Tensor | None = None, weight: Tensor = None,
                       bias: Tensor | None = None) -> Tensor:
        x, scales = self._inputs(x, scales)
        if self.quantization.bits == 32:
            return super().hybrid_forward(F, x, weight, bias)
        product = F.FullyConnected(x, self._quantize_weight(weight), no_bias=True, num_hidden=self._units,
                                   flatten=self._flatten, name='fwd')
        product = self._combine(F, product, scales, (-1, 1))
        # The channels are the last axis, whatever the number of axes before it.
        return self._finish(F, product, weight, bias, (-1,))


class BinaryConv(gluon.HybridBlock):
    """Quantized activation and convolution without bias: what binary networks are made of.

    With activations of 32 bits a ReLU stands in the sign's place, as in the float networks they are compared with.

    Parameters
    ----------
    channels, kernel_size, strides, padding, dilation, groups, in_channels, weight_initializer
        Those of `QConv2D`.
    bits, quantizer, clip_threshold, scaling, pad_value, activation_bits, binarizations
        See `bmx.nn.Config`; what is None comes from the scope `bmx.nn.config`.

    Inputs: (N, C, H, W). Outputs: (N, channels, H', W').
    """

    def __init__(self, channels: int, kernel_size: int | Sequence[int], strides: int | Sequence[int] = (1, 1),
                 padding: int | Sequence[int] = (0, 0), dilation: int | Sequence[int] = (1, 1), groups: int = 1,
                 in_channels: int = 0, weight_initializer: str | mx.init.Initializer | None = None,
                 bits: int | None = None, quantizer: str | None = None, clip_threshold: float | None = None,
                 scaling: str | None = None, pad_value: int | None = None, activation_bits: int | None = None,
                 prefix: str | None = None, params: gluon.ParameterDict | None = None,
                 binarizations: int | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        if isinstance(padding, Sequence) and len(padding) != 2:
            raise ValueError(f'{self.name}: padding must be one number, or two for height and width, got {padding!r}')
        with self.name_scope(), config(bits=bits, activation_bits=activation_bits, quantizer=quantizer, scaling=scaling,
                                       clip_threshold=clip_threshold, pad_value=pad_value,
                                       binarizations=binarizations) as quantization:
            if quantization.input_bits == 32:
                self.activation = nn.Activation('relu')
            elif quantization.border == 0:
                # MXNet's convolution itself pads with 0, without a copy, and signs without a border are all +-1.
                self.activation = QActivation()
            else:
                border = padding if isinstance(padding, Sequence) else (padding,) * 2
                self.activation = QActivation(padding=border)
                padding = 0
            self.conv = QConv2D(channels, kernel_size, strides, padding, dilation, groups, use_bias=False,
                                in_channels=in_channels, weight_initializer=weight_initializer)

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:
        return self.conv(self.activation(x))


class BinaryDense(gluon.HybridBlock):
    """Quantized activation and dense layer, without bias by default: as `BinaryConv`, for a binary classifier.

    With activations of 32 bits a ReLU stands in the sign's place.

    Parameters
    ----------
    units, use_bias, flatten, in_units, weight_initializer
        Those of `QDense`.
    bits, quantizer, clip_threshold, scaling, activation_bits, binarizations
        See `bmx.nn.Config`; what is None comes from the scope `bmx.nn.config`.

    Inputs: (N, ...). Outputs: (N, units); without `flatten` (..., units).
    """

    def __init__(self, units: int, use_bias: bool = False, flatten: bool = True, in_units: int = 0,
                 weight_initializer: str | mx.init.Initializer | None = None, bits: int | None = None,
                 quantizer: str | None = None, clip_threshold: float | None = None, scaling: str | None = None,
                 activation_bits: int | None = None, prefix: str | None = None,
                 params: gluon.ParameterDict | None = None, binarizations: int | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        with self.name_scope(), config(bits=bits, activation_bits=activation_bits, quantizer=quantizer, scaling=scaling,
                                       clip_threshold=clip_threshold, binarizations=binarizations) as quantization:
            self.activation = nn.Activation('relu') if quantization.input_bits == 32 else QActivation()
            self.dense = QDense(units, use_bias=use_bias, flatten=flatten, in_units=in_units,
                                weight_initializer=weight_initializer)

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:
        return self.dense(self.activation(x))


def quantized_layers(net: gluon.Block) -> list[gluon.Block]:
    """The `QConv1D`, `QConv2D` and `QDense` of a net, of whatever bits, in the order of its blocks.

    Parameters
    ----------
    net : gluon.Block

    Returns
    -------
    list of gluon.Block
    """
    found = []
    net.apply(lambda block: found.append(block) if isinstance(block, _QuantizedLayer) else None)
    return found


def binary_parameters(net: gluon.Block) -> list[gluon.Parameter]:
    """The parameters of a net that its layers binarize (to 1 bit), in the order of its blocks, each once.

    Parameters
    ----------
    net : gluon.Block

    Returns
    -------
    list of gluon.Parameter
    """
    found = {layer.weight.name: layer.weight for layer in quantized_layers(net) if layer.quantization.bits == 1}
    return list(found.values())
