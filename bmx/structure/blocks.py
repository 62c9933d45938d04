"""The blocks of a network as data: what each does to the feature map."""
from __future__ import annotations

import dataclasses
from typing import Any, Collection, Iterable

# How channels of a block's output come about: passed on as they came; computed; computed and added to what came (a
# shortcut around the computation); the sum of two results (a shortcut that changes the shape).
KEPT, NEW, IMPROVED, MERGED = 'kept', 'new', 'improved', 'merged'
# What a block is: one layer; layers in a row, as a stem; anything else.
LAYER, MODULE, BLOCK = 'layer', 'module', 'block'


@dataclasses.dataclass
class Layer:
    """A step of a block.

    Attributes
    ----------
    text : str
        What it computes, for a reader: 'conv 3x3, stride 2' (with a multiplication sign); an instruction of a program
        computes several things, with commas between them.
    bits : str
        'weights/activations' of a product, else ''.
    output_shape : list of int
        Without the batch.
    inputs : list of int
        Indices of the block's layers that it reads; -1 is the block's first input, -2 its second, ...
    """

    text: str
    bits: str
    output_shape: list[int]
    inputs: list[int]


@dataclasses.dataclass
class Block:
    """A block of a network.

    Attributes
    ----------
    name : str
        The Gluon block's, without the network's prefix; of instructions the float layer's, or the instruction's
        with its place.
    kind : str
        Its class; for a plain sequence its name without a number; of instructions what comes of the channels ('dense
        block', say), else the instruction's.
    role : str
        'layer' (a single one), 'module' (layers in a row, as a stem or a transition), 'block' (anything else).
    stage : str
        The sequence of blocks that it belongs to, or a number for a row of instructions; '' if there is none.
    reads : list of str
        The blocks, or 'data', that it reads.
    input_shape, output_shape : list of int
        Without the batch.
    bits : list of str
        The 'weights/activations' of its products, each once.
    channels : list of (str, int)
        How the channels of the output come about, from the first to the last: 'kept' as they were, 'new', 'improved'
        (added to what came), 'merged' (the sum of two results); and how many of them.
    bops, flops, size_bits : int
        As in `bmx.summary`.
    layers : list of Layer
    """

    name: str
    kind: str
    role: str
    stage: str
    reads: list[str]
    input_shape: list[int]
    output_shape: list[int]
    bits: list[str]
    channels: list[tuple[str, int]]
    bops: int
    flops: int
    size_bits: int
    layers: list[Layer]

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def spread(pieces: Iterable[tuple[str, int]]) -> list[str]:
    """A kind for each channel."""
    return [kind for kind, count in pieces for _ in range(count)]


def merge(pieces: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Pieces of different kinds, of (kind, number of channels) in which neighbours may be alike."""
    merged = []
    for kind, count in pieces:
        if merged and merged[-1][0] == kind:
            count += merged.pop()[1]
        merged.append((kind, count))
    return merged


def sum_of(kinds: Collection[str]) -> str:
    """The kind of a channel that is the sum of some."""
    if MERGED in kinds:
        return MERGED
    return IMPROVED if KEPT in kinds or IMPROVED in kinds else MERGED
