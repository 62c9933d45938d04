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
    """Draw a bar for each row, its speed or else its shortest time; the title is the command that made it.

    Rows that have a field `measured` are drawn in a panel for each of its values.
    """
    panels: dict[Any, list] = {}
    for row in rows:
        panels.setdefault(row.get('measured'), []).append(row)
    heights = [1.2 + 0.17 * _places(each)[-1] for each in panels.values()]
    figure = Figure(figsize=(9, sum(heights)), dpi=120, constrained_layout=True)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), squeeze=False, gridspec_kw={'height_ratios': heights})[:, 0]
    for panel, (measured, group) in zip(axes, panels.items()):
        _draw_bars(panel, group, measured)
    axes[0].set_title(f'{textwrap.fill(command, 110)}\n{heading(rows)}', fontsize=8)
    save_picture(path, figure)


def _places(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Where the bar of each row is: there is a gap between names."""
    places: list[float] = []
    for index, row in enumerate(rows):
        known = row['name'] in [other['name'] for other in rows[:index]]
        places.append(places[-1] + (1 if known else 1.5) if places else 0)
    return places


def _draw_bars(axes: Any, rows: Sequence[Mapping[str, Any]], measured: str | None) -> None:
    field, label = ('gmacs', 'GMAC/s') if 'gmacs' in rows[0] else ('min_ms', 'ms')
    places, names = _places(rows), {}
    for place, row in zip(places, rows):
        names.setdefault(row['name'], []).append(place)
    for index, implementation in enumerate(dict.fromkeys(row['implementation'] for row in rows)):
        bars = [(place, row[field]) for place, row in zip(places, rows) if row['implementation'] == implementation]
        axes.barh(*zip(*bars), color=f'C{index}', height=0.9, label=implementation)
    for place, row in zip(places, rows):
        axes.text(row[field], place, ' ' + cell_text(float(row[field])), va='center', fontsize=7)
    axes.set_yticks([sum(group) / len(group) for group in names.values()])
    axes.set_yticklabels(names, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel=label if measured is None else f'{label}, {measured}')
    axes.margins(x=0.1, y=0.5 / len(rows))
    axes.grid(axis='x', alpha=0.3)
    axes.legend(fontsize=8, loc='center left', bbox_to_anchor=(1, 0.5))
