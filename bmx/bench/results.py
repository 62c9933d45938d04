"""What benchmarks say: where and with what was measured, and a picture."""
from __future__ import annotations

import textwrap
from typing import Any, Mapping, Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..io.formats import save_picture
from ..io.text import cell_text


def heading(rows: Sequence[Mapping[str, Any]]) -> str:
    """The line that says where and with what was measured."""
    names = ', '.join(dict.fromkeys(row['isa'] for row in rows if row['isa'] is not None))
    kernels = '; kernel ' + names if names else ''
    return ('{cpu}{kernels}; threads {threads}; batch {batch}; MXNet {mxnet}, GluonCV {gluoncv}, bmx {bmx}'
            .format(**rows[0], kernels=kernels))


def draw(path: str, rows: Sequence[Mapping[str, Any]], command: str) -> None:
    """Draw a bar for each row, its speed or else its shortest time; the title is the command that made it."""
    field, label = ('gmacs', 'GMAC/s') if 'gmacs' in rows[0] else ('min_ms', 'ms')
    implementations, places, names = list(dict.fromkeys(row['implementation'] for row in rows)), [], {}
    for row in rows:  # a gap between names
        places.append(places[-1] + (1 if row['name'] in names else 1.5) if places else 0)
        names.setdefault(row['name'], []).append(places[-1])
    figure = Figure(figsize=(9, 1.2 + 0.17 * places[-1]), dpi=120, constrained_layout=True)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for index, implementation in enumerate(implementations):
        bars = [(place, row[field]) for place, row in zip(places, rows) if row['implementation'] == implementation]
        axes.barh(*zip(*bars), color=f'C{index}', height=0.9, label=implementation)
    for place, row in zip(places, rows):
        axes.text(row[field], place, ' ' + cell_text(float(row[field])), va='center', fontsize=7)
    axes.set_yticks([sum(group) / len(group) for group in names.values()])
    axes.set_yticklabels(names, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel=label)
    axes.margins(x=0.1, y=0.5 / len(rows))
    axes.grid(axis='x', alpha=0.3)
    axes.legend(fontsize=8, loc='center left', bbox_to_anchor=(1, 0.5))
    axes.set_title(f'{textwrap.fill(command, 110)}\n{heading(rows)}', fontsize=8)
    save_picture(path, figure)
