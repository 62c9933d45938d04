"""The instructions of deployed networks, read with their sizes from the text of programs (docs/fused-graph.md)."""
import dataclasses
import math
import re
from typing import Optional

from .graph import Node


@dataclasses.dataclass
class Instruction:
    """An instruction of a program, or an `xnor_popcount` node, which is a program of one convolution.

    Attributes
    ----------
    steps : list of str
        Names of what it does to values: pooling, then steps in their order.
    channels : int
        Of the input.
    output : tuple of int
        Channels of the result, and its height and width if it has these.
    weight : Node, optional
        The packed weights of a convolution; None: there is no product.
    kernel : tuple of int
    groups, binarizations : int
    """
    steps: list
    channels: int
    output: tuple
    weight: Optional[Node] = None
    kernel: tuple = ()
    groups: int = 1
    binarizations: int = 1

    @property
    def values(self):
        """Values of the result, of one sample."""
        return math.prod(self.output)

    @property
    def macs(self):
        """Multiply-accumulates of one sample."""
        if self.weight is None:
            return 0
        return self.binarizations * self.values * math.prod(self.kernel) * (self.channels // self.groups)

    @property
    def weights(self):
        """Bits of the weights."""
        return self.output[0] * math.prod(self.kernel) * (self.channels // self.groups)


def instructions(node, shapes):
    """The instructions of a `binary_subgraph` or `xnor_popcount` node, none of any other.

    Parameters
    ----------
    node : Node
    shapes : dict
        `Graph.infer_shapes` of its graph.

    Returns
    -------
    list of Instruction
    """
    if node.op == 'xnor_popcount':
        kernel = node.attr('kernel', ())
        producer, index = node.inputs[0]
        return [Instruction([], shapes[producer.name, index][1], tuple(shapes[node.name, 0][1:]), node.input(1),
                            tuple(kernel), node.attr('num_group', 1), node.attr('binarizations', 1))]
    return _read(node, shapes) if node.op == 'binary_subgraph' else []


def _read(node, shapes):
    sizes = {'x%d' % index: tuple(shapes[producer.name, output][2:])
             for index, (producer, output) in enumerate(node.inputs[:node.attr('num_data')])}
    found = []
    for text in node.attrs['program'].split(';'):
        kind, *words = text.split()
        words = dict(word.split('=', 1) for word in words)
        pieces = re.findall(r'(\w+)\[(\d+):(\d+)\]', words['in'])
        channels, size = sum(int(end) - int(begin) for _, begin, end in pieces), sizes[pieces[0][0]]
        if 'kernel' in words:
            size = _slide(size, words)
        one = Instruction([], channels, (channels,) + size)
        if kind == 'conv':
            one = Instruction([], channels, (int(words['filters']),) + size,
                              node.input(node.attr('num_data') + int(words['weight'][1:])), _numbers(words['kernel']),
                              int(words.get('groups', 1)), int(words.get('binarizations', 1)))
        one.steps = ['%s pooling' % words['pool']] if 'pool' in words else []
        one.steps += [step.partition(':')[0] for key in ('before', 'steps')
                      for step in words.get(key, '').split('|') if step]
        sizes[words['out'].partition(':')[0]] = size
        found.append(one)
    return found


def _slide(size, words):
    """Height and width of what a window that slides over an image makes."""
    found = []
    for axis, length in enumerate(size):
        kernel, stride, pad, dilate = (_numbers(words.get(key, default))[axis] for key, default in (
            ('kernel', ''), ('stride', '1,1'), ('pad', '0,0'), ('dilate', '1,1')))
        rest = length + 2 * pad - (dilate * (kernel - 1) + 1) + (stride - 1 if words.get('full') == '1' else 0)
        found.append(rest // stride + 1)
    return tuple(found)


def _numbers(text):
    return tuple(map(int, text.split(',')))

