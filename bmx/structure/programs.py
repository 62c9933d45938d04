"""The blocks of a network from files: instructions of programs and the operators between them, as one list of steps."""
from __future__ import annotations

import collections
import dataclasses
import itertools
import math
import os
import re
from typing import Sequence

from mxnet import gluon

from ..accounting import Summary
from ..graph import Graph
from ..graph.parameters import own_parameters, weight_bits
from ..graph.programs import layers
from ..ops.program import OPERATIONS, Map, Slice, parse
from .blocks import BLOCK, IMPROVED, KEPT, LAYER, MERGED, MODULE, NEW, Block, Layer, merge, sum_of
from .texts import SUMS, changes_nothing, conv_text, instruction_text, operator_text


@dataclasses.dataclass(frozen=True)
class _Value:
    """What a step writes, or the network's input; equal to itself alone.

    A slot holds one value after the other.
    """
    number: int
    shape: tuple


@dataclasses.dataclass
class _Step:
    """An instruction or an operator."""
    name: str
    kind: str
    text: str
    sources: list  # of (value, first channel, end), concatenated
    result: _Value
    moves: bool  # whether channels of the result are, before `then`, those of the sources
    then: list  # for each step on values the (value, first channel, end) that it adds, or None
    beside: list  # what is read beside, of the same form
    bits: str = ''
    bops: int = 0
    flops: int = 0
    size_bits: int = 0

    @property
    def reads(self):
        return self.sources + self.beside + [piece for piece in self.then if piece is not None]

    def kinds(self, known):
        """The kind of each channel of the result; `known` has those of values."""
        def of(piece):
            value, begin, end = piece
            return known[value][begin:end]

        found = [kind for piece in self.sources for kind in of(piece)] if self.moves else []
        if len(found) != _width(self.result):
            found = [NEW] * _width(self.result)
        for added in self.then:
            if added is None:
                found = [NEW if kind == KEPT else kind for kind in found]
            elif len(of(added)) == len(found):
                found = [sum_of(kinds) for kinds in zip(found, of(added))]
        return found


def instruction_blocks(net: gluon.SymbolBlock, shape: Sequence[int], counted: Summary) -> list[Block]:
    """The blocks of a SymbolBlock; `counted` is its `Summary`."""
    steps = _Reader(Graph.from_block(net, shape), counted).steps
    runs = _runs(steps)
    found, names, last, stages = [], ['data'], None, 0
    for run, after in zip(runs, runs[1:] + [None]):
        handed_on = after[0].sources if after else []
        if not handed_on:
            handed_on = [(run[-1].result, 0, _width(run[-1].result))]
        block = _block(run, handed_on)
        block.reads = names[-1:]
        if block.name in names:
            block.name += f'_{len(names)}'
        names.append(block.name)
        size = block.output_shape[1:] if block.role == BLOCK else None
        if size is not None:
            stages += size != last
            block.stage = f'stage {stages}'
        last = size
        found.append(block)
    return found


def _width(value):
    return (value.shape or (1,))[0]


def _runs(steps):
    """Lists of steps, between which all that later ones read is what the next one concatenates."""
    ends, live = [], set()  # where the lists end; the pieces that later steps read
    for place in reversed(range(len(steps))):
        if place + 1 == len(steps) or all(_within(piece, steps[place + 1].sources) for piece in live):
            ends.append(place + 1)
        live = {piece for piece in live if piece[0] != steps[place].result} | set(steps[place].reads)
    ends.reverse()
    return [steps[begin:end] for begin, end in zip([0] + ends, ends)]


def _within(piece, pieces):
    value, begin, end = piece
    return any(value == other and first <= begin and end <= last for other, first, last in pieces)


def _block(run, handed_on):
    """The `Block` of some steps, after which `handed_on` is what later ones read."""
    def shape(pieces):
        if not pieces or not pieces[0][0].shape:
            return []
        return [sum(end - begin for _, begin, end in pieces)] + list(pieces[0][0].shape[1:])

    kinds, places, found = {}, {}, []
    for place, step in enumerate(run):
        for value, _, _ in step.reads:
            kinds.setdefault(value, [KEPT] * _width(value))
        kinds[step.result] = step.kinds(kinds)
        inputs = list(dict.fromkeys(places.get(value, -1) for value, _, _ in step.reads))
        places[step.result] = place
        joins = len(step.sources) > 1 and step.sources != run[0].sources and step.text != 'concat'
        found.append(Layer('concat, ' * joins + step.text, step.bits, list(step.result.shape), inputs))
    channels = merge([(kind, 1) for value, begin, end in handed_on for kind in kinds.get(
        value, [KEPT] * _width(value))[begin:end]])
    role, output = LAYER if len(run) == 1 else MODULE, shape(handed_on)
    if len(handed_on) > 1:  # no instruction: later ones read it so
        inputs = list(dict.fromkeys(places.get(value, -1) for value, _, _ in handed_on))
        found.append(Layer('concat', '', output, inputs))
    bits = list(dict.fromkeys(step.bits for step in run if step.bits))
    found_kinds = {kind for kind, _ in channels}
    if len(output) > 1 and (any('32' not in each.split('/') for each in bits) or found_kinds != {NEW}):
        role = BLOCK
    main = [step for step in run if step.bits][-1:] or run[-1:]
    return Block(main[0].name, _kind(found_kinds, main[0].kind), role, '', [], shape(run[0].sources), output, bits,
                 channels, layers=found,
                 **{key: sum(getattr(step, key) for step in run) for key in ('bops', 'flops', 'size_bits')})


def _kind(kinds, otherwise):
    """What a block is called whose channels come about in these ways."""
    if kinds & {IMPROVED, MERGED}:
        return 'improvement block' if KEPT in kinds else 'residual block'
    return 'dense block' if kinds == {KEPT, NEW} else otherwise


class _Reader:
    """Makes a network's graph a list of steps."""

    def __init__(self, graph, counted):
        self._shapes, self._bits = graph.infer_shapes(), weight_bits(graph)
        self._rows = collections.deque(counted.layers)  # of the nodes that are still to be read
        self._counted = set()  # names of the parameters whose size some step has
        self._values, self._numbers = {}, itertools.count()
        self.steps = []
        constants = graph.constants()
        for node in graph.nodes:
            if node.name == 'data':
                self._values[id(node), 0] = self._value(self._shapes['data', 0][1:])
            elif not node.is_variable and id(node) not in constants:
                if node.op == 'binary_subgraph':
                    self._add_program(node)
                else:
                    self._add_operator(node)
        names = [step.name for step in self.steps if step.bits]
        start = os.path.commonprefix([name[:name.rfind('_') + 1] for name in names]).rfind('_') + 1
        for step in self.steps:  # without the network's prefix
            step.name = step.name[start if step.bits else 0:]

    def _value(self, shape):
        return _Value(next(self._numbers), tuple(shape))

    def _add_program(self, node):
        program, num_data = parse(node.attrs['program']), node.attr('num_data', 1)
        tensors = {f'x{index}': self._values[id(producer), output]
                   for index, (producer, output) in enumerate(node.inputs[:num_data])}
        parameters = [producer for producer, _ in node.inputs[num_data:]]

        def piece(part):
            return tensors[part.tensor], part.begin, part.end

        for instruction, layer in zip(program.instructions, layers(node, self._shapes)):
            name = OPERATIONS[type(instruction)].name
            result = self._value([math.prod(layer.output)] if instruction.out.flat else layer.output)
            step = _Step(f'{name}{len(self.steps)}', name, instruction_text(instruction),
                         [piece(part) for part in instruction.sources], result,
                         isinstance(instruction, Map) and instruction.pool is None and instruction.shuffle == 1,
                         [piece(each.operand) if isinstance(each.operand, Slice) else None
                          for each in instruction.steps],
                         [piece(part) for part in instruction.inputs[len(instruction.sources):]])
            own = [parameters[number] for number in instruction.parameters]
            self._count_instruction(step, layer.weight, own)
            tensors[instruction.out.tensor] = result
            if instruction.out.is_output:
                self._values[id(node), int(instruction.out.tensor[1:])] = result
            self.steps.append(step)
        self._drop_row(node)

    def _add_operator(self, node):
        read = [self._values[id(producer), index] for producer, index in node.inputs
                if (id(producer), index) in self._values]
        if read and changes_nothing(node):
            self._values[id(node), 0] = read[0]
            return
        shape = self._shapes[node.name, 0][1:]
        pieces = [(value, 0, _width(value)) for value in read]
        text = operator_text(node, _width(read[0]) if read else 0)
        joins, adds = node.op == 'Concat' and node.attr('dim') == 1, node.op in SUMS
        sources, others = (pieces, []) if joins else (pieces[:1], pieces[1:])
        step = _Step(node.name, text, text, sources, self._value(shape), joins or adds, others if adds else [],
                     [] if adds else others)
        own = [producer for producer, _ in node.inputs if producer.is_variable and producer.name != 'data']
        if node.op == 'xnor_popcount':
            layer, = layers(node, self._shapes)
            step.text = 'sign, ' + (conv_text(layer.kernel, node.attr('stride') or (1,), layer.groups, layer.channels)
                                    if layer.kernel else 'dense')
            self._count_instruction(step, layer.weight, own)
            self._drop_row(node)
        elif self._rows and self._rows[0]['name'] == node.name:
            self._take_row(step)
            self._mark(own)
        for index in range(sum(name == node.name for name, _ in self._shapes)):  # several results are one value
            self._values[id(node), index] = step.result
        self.steps.append(step)

    def _count_instruction(self, step, weight, parameters):
        """Set what an instruction costs, of whose node `accounting` has a row for each product and one for the rest."""
        if weight is not None:
            self._take_row(step)
            self._mark([weight])
        step.size_bits += self._mark(parameters)

    def _take_row(self, step):
        row = self._rows.popleft()
        if row['bits']:
            step.name = re.sub('_weight$', '', row['name'])
        step.bits, step.bops, step.flops, step.size_bits = (row[key] for key in ('bits', 'bops', 'flops', 'size_bits'))

    def _drop_row(self, node):
        """Leave out the row of a node's parameters that are no weights; instructions have them."""
        if self._rows and (self._rows[0]['name'], self._rows[0]['op']) == (node.name, 'binary_subgraph'):
            self._rows.popleft()

    def _mark(self, variables):
        """The size in bits of those parameters of the float network, which variables stand for, that are new."""
        size = 0
        for variable in variables:
            own = own_parameters(variable, {variable.name: self._shapes[variable.name, 0]}, self._bits)
            size += sum(count * width for name, (count, width) in own.items() if name not in self._counted)
            self._counted.update(own)
        return size
