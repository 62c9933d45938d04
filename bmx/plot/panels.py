"""Parts of the picture that show the network in its order: lists of layers, and stages as bars."""
from __future__ import annotations

from typing import Sequence

from ..structure import MODULE, Block
from .sheet import (
    BORDER,
    COLORS,
    FAINT,
    HATCHES,
    LINE,
    NORMAL,
    PAD,
    SMALL,
    Sheet,
    bits_color,
    bits_text,
    shape_text,
    text_width,
)

_TEXT = 140  # how wide a line of a list is that is broken at no comma
_RULE = 6  # what a rule between lines adds to their distance
SEPARATOR = '  \u00b7  '


def amount(count: float, digits: int = 3) -> str:
    for exponent in (9, 6, 3):
        if count >= 10 ** exponent:
            return f'{count / 10 ** exponent:.{digits}g}e{exponent}'
    return f'{count}'


def size_text(count: float) -> str:
    return f'{count / 2 ** 20:.2f} MiB' if count >= 2 ** 20 / 10 else f'{count / 1024:.1f} KiB'


def sums(blocks: Sequence[Block]) -> list[str]:
    """Operations and size of some blocks, as texts."""
    bops, flops = sum(block.bops for block in blocks), sum(block.flops for block in blocks)
    texts = [f'{amount(count)} {unit}' for count, unit in ((bops, 'BOPs'), (flops, 'FLOPs')) if count]
    size = sum(block.size_bits for block in blocks) / 8
    return texts + [size_text(size)] * (size > 0)


def _wrap(texts, separator, width):
    """Lines of texts, as wide as `width` where a text alone is not wider."""
    lines = texts[:1]
    for text in texts[1:]:
        if text_width(lines[-1] + separator + text, SMALL) <= width:
            lines[-1] += separator + text
        else:
            lines.append(text)
    return lines


def channels(block: Block) -> int:
    return block.output_shape[0] if block.output_shape else 1


class List:
    """Layers one below the other: a stem, a transition, a classifier."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks, self._sums = blocks, SEPARATOR.join(sums(blocks))
        self._lines, self._rules = [], []  # text, bits, shape, whether it is a title; the lines above which a rule goes
        shape = blocks[0].input_shape
        for place, block in enumerate(blocks):
            if MODULE in (block.role, blocks[place - 1].role) and place:
                self._rules.append(len(self._lines))
            if block.role == MODULE:
                title = block.name if block.name.startswith(block.kind) else block.kind
                self._lines.append((title, '', '', True))
            for layer in block.layers:
                text = layer.text
                if layer.bits not in ('', '1/1', '32/32'):
                    text += ', ' + bits_text(layer.bits)
                same = layer.output_shape == shape or text == 'sign'  # whose border is the padding of what follows
                changed = '' if same else shape_text(layer.output_shape)
                first, *others = _wrap(text.split(', '), ', ', _TEXT)
                self._lines.append((first + ',' * bool(others), layer.bits, changed, False))
                self._lines += [(more + ',' * (more is not others[-1]), '', '', False) for more in others]
                shape = layer.output_shape
        self.width = 2 * PAD + max([text_width(self._sums, SMALL)] + [
            text_width(text, NORMAL if title else SMALL, title) + (0 if title else 24) + text_width(shape, SMALL)
            for text, _, shape, title in self._lines])
        self.foot = 1
        self.height = 2 * PAD + LINE * (len(self._lines) + self.foot) + _RULE * len(self._rules)

    def draw(self, sheet: Sheet, x: float, y: float, height: float) -> None:
        top = y + PAD + 10 - LINE
        for number, (text, bits, shape, title) in enumerate(self._lines):
            top += LINE
            if number in self._rules:
                top += _RULE
                sheet.rectangle(x + PAD, top - LINE, self.width - 2 * PAD, 1, BORDER)
            sheet.text(x + PAD + (0 if title else 14), top, text, NORMAL if title else SMALL, title)
            sheet.text(x + self.width - PAD, top, shape, color=FAINT, ha='right')
            if bits:
                sheet.rectangle(x + PAD, top - 9, 9, 9, bits_color(bits))
        sheet.text(x + PAD, y + height - PAD - LINE * (self.foot - 1), self._sums, color=FAINT)


class Stage:
    """Blocks in a row at one resolution, a bar each: as high as its output has channels."""

    def __init__(self, blocks: Sequence[Block], scale: float, pitch: float) -> None:
        self.blocks, self._scale, self._pitch = blocks, scale, pitch
        self._title, self._resolution = blocks[0].stage or 'blocks', shape_text(blocks[0].output_shape[1:])
        kinds, cost = _pattern(blocks), sums(blocks)
        heading = text_width(self._title + '   ', NORMAL, True) + text_width(self._resolution, SMALL)
        width = max([pitch * len(blocks), heading] + [text_width(text, SMALL) + 8 for text in kinds + cost])
        self._kinds, self._sums = _wrap(kinds, ' ', width), _wrap(cost, SEPARATOR, width)
        self.foot = len(self._sums)
        self.width = 2 * PAD + width
        widths = [channels(block) for block in blocks]
        self._labels = [i for i in range(len(blocks)) if i == 0 or widths[i] != widths[i - 1]]
        self._rotated = any((right - left) * pitch < text_width(str(widths[right]), SMALL) + 0.5
                            for left, right in zip(self._labels, self._labels[1:]))
        lines, label = 1 + len(self._kinds) + self.foot, 34 if self._rotated else 18
        self.height = 2 * PAD + lines * LINE + label + 12 + scale * max(widths)

    def draw(self, sheet: Sheet, x: float, y: float, height: float) -> None:
        sheet.text(x + PAD, y + PAD + 10, self._title, NORMAL, bold=True)
        sheet.text(x + self.width - PAD, y + PAD + 10, self._resolution, color=FAINT, ha='right')
        for number, line in enumerate(self._kinds):
            sheet.text(x + PAD, y + PAD + 10 + LINE * (number + 1), line)
        for number, line in enumerate(self._sums):
            sheet.text(x + PAD, y + height - PAD - LINE * (self.foot - 1 - number), line, color=FAINT)
        bottom = y + height - PAD - LINE * self.foot - 11
        for place, block in enumerate(self.blocks):
            left, level, wide = x + PAD + place * self._pitch, bottom, self._pitch - 2
            for kind, count in block.channels:
                level -= count * self._scale
                sheet.rectangle(left, level, wide, count * self._scale, COLORS[kind], HATCHES.get(kind))
            colors = sorted({bits_color(bits) for bits in block.bits})
            for number, color in enumerate(colors):
                sheet.rectangle(left + number * wide / len(colors), bottom + 3, wide / len(colors), 5, color)
            if place in self._labels:
                sheet.text(left + wide / 2, level - 3, str(channels(block)), ha='center', va='bottom',
                           rotation=90 if self._rotated else 0)


def _pattern(blocks):
    """The kinds of blocks in a row, the shortest way to say it, as texts."""
    kinds = [block.kind for block in blocks]
    for period in range(1, len(kinds) // 2 + 1):
        times = len(kinds) // period
        if kinds == kinds[:period] * times:
            if period == 1:
                return [f'{times} \u00d7 {kinds[0]}']
            return [f'{times} \u00d7 ({kinds[0]} +'] + [kind + ' +' for kind in kinds[1:period - 1]] + [
                kinds[period - 1] + ')']
    texts, start = [], 0
    for end in range(1, len(kinds) + 1):
        if end == len(kinds) or kinds[end] != kinds[start]:
            texts.append(kinds[start] if end - start == 1 else f'{end - start} \u00d7 {kinds[start]}')
            start = end
    return [text + ',' for text in texts[:-1]] + texts[-1:] if len(texts) <= 4 else [f'{len(kinds)} blocks']
