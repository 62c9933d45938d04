"""The picture of a paper: accuracy against what it costs."""
from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from ..io.formats import save_picture
from .labels import label
from .tables import Filled, Paper

_TICKS = [digit * power for power in (0.1, 1, 10, 100) for digit in (1, 1.5, 2, 3, 4, 5, 7)]
_FEW_TICKS = [digit * power for power in (0.1, 1, 10, 100) for digit in (1, 2, 5)]
_WIDE = 100  # a range for which all ticks would be too many


def draw(path: str, paper: Paper, filled: Filled) -> None:
    """Draw the rows that have a point, accuracy against each of the paper's costs.

    Parameters
    ----------
    path : str
    paper : tables.Paper
    filled : dict
        See `tables.fill`. Where a number was counted, the count is drawn, else the printed number.
    """
    figure = Figure(figsize=(12, 8), dpi=120, constrained_layout=True)
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(paper.costs), sharey=True)
    points = [_points(filled, cost, paper.accuracy) for cost in paper.costs]
    for axes, cost, series in zip(panels, paper.costs, points):
        for order, (name, look) in enumerate(paper.series.items()):
            places = np.array(sorted((x, y) for x, y, _ in series.get(name, ()))).reshape(-1, 2)
            axes.plot(*places.T, color=look.color, marker=look.marker, ls=look.line,
                      mfc='white' if look.hollow else None, lw=1, label=name, zorder=3 - order / 100)
        axes.margins(x=0.16)
        axes.set(xscale='log', xlabel=cost)
        low, high = axes.get_xlim()
        axes.xaxis.set_major_locator(FixedLocator(_TICKS if high / low < _WIDE else _FEW_TICKS))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(StrMethodFormatter('{x:g}'))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(paper.accuracy + ' on ImageNet, as the paper prints it')
    panels[-1].legend(loc='lower right', fontsize=9)
    figure.suptitle(paper.title + '\naccuracy as printed; operations and size as bmx counts them where it has the '
                    'network, else as printed', fontsize=9)
    figure.canvas.draw()  # only now marks and texts have a place
    for axes, series in zip(panels, points):
        label(axes, [(x, y, text, paper.series[name].color) for name, group in series.items() for x, y, text in group])
    save_picture(path, figure)


def _points(filled, cost, accuracy):
    """For each series the points (cost, accuracy, text) of those rows that have both."""
    series = {}
    for rows in filled.values():
        for cells in rows:
            values = {cell.column: cell.counted or float(cell.printed.lstrip('~'))
                      for cell in cells if cell is not None and cell.column in (cost, accuracy)}
            if len(values) == 2 and cells[0].row.point is not None:
                name, text = cells[0].row.point
                series.setdefault(name, []).append((values[cost], values[accuracy], text))
    return series
