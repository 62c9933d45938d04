"""Text for people, on a terminal, and from their files."""
from __future__ import annotations

from typing import Iterable, Mapping, Sequence


def printable(text: object) -> str:
    """Text for a terminal: control characters, and what else is not printable, as escapes; lines stay lines.

    Names of classes, files and models come from elsewhere, and a terminal acts on escape sequences among them.
    """
    return ''.join(each if each.isprintable() or each == '\n' else each.encode('unicode_escape').decode()
                   for each in str(text))


def table(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """Aligned text of a header and lines of cells, which are strings or numbers."""
    cells = [list(header)] + [[cell_text(value) for value in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return '\n'.join('  '.join(cell.rjust(width) if column else cell.ljust(width)
                               for column, (cell, width) in enumerate(zip(line, widths))) for line in cells)


def cell_text(value: object) -> str:
    """A value as `table` shows it: a float in a few digits, None as -."""
    if value is None:
        return '-'
    if not isinstance(value, float):
        return str(value)
    return f'{value:.3f}' if value < 10 else f'{value:.1f}'


def read_lines(path: str) -> list[str]:
    """The lines of a text file: UTF-8, with or without a byte-order mark."""
    try:
        with open(path, encoding='utf-8-sig') as stream:
            return [line.rstrip('\n') for line in stream]
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is not UTF-8 ({error}): save it as UTF-8') from None


def counted(numbers: Mapping[str, int]) -> str:
    """What is counted, in the order of its names: '3 files, 1 hidden'."""
    return ', '.join(f'{number} {kind}' for kind, number in sorted(numbers.items()))
