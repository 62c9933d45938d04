"""The language of programs in Python: typed instructions, their text, their shapes; the operator's parser as judge."""
import dataclasses
import re

import mxnet as mx
import numpy as np
import pytest

from bmx.ops import program
from bmx.ops.program import Conv, Destination, FloatConv, Map, Program, ProgramError, Slice, Step, parse

FCONV = 'fconv in=x0[0:8] out=y0 before=relu kernel=3,3 pad=1,1 filters=4 groups=2 weight=p0 steps=mul:p1'
CONV = 'conv in=x0[0:8] out=y0 kernel=3,3 pad=1,1 filters=4 weight=p0'

# Text -> what is printed of it, where that is another: what is left out is what it would be anyway.
PROGRAMS = {
    CONV: CONV,
    'conv weight=p0 filters=4 stride=1,1 pad=1,1 kernel=3,3 groups=1 pad_value=-1 dilate=1,1 binarizations=1 out=y0 '
    'in=x0[0:8];': CONV,
    ' ;;  map   in=x0[0:8]   out=y00 ; ': 'map in=x0[0:8] out=y0',
    'map in=x0[0:8] out=y0 before=relu steps=mul:p0|plus:x0[0:8]':
        'map in=x0[0:8] out=y0 steps=relu|mul:p0|plus:x0[0:8]',
    'map in=x0[0:8] out=y0 before=relu pool=avg kernel=2,2 stride=2,2 full=1 steps=prelu:p1|norm:p0 shuffle=4': None,
    'conv in=x0[0:8] out=s0:int16 kernel=1,1 filters=8 weight=p0 threshold=p1; '
    'conv in=s0[0:4],x0[2:6] out=s0:int16 kernel=1,1 stride=1,1 filters=8 groups=2 pad_value=0 weight=p2 '
    'steps=plus:s0[0:8]; map in=s0[0:8] out=y0':
        'conv in=x0[0:8] out=s0:int16 kernel=1,1 filters=8 weight=p0 threshold=p1; '
        'conv in=s0[0:4],x0[2:6] out=s0:int16 kernel=1,1 filters=8 groups=2 pad_value=0 weight=p2 steps=plus:s0[0:8]; '
        'map in=s0[0:8] out=y0',
    FCONV: None,
    'fconv groups=2 weight=p0 filters=4 kernel=3,3 pad=1,1 out=y0:flat in=x0[0:8]':
        'fconv in=x0[0:8] out=y0:flat kernel=3,3 pad=1,1 filters=4 groups=2 weight=p0',
    'map in=x0[0:8] out=y00:flat before=relu pool=avg global=1 shuffle=2':
        'map in=x0[0:8] out=y0:flat before=relu pool=avg global=1 shuffle=2',
    'map in=x0[0:8] out=y0 pool=max global=0 kernel=2,2': 'map in=x0[0:8] out=y0 pool=max kernel=2,2',
    'map in=x0[0:8] out=y0 pool=avg kernel=3,2 pad=1,1 count_pad=1': None,
    CONV.replace('weight=p0', 'zero_one=1 weight_planes=3 planes=2 weight=p0 counted=1 weight_scales=p3 scales=p2 '
                              'threshold=p1 interleaved=0'):
        CONV.replace('weight=p0', 'planes=2 counted=1 zero_one=1 weight_planes=3 weight=p0 threshold=p1 scales=p2 '
                                  'weight_scales=p3'),
    CONV + ' binarizations=2 weight_planes=2 weight_scales=p1':
        CONV.replace('weight=p0', 'binarizations=2 weight_planes=2 weight=p0 weight_scales=p1'),
    CONV.replace('weight=p0', 'zero_one=1 weight=p0 scales=p1'): None,
    'conv in=x1[0:8],x0[0:1] out=y1 kernel=1,2 filters=1 binarizations=3 weight=p0; map in=x1[7:8] out=y0': None,
}

# Text -> what is said of it.
REFUSED = {
    '': 'no instructions',
    'dense in=x0[0:8] out=y0': "instruction 0: unknown operation 'dense'",
    'map out=y0': 'in is required',
    'map in=x0[0:8] out=y0 in=x0[0:8]': 'two values of in',
    'map in=x0[0:8] out=y0 relu': "'relu' is not key=value",
    'map in=x0[0:8] out=y0 filters=3': "unknown key 'filters'",
    'map in=x0[0:8] out=y0 kernel=2,2': "unknown key 'kernel'",
    'map in=x0[0:8] out=y0 pool=max': 'kernel is required',
    'map in=x0[0:8] out=y0 pool=min kernel=2,2': "pool must be max or avg, got 'min'",
    'map in=x0[0:8] out=y0 pool=max kernel=2,2 pad=2,0': 'pad 2,0 must be smaller than kernel 2,2',
    'map in=x0[0:8] out=y0 pool=max kernel=2': 'kernel must be two integers',
    'map in=x0[8:8] out=y0': 'has no channels',
    'map in=x0[0:+8] out=y0': "must be an integer, got '+8'",
    'map in=y0[0:8] out=y0': 'not a slice',
    'map in=x1[0:8] out=y0': '',
    'map in=s65536[0:8] out=y0': 'must be between 0 and 65535',
    'map in=x0[0:8] out=s0': 'neither an output (y0, y0:flat) nor a slot',
    'map in=x0[0:8] out=s0:flat': "unknown type 'flat'",
    'map in=x0[0:8] out=y0:': 'neither an output',
    'map in=x0[0:8] out=y0:planar': 'neither an output',
    'map in=x0[0:8] out=y0 global=1': "unknown key 'global' of a map without pool",
    'map in=x0[0:8] out=y0 pool=avg global=1 kernel=2,2': "unknown key 'kernel' of a map with global=1",
    'map in=x0[0:8] out=y0 pool=avg global=1 count_pad=1': "unknown key 'count_pad' of a map with global=1",
    'map in=x0[0:8] out=y0 pool=avg global=0': 'kernel is required',
    'map in=x0[0:8] out=y0 pool=avg global=2': 'global must be between 0 and 1',
    'map in=x0[0:8] out=y0 pool=max kernel=2,2 count_pad=0': "unknown key 'count_pad' of a map with pool=max",
    FCONV + ' threshold=p2': "unknown key 'threshold'",
    FCONV + ' pad_value=1': "unknown key 'pad_value'",
    FCONV.replace('groups=2', 'groups=3'): 'groups must divide filters',
    FCONV.replace(' weight=p0', ''): 'weight is required',
    FCONV + '; ' + CONV.replace('y0', 's0:planar'): 'p0 is both a weight and something else',
    'map in=x0[0:8] out=s0:int8': "unknown type 'int8'",
    'map in=x0[0:8] out=s0:planar': 'no instruction writes output y0',
    'map in=x0[0:8] out=y0; map in=x0[0:8] out=y0': 'y0 was written by instruction 0 already',
    'map in=x0[0:8] out=s0:int16 shuffle=2': 'only a planar result can be shuffled',
    'map in=x0[0:8] out=y0 steps=relu:p0': "'relu:p0' is not a step",
    'map in=x0[0:8] out=y0 steps=mul': "'mul' is not a step",
    'map in=x0[0:8] out=y0 steps=tanh': "unknown step 'tanh'",
    'map in=x0[0:8] out=y0 steps=mul:q0': 'not a parameter',
    'map in=x0[0:8] out=y0 steps=mul:p1': 'p0 is not used, but a higher one is',
    CONV + ' steps=mul:p0': 'both a weight and something else',
    CONV + ' groups=3': 'groups must divide filters',
    CONV + ' pad_value=2': 'must be between -1 and 1',
    CONV + ' binarizations=9': 'must be between 1 and 8',
    CONV + ' binarizations=2 threshold=p1': 'a threshold is of one binarization',
    CONV + ' planes=2': 'planes 2 need a threshold',
    CONV + ' planes=9 threshold=p1': 'planes must be between 1 and 8',
    CONV + ' counted=1 threshold=p1': 'a counter has several planes',
    CONV + ' zero_one=1 pad_value=1': 'with zero_one the padding holds 0',
    CONV + ' binarizations=2 zero_one=1': 'several binarizations have signs and scales of their own',
    CONV + ' binarizations=2 scales=p1': 'several binarizations have signs and scales of their own',
    CONV + ' binarizations=2 planes=2': 'several binarizations have signs and scales of their own',
    CONV + ' weight_planes=0': 'weight_planes must be between 1 and 8',
    CONV + ' scales=p0': 'p0 is both a weight and something else',
    CONV + ' weight_scales=p2': 'p1 is not used, but a higher one is',
    FCONV + ' weight_planes=2': "unknown key 'weight_planes'",
    CONV + ' interleaved=1': 'interleaved weights are of groups of 64 filters',
    CONV + ' interleaved=2': 'must be between 0 and 1',
    CONV.replace('filters=4', 'filters=4294967296'): 'must be between 1 and 2147483647',
}


def counts(text):
    """As many data inputs and outputs as a text names, at least one each."""
    return {key: 1 + max(map(int, re.findall(letter + '([0-9])', text)), default=0)
            for key, letter in (('num_data', 'x'), ('num_outputs', 'y'))}


def operator_takes(text, num_data, num_outputs):
    """Whether the operator's own parser takes a text."""
    try:
        mx.sym.binary_subgraph(program=text, num_data=num_data, num_outputs=num_outputs)
    except mx.MXNetError as error:
        if 'ParseAttrs' in str(error):
            return False
        assert 'Not enough argument' in str(error)  # it had read the text when it missed its inputs
    return True


@pytest.mark.parametrize('text', PROGRAMS)
def test_text_and_instructions_are_each_others_inverse(text):
    parsed = parse(text, **counts(text))
    assert str(parsed) == (PROGRAMS[text] or text)
    assert parse(str(parsed)) == parsed
    assert operator_takes(text, **counts(text)) and operator_takes(str(parsed), **counts(text))


@pytest.mark.parametrize('text', REFUSED)
def test_what_is_no_program_is_refused_by_both_parsers(text):
    with pytest.raises(ProgramError) as error:
        parse(text, 1, 1)
    assert REFUSED[text] in str(error.value)
    assert not operator_takes(text, 1, 1)


PIECES = (['conv', 'fconv', 'map', 'y0:flat', ';', ' '] + [f'{word.name}=' for word in program.WORDS]
          + list(program.STEPS)
          + ['x0[0:8]', 's0[0:8]', 's1[2:4]', 'y0', 'y1', 's0:int16', 's0:planar', 's1:float32', 'p0', 'p1', 'p2', '0',
             '1', '-1', '2', '3,3', '1,1', '0,0', '2147483648', ',', '|', ':', '=', '[', ']', '-', '+', '07', 'max',
             'avg'])


def mutant(text, random):
    """A text with a few pieces of the language replaced, dropped or put in."""
    tokens = [token for token in text.replace('=', '= ').replace(';', ' ; ').replace('|', ' | ').split(' ')]
    for _ in range(random.randint(1, 3)):
        at = random.randint(len(tokens))
        piece = PIECES[random.randint(len(PIECES))]
        tokens[at:at + random.randint(0, 2)] = [piece] if random.randint(3) else [tokens[random.randint(len(tokens))]]
    return ' '.join(tokens).replace('= ', '=').replace(' | ', '|')


def test_both_parsers_take_the_same_texts():
    random, taken = np.random.RandomState(0), 0
    texts = list(PROGRAMS)
    for _ in range(10000):
        text = mutant(texts[random.randint(len(texts))], random)
        try:
            parsed = parse(text, 2, 1)
        except ProgramError:
            parsed = None
        assert operator_takes(text, 2, 1) == (parsed is not None), text
        if parsed is not None:
            taken += 1
            assert parse(str(parsed), 2, 1) == parsed and operator_takes(str(parsed), 2, 1), text
    assert taken > 150


def random_program(random):
    """A program of typed instructions, any of them that may be printed."""
    def slice_():
        begin = random.randint(0, 5)
        return Slice(['x0', 'x1', 's0', 's12'][random.randint(4)], begin, begin + random.randint(1, 9))

    def steps():
        words = list(program.STEPS)
        chosen = [words[random.randint(len(words))] for _ in range(random.randint(0, 4))]
        operands = {'parameter': lambda: random.randint(1, 4), 'slice': slice_, None: lambda: None}
        return tuple(Step(word, operands[program.STEPS[word].operand]()) for word in chosen)

    def pair(least, most=4):
        return tuple(int(value) for value in random.randint(least, most, 2))

    instructions = [Map((Slice('x0', 0, 8),), Destination('y0'), tuple(Step('mul', number) for number in (1, 2, 3, 4))),
                    Conv((Slice('x1', 0, 8),), Destination('s0', 'int16'), weight=0, kernel=(1, 1), filters=1)]
    if random.randint(2):
        instructions[0] = dataclasses.replace(instructions[0], out=Destination('y0', flat=True))
    for _ in range(random.randint(0, 5)):
        common = dict(sources=tuple(slice_() for _ in range(random.randint(1, 4))), steps=steps(),
                      out=Destination(f's{random.randint(3)}', ['int16', 'float32', 'planar'][random.randint(3)]))
        filters = dict(kernel=pair(1), stride=pair(1), pad=pair(0), dilate=pair(1), groups=random.randint(1, 4))
        filters['filters'] = filters['groups'] * random.randint(1, 9)
        kind = (Conv, FloatConv, Map)[random.randint(3)]
        if kind is Conv:
            threshold = [None, 2][random.randint(2)]
            interleaved = random.randint(2)
            if interleaved:
                filters['filters'] = filters['groups'] * 64 * random.randint(1, 3)
            zero_one, several = random.randint(2), not threshold and random.randint(2)
            binarizations = random.randint(1, 9) if several and not zero_one else 1
            planes = random.randint(1, 9) if threshold else 1
            instructions.append(Conv(weight=0, pad_value=-1 if zero_one else random.randint(-1, 2), threshold=threshold,
                                     interleaved=interleaved, binarizations=binarizations, planes=planes,
                                     counted=int(planes > 1 and random.randint(2)), zero_one=zero_one,
                                     scales=3 if binarizations == 1 and random.randint(2) else None,
                                     weight_planes=random.randint(1, 9), weight_scales=[None, 4][random.randint(2)],
                                     **filters, **common))
        elif kind is FloatConv:
            instructions.append(FloatConv(weight=1, before=steps(), **filters, **common))
        else:
            shuffle = random.randint(1, 4) if common['out'].type == 'planar' else 1
            pool = dict(pool=['max', 'avg'][random.randint(2)], before=steps()) if random.randint(2) else {}
            if pool and random.randint(2):
                pool.update(global_=1)
            elif pool:
                pool.update(kernel=pair(3, 6), stride=pair(1), pad=pair(0, 3), full=random.randint(2),
                            count_pad=random.randint(2) if pool['pool'] == 'avg' else 0)
            instructions.append(Map(shuffle=shuffle, **common, **pool))
    return Program(tuple(instructions))


def test_what_is_printed_is_read_again():
    random = np.random.RandomState(1)
    for _ in range(300):
        written = random_program(random)
        assert parse(str(written), 2, 1) == written
        assert operator_takes(str(written), 2, 1), str(written)


@pytest.mark.parametrize('text, file_format', [
    (CONV, 2), (CONV + ' binarizations=1', 2), (CONV + ' binarizations=2', 3),
    (CONV.replace('filters=4', 'filters=64 interleaved=1'), 4), (CONV + ' planes=1 counted=0', 2),
    (CONV + ' planes=2 threshold=p1', 5), (CONV + ' zero_one=1', 5), (CONV + ' weight_planes=2', 5),
    (CONV + ' scales=p1', 5), (CONV + ' weight_scales=p1', 5),
    ('map in=x0[0:8] out=y0:flat', 4), ('map in=x0[0:8] out=y0 pool=max global=1', 4),
    ('map in=x0[0:8] out=y0 pool=avg kernel=2,2 count_pad=1', 4), (FCONV, 4),
    ('map in=x0[0:8] out=y0 pool=max kernel=2,2', 2), ('map in=x0[0:8] out=y0 pool=max kernel=2,2 full=1', 3),
    ('map in=x0[0:8] out=y0 pool=avg kernel=2,2', 3), ('map in=x0[0:8] out=y0 steps=repeat:x0[0:4]', 5)])
def test_file_format_is_that_of_the_youngest_word(text, file_format):
    assert parse(text).file_format == file_format


@pytest.mark.parametrize('size', [(7, 9), (10, 10)])
def test_shapes_are_the_operators(size):
    text = ('conv in=x0[0:8] out=s0:float32 kernel=3,2 stride=2,1 pad=1,2 dilate=2,1 filters=6 weight=p0; '
            'map in=s0[0:6],s0[1:3] out=s1:planar pool=max kernel=2,2 stride=3,2 full=1;'
            'map in=s1[0:8] out=y0 shuffle=2; fconv in=s1[0:8] out=y1:flat kernel=2,1 pad=1,0 filters=3 weight=p1;'
            'map in=s1[0:8] out=y2 pool=avg global=1')
    found = program.infer_shapes(parse(text), [(8,) + size])
    symbol = mx.sym.binary_subgraph(*map(mx.sym.var, 'xwv'), program=text, num_outputs=3)
    shapes = symbol.infer_shape(x=(1, 8) + size, v=(1, 1, 16, 4))[1]
    assert shapes == [(1,) + found[2], (1, int(np.prod(found[3]))), (1,) + found[4]]
    assert found[0][0] == 6 and found[1][0] == 8 and found[4] == (8, 1, 1)
