"""Tables of papers: each printed number beside the one that this package counts."""
from __future__ import annotations

import dataclasses
import decimal
import textwrap
from typing import Any, Callable, Dict, List, Optional

from ..accounting import summary
from ..io.text import table as aligned
from ..nn import config

# How a counted number stands to the printed one, and how text tells it; one that differs points to its note.
MARKS = {'equal': '=', 'cut': 'cut', 'about': '~', 'differs': '!', 'added': '+'}
LEGEND = ('= ours rounds to the printed digits   cut: ours, cut, gives them   ~ within 5 % of a printed "about"\n'
          '[n] differs, see note n   ! differs, unexplained   + not printed, ours alone')
_ABOUT = decimal.Decimal('0.05')
_WIDTH = 118  # columns of text


@dataclasses.dataclass(frozen=True)
class Column:
    """A column: its head, the unit included, and the number or text that it shows of a `Summary`, if any."""
    head: str
    quantity: Callable | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """What a row prints, and which network it is about.

    Attributes
    ----------
    name : str
    printed : str
        A text for each column but the first, separated by blanks; '-' where the paper has none, '+' where it has none
        but ours is shown, '~4' for "about 4".
    network : str, optional
        The name of a model of this package or of GluonCV.
    settings : dict
        Keywords of the network.
    quantities : dict
        Other quantities of this row, by the head of the column; None for what is not to be counted.
    notes : dict
        Why a number differs from the printed one, by the head of the column.
    point : (str, str), optional
        Series and label in the picture.
    layers : dict
        How the network's layers quantize: settings of the scope `bmx.nn.config`.
    """
    name: str
    printed: str
    network: str | None = None
    settings: dict = dataclasses.field(default_factory=dict)
    quantities: dict = dataclasses.field(default_factory=dict)
    notes: dict = dataclasses.field(default_factory=dict)
    point: tuple[str, str] | None = None
    layers: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Table:
    """A table: its title, columns (that of the names first), rows, remarks below it, and the input of its networks."""
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    remarks: tuple[str, ...] = ()
    shape: tuple[int, ...] = (1, 3, 224, 224)


@dataclasses.dataclass(frozen=True)
class Series:
    """How points of the picture look, as matplotlib names it."""
    color: str
    marker: str
    line: str = '-'
    hollow: bool = False


@dataclasses.dataclass(frozen=True)
class Paper:
    """A paper: its source, its tables, and a picture of one column against others, with a look for each series."""
    title: str
    tables: tuple[Table, ...]
    accuracy: str
    costs: tuple[str, ...]
    series: dict


@dataclasses.dataclass(frozen=True)
class Cell:
    """A printed number or text; `counted`, `mark` (a key of `MARKS`) and `note` are None where nothing is counted."""
    table: str
    row: Row
    column: str
    printed: str
    counted: float | str | None = None
    mark: str | None = None
    note: str | None = None


Filled = Dict[str, List[List[Optional[Cell]]]]  # of each table, by its title, each row's cells


def compare(printed: Any, counted: Any) -> str:
    """How a counted number or text stands to the printed one: a key of `MARKS`."""
    if printed == '+':
        return 'added'
    if isinstance(counted, str):
        return 'equal' if counted == printed else 'differs'
    number, exact = decimal.Decimal(printed.lstrip('~')), decimal.Decimal(counted)
    for mark, rounding in (('equal', decimal.ROUND_HALF_UP), ('cut', decimal.ROUND_DOWN)):
        if exact.quantize(number, rounding) == number:
            return mark
    return 'about' if printed.startswith('~') and abs(exact - number) <= _ABOUT * number else 'differs'


def fill(paper: Paper) -> Filled:
    """Count every network of a paper once.

    Returns
    -------
    dict
        For each table, by its title, a list of cells for each row; a cell for each column but the first. None stands
        for what the paper leaves out.
    """
    from gluoncv import model_zoo  # not everything that imports this file needs it

    counts = {}

    def count(row, shape):
        key = row.network, repr(sorted(row.settings.items())), repr(sorted(row.layers.items())), shape
        if key not in counts:
            with config(**row.layers):
                counts[key] = summary(model_zoo.get_model(row.network, **row.settings), shape)
        return counts[key]

    def cell(table, row, column, printed):
        quantity = row.quantities.get(column.head, column.quantity)
        if row.network is None or quantity is None:
            return Cell(table.title, row, column.head, printed)
        counted = quantity(count(row, table.shape))
        return Cell(table.title, row, column.head, printed, counted, compare(printed, counted),
                    row.notes.get(column.head))

    return {table.title: [[None if printed == '-' else cell(table, row, column, printed)
                           for column, printed in zip(table.columns[1:], row.printed.split())] for row in table.rows]
            for table in paper.tables}


def records(filled: Filled) -> list[dict[str, Any]]:
    """The cells of `fill` as a flat list of dicts of numbers and texts, for files."""
    def settings(row):
        return ' '.join(f'{key}={value}' for key, value in sorted({**row.settings, **row.layers}.items()))

    return [{'table': cell.table, 'row': cell.row.name, 'column': cell.column, 'printed': cell.printed,
             'counted': cell.counted, 'mark': cell.mark, 'note': cell.note,
             'network': cell.row.network if cell.mark else None,
             'settings': settings(cell.row) if cell.mark else None}
            for rows in filled.values() for cells in rows for cell in cells if cell is not None]


def text(paper: Paper, filled: Filled) -> str:
    """The tables as text, each with its notes."""
    parts = [paper.title]
    for table in paper.tables:
        rows, notes = filled[table.title], {}
        counted = [any(cell is not None and cell.mark for cell in column) for column in zip(*rows)]
        header = [table.columns[0].head]
        for column, has_counts in zip(table.columns[1:], counted):
            header += [column.head, 'ours', ''] if has_counts else [column.head]
        lines = [sum((_parts(cell, has_counts, notes) for cell, has_counts in zip(cells, counted)), [row.name])
                 for row, cells in zip(table.rows, rows)]
        below = [f'[{number}] {note}' for note, number in notes.items()] + list(table.remarks)
        parts.append('\n'.join([table.title, _flush(aligned(header, lines))]
                               + [textwrap.fill(line, _WIDTH, subsequent_indent='    ') for line in below]))
    marks = [cell['mark'] for cell in records(filled) if cell['mark'] not in (None, 'added')]
    counts = ', '.join(f'{marks.count(mark)} {mark.replace("differs", "differ")}' for mark in MARKS if mark != 'added')
    parts.append(f'{LEGEND}\n{len(marks)} printed cells counted: {counts}')
    return '\n\n'.join(parts)


def _flush(lines):
    return '\n'.join(line.rstrip() for line in lines.splitlines())


def _parts(cell, has_counts, notes):
    """The printed number, and where the column has counts, ours and the mark; new notes get a number."""
    if cell is None or cell.mark is None:
        return ['-' if cell is None else cell.printed] + ['', ''] * has_counts
    mark, ours = MARKS[cell.mark], cell.counted
    if cell.mark == 'differs' and cell.note is not None:
        mark = f'[{notes.setdefault(cell.note, len(notes) + 1)}]'
    if not isinstance(ours, str):
        digits = len(cell.printed.partition('.')[2]) + 2
        ours = f'{ours:.{digits}f}'
    return ['-' if cell.mark == 'added' else cell.printed, ours, mark]
