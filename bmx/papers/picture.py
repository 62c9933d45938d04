"""The picture of a paper: accuracy against what it costs."""
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter
from matplotlib.transforms import Bbox

from ..storage import atomic_file

_TICKS = [digit * power for power in (0.1, 1, 10, 100) for digit in (1, 1.5, 2, 3, 4, 5, 7)]
# Where a label may stand: points to the right of and above its mark, nearest first.
_PLACES = [(x * distance, y * distance) for distance in (6, 10, 15, 21, 28, 36, 45, 55)
           for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 0.5), (-1, 0.5), (1, -0.5), (-1, -0.5), (1, 1), (-1, 1),
                        (1, -1), (-1, -1))]
_STEPS = 50  # pieces in which lines are seen
_LEADER = 11  # labels farther away than this get a line to their mark


def draw(path, paper, filled):
    """Draw the rows that have a point, accuracy against each of the paper's costs, as PNG.

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
            axes.plot(*zip(*sorted((x, y) for x, y, _ in series[name])), color=look.color, marker=look.marker,
                      ls=look.line, mfc='white' if look.hollow else None, lw=1, label=name, zorder=3 - order / 100)
        axes.margins(x=0.16)
        axes.set(xscale='log', xlabel=cost)
        axes.xaxis.set_major_locator(FixedLocator(_TICKS))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(StrMethodFormatter('{x:g}'))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(paper.accuracy + ' on ImageNet, as the paper prints it')
    panels[-1].legend(loc='lower right', fontsize=9)
    figure.suptitle(paper.title + '\naccuracy as printed; operations and size as bmx counts them where it has the '
                    'network, else as printed', fontsize=9)
    figure.canvas.draw()  # only now marks and texts have a place
    for axes, series in zip(panels, points):
        _label(axes, series, paper.series)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format='png')


def _points(filled, cost, accuracy):
    """For each series the points (cost, accuracy, label) of those rows that have both."""
    series = {}
    for rows in filled.values():
        for cells in rows:
            values = {cell.column: cell.counted or float(cell.printed.lstrip('~'))
                      for cell in cells if cell is not None and cell.column in (cost, accuracy)}
            if len(values) == 2 and cells[0].row.point is not None:
                name, label = cells[0].row.point
                series.setdefault(name, []).append((values[cost], values[accuracy], label))
    return series


def _label(axes, series, looks):
    """Write each point's label where it covers no mark, no line, no other label and no legend; near ones first."""
    renderer, scale = axes.figure.canvas.get_renderer(), axes.figure.dpi / 72
    points = [(axes.transData.transform((x, y)), (x, y), label, looks[name].color)
              for name, group in series.items() for x, y, label in group]
    taken = [Bbox.from_bounds(x - 4 * scale, y - 4 * scale, 8 * scale, 8 * scale) for (x, y), _, _, _ in points]
    for line in axes.get_lines():
        if line.get_linestyle() != 'None':
            ends = axes.transData.transform(line.get_xydata())
            taken += [Bbox([start + (end - start) * step / _STEPS] * 2).padded(scale)
                      for start, end in zip(ends, ends[1:]) for step in range(_STEPS)]
    if axes.get_legend():
        taken.append(axes.get_legend().get_window_extent(renderer))
    for _, point, label, color in sorted(points, key=lambda each: (-each[1][1], each[1][0])):
        for x, y in _PLACES:
            text = axes.annotate(
                label, point, (x, y), textcoords='offset points', fontsize=8, color=color, in_layout=False,
                ha='left' if x > 0 else 'right' if x < 0 else 'center',
                va='bottom' if y > 0 else 'top' if y < 0 else 'center',
                arrowprops=dict(arrowstyle='-', color=color, lw=0.5, shrinkA=0, shrinkB=2)
                if max(abs(x), abs(y)) > _LEADER else None)
            text.update_positions(renderer)
            box = Text.get_window_extent(text, renderer)  # without the line
            if axes.bbox.fully_containsx(box.x0) and axes.bbox.fully_containsx(box.x1) \
                    and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()
