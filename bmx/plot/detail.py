"""The part of the picture that shows the inside of a block."""
from __future__ import annotations

from typing import Sequence

from ..structure import IMPROVED, NEW, Block
from .sheet import (
    BORDER,
    COLORS,
    FAINT,
    INK,
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


class Detail:
    """The layers of a block as boxes, from left to right, with what runs beside the longest path above it."""

    _SPACE = 20  # between boxes

    def __init__(self, alike: Sequence[Block]) -> None:
        self._block = block = alike[0]
        self._heading = block.name + ('' if len(alike) == 1 else f' and {len(alike) - 1} more like it')
        self._boxes = [self._texts(layer) for layer in block.layers]
        self._paths, self._column, self._lane = _paths(block.layers)
        columns = [[] for _ in range(1 + max(self._column.values()))]
        lanes = [[] for _ in range(1 + max([0] + [lane for _, _, lane in self._paths]))]
        for place, texts in enumerate(self._boxes):
            columns[self._column[place]] += [text_width(text, SMALL) + 12 for text in texts]
            lanes[self._lane[place]].append(self._box_height(place))
        columns[0] = [text_width('input', SMALL), text_width(shape_text(block.input_shape), SMALL)]
        self._sides, right = [], PAD
        for widths in columns:
            self._sides.append((right, right + max(widths)))
            right += max(widths) + self._SPACE
        self._output = right + 2
        self._levels, below = [], PAD  # heights of the lanes above the panel's lower edge
        for heights in lanes:
            tall = max(heights or [14])
            self._levels.append(below + tall / 2)
            below += tall + 10
        title = text_width(block.kind + '   ', NORMAL, True) + text_width(self._heading, SMALL)
        output = max(text_width('output', SMALL), text_width(shape_text(block.output_shape), SMALL))
        self.width = max(self._output + output, PAD + title) + PAD
        self.foot = 0
        self.height = PAD + LINE + 4 + below

    @staticmethod
    def _texts(layer):
        if not layer.bits:
            return [layer.text]
        return [layer.text, f'{layer.output_shape[0]}, {bits_text(layer.bits)}']

    def _box_height(self, place):
        return 12 + 14 * len(self._boxes[place])

    def draw(self, sheet: Sheet, x: float, y: float, height: float) -> None:
        block, last = self._block, len(self._boxes) - 1
        sheet.text(x + PAD, y + PAD + 10, block.kind, NORMAL, bold=True)
        sheet.text(x + PAD + text_width(block.kind + '   ', NORMAL, True), y + PAD + 10, self._heading, color=FAINT)

        def level(lane):
            return y + height - self._levels[lane]

        def sides(place):
            left, right = self._sides[self._column.get(place, 0)]
            return x + left, x + right

        for source, target, lane in self._paths:
            start, end, middle = sides(source)[1] + 3, sides(target)[0], sum(sides(target)) / 2
            points = [(start, level(self._lane.get(source, 0)))]
            if points[0][1] != level(lane):
                points += [(start + 6, points[0][1]), (start + 6, level(lane))]
            arrival, half = level(self._lane[target]), self._box_height(target) / 2 + 1
            if arrival == level(lane):
                sheet.arrow(*points, (end - 1, arrival))
            else:  # from above, or from below
                edge = arrival - half if level(lane) < arrival else arrival + half
                sheet.arrow(*points, (middle, level(lane)), (middle, edge))
        sheet.arrow((sides(last)[1] + 1, level(0)), (x + self._output - 4, level(0)))
        for left, text, shape in ((PAD, 'input', block.input_shape), (self._output, 'output', block.output_shape)):
            sheet.text(x + left, level(0) - 3, text, color=FAINT)
            sheet.text(x + left, level(0) + 10, shape_text(shape))
        for place, (layer, texts) in enumerate(zip(block.layers, self._boxes)):
            left, right = sides(place)
            center, tall = level(self._lane[place]), self._box_height(place)
            color = bits_color(layer.bits) if layer.bits else {
                'concat': COLORS[NEW], '+': COLORS[IMPROVED]}.get(layer.text, 'white')
            sheet.box(left, center - tall / 2, right - left, tall, color, BORDER if color == 'white' else color)
            for number, text in enumerate(texts):
                sheet.text((left + right) / 2, center + 4 + 14 * (number - (len(texts) - 1) / 2), text,
                           color='white' if layer.bits else INK, ha='center')


def _paths(layers):
    """Place the layers of a block, the longest path first; what runs beside it gets lanes of its own.

    Returns
    -------
    list of (int, int, int)
        What is read by what, and in which lane: source (negative for an input), target, lane.
    dict of int to int
        The column of each layer, from 1.
    dict of int to int
        The lane of each layer; 0 for those of the longest path, and where it is as long for binary ones.
    """
    column, binary, read = {}, {}, {source for layer in layers for source in layer.inputs}
    for place, layer in enumerate(layers):
        column[place] = 1 + max([column.get(source, 0) for source in layer.inputs], default=0)
        is_binary = bool(layer.bits) and '32' not in layer.bits.split('/')
        binary[place] = is_binary or any(binary.get(source) for source in layer.inputs)

    def by_length(place):
        return column.get(place, 0), binary.get(place, False)

    paths, used = [], set()  # a path: its first and last column, its edges from the last, the layers it places
    todo = [place for place in reversed(range(len(layers))) if place not in read]
    placed, free = set(todo), set(todo)
    for target in todo:
        for source in sorted(layers[target].inputs, key=by_length, reverse=True):
            edges, own, place, end = [], {target} & free, source, target
            while (place, end) not in used:
                used.add((place, end))
                edges.append((place, end))
                if place < 0 or place in placed:
                    break
                placed.add(place)
                own.add(place)
                todo.append(place)
                if not layers[place].inputs:
                    break
                place, end = max(layers[place].inputs, key=by_length), place
            free -= own
            if edges:
                paths.append((column.get(edges[-1][0], 0), column[target], edges, own))
    reads, lane, taken = [], dict.fromkeys(free, 0), []
    for start, stop, path, own in paths[:1] + sorted(paths[1:], key=lambda path: path[1] - path[0]):
        number = 1 if taken else 0
        while any(other == number and start < right and left < stop for other, left, right in taken):
            number += 1
        taken.append((number, start, stop))
        reads += [(source, target, number) for source, target in path]
        lane.update(dict.fromkeys(own, number))
    return reads, column, lane
