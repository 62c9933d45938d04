"""What moves weights beside the gradient of the loss: decay, the bipolar regularizer, clipping.

docs/semantics.md, "Regularizers", has the formulas and their sources.
"""
from __future__ import annotations

from typing import Iterable

import mxnet as mx

from ..nn import binary_parameters
from .recipes import Recipe


def set_decays(net: mx.gluon.Block, recipe: Recipe, no_wd: bool = False) -> None:
    """Give every parameter its weight decay as `wd_mult`, for an optimizer whose own weight decay is 1.

    The gradient of the bipolar regularizer is that of a negative weight decay.

    Parameters
    ----------
    net : gluon.Block
        Just built: what its `wd_mult` are is taken as a factor, except for binary weights.
    recipe : recipes.Recipe
    no_wd : bool
        Whether biases and batch normalisation do without.
    """
    for parameter in net.collect_params().values():
        parameter.wd_mult *= recipe.wd
    for parameter in binary_parameters(net):
        parameter.wd_mult = recipe.binary_wd - 2 * recipe.bipolar
    if no_wd:
        for parameter in net.collect_params('.*beta|.*gamma|.*bias').values():
            parameter.wd_mult = 0.0


def clip(parameters: Iterable[mx.gluon.Parameter]) -> None:
    """Clip parameters to [-1, 1], on every device."""
    for parameter in parameters:
        for array in parameter.list_data():
            mx.nd.clip(array, -1, 1, out=array)
