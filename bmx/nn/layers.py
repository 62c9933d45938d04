"""Quantized Gluon layers: the signatures of their Gluon parents, plus how to quantize.

A layer multiplies what it is given with its quantized weights; `QActivation` before it quantizes the input. With both
binary the result is exactly `xnor_popcount` of docs/semantics.md. With bits=32 a layer is its parent. How its input was
quantized a layer cannot see: the scope tells it, or `activation`. A quantizer that has scales has two outputs, values
and scales, and a layer then two inputs, also as a pair: `layer(activation(x))`, as in a `HybridSequential`, or
`layer(values, scales)`.
"""
from __future__ import annotations

import contextlib
from numbers import Integral
from typing import Any, Callable, Sequence

import mxnet as mx
import numpy as np
from mxnet import gluon
from mxnet.gluon import nn
from mxnet.symbol import Symbol

from .channelwise import scale_channels
from .configuration import config, resolve
from .quantizers import Quantizer, parse_quantizer
from .quantizers.base import Learned, marked
from .tensors import Tensor, binary_convolution, has_operator, holds_signs, pad


class _Learns(gluon.HybridBlock):
    """A block whose quantizers may learn parameters."""

    def _learn(self, parameters: Learned, prefix: str = '') -> None:
        """Make the parameters of a quantizer, which `hybrid_forward` gets under the names with the prefix."""
        with self.name_scope():
            for name, (shape, initial) in parameters.items():
                value = (mx.init.Constant(float(initial)) if isinstance(initial, (int, float))
                         else mx.init.Constant(mx.nd.array(initial)))
                setattr(self, prefix + name, self.params.get(prefix + name, shape=shape, init=value))


class QActivation(_Learns):
    """Quantize activations: few values in the forward pass, an estimator in the backward pass.

    Inputs: data of any shape. Outputs: +1 or -1, or whatever the quantizer makes of it, of the same shape, but for the
    border, and dtype. A quantizer that has scales, (N, C, ...) only, has two outputs for the layer that follows: the
    values, those of m planes (m * N, C, ...), and the scales, then (m, N).

    Parameters
    ----------
    bits : int
        Of the activations, `activation_bits` of `bmx.nn.Config`. 32 passes the input through.
    quantizer, clip_threshold, pad_value, binarizations, activation
        See `bmx.nn.Config`; what is None, bits too, comes from the scope `bmx.nn.config`.
    padding : tuple of int
        Border of `pad_value` around the last axes, (height, width) or (width,), in place of the padding of the
        convolution that follows: it costs nothing here and a copy of the features there. Of signs only.
    in_channels : int
        Channels of the data, for quantizers that learn something of each.
    """

    def __init__(self, bits: int | None = None, quantizer: str | None = None, clip_threshold: float | None = None,
                 padding: Sequence[int] = (), pad_value: int | None = None, prefix: str | None = None,
                 params: gluon.ParameterDict | None = None, binarizations: int | None = None,
                 activation: str | Quantizer | None = None, in_channels: int = 0) -> None:
        super().__init__(prefix=prefix, params=params)
        self.quantization = resolve(activation_bits=bits, quantizer=quantizer, clip_threshold=clip_threshold,
                                    pad_value=pad_value, binarizations=binarizations, activation=activation)
        self._padding = self._widths(padding)
        self._quantizer = self.quantization.activation_quantizer
        if not self._quantizer.signs and any(self._padding):
            raise ValueError(f'{self.name}: activations of {self._quantizer.bits} bits get no border, only '
                             f'signs do, got padding={self._padding}; pad in the layer that follows')
        if self._quantizer.by_channel and not in_channels:
            raise ValueError(f'{self.name}: {self._quantizer} learns a number of each channel: give in_channels')
        self._learn(self._quantizer.activation_parameters(in_channels))

    def _widths(self, padding: object) -> tuple[int, ...]:
        """The widths of the border as Python's integers; how many axes one number would be for is not known yet."""
        if not (isinstance(padding, (tuple, list)) and len(padding) <= 2
                and all(isinstance(width, Integral) and int(width) >= 0 for width in padding)):
            raise ValueError(f'{self.name}: padding must be a tuple of the widths at the last axes, such as (1, 1) for '
                             f'images and (1,) for rows, got {padding!r}')
        return tuple(map(int, padding))

    def hybrid_forward(self, F: Any, x: Tensor, **learned: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        # In a graph the operators of a quantizer tell whose they are: what is theirs can run as binary products.
        scope = mx.AttrScope(__quantizer__=self.name) if isinstance(x, Symbol) else contextlib.nullcontext()
        with scope:
            return self._quantizer.quantize_activation(x, self._padding, self.quantization.pad_value, **learned)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.quantization})'


class _QuantizedLayer(_Learns):
    """What quantized layers share: the weight's quantization; planes, scaling, bias and activation after the
    product."""

    def _init_quantization(self, **given: Any) -> None:
        self.quantization = resolve(**given)
        activation = self.quantization.activation_quantizer
        if activation.has_scales and self._is_float:
            raise ValueError(f'{self.name}: the scales of {activation} are for quantized weights, but these are float: '
                             'quantize them, by weight=, or tell by activation= what else the input is')
        self._learn(self.quantization.weight_quantizer.weight_parameters(self.weight.shape), 'weight_')

    @property
    def _is_float(self) -> bool:
        return self.quantization.weight_quantizer.bits == 32

    def _inputs(self, x: Tensor | Sequence[Tensor], scales: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The data or values, and the scales or None; `HybridSequential` hands both on as one argument."""
        if isinstance(x, (list, tuple)):
            x, scales = x
        quantizer = self.quantization.activation_quantizer
        if quantizer.has_scales and scales is None:
            raise ValueError(f'{self.name}: of {quantizer} there are two inputs, the values and the scales '
                             'that QActivation returns, got one; for an input that is a sign, or not quantized, tell '
                             'the layer by activation= or binarizations=1')
        if not quantizer.has_scales and scales is not None:
            raise ValueError(f'{self.name}: two inputs, as of several binarizations, but the layer has '
                             f'{self.quantization}')
        return x, scales

    def _multiply(self, x: Tensor, scales: Tensor | None, weight: Tensor, learned: dict[str, Tensor],
                  product: Callable[[Tensor, Tensor], Tensor], window: dict[str, Any]) -> Tensor:
        """The sum of the products with the terms of the weight, in their order.

        Scales are applied after a product, which is exact where its values are integers. `window`: of a convolution,
        see `Quantizer.combine`.
        """
        activation, total = self.quantization.activation_quantizer, None
        if activation.bits < 32 and not activation.signs and not activation.has_scales:  # integers
            x = marked(activation.integers(x), bits=activation.bits)
        if isinstance(weight, Symbol) and all(self.weight.shape):
            # Gluon keeps the variable of the first trace, which may have declared less than is known now.
            weight._set_attr(__shape__=str(self.weight.shape))
        learned = {name[len('weight_'):]: value for name, value in learned.items()}
        axes = len(window.get('kernel', ()))
        quantizer = self.quantization.weight_quantizer
        for term in quantizer.quantize_weight(weight, **learned):
            part = product(x, term.values)
            if scales is not None:
                part = activation.combine(part, scales, (-1, 1) + (1,) * axes, window)
            if term.scale is not None:
                part = scale_channels(part, term.scale, (1, -1) + (1,) * axes if axes else (-1,))
            step = term.step * activation.step
            if step != 1:
                part = part * step
            total = part if total is None else total + part
        return quantizer.finish(total, axes, **learned)

    def _finish(self, F: Any, product: Tensor, bias: Tensor | None, channel_shape: tuple[int, ...]) -> Tensor:
        """Shift, activate."""
        if bias is not None:
            product = F.broadcast_add(product, F.reshape(bias, shape=channel_shape))
        return product if self.act is None else self.act(product)

    def __repr__(self) -> str:
        return f'{super().__repr__()}[{self.quantization}]'


class _QConv(_QuantizedLayer):
    def _runs_packed(self, data: Tensor, values: Tensor) -> bool:
        """Whether `binary_convolution` computes a product: float32, on the CPU, of signs that are known to be some.

        It gives the same numbers as MXNet's Convolution, and gradients that differ in their rounding. It is not faster
        where groups have one filter, nor for dense layers, whose large weights would be packed for a few rows of data.
        """
        return (self.weight.dtype in ('float32', np.float32) and self._kwargs['num_filter'] > self._kwargs['num_group']
                and has_operator(data) and holds_signs(data, self._kwargs['pad']) and holds_signs(values))

    def _init_quantization(self, **given: Any) -> None:
        super()._init_quantization(**given)
        if not self._is_float and self._kwargs['layout'] not in ('NCW', 'NCHW'):
            raise ValueError(f'{self.name}: layout must be NCW or NCHW for a quantized convolution, got '
                             f'{self._kwargs["layout"]}')

    def hybrid_forward(self, F: Any, x: Tensor | Sequence[Tensor], scales: Tensor | None = None, weight: Tensor = None,
                       bias: Tensor | None = None, **learned: Tensor) -> Tensor:
        x, scales = self._inputs(x, scales)
        if self._is_float:
            return super().hybrid_forward(F, x, weight, bias)
        attributes = dict(self._kwargs, no_bias=True)
        axes = len(attributes['pad'])
        window = {key: attributes[key] for key in ('kernel', 'stride', 'pad', 'dilate')}
        border, padded = self.quantization.border, None

        def product(data: Tensor, values: Tensor) -> Tensor:
            nonlocal padded
            if self._runs_packed(data, values):
                sizes = {key: attributes[key] for key in ('num_filter', 'num_group')}
                return binary_convolution(data, values, pad_value=border, **sizes, **window)
            if border != 0:  # of all terms once
                data = padded = pad(data, attributes['pad'], border) if padded is None else padded
            # A reshape to the same shape brings back the plain layout: networks concatenate and add these results to
            # features in it, and normalise them, which in mixed layouts is slow and rounds otherwise.
            inner = attributes if border == 0 else dict(attributes, pad=(0,) * axes)
            return F.reshape(F.Convolution(data, values, name='fwd', **inner), shape=(0,) * (2 + axes))

        return self._finish(F, self._multiply(x, scales, weight, learned, product, window), bias,
                            (1, -1) + (1,) * axes)


class QConv1D(_QConv, nn.Conv1D):
    """Convolution over (N, C, W) with quantized weights; `mxnet.gluon.nn.Conv1D`'s parameters, and those of `Config`.

    Parameters
    ----------
    activation : str or Quantizer, optional
        What the input was quantized by (`bmx.nn.QUANTIZERS`); or Gluon's, a function such as 'relu' of the result.
    bits, quantizer, clip_threshold, scaling, pad_value, binarizations, weight
        See `bmx.nn.Config`; what is None comes from the scope `bmx.nn.config`.
    """

    def __init__(self, channels: int, kernel_size: int | Sequence[int], strides: int | Sequence[int] = 1,
                 padding: int | Sequence[int] = 0, dilation: int | Sequence[int] = 1, groups: int = 1,
                 layout: str = 'NCW', activation: str | Quantizer | None = None, use_bias: bool = True,
                 weight_initializer: str | mx.init.Initializer | None = None,
                 bias_initializer: str | mx.init.Initializer | None = 'zeros', in_channels: int = 0,
                 bits: int | None = None, quantizer: str | None = None, clip_threshold: float | None = None,
                 scaling: str | None = None, pad_value: int | None = None, binarizations: int | None = None,
                 weight: str | Quantizer | None = None, **kwargs: Any) -> None:
        function, quantized_by = _function_or_quantizer(activation)
        super().__init__(channels, kernel_size, strides, padding, dilation, groups, layout, function, use_bias,
                         weight_initializer, bias_initializer, in_channels, **kwargs)
        self._init_quantization(bits=bits, quantizer=quantizer, clip_threshold=clip_threshold, scaling=scaling,
                                pad_value=pad_value, binarizations=binarizations, activation=quantized_by,
                                weight=weight)


class QConv2D(_QConv, nn.Conv2D):
    """Convolution over (N, C, H, W) with quantized weights; parameters of `mxnet.gluon.nn.Conv2D` and of `Config`.

    Parameters
    ----------
    activation : str or Quantizer, optional
        What the input was quantized by (`bmx.nn.QUANTIZERS`); or Gluon's, a function such as 'relu' of the result.
    bits, quantizer, clip_threshold, scaling, pad_value, binarizations, weight
        See `bmx.nn.Config`; what is None comes from the scope `bmx.nn.config`.
    """

    def __init__(self, channels: int, kernel_size: int | Sequence[int], strides: int | Sequence[int] = (1, 1),
                 padding: int | Sequence[int] = (0, 0), dilation: int | Sequence[int] = (1, 1), groups: int = 1,
                 layout: str = 'NCHW', activation: str | Quantizer | None = None, use_bias: bool = True,
                 weight_initializer: str | mx.init.Initializer | None = None,
                 bias_initializer: str | mx.init.Initializer | None = 'zeros', in_channels: int = 0,
                 bits: int | None = None, quantizer: str | None = None, clip_threshold: float | None = None,
                 scaling: str | None = None, pad_value: int | None = None, binarizations: int | None = None,
                 weight: str | Quantizer | None = None, **kwargs: Any) -> None:
        function, quantized_by = _function_or_quantizer(activation)
        super().__init__(channels, kernel_size, strides, padding, dilation, groups, layout, function, use_bias,
                         weight_initializer, bias_initializer, in_channels, **kwargs)
        self._init_quantization(bits=bits, quantizer=quantizer, clip_threshold=clip_threshold, scaling=scaling,
                                pad_value=pad_value, binarizations=binarizations, activation=quantized_by,
                                weight=weight)


class QDense(_QuantizedLayer, nn.Dense):
    """Fully connected layer with quantized weights; `mxnet.gluon.nn.Dense`'s parameters, and those of `Config`.

    Parameters
    ----------
    activation : str or Quantizer, optional
        What the input was quantized by (`bmx.nn.QUANTIZERS`); or Gluon's, a function such as 'relu' of the result.
    bits, quantizer, clip_threshold, scaling, binarizations, weight
        See `bmx.nn.Config`; what is None comes from the scope `bmx.nn.config`. With several binarizations an input has
        two axes, or any number where `flatten`.
    """

    def __init__(self, units: int, activation: str | Quantizer | None = None, use_bias: bool = True,
                 flatten: bool = True,
                 dtype: str = 'float32', weight_initializer: str | mx.init.Initializer | None = None,
                 bias_initializer: str | mx.init.Initializer | None = 'zeros', in_units: int = 0,
                 bits: int | None = None, quantizer: str | None = None, clip_threshold: float | None = None,
                 scaling: str | None = None, binarizations: int | None = None,
                 weight: str | Quantizer | None = None, **kwargs: Any) -> None:
        function, quantized_by = _function_or_quantizer(activation)
        super().__init__(units, function, use_bias, flatten, dtype, weight_initializer, bias_initializer, in_units,
                         **kwargs)
        self._init_quantization(bits=bits, quantizer=quantizer, clip_threshold=clip_threshold, scaling=scaling,
                                binarizations=binarizations, activation=quantized_by, weight=weight)
        if self.quantization.activation_quantizer.has_scales and not flatten:
            raise ValueError(f'{self.name}: flatten=False is for activations without scales, got '
                             f'{self.quantization.activation_quantizer}; the scales are of whole samples')

    def hybrid_forward(self, F: Any, x: Tensor | Sequence[Tensor], scales: Tensor | None = None, weight: Tensor = None,
                       bias: Tensor | None = None, **learned: Tensor) -> Tensor:
        x, scales = self._inputs(x, scales)
        if self._is_float:
            return super().hybrid_forward(F, x, weight, bias)

        def product(data: Tensor, values: Tensor) -> Tensor:
            return F.FullyConnected(data, values, no_bias=True, num_hidden=self._units, flatten=self._flatten,
                                    name='fwd')

        # The channels are the last axis, whatever the number of axes before it.
        return self._finish(F, self._multiply(x, scales, weight, learned, product, {}), bias, (-1,))


_FUNCTIONS = ('relu', 'sigmoid', 'tanh', 'softrelu', 'softsign')  # Gluon's


def _function_or_quantizer(activation: Any) -> tuple[Any, Any]:
    """Gluon's function behind a layer, and the quantizer before it: which of both an argument is."""
    if activation is None or activation in _FUNCTIONS:
        return activation, None
    try:
        return None, parse_quantizer(activation)
    except (TypeError, ValueError) as error:
        raise type(error)(f'activation: {error}; Gluon\'s functions are {", ".join(_FUNCTIONS)}') from None


class BinaryConv(gluon.HybridBlock):
    """Quantized activation and convolution without bias: what binary networks are made of.

    With activations of 32 bits a ReLU stands in the sign's place, as in the float networks they are compared with.

    Inputs: (N, C, H, W). Outputs: (N, channels, H', W').

    Parameters
    ----------
    channels, kernel_size, strides, padding, dilation, groups, in_channels, weight_initializer
        Those of `QConv2D`.
    bits, quantizer, clip_threshold, scaling, pad_value, activation_bits, binarizations, activation, weight
        See `bmx.nn.Config`; what is None comes from the scope `bmx.nn.config`.
    """

    def __init__(self, channels: int, kernel_size: int | Sequence[int], strides: int | Sequence[int] = (1, 1),
                 padding: int | Sequence[int] = (0, 0), dilation: int | Sequence[int] = (1, 1), groups: int = 1,
                 in_channels: int = 0, weight_initializer: str | mx.init.Initializer | None = None,
                 bits: int | None = None, quantizer: str | None = None, clip_threshold: float | None = None,
                 scaling: str | None = None, pad_value: int | None = None, activation_bits: int | None = None,
                 prefix: str | None = None, params: gluon.ParameterDict | None = None,
                 binarizations: int | None = None, activation: str | Quantizer | None = None,
                 weight: str | Quantizer | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        if isinstance(padding, Sequence) and len(padding) != 2:
            raise ValueError(f'{self.name}: padding must be one number, or two for height and width, got {padding!r}')
        with self.name_scope(), config(bits=bits, activation_bits=activation_bits, quantizer=quantizer, scaling=scaling,
                                       clip_threshold=clip_threshold, pad_value=pad_value,
                                       binarizations=binarizations, activation=activation,
                                       weight=weight) as quantization:
            if quantization.activation_quantizer.bits == 32:
                self.activation = nn.Activation('relu')
            elif quantization.border == 0:
                # MXNet's convolution itself pads with 0, without a copy, and signs without a border are all +-1.
                self.activation = QActivation(in_channels=in_channels)
            else:
                border = padding if isinstance(padding, Sequence) else (padding,) * 2
                self.activation = QActivation(padding=border, in_channels=in_channels)
                padding = 0
            self.conv = QConv2D(channels, kernel_size, strides, padding, dilation, groups, use_bias=False,
                                in_channels=in_channels, weight_initializer=weight_initializer)

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:
        return self.conv(self.activation(x))


class BinaryDense(gluon.HybridBlock):
    """Quantized activation and dense layer, without bias by default: as `BinaryConv`, for a binary classifier.

    With activations of 32 bits a ReLU stands in the sign's place.

    Inputs: (N, ...). Outputs: (N, units); without `flatten` (..., units).

    Parameters
    ----------
    units, use_bias, flatten, in_units, weight_initializer
        Those of `QDense`.
    bits, quantizer, clip_threshold, scaling, activation_bits, binarizations, activation, weight
        See `bmx.nn.Config`; what is None comes from the scope `bmx.nn.config`.
    """

    def __init__(self, units: int, use_bias: bool = False, flatten: bool = True, in_units: int = 0,
                 weight_initializer: str | mx.init.Initializer | None = None, bits: int | None = None,
                 quantizer: str | None = None, clip_threshold: float | None = None, scaling: str | None = None,
                 activation_bits: int | None = None, prefix: str | None = None,
                 params: gluon.ParameterDict | None = None, binarizations: int | None = None,
                 activation: str | Quantizer | None = None, weight: str | Quantizer | None = None) -> None:
        super().__init__(prefix=prefix, params=params)
        with self.name_scope(), config(bits=bits, activation_bits=activation_bits, quantizer=quantizer, scaling=scaling,
                                       clip_threshold=clip_threshold, binarizations=binarizations,
                                       activation=activation, weight=weight) as quantization:
            if quantization.activation_quantizer.by_channel:
                raise ValueError(f'{self.name}: {quantization.activation_quantizer} is for the channels of images, of '
                                 'which a dense layer has none: give activation=')
            is_float = quantization.activation_quantizer.bits == 32
            self.activation = nn.Activation('relu') if is_float else QActivation(in_channels=in_units)
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
    found = {layer.weight.name: layer.weight for layer in quantized_layers(net)
             if layer.quantization.weight_quantizer.bits == 1}
    return list(found.values())
