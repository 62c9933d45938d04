"""Passes that make slots of a program's tensors: what they hold, then where they are."""
from __future__ import annotations

import collections
import dataclasses
import math
from typing import Sequence

from ..ops.program import TYPES, Conv, FloatConv, Map, Program, Slice, Step, infer_shapes

# Sums of binary products within this are kept as int16.
_INT16_MAX = 2 ** 15 - 1
# Of what so many binary convolutions take the signs, the layout from which signs are taken fastest is worth its making.
_MANY_SIGNS = 3


def choose_types(program: Program) -> Program:
    """Give each tensor between instructions its type.

    Sums of binary products that fit are kept as int16. What float convolutions write is planar, as their vectors hold
    it, and so is what maps write for them. All else is float32, channels last, of which signs and steps are taken
    fastest; so is what a float convolution writes for many binary ones, as a transition does for its stage.

    Parameters
    ----------
    program : Program
        Of `build`.

    Returns
    -------
    Program
    """
    planar = {piece.tensor for instruction in program.instructions if isinstance(instruction, FloatConv)
              for piece in instruction.sources}
    signs = collections.Counter(piece.tensor for instruction in program.instructions if isinstance(instruction, Conv)
                                for piece in instruction.sources)
    bounds, typed = {}, []  # of the magnitudes in int16 tensors
    for instruction in program.instructions:
        out = instruction.out
        if not out.is_output:
            if isinstance(instruction, Conv):
                bound = _bound(instruction, bounds)
                kind = 'int16' if bound <= _INT16_MAX else 'float32'
                if kind == 'int16':
                    bounds[out.tensor] = bound
            else:
                by_plane = isinstance(instruction, FloatConv) and signs[out.tensor] < _MANY_SIGNS
                planes = by_plane or getattr(instruction, 'shuffle', 1) > 1 or out.tensor in planar
                kind = 'planar' if planes else 'float32'
            instruction = dataclasses.replace(instruction, out=dataclasses.replace(out, type=kind))
        typed.append(instruction)
    return Program(tuple(typed))


def _bound(conv, bounds):
    """The largest magnitude that a convolution's result can have; infinite where it is not a sum of products."""
    if conv.is_scaled:
        return math.inf
    return conv.largest + sum(bounds.get(step.operand.tensor, math.inf) if step.word == 'plus' else math.inf
                              for step in conv.steps)


def place(program: Program, data: Sequence[tuple[int, ...]]) -> Program:
    """Put tensors into slots of the workspace; one that is no longer read gives its slot back.

    Parameters
    ----------
    program : Program
        Of `choose_types`.
    data : list of tuple of int
        (C, H, W) of x0, x1, ...: what fits where is decided for these sizes, and right for all.

    Returns
    -------
    Program
    """
    sizes = [math.prod(shape) * TYPES[instruction.out.layout]
             for instruction, shape in zip(program.instructions, infer_shapes(program, data))]
    last_read, writer = {}, {}
    for position, instruction in enumerate(program.instructions):
        last_read.update((piece.tensor, position) for piece in instruction.reads)
        writer[instruction.out.tensor] = position
    slots, capacity, free, placed = {}, [], [], []  # the number of a tensor's slot; bytes of slots
    waiting = []  # slots that a float convolution reads which may run part by part, along with the pooling behind it
    for position, instruction in enumerate(program.instructions):
        out = instruction.out
        dying = list(dict.fromkeys(piece.tensor for piece in instruction.reads
                                   if piece.tensor in writer and last_read[piece.tensor] == position))
        if not out.is_output:
            replaced = _replaced(instruction, program, writer, sizes, dying)
            fits = [slot for slot in free if capacity[slot] >= sizes[position]]
            if replaced is not None:
                slots[out.tensor] = slots[replaced]
                dying.remove(replaced)
            elif fits:
                slots[out.tensor] = min(fits, key=lambda slot: capacity[slot])
                free.remove(slots[out.tensor])
            else:
                slots[out.tensor] = len(capacity)
                capacity.append(sizes[position])
        placed.append(_rename(instruction, slots))
        free, waiting = free + waiting, [slots[tensor] for tensor in dying]
        following = program.instructions[position + 1:position + 2]
        if not (isinstance(instruction, FloatConv) and following and isinstance(following[0], Map)):
            free, waiting = free + waiting, []
    return Program(tuple(placed))


def _replaced(instruction, program, writer, sizes, dying):
    """The summand whose slot an instruction can write to, because it alone is read there and ends there; else None."""
    if getattr(instruction, 'shuffle', 1) > 1:
        return None
    # a binary convolution has packed what it reads before it writes
    read = [] if isinstance(instruction, Conv) else [piece.tensor for piece in instruction.inputs]
    position = writer[instruction.out.tensor]
    for step in instruction.steps:
        if step.word != 'plus' or step.operand.tensor not in dying or step.operand.tensor in read:
            continue
        other = writer[step.operand.tensor]
        if (program.instructions[other].out.type == instruction.out.type and sizes[other] == sizes[position]
                and step.operand.begin == 0):
            return step.operand.tensor
    return None


def _rename(instruction, slots):
    """An instruction on slots in place of tensors."""
    def slot(piece):
        return dataclasses.replace(piece, tensor=f's{slots[piece.tensor]}') if piece.tensor in slots else piece

    def steps(items):
        return tuple(Step(step.word, slot(step.operand)) if isinstance(step.operand, Slice) else step for step in items)

    fields = {'sources': tuple(map(slot, instruction.sources)), 'steps': steps(instruction.steps)}
    if instruction.before:
        fields['before'] = steps(instruction.before)
    if not instruction.out.is_output:
        fields['out'] = slot(instruction.out)
    return dataclasses.replace(instruction, **fields)
