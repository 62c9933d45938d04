"""The structure of a network as data: its blocks in order, and what each of them does to the feature map.

Derived from the network alone, its Gluon blocks and traced graph (`traced`) or its programs (`programs`); no model has
code of its own here.
"""
from __future__ import annotations

from typing import Sequence

from mxnet import gluon

from ..accounting import Summary, summary
from .blocks import BLOCK, IMPROVED, KEPT, LAYER, MERGED, MODULE, NEW, Block, Layer
from .programs import instruction_blocks
from .traced import gluon_blocks


def structure(net: gluon.HybridBlock, shape: Sequence[int]) -> tuple[list[Block], Summary]:
    """The blocks of a network, in the order in which they are computed.

    A sequence that holds more than layers is a stage and gives its elements; so does a block that only calls others.
    Any other block stays whole. What the network itself computes between its blocks counts as layers.

    A network from files has no blocks of its own. Its layers are the instructions of its programs and the operators
    between them; a block is what lies between two places where one feature map is all that later ones read. A stage is
    a row of blocks at one resolution.

    Parameters
    ----------
    net : gluon.HybridBlock
        Any network with one input, trained or deployed; it need not be initialized.
    shape : tuple of int
        Shape of the input, batch first.

    Returns
    -------
    list of Block
        Without those that change nothing, such as `PlainLayout`.
    Summary
        The network's, whose layers are those of the blocks.
    """
    counted = summary(net, shape)
    find = instruction_blocks if isinstance(net, gluon.SymbolBlock) else gluon_blocks
    return find(net, shape, counted), counted
