"""Passes that move steps to where they cost less: behind maximum pooling, and into the thresholds of signs."""
from __future__ import annotations

import dataclasses
from typing import Callable, Mapping

import mxnet as mx
import numpy as np

from ..ops.program import CONV_PARAMETERS, STEPS, AnyInstruction, Conv, Map, Program, Slice, Step
from .build import Built
from .threshold import is_monotone, steps_threshold
from .variables import Variables


def postpone_steps(built: Built, params: Mapping[str, mx.nd.NDArray]) -> Built:
    """Let steps that never decrease follow the maximum pooling before which they stand: there are fewer values.

    Parameters
    ----------
    built : Built
    params : dict of str to NDArray

    Returns
    -------
    Built
    """
    instructions = {instruction.out.tensor: instruction for instruction in built.program.instructions}

    def rises(step):
        return STEPS[step.word].operand != 'slice' and is_monotone(
            step.word, _values(built.parameters, params, step.operand), rising=True)

    for tensor, pooling in instructions.items():
        if not isinstance(pooling, Map) or pooling.pool != 'max' or (pooling.full and _may_be_empty(pooling)):
            continue
        kept, moved = _split(pooling.before, rises)
        source, first = pooling.sources[0], instructions.get(pooling.sources[0].tensor)
        if (not kept and len(pooling.sources) == 1 and first is not None and source.channels == _written(first)
                and sum(source.tensor == piece.tensor for each in instructions.values() for piece in each.reads) == 1
                and getattr(first, 'shuffle', 1) == 1):
            steps, more = _split(first.steps, rises)
            instructions[source.tensor] = dataclasses.replace(first, steps=steps)
            moved = more + moved
        instructions[tensor] = dataclasses.replace(pooling, before=kept, steps=moved + pooling.steps)
    return dataclasses.replace(built, program=Program(tuple(instructions.values())))


def _may_be_empty(pooling: Map) -> bool:
    """Whether the last window of a `full` pooling can lie beyond the image; it holds the lowest number then."""
    return any(stride > size - pad for stride, size, pad in zip(pooling.stride, pooling.kernel or (), pooling.pad))


def _written(instruction: AnyInstruction) -> int:
    """Channels that an instruction writes."""
    return getattr(instruction, 'filters', instruction.channels)


def _split(steps: tuple[Step, ...], condition: Callable[[Step], bool]) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
    """Steps, and the last of them that all meet a condition."""
    kept = len(steps)
    while kept and condition(steps[kept - 1]):
        kept -= 1
    return steps[:kept], steps[kept:]


def _values(parameters, params, number):
    """The values of a program's parameter, a NumPy array; of None, None."""
    return None if number is None else params[parameters[number].name].asnumpy()


def fold_steps(built: Built, params: Mapping[str, mx.nd.NDArray], variables: Variables) -> Built:
    """Fold steps before a sign into thresholds.

    Where all that reads a tensor are binary convolutions by thresholds, the last steps of its instruction that
    are monotone in each channel are left out, and each of these convolutions compares with other thresholds. A map that
    has nothing left to do vanishes.

    Parameters
    ----------
    built : Built
    params : dict of str to NDArray
    variables : Variables
        Makes the thresholds.

    Returns
    -------
    Built
        With other instructions and parameters.
    """
    return _Folding(built, params, variables).run()


class _Folding:
    def __init__(self, built, params, variables):
        self._built, self._params, self._variables = built, params, variables
        self._parameters = list(built.parameters)
        self._instructions = {instruction.out.tensor: instruction for instruction in built.program.instructions}
        self._folded = 0

    def run(self):
        for tensor in list(self._instructions):
            self._fold(tensor)
        program, parameters = _without_unused(Program(tuple(self._instructions.values())), self._parameters)
        return dataclasses.replace(self._built, program=program, parameters=parameters)

    def _values(self, number):
        return _values(self._parameters, self._params, number)

    def _fold(self, tensor):
        instruction = self._instructions[tensor]
        readers = self._readers(tensor)
        if not readers or getattr(instruction, 'shuffle', 1) > 1:
            return
        kept, last = _split(instruction.steps, self._is_monotone)
        if not last:
            return
        folded = [(step.word, self._values(step.operand)) for step in last]
        sources = [self._parameters[step.operand] for step in last if isinstance(step.operand, int)]
        thresholds = {}
        for reader in readers:
            thresholds[reader] = self._threshold(self._instructions[reader], tensor, folded)
            if thresholds[reader] is None:
                return
        for reader, values in thresholds.items():
            self._folded += 1
            conv = self._instructions[reader]
            before = [self._parameters[conv.threshold]] if conv.threshold is not None else []
            name = f'{self._parameters[conv.weight].name}_threshold{self._folded}'
            self._parameters.append(self._variables.make(name, values, sources + before))
            self._instructions[reader] = dataclasses.replace(conv, threshold=len(self._parameters) - 1)
        self._instructions[tensor] = dataclasses.replace(instruction, steps=kept)
        self._drop_copy(tensor, readers)

    def _readers(self, tensor):
        """The instructions that read a tensor, by what they write; empty where not all just take its signs."""
        found = []
        for out, instruction in self._instructions.items():
            if any(piece.tensor == tensor for piece in instruction.reads):
                if (not isinstance(instruction, Conv) or instruction.binarizations > 1
                        or any(piece.tensor == tensor for piece in instruction.reads[len(instruction.sources):])):
                    return []
                found.append(out)
        return found

    def _is_monotone(self, step):
        return STEPS[step.word].operand != 'slice' and is_monotone(step.word, self._values(step.operand))

    def _threshold(self, conv, tensor, steps):
        """The thresholds of a convolution when the steps of a tensor that it reads are left out.

        Of several planes each comparison folds by itself.
        """
        values = self._values(conv.threshold)
        if values is None:
            values = np.stack([np.zeros(conv.channels), np.ones(conv.channels)]).astype(np.float32)
        values, first = values.copy(), 0
        for piece in conv.sources:
            if piece.tensor == tensor:
                taken = slice(piece.begin, piece.end)
                cut = [(word, of if of is None or of.shape[-1] == 1 else of[..., taken]) for word, of in steps]
                for comparison in values.reshape(-1, 2, conv.channels)[:, :, first:first + piece.channels]:
                    found = steps_threshold(cut, piece.channels, comparison)
                    if found is None:
                        return None
                    comparison[:] = found
            first += piece.channels
        return values

    def _drop_copy(self, tensor, readers):
        """Let readers read what a map without steps and pooling copies."""
        copy = self._instructions[tensor]
        if not isinstance(copy, Map) or copy.steps or copy.pool or copy.shuffle > 1 or copy.out.is_output:
            return
        for reader in readers:
            sources = []
            for piece in self._instructions[reader].sources:
                sources += _cut(copy.sources, piece) if piece.tensor == tensor else [piece]
            self._instructions[reader] = dataclasses.replace(self._instructions[reader], sources=tuple(sources))
        del self._instructions[tensor]


def _cut(sources, piece):
    """The slices of `sources`, concatenated, that a slice of their copy is."""
    found, first = [], 0
    for source in sources:
        low, high = max(piece.begin, first), min(piece.end, first + source.channels)
        if low < high:
            found.append(Slice(source.tensor, source.begin + low - first, source.begin + high - first))
        first += source.channels
    return found


def _without_unused(program, parameters):
    """A program and its parameters, numbered anew without those that nothing reads."""
    used = sorted({number for instruction in program.instructions for number in instruction.parameters})
    number = {old: new for new, old in enumerate(used)}

    def steps(items):
        return tuple(dataclasses.replace(step, operand=number[step.operand])
                     if STEPS[step.word].operand == 'parameter' else step for step in items)

    renumbered = []
    for instruction in program.instructions:
        fields = {name: number[getattr(instruction, name)] for name in CONV_PARAMETERS
                  if getattr(instruction, name, None) is not None}
        fields.update({name: steps(getattr(instruction, name)) for name in ('before', 'steps')
                       if getattr(instruction, name)})
        renumbered.append(dataclasses.replace(instruction, **fields))
    return Program(tuple(renumbered)), [parameters[old] for old in used]
