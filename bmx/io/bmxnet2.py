"""Parameters that BMXNet 2 trained, for networks of this package's layers. docs/bmxnet.md has the mapping."""
from __future__ import annotations

import os
from typing import Sequence

import mxnet as mx

from ..nn import QDense, quantized_layers
from ..nn.quantizers import BMXNet, Xnor
from .storage import load_parameters


def load_bmxnet2_parameters(net: mx.gluon.Block, path: str | os.PathLike,
                            ctx: mx.Context | Sequence[mx.Context] | None = None) -> None:
    """Load what a network of BMXNet 2's Gluon layers wrote by `save_parameters`: float weights, not packed.

    Names are the same but for `BinaryConvolution`, whose `qconv.weight` is `conv.weight` of `bmx.nn.BinaryConv`.

    Parameters
    ----------
    net : gluon.Block
        The same network of this package's layers, without biases where BMXNet 2 has none, and built in
        `bmx.nn.config(weight='bmxnet', activation='sign')`, because BMXNet 2's layers give (dot + K) / 2. Where it
        scales weights instead (its approximations), with `scaling=`.
    path : str or os.PathLike
    ctx : Context or list of Context, optional

    Raises
    ------
    FileNotFoundError
        No such file.
    LoadError
        The file is damaged, or belongs to another model.
    ValueError
        A layer computes something else than its counterpart in BMXNet 2.
    """
    for layer in quantized_layers(net):
        quantizer = layer.quantization.weight_quantizer
        scaled = isinstance(quantizer, Xnor) or getattr(quantizer, 'scaling', 'none') != 'none'
        if not isinstance(quantizer, BMXNet) and (isinstance(layer, QDense) or quantizer.bits == 1 and not scaled):
            raise ValueError(f'{layer.name} has weights by {quantizer}, and in BMXNet 2 such a layer gives '
                             "(dot + K) / 2: build the network in bmx.nn.config(weight='bmxnet', activation='sign')")
        if not isinstance(layer, QDense) and quantizer.bits < 32 and layer.quantization.pad_value != -1:
            raise ValueError(f'{layer.name} pads with {layer.quantization.pad_value}, BMXNet 2 with -1: '
                             'leave pad_value as it is')
    expected = net._collect_params_with_prefix()

    def rename(name: str) -> str:
        inner = '.'.join('conv' if part == 'qconv' else part for part in name.split('.'))
        return inner if name not in expected and inner in expected else name

    load_parameters(net, path, ctx, rename=rename)
