"""The language of programs, what the operator `binary_subgraph` runs: typed instructions, read from text and printed.

A program is a chain of instructions over feature maps (docs/fused-graph.md). `parse` and `str` are each other's
inverse; `parse` accepts what the operator's own parser (`bmx/ops/src/program.cc`) accepts. What a word means and since
which file format it is known stands in `WORDS`, for steps in `STEPS`.
"""
from __future__ import annotations

import dataclasses
import math
import re
from typing import Callable, Iterable, Sequence, Union, cast

from .packing import BLOCK_FILTERS

INT_MAX = 2 ** 31 - 1
_MAX_INDEX = 65535  # of slots and parameters
_MAX_PLANES = 8
_PLANES = 5  # the format of model files that brought several planes of bits
# What a slot can hold, and the bytes of a value: channels last, or (planar) a channel's pixels adjacent.
TYPES = {'int16': 2, 'float32': 4, 'planar': 4}


# The fields of a `Conv` that are numbers of parameters, in the order in which the operators take them.
CONV_PARAMETERS = ('weight', 'threshold', 'scales', 'weight_scales')


class ProgramError(ValueError):
    """Text that is not a program; the message names the instruction."""


@dataclasses.dataclass(frozen=True)
class Slice:
    """Channels [begin, end) of a tensor: a data input (x0, ...) or a slot (s0, ...)."""
    tensor: str
    begin: int
    end: int

    @property
    def channels(self) -> int:
        return self.end - self.begin

    def __str__(self) -> str:
        return f'{self.tensor}[{self.begin}:{self.end}]'


@dataclasses.dataclass(frozen=True)
class Step:
    """An elementwise step: a word of `STEPS`, and the parameter's number or the slice that it takes, if any."""
    word: str
    operand: None | int | Slice = None

    def __str__(self) -> str:
        kind = STEPS[self.word].operand
        return self.word + {None: '', 'parameter': f':p{self.operand}', 'slice': f':{self.operand}'}[kind]


@dataclasses.dataclass(frozen=True)
class Destination:
    """What an instruction writes: an output (y0, ...), or a slot (s0, ...) with its type, a key of `TYPES`.

    A `flat` output has the shape (N, C * H * W) instead of (N, C, H, W).
    """
    tensor: str
    type: str | None = None
    flat: bool = False

    @property
    def is_output(self) -> bool:
        return self.tensor[0] == 'y'

    @property
    def layout(self) -> str:
        """A key of `TYPES`; outputs are planar, and a slot has its type by then."""
        return 'planar' if self.is_output else cast(str, self.type)

    def __str__(self) -> str:
        kind = 'flat' if self.flat else self.type
        return self.tensor if kind is None else f'{self.tensor}:{kind}'


@dataclasses.dataclass(frozen=True)
class Instruction:
    """What every instruction has: `sources` are concatenated, `steps` come last.

    Some have `before`, steps on the sources, or `own_parameters`, numbers of parameters beside those of steps.
    """
    sources: tuple[Slice, ...]
    out: Destination
    steps: tuple[Step, ...] = ()

    @property
    def before(self) -> tuple[Step, ...]:
        return ()

    @property
    def own_parameters(self) -> tuple[int, ...]:
        return ()

    @property
    def channels(self) -> int:
        """Channels of the concatenated sources."""
        return sum(piece.channels for piece in self.sources)

    @property
    def inputs(self) -> list[Slice]:
        """Slices that are read before the steps, in order."""
        return list(self.sources) + _summands(self.before)

    @property
    def reads(self) -> list[Slice]:
        """All slices that are read, in order."""
        return self.inputs + _summands(self.steps)

    @property
    def parameters(self) -> list[int]:
        """Numbers of the parameters that are read, in order, with repetition."""
        return list(self.own_parameters) + [step.operand for step in self.before + self.steps
                                            if isinstance(step.operand, int)]

    def __str__(self) -> str:
        text = [OPERATIONS[type(self)].name]
        for word in _words(type(self)):
            value = getattr(self, word.field)
            if value != word.default:
                text.append(f'{word.name}={word.value.text(value)}')
        return ' '.join(text)


@dataclasses.dataclass(frozen=True)
class Convolution(Instruction):
    """What convolutions have: a window, filters in groups and a parameter with their weights.

    A dense layer is one that is `whole`: images of another size than the kernel's are refused.
    """
    # None is none of their values: behind fields that have a default, these have to have one.
    weight: int = None  # type: ignore[assignment]
    kernel: tuple[int, int] = None  # type: ignore[assignment]
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    dilate: tuple[int, int] = (1, 1)
    filters: int = None  # type: ignore[assignment]
    groups: int = 1
    whole: int = 0

    @property
    def own_parameters(self) -> tuple[int, ...]:
        return (self.weight,)

    @property
    def depth(self) -> int:
        """Weights of a filter."""
        return math.prod(self.kernel) * (self.channels // self.groups)

    @property
    def multiply_accumulates(self) -> int:
        """For one pixel of the output."""
        return self.filters * self.depth


@dataclasses.dataclass(frozen=True)
class Conv(Convolution):
    """A binary convolution; the fields mean what the inputs and attributes of `xnor_popcount` mean.

    The weights are packed, or as `bmx.ops.interleave_weights` orders them.
    """
    threshold: int | None = None
    pad_value: int = -1
    binarizations: int = 1
    interleaved: int = 0
    planes: int = 1
    counted: int = 0
    zero_one: int = 0
    scales: int | None = None
    weight_planes: int = 1
    weight_scales: int | None = None

    @property
    def operands(self) -> dict[str, int]:
        """The numbers of its parameters by their fields, of those that there are."""
        return {name: getattr(self, name) for name in CONV_PARAMETERS if getattr(self, name) is not None}

    @property
    def own_parameters(self) -> tuple[int, ...]:
        return tuple(self.operands.values())

    @property
    def activation_planes(self) -> int:
        """Signs or bits that stand for an activation."""
        return self.binarizations * self.planes

    @property
    def is_scaled(self) -> bool:
        """Whether the result is a sum of scaled products in float32, not one product of signs."""
        return (self.activation_planes * self.weight_planes > 1 or self.scales is not None
                or self.weight_scales is not None)

    @property
    def multiply_accumulates(self) -> int:
        return self.activation_planes * self.weight_planes * super().multiply_accumulates

    @property
    def largest(self) -> int:
        """The largest magnitude of one product of signs."""
        return self.depth


@dataclasses.dataclass(frozen=True)
class FloatConv(Convolution):
    """A float convolution, of what `before` makes of the sources; padding is +0.

    The weights are as `bmx.ops.pack_float_weights` makes them. An output is one chain of fused multiply-adds in
    float32: from +0 on, for each channel of the group, row and column of the window.
    """
    before: tuple[Step, ...] = ()


@dataclasses.dataclass(frozen=True)
class Map(Instruction):
    """Steps on values, and pooling between `before` and `steps`, of what lies inside the image.

    With `full` a last window that reaches beyond the image counts, too; with `global_` the window is the image. An
    average is the sum, row by row, divided by the number of pixels, with `count_pad` of those of the padding, too.
    `shuffle`: the groups of a channel shuffle.
    """
    before: tuple[Step, ...] = ()
    pool: str | None = None
    kernel: tuple[int, int] | None = None
    stride: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    full: int = 0
    shuffle: int = 1
    global_: int = 0
    count_pad: int = 0


AnyInstruction = Union[Conv, FloatConv, Map]


@dataclasses.dataclass(frozen=True)
class Program:
    """Instructions in the order in which they run."""
    instructions: tuple[AnyInstruction, ...]

    @property
    def file_format(self) -> int:
        """The oldest format of model files that knows every word."""
        return max(_since(instruction) for instruction in self.instructions)

    def __str__(self) -> str:
        return '; '.join(str(instruction) for instruction in self.instructions)


def _summands(steps: tuple[Step, ...]) -> list[Slice]:
    return [step.operand for step in steps if isinstance(step.operand, Slice)]


# The words ------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class StepWord:
    """What a step takes (None, 'parameter' or 'slice'), and the file format that brought it."""
    operand: str | None
    since: int = 2


STEPS = {
    'mul': StepWord('parameter'),
    'add': StepWord('parameter'),
    'norm': StepWord('parameter'),  # (3, C), mean, scale, beta: (x - mean) * scale + beta
    'relu': StepWord(None),
    'prelu': StepWord('parameter'),
    'plus': StepWord('slice'),
    'repeat': StepWord('slice', 5),  # plus, of fewer channels, again and again: of channel c, c modulo their number
}


@dataclasses.dataclass(frozen=True)
class _Value:
    """How a value is read and printed; `read` takes the text and the name of the word."""
    read: Callable
    text: Callable = str


@dataclasses.dataclass(frozen=True)
class Word:
    """A row of the language.

    Attributes
    ----------
    name, field : str
        In the text; of the instruction.
    kinds : tuple of type
        The instructions that take it.
    value : _Value
    default : object
        Where it is left out; `REQUIRED` where it must not be.
    since : int or callable
        The format of model files that brought the word, or of a value the one that brought it.
    """
    name: str
    field: str
    kinds: tuple
    value: _Value
    default: object
    since: int | Callable = 2


REQUIRED = object()


def _integer(least, most=INT_MAX):
    def read(text, name):
        if not re.fullmatch('-?[0-9]+', text, re.ASCII):
            raise ProgramError(f"{name} must be an integer, got '{text}'")
        if not least <= int(text) <= most:
            raise ProgramError(f'{name} must be between {least} and {most}, got {text}')
        return int(text)
    return read


def _size(least):
    def read(text, name):
        parts = text.split(',')
        if len(parts) != 2:
            raise ProgramError(f"{name} must be two integers, got '{text}'")
        return tuple(_integer(least)(part, name) for part in parts)
    return _Value(read, lambda size: f'{size[0]},{size[1]}')


def _count(least, most=INT_MAX):
    return _Value(_integer(least, most))


def _choice(*choices):
    def read(text, name):
        if text not in choices:
            raise ProgramError(f"{name} must be {' or '.join(choices)}, got '{text}'")
        return text
    return _Value(read)


def _read_parameter(text, name='parameter'):
    if not text.startswith('p'):
        raise ProgramError(f"'{text}' is not a parameter (p0)")
    return _integer(0, _MAX_INDEX)(text[1:], 'number of a parameter')


def _read_slice(text, name='slice'):
    found = re.fullmatch(r'([xs])([^\[:]*)\[([^:]*):(.*)\]', text, re.DOTALL)
    if found is None:
        raise ProgramError(f"'{text}' is not a slice like s0[0:64]")
    kind, index, begin, end = found.groups()
    number = _integer(0, _MAX_INDEX)
    piece = Slice(f'{kind}{number(index, "number of a tensor")}', _integer(0)(begin, 'first channel'),
                  _integer(0)(end, 'end of channels'))
    if piece.begin >= piece.end:
        raise ProgramError(f"'{text}' has no channels")
    return piece


def _read_destination(text, name='out'):
    tensor, colon, kind = text.partition(':')
    is_output = tensor.startswith('y') and text != tensor + ':' and kind in ('', 'flat')
    if not (is_output or tensor.startswith('s') and colon):
        raise ProgramError(f"'{text}' is neither an output (y0, y0:flat) nor a slot with its type (s0:int16)")
    number = _integer(0, _MAX_INDEX)(tensor[1:], f'number of {"an output" if is_output else "a slot"}')
    if is_output:
        return Destination(f'y{number}', flat=kind == 'flat')
    if kind not in TYPES:
        raise ProgramError(f"unknown type '{kind}' of a slot; valid types: {', '.join(TYPES)}")
    return Destination(f's{number}', kind)


def _read_step(text):
    word, colon, operand = text.partition(':')
    if word not in STEPS:
        raise ProgramError(f"unknown step '{text}'; valid steps: {', '.join(STEPS)}")
    kind = STEPS[word].operand
    if (kind is None) == bool(colon):
        raise ProgramError(f"'{text}' is not a step")
    return Step(word, None if kind is None else {'parameter': _read_parameter, 'slice': _read_slice}[kind](operand))


def _list(separator, read):
    return _Value(lambda text, name: tuple(read(part) for part in text.split(separator)),
                  lambda items: separator.join(map(str, items)))


_PARAMETER = _Value(_read_parameter, 'p{}'.format)
_STEPS = _list('|', _read_step)

_CONVOLUTIONS = (Conv, FloatConv)
_ALL = (Conv, FloatConv, Map)

WORDS = (
    Word('in', 'sources', _ALL, _list(',', _read_slice), REQUIRED),
    Word('out', 'out', _ALL, _Value(_read_destination), REQUIRED, lambda out: 4 if out.flat else 2),
    Word('before', 'before', (FloatConv, Map), _STEPS, ()),
    Word('pool', 'pool', (Map,), _choice('max', 'avg'), None, {'max': 2, 'avg': 3}.get),
    Word('global', 'global_', (Map,), _count(0, 1), 0, 4),
    Word('kernel', 'kernel', _CONVOLUTIONS, _size(1), REQUIRED),
    Word('kernel', 'kernel', (Map,), _size(1), None),
    Word('stride', 'stride', _ALL, _size(1), (1, 1)),
    Word('pad', 'pad', _ALL, _size(0), (0, 0)),
    Word('dilate', 'dilate', _CONVOLUTIONS, _size(1), (1, 1)),
    Word('full', 'full', (Map,), _count(0, 1), 0, 3),
    Word('count_pad', 'count_pad', (Map,), _count(0, 1), 0, 4),
    Word('filters', 'filters', _CONVOLUTIONS, _count(1), REQUIRED),
    Word('groups', 'groups', _CONVOLUTIONS, _count(1), 1),
    Word('whole', 'whole', _CONVOLUTIONS, _count(0, 1), 0, 4),
    Word('pad_value', 'pad_value', (Conv,), _count(-1, 1), -1),
    Word('binarizations', 'binarizations', (Conv,), _count(1, _MAX_PLANES), 1, 3),
    Word('interleaved', 'interleaved', (Conv,), _count(0, 1), 0, 4),
    Word('planes', 'planes', (Conv,), _count(1, _MAX_PLANES), 1, _PLANES),
    Word('counted', 'counted', (Conv,), _count(0, 1), 0, _PLANES),
    Word('zero_one', 'zero_one', (Conv,), _count(0, 1), 0, _PLANES),
    Word('weight_planes', 'weight_planes', (Conv,), _count(1, _MAX_PLANES), 1, _PLANES),
    Word('weight', 'weight', _CONVOLUTIONS, _PARAMETER, REQUIRED),
    Word('threshold', 'threshold', (Conv,), _PARAMETER, None),
    Word('scales', 'scales', (Conv,), _PARAMETER, None, _PLANES),
    Word('weight_scales', 'weight_scales', (Conv,), _PARAMETER, None, _PLANES),
    Word('steps', 'steps', _ALL, _STEPS, ()),
    Word('shuffle', 'shuffle', (Map,), _count(1), 1),
)


def _check_filters(instruction, given):
    if instruction.filters % instruction.groups:
        raise ProgramError(f'groups must divide filters, got groups {instruction.groups} and filters '
                           f'{instruction.filters}')


def _check_conv(conv, given):
    _check_filters(conv, given)
    if conv.interleaved and conv.filters // conv.groups % BLOCK_FILTERS:
        raise ProgramError(f'interleaved weights are of groups of {BLOCK_FILTERS} filters, got groups {conv.groups} '
                           f'and filters {conv.filters}')
    if conv.binarizations > 1 and conv.threshold is not None:
        raise ProgramError(f'a threshold is of one binarization, got {conv.binarizations}')
    if conv.binarizations > 1 and (conv.planes > 1 or conv.zero_one or conv.scales is not None):
        raise ProgramError('several binarizations have signs and scales of their own: no planes, zero_one or scales')
    if conv.planes > 1 and conv.threshold is None:
        raise ProgramError(f'planes {conv.planes} need a threshold')
    if conv.planes == 1 and conv.counted:
        raise ProgramError('a counter has several planes')
    if conv.zero_one and conv.pad_value != -1:
        raise ProgramError('with zero_one the padding holds 0, which is packed as pad_value -1, got '
                           f'{conv.pad_value}')


def _check_map(instruction, given):
    if 'shuffle' in given and instruction.out.layout != 'planar':
        raise ProgramError('only a planar result can be shuffled')
    window = {'kernel', 'stride', 'pad', 'full', 'count_pad'}
    if instruction.pool is None:
        alone, kind = window | {'global'}, 'without pool'
    elif instruction.global_:
        alone, kind = window, 'with global=1'
    else:
        alone, kind = {'count_pad'} if instruction.pool == 'max' else set(), 'with pool=max'
    if alone & given:
        raise ProgramError(f"unknown key '{min(alone & given)}' of a map {kind}")
    if instruction.pool is None or instruction.global_:
        return
    if instruction.kernel is None:
        raise ProgramError('kernel is required')
    if any(pad >= size for pad, size in zip(instruction.pad, instruction.kernel)):
        pad, kernel = (','.join(map(str, size)) for size in (instruction.pad, instruction.kernel))
        raise ProgramError(f'pad {pad} must be smaller than kernel {kernel}')


@dataclasses.dataclass(frozen=True)
class Operation:
    """A row of the language.

    Attributes
    ----------
    name : str
        In the text.
    check : callable
        Takes an instruction and the words of its text; raises `ProgramError` where these do not go together.
    since : int
        The format of model files that brought the operation.
    """
    name: str
    check: Callable
    since: int = 2


OPERATIONS = {
    Conv: Operation('conv', _check_conv),
    FloatConv: Operation('fconv', _check_filters, 4),
    Map: Operation('map', _check_map),
}


def _words(kind):
    return [word for word in WORDS if kind in word.kinds]


def _since(instruction):
    """The oldest file format that knows all words of an instruction."""
    found = [OPERATIONS[type(instruction)].since]
    found += [STEPS[step.word].since for step in instruction.steps + instruction.before]
    for word in _words(type(instruction)):
        value = getattr(instruction, word.field)
        if value != word.default:
            found.append(word.since(value) if callable(word.since) else word.since)
    return max(found)


def attributes_format(names: Iterable[str]) -> int:
    """The oldest file format that knows these attributes of `xnor_popcount`, which mean what words of a `conv` mean."""
    return max([1] + [word.since for word in _words(Conv) if word.name in names and word.since == _PLANES])


# Reading --------------------------------------------------------------------------------------------------------------


def parse(text: str, num_data: int | None = None, num_outputs: int | None = None) -> Program:
    """Read a program.

    Parameters
    ----------
    text : str
    num_data, num_outputs : int, optional
        How many data inputs and outputs there are; by default as many as the text names.

    Returns
    -------
    Program

    Raises
    ------
    ProgramError
        It is none; the message names the instruction and what is wrong with it.
    """
    instructions = []
    for part in text.split(';'):
        words = [word for word in part.split(' ') if word]
        if not words:
            continue
        place = f'instruction {len(instructions)}'
        kinds = {operation.name: kind for kind, operation in OPERATIONS.items()}
        if words[0] not in kinds:
            raise ProgramError(f"{place}: unknown operation '{words[0]}'; valid operations: {', '.join(kinds)}")
        try:
            instructions.append(_read(kinds[words[0]], words[1:]))
        except ProgramError as error:
            raise ProgramError(f'{place} ({words[0]}): {error}') from None
    program = Program(tuple(instructions))
    _check_whole(program, num_data, num_outputs)
    return program


def _read(kind, words):
    given = {}
    for word in words:
        key, equals, value = word.partition('=')
        if not equals:
            raise ProgramError(f"'{word}' is not key=value")
        if key in given:
            raise ProgramError(f'two values of {key}')
        given[key] = value
    fields, names = {}, set(given)
    for word in _words(kind):
        if word.name in given:
            fields[word.field] = word.value.read(given.pop(word.name), word.name)
        elif word.default is REQUIRED:
            raise ProgramError(f'{word.name} is required')
    if given:
        raise ProgramError(f"unknown key '{min(given)}'; valid keys: {', '.join(word.name for word in _words(kind))}")
    instruction = kind(**fields)
    OPERATIONS[kind].check(instruction, names)
    if kind is Map and instruction.pool is None:  # nothing between them
        return dataclasses.replace(instruction, before=(), steps=instruction.before + instruction.steps)
    return instruction


def _check_whole(program, num_data, num_outputs):
    if not program.instructions:
        raise ProgramError('program has no instructions')
    bits, others = set(), set()
    written = {}
    for index, instruction in enumerate(program.instructions):
        place = f'instruction {index} ({OPERATIONS[type(instruction)].name})'
        for piece in instruction.reads:
            if piece.tensor[0] == 'x' and num_data is not None and int(piece.tensor[1:]) >= num_data:
                raise ProgramError(f'{place}: there are {num_data} data inputs, no {piece.tensor}')
        weights = [instruction.weight] if isinstance(instruction, Conv) else []
        bits.update(weights)
        others.update(instruction.parameters[len(weights):])
        if instruction.out.is_output:
            number = int(instruction.out.tensor[1:])
            if num_outputs is not None and number >= num_outputs:
                raise ProgramError(f'{place}: there are {num_outputs} outputs, no y{number}')
            if number in written:
                raise ProgramError(f'{place}: y{number} was written by instruction {written[number]} already')
            written[number] = index
    if bits & others:
        raise ProgramError(f'p{min(bits & others)} is both a weight and something else')
    used = bits | others
    if used and max(used) >= len(used):
        raise ProgramError(f'parameter p{min(set(range(max(used))) - used)} is not used, but a higher one is')
    missing = set(range(num_outputs if num_outputs is not None else max(written, default=0) + 1)) - set(written)
    if missing:
        raise ProgramError(f'no instruction writes output y{min(missing)}')


# Shapes ---------------------------------------------------------------------------------------------------------------


def infer_shapes(program: Program, data: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """The results' shapes of a program whose data inputs have known ones.

    Parameters
    ----------
    program : Program
    data : list of tuple of int
        (C, H, W) of x0, x1, ...

    Returns
    -------
    list of tuple of int
        (C, H, W) of what each instruction writes, flat or not.
    """
    known = {f'x{index}': tuple(shape) for index, shape in enumerate(data)}
    found = []
    for instruction in program.instructions:
        channels, size = instruction.channels, known[instruction.sources[0].tensor][1:]
        if isinstance(instruction, Convolution):
            channels = instruction.filters
        if isinstance(instruction, Map) and instruction.global_:
            size = (1, 1)
        elif instruction.kernel is not None:
            size = _slide(instruction, size)
        known[instruction.out.tensor] = (channels,) + size
        found.append(known[instruction.out.tensor])
    return found


def _slide(instruction, size):
    """Height and width of the result of sliding a window over an image."""
    dilate, full = getattr(instruction, 'dilate', (1, 1)), getattr(instruction, 'full', 0)
    rest = [size[i] + 2 * instruction.pad[i] - dilate[i] * (instruction.kernel[i] - 1) - 1 for i in range(2)]
    return tuple((rest[i] + (instruction.stride[i] - 1 if full else 0)) // instruction.stride[i] + 1 for i in range(2))
