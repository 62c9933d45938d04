"""A picture of a network's structure: stages of blocks as bars, layers as lists, each kind of block once in detail."""
from __future__ import annotations

from typing import Sequence

from matplotlib.figure import Figure

from ..io.formats import refuse_picture, save_picture
from ..structure import BLOCK, IMPROVED, KEPT, MERGED, MODULE, NEW, Block, Summary
from .detail import Detail
from .panels import SEPARATOR, List, Stage, amount, channels, size_text
from .sheet import (
    BINARY,
    COLORS,
    FAINT,
    FEW_BITS,
    FLOAT,
    HATCHES,
    LINE,
    NORMAL,
    SMALL,
    Sheet,
    bits_color,
    shape_text,
    text_width,
)

_WIDTH, _MARGIN, _GAP = 1036, 22, 20  # the width, without margins, grows where one stage needs it
_BAR_HEIGHT, _LIST_LINES, _TITLE = 150, 14, 15
_LEGEND = {KEPT: 'channels passed on as they are', NEW: 'new channels',
           IMPROVED: 'improved: a result added to what came',
           MERGED: 'sum of two results: the shortcut changes the shape'}


def draw(path: str, name: str, shape: Sequence[int], blocks: Sequence[Block], counted: Summary) -> None:
    """Draw a network.

    Parameters
    ----------
    path : str
        Ends in one of `bmx.io.formats.PICTURES`.
    name : str
        The title; what follows a comma goes below it in small type.
    shape : tuple of int
        Of the input, batch first.
    blocks, counted : list of Block, Summary
        Result of `bmx.structure.structure`.

    Raises
    ------
    ValueError
        The path has another ending.
    OSError
        The path is a folder, or its folder does not exist.
    """
    refuse_picture(path)
    save_picture(path, picture(name, shape, blocks, counted))


def picture(name: str, shape: Sequence[int], blocks: Sequence[Block], counted: Summary) -> Figure:
    """The picture as a matplotlib Figure; the parameters are those of `draw`."""
    panels = _panels(blocks)
    details = [Detail(alike) for alike in _kinds(blocks)]
    rows, detail_rows = _rows(_atoms(panels)), _rows([[panel] for panel in details])
    title, _, settings = name.partition(', ')
    lines = [settings] * bool(settings) + [_totals(shape, counted)] + _detours(blocks)
    width = max([sum(panel.width + _GAP for panel in row) - _GAP for row in rows + detail_rows]
                + [text_width(title, _TITLE, bold=True)] + [text_width(line, NORMAL) for line in lines])
    sheet, top = Sheet(), 38
    sheet.text(_MARGIN, top, title, _TITLE, bold=True)
    for line in lines:
        top += 21
        sheet.text(_MARGIN, top, line, NORMAL, color=FAINT)
    top = _draw_legend(sheet, _legend(blocks), top + 12, width) + 14
    for row in rows:
        top = _draw_row(sheet, row, top, arrows=True, more=row is not rows[-1]) + 16
    if details:
        top += 16
        sheet.text(_MARGIN, top, 'The blocks in detail', 11, bold=True)
        top += 10
        for row in detail_rows:
            top = _draw_row(sheet, row, top) + 16
    return sheet.figure(width + 2 * _MARGIN, top)


def _totals(shape, counted):
    flops = amount(counted.flops, 4) + ' FLOPs'
    if counted.flops_without_classifier != counted.flops:
        flops += f' ({amount(counted.flops_without_classifier, 4)} without the last dense layer)'
    texts = [f'input {shape_text(shape[1:])}'] + ([amount(counted.bops, 4) + ' BOPs'] if counted.bops else [])
    return SEPARATOR.join(texts + [flops, size_text(counted.size_mib * 2 ** 20)])


def _detours(blocks):
    """Lines that tell what the order of the panels does not: blocks that read more than the one before them."""
    previous = ['data'] + [block.name for block in blocks]
    found = [f'{block.name} reads {", ".join(block.reads)}'
             for block, before in zip(blocks, previous) if block.reads != [before]]
    return [] if not found else ['not in a row: ' + '; '.join(found[:3]) + '; ...' * (len(found) > 3)]


def _kinds(blocks):
    """Lists of blocks that differ in their sizes only; only of those that are drawn as bars."""
    found = {}
    for block in blocks:
        if block.role == BLOCK:
            key = (block.kind, str([(layer.text, layer.bits, layer.inputs) for layer in block.layers]))
            found.setdefault(key, []).append(block)
    return list(found.values())


def _panels(blocks):
    """Consecutive blocks that belong together: stages of one resolution, lists of layers."""
    runs = []
    for block in blocks:
        bar = block.role == BLOCK
        key = (bar, block.stage, tuple(block.output_shape[1:])) if bar else (bar,)
        lines = len(block.layers) + (block.role == MODULE)
        long = runs and not bar and (runs[-1][2] + lines > _LIST_LINES + 3
                                     or bool(block.bits) and runs[-1][2] + lines > _LIST_LINES)
        if runs and runs[-1][0] == key and not long:
            runs[-1][1].append(block)
            runs[-1][2] += lines
        else:
            runs.append([key, [block], lines])
    stages = [run for key, run, _ in runs if key[0]]
    scale = _BAR_HEIGHT / max([1] + [channels(block) for run in stages for block in run])
    pitch = min(22, max(14, 420 / max([1] + [len(run) for run in stages])))
    return [Stage(run, scale, pitch) if key[0] else List(run) for key, run, _ in runs]


def _atoms(panels):
    """Panels that stay in one row: lists with the stage that they lead to."""
    atoms, current = [], []
    for panel in panels:
        if current and isinstance(panel, List):
            atoms.append(current)
            current = []
        current.append(panel)
        if isinstance(panel, Stage):
            atoms.append(current)
            current = []
    return atoms + [current] if current else atoms


def _rows(atoms):
    """Rows of panels no wider than the page."""
    rows, used = [], 0
    for atom in atoms:
        needed = sum(panel.width + _GAP for panel in atom)
        if not rows or used + needed - _GAP > _WIDTH:
            rows.append([])
            used = 0
        rows[-1] += atom
        used += needed
    return rows


def _draw_row(sheet, panels, top, arrows=False, more=False):
    """Draw panels beside each other, with arrows to them and on to the next row; returns where they end."""
    foot = max(panel.foot for panel in panels)  # lines that all leave free below, so that bars stand on one line
    height, x = max(panel.height - panel.foot * LINE for panel in panels) + foot * LINE, _MARGIN
    for panel in panels:
        panel.foot = foot
        if arrows:
            sheet.arrow((x - _GAP + 3, top + height / 2), (x - 2, top + height / 2))
        sheet.box(x, top, panel.width, height, '#f8f9fb')
        panel.draw(sheet, x, top, height)
        x += panel.width + _GAP
    if more:
        sheet.line((x - _GAP + 2, top + height / 2), (x - 6, top + height / 2))
    return top + height


def _legend(blocks):
    """What the picture needs explained: (color, hatch, text)."""
    bars = [block for block in blocks if block.role == BLOCK]
    kinds = {kind for block in bars for kind, _ in block.channels}
    bits = {layer.bits for block in blocks for layer in block.layers if layer.bits}
    mixed = any(bits_color(each) == FLOAT and each != '32/32' for each in bits)
    products = {BINARY: 'binary weights and input', FEW_BITS: 'weights and input of few bits',
                FLOAT: 'float weights or input' if mixed else 'float'}
    used = set(map(bits_color, bits))
    return [(color, None, text) for color, text in products.items() if color in used] + [
        (COLORS[kind], HATCHES.get(kind), text) for kind, text in _LEGEND.items() if kind in kinds]


def _draw_legend(sheet, entries, top, width):
    x: float = _MARGIN
    for color, hatch, text in entries:
        needed = 16 + text_width(text, SMALL) + 22
        if x + needed > _MARGIN + width and x > _MARGIN:
            x, top = _MARGIN, top + LINE
        sheet.rectangle(x, top, 11, 11, color, hatch)
        sheet.text(x + 16, top + 10, text)
        x += needed
    return top + 11
