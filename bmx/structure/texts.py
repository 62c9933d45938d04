"""Operators and instructions in words."""
from __future__ import annotations

import math
from typing import Sequence

from ..graph import Node
from ..ops.program import AnyInstruction, Conv, Convolution, Map

SUMS = ('elemwise_add', 'broadcast_add', 'add_n')
_ACTIVATIONS = {'relu': 'ReLU', 'prelu': 'PReLU', 'leaky': 'leaky ReLU', 'elu': 'ELU', 'selu': 'SELU', 'gelu': 'GELU',
                'softrelu': 'softplus'}
_TEXTS = {'BatchNorm': 'batch norm', 'Concat': 'concat', 'binarize': 'sign', 'Flatten': 'flatten',
          'FullyConnected': 'dense', 'Dropout': 'dropout', 'SliceChannel': 'split', 'relu': 'ReLU',
          'elemwise_mul': '\u00d7', 'broadcast_mul': '\u00d7',
          **dict.fromkeys(SUMS, '+')}
KERNELS = {'Convolution': 'conv', 'Deconvolution': 'transposed conv', 'Pooling': 'pool'}
_STEPS = {'mul': '\u00d7', 'add': 'bias', 'norm': 'batch norm', 'relu': 'ReLU', 'prelu': 'PReLU', 'plus': '+',
          'repeat': '+'}


def changes_nothing(node: Node) -> bool:
    if node.op == 'clip':
        return math.isinf(float(node.attrs['a_min'])) and math.isinf(float(node.attrs['a_max']))
    return node.op == 'Reshape' and not any(node.attr('shape'))


def operator_text(node: Node, channels: int = 0) -> str:
    """What an operator computes, in words; `channels` are those of its input."""
    if node.op in ('Activation', 'LeakyReLU'):
        return _ACTIVATIONS.get(node.attr('act_type'), node.attr('act_type'))
    if node.op == 'slice_axis':
        begin, end = node.attr('begin'), node.attr('end')
        if not begin and end is not None:
            return f'all but the last {-end}' if end < 0 else f'the first {end}'
        return f'the last {-begin}' if begin < 0 and end is None else f'{begin} to {end}'
    if node.op == 'residual_binarize':
        return f'{node.attr("binarizations", 1)} signs'
    if node.op not in KERNELS:
        return _TEXTS.get(node.op, node.op.strip('_'))
    if node.op == 'Pooling':
        return pool_text(node.attr('pool_type'), node.attr('kernel'), node.attr('stride') or (1,),
                         node.attr('global_pool'))
    return conv_text(node.attr('kernel'), node.attr('stride') or (1,), node.attr('num_group', 1), channels,
                     KERNELS[node.op])


def conv_text(kernel: Sequence[int], stride: Sequence[int], groups: int, channels: int, name: str = 'conv') -> str:
    """A convolution in words; `channels` are those of its input."""
    depthwise = 1 < groups == channels
    text = f'{"depthwise " * depthwise}{name} {_sizes(kernel)}{_stride_text(stride)}'
    return text if depthwise or groups == 1 else f'{text}, {groups} groups'


def pool_text(kind: str, kernel: Sequence[int], stride: Sequence[int], whole: bool) -> str:
    """Pooling (of a `kind`, 'max', say) in words, of the `whole` image or with a window."""
    if whole:
        return f'global {kind} pool'
    return f'{kind} pool {_sizes(kernel)}{"" if stride == kernel else _stride_text(stride)}'


def _stride_text(stride: Sequence[int]) -> str:
    return ', stride ' + _sizes(stride if len(set(stride)) > 1 else stride[:1]) if max(stride) > 1 else ''


def _sizes(sizes: Sequence[int]) -> str:
    return '\u00d7'.join(map(str, sizes))


def _signs_text(conv: Conv) -> str:
    """What becomes of activations before a binary product."""
    if conv.binarizations > 1:
        return f'{conv.binarizations} signs'
    if conv.planes > 1:
        return f'{2 ** conv.planes} levels' if conv.counted else f'{conv.planes} thresholds'
    return 'sign' if conv.threshold is None else 'threshold'


def instruction_text(instruction: AnyInstruction) -> str:
    """What an instruction of a program computes of its sources, in words."""
    words = [_STEPS[step.word] for step in instruction.before]
    if isinstance(instruction, Conv):
        words.append(_signs_text(instruction))
    if isinstance(instruction, Convolution):
        words.append('dense' if instruction.whole else conv_text(instruction.kernel, instruction.stride,
                                                                 instruction.groups, instruction.channels))
        if isinstance(instruction, Conv) and instruction.weight_planes > 1:
            words.append(f'weights of {instruction.weight_planes} bits')
    elif instruction.pool is not None:
        words.append(pool_text(instruction.pool, instruction.kernel or (), instruction.stride,
                               bool(instruction.global_)))
    words += [_STEPS[step.word] for step in instruction.steps]
    if isinstance(instruction, Map) and instruction.shuffle > 1:
        words.append(f'shuffle of {instruction.shuffle} groups')
    return ', '.join(words) or 'copy'
