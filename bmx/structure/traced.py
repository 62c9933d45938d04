"""The blocks of a network of Gluon blocks, from their tree and the traced graph alone."""
from __future__ import annotations

import contextlib
import dataclasses
from typing import Sequence

import mxnet as mx
from mxnet.gluon import nn

from ..accounting import Summary
from ..graph import Graph, without_prefix
from ..graph.products import PRODUCTS
from .blocks import BLOCK, KEPT, LAYER, MODULE, NEW, Block, Layer, merge, spread, sum_of
from .texts import KERNELS, SUMS, changes_nothing, operator_text

_MARK = '__bmx_block__'
_UNARY = ('Activation', 'BatchNorm', 'LeakyReLU', 'relu')


def gluon_blocks(net: mx.gluon.HybridBlock, shape: Sequence[int], counted: Summary) -> list[Block]:
    """The blocks of a network of Gluon blocks; `counted` is its `Summary`, made before: the parameters' variables made
    here are kept, and would keep a mark."""
    traced = _Traced(net, shape, {row['name']: row for row in counted.layers})
    units = _units(net, traced)
    source = {id(node): [unit.name] for unit in units for node in unit.nodes}
    found = []
    for unit in units:
        block = traced.describe(unit)
        for producer, _ in unit.inputs:
            block.reads += [name for name in source.get(id(producer), ['data']) if name not in block.reads]
        if block.layers:
            found.append(block)
        else:
            source.update((id(node), block.reads) for node in unit.nodes)
    return found


@dataclasses.dataclass
class _Unit:
    name: str
    kind: str
    role: str
    stage: str
    nodes: list = dataclasses.field(default_factory=list)
    inputs: list = dataclasses.field(default_factory=list)  # (node, output) of other units, each once


def _is_own(block):
    """Whether a block is one of Gluon or of bmx.nn; what such a layer adds, it computes."""
    return type(block).__module__.startswith(('mxnet.gluon.nn.', 'bmx.nn.'))


def _is_layer(block):
    return not isinstance(block, nn.HybridSequential) and (_is_own(block) or not block._children)


def _units(net, traced):
    """What each node belongs to, in the order of computation."""
    found = {}  # id(block) -> unit

    def add(block, parent, key, role, stage):
        name = traced.short(block.prefix) or block.name
        if parent is not None and block.prefix == parent.prefix:  # it has no name of its own
            name = '.'.join(filter(None, [traced.short(parent.prefix), key]))
        plain = type(block) is nn.HybridSequential
        kind = name.rstrip('0123456789') if plain else type(block).__name__
        unit = _Unit(name, kind, BLOCK if stage else role, stage)
        for each in _all_blocks(block):
            found.setdefault(id(each), unit)

    def walk(block, stage):
        for parent, key, child in traced.elements(block):
            if _is_layer(child):
                add(child, parent, key, LAYER, stage)
            elif id(child) in traced.computing:
                add(child, parent, key, BLOCK, stage)
            elif all(_is_layer(each) for _, _, each in traced.elements(child)):
                add(child, parent, key, MODULE, stage)
            else:
                walk(child, traced.short(child.prefix))

    if _is_layer(net):
        add(net, None, '', LAYER, '')
    else:
        walk(net, '')
    units = {}
    for node in traced.nodes:
        unit = found.get(id(traced.owner[id(node)]))
        if unit is None:
            unit = _Unit(traced.short(node.name), operator_text(node), LAYER, '')
        units.setdefault(id(unit), unit).nodes.append(node)
    for unit in units.values():
        inside = {id(node) for node in unit.nodes}
        read = [entry for node in unit.nodes for entry in traced.inputs(node)]
        unit.inputs = list(dict.fromkeys(entry for entry in read if id(entry[0]) not in inside))
    return list(units.values())


def _all_blocks(block):
    yield block
    for child in block._children.values():
        yield from _all_blocks(child)


@contextlib.contextmanager
def _marking(blocks):
    """Every operator that is traced inside carries the id of the innermost block that computes it, as an attribute.

    Names do not tell: Gluon's own models give blocks an empty prefix.
    """
    scopes = []

    def enter(block, _):
        scopes.append(mx.AttrScope(**{_MARK: str(id(block))}))
        scopes[-1].__enter__()

    def leave(*_):
        scopes.pop().__exit__(None, None, None)

    handles = [handle for block in blocks
               for handle in (block.register_forward_pre_hook(enter), block.register_forward_hook(leave))]
    try:
        yield
    finally:
        while scopes:
            leave()
        for handle in handles:
            handle.detach()


class _Traced:
    """A network's graph, reduced to what depends on the data, with the Gluon block that made each node."""

    def __init__(self, net, shape, rows):
        blocks = {id(block): block for block in _all_blocks(net)}
        with _marking(blocks.values()):
            graph = Graph.from_block(net, shape)
        self._prefix, self._rows, self._shapes = net.prefix, rows, graph.infer_shapes()
        constants = graph.constants()
        self.nodes = [node for node in graph.nodes if not node.is_variable and id(node) not in constants]
        self._data = {id(node) for node in self.nodes} | {id(node) for node in graph.nodes if node.name == 'data'}
        self.owner = {id(node): blocks[node.attr(_MARK, id(net))] for node in self.nodes}
        self._scales = set()  # what only hands on the scales of several binarizations
        for node in self.nodes:
            if node.op in ('SliceChannel', 'Reshape'):
                producer, index = node.inputs[0]
                if id(producer) in self._scales or producer.op == 'residual_binarize' and index == 1:
                    self._scales.add(id(node))
        self.computing = {id(block) for block in self.owner.values()}  # blocks with operators of their own

    def elements(self, block):
        """(parent, key, child) of a block's children; those of a sequence without a name of its own in its place."""
        for key, child in block._children.items():
            nameless = isinstance(child, nn.HybridSequential) and child.prefix in ('', block.prefix)
            if nameless and id(child) not in self.computing:
                yield from self.elements(child)
            else:
                yield block, key, child

    def short(self, name):
        return without_prefix(name, self._prefix).rstrip('_')

    def inputs(self, node):
        return [(producer, index) for producer, index in node.inputs if id(producer) in self._data]

    def _row(self, node):
        return self._rows.get(without_prefix(node.name, self._prefix))

    def shape(self, node, output=0):
        return list(self._shapes[node.name, output][1:])

    def _width(self, node, output=0):
        return (self.shape(node, output) or [1])[0]

    def describe(self, unit):
        """A unit as `Block`."""
        rows = [row for row in map(self._row, unit.nodes) if row]
        sums = {key: sum(row[key] for row in rows) for key in ('bops', 'flops', 'size_bits')}
        shape = self.shape(*unit.inputs[0]) if unit.inputs else []
        return Block(unit.name, unit.kind, unit.role, unit.stage, [], shape, self.shape(unit.nodes[-1]),
                     list(dict.fromkeys(row['bits'] for row in rows if row['bits'])), merge(self._channels(unit)),
                     layers=self._layers(unit), **sums)

    def _channels(self, unit):
        """(how it came about, how many) of the channels of the unit's last node."""
        found = {(id(node), index): [(KEPT, self._width(node, index))] for node, index in unit.inputs}
        for node in unit.nodes:
            width = self._width(node)
            inputs = [found.get((id(producer), index)) or [(NEW, self._width(producer, index))]
                      for producer, index in self.inputs(node)]
            pieces = [(NEW, width)]
            if changes_nothing(node):
                pieces = inputs[0]
            elif node.op == 'Concat' and node.attr('dim') == 1:
                pieces = [piece for each in inputs for piece in each]
            elif node.op == 'slice_axis' and node.attr('axis') == 1:
                kinds = spread(inputs[0])[node.attr('begin'):node.attr('end')]
                pieces = [(kind, 1) for kind in kinds]
            elif node.op in SUMS and len(inputs) > 1 and not _is_own(self.owner[id(node)]):
                pieces = [(sum_of(added), 1) for added in zip(*map(spread, inputs))]
            elif node.op in _UNARY:
                pieces = [(NEW if kind == KEPT else kind, count) for kind, count in inputs[0]]
            elif node.op == 'SliceChannel' and node.attr('axis', 1) == 1:
                kinds = spread(inputs[0])
                for output in range(node.attr('num_outputs')):
                    part = kinds[output * width:(output + 1) * width]
                    found[id(node), output] = merge([(kind, 1) for kind in part])
                pieces = found[id(node), 0]
            if sum(count for _, count in pieces) != width:  # the sum of a broadcast, say
                pieces = [(NEW, width)]
            found[id(node), 0] = merge(pieces)
        return found[id(unit.nodes[-1]), 0]

    def _layers(self, unit):
        """The steps of a unit, without those that change nothing."""
        places = {(id(node), index): [-1 - place] for place, (node, index) in enumerate(unit.inputs)}
        steps, joined = [], {}  # a step: [owner, nodes, inputs]; id(node) to the index of its step
        for node in unit.nodes:
            owner, inputs = self.owner[id(node)], self.inputs(node)
            sources = [place for producer, index in inputs
                       for place in places.get((id(producer), index)) or places[id(producer), 0]]
            place = joined.get(id(inputs[0][0])) if inputs else None
            step = None if place is None else steps[place]
            products = [n for n in (step[1] if step else []) + [node] if n.op in PRODUCTS]
            if changes_nothing(node) or id(node) in self._scales:
                places[id(node), 0] = sources
                if step and step[0] is owner:
                    joined[id(node)] = place
                continue
            if place is None or max(sources) > place or not (  # a step reads those before it
                    step and step[0] is owner and _is_layer(owner) and len(products) < 2):
                place, step = len(steps), [owner, [], []]
                steps.append(step)
            step[1].append(node)
            step[2] += [source for source in sources if source != place and source not in step[2]]
            joined[id(node)], places[id(node), 0] = place, [place]
        return [self._layer(owner, nodes, inputs) for owner, nodes, inputs in steps]

    def _layer(self, owner, nodes, inputs):
        products = [node for node in nodes if node.op in KERNELS or node.op == 'FullyConnected']
        if len(products) == 1 or len(nodes) == 1:
            node = (products or nodes)[0]
            text = operator_text(node, self._width(*self.inputs(node)[0]) if self.inputs(node) else 0)
        else:  # several operators of one layer
            text = repr(owner) if len(repr(owner)) <= 30 and '\n' not in repr(owner) else type(owner).__name__
        bits = [row['bits'] for row in map(self._row, nodes) if row and row['bits']]
        return Layer(text, bits[0] if bits else '', self.shape(nodes[-1]), inputs)
