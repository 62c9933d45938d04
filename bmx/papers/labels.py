"""Labels of marks in a picture, placed where they cover as little as possible."""
from __future__ import annotations

from typing import TYPE_CHECKING, Sequence

import numpy as np
from matplotlib.text import Text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Where a label may stand: its distance in points, of these to the right of and above its mark; nearest first.
_PLACES = [(distance, round(distance * np.cos(angle), 3), round(distance * np.sin(angle), 3))
           for distance in (6, 9, 13, 18, 24, 31, 39, 48, 60) for angle in np.arange(0, 2, 1 / 8) * np.pi]
_LEADER = 10  # labels farther away get a line to their mark
# What it costs, in points: to cover something; to be nearer to another mark, or have a line that crosses others.
_COVERED, _CONFUSING = 1000, 20
_SWEEPS = 4


def label(axes: Axes, points: Sequence[tuple[float, float, str, str]], size: float = 8) -> None:
    """Write a text near each of some points, clear of the marks, lines, legend and the other texts.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Of a figure that was drawn: before, marks have no place.
    points : sequence of (float, float, str, str)
        Coordinates of a mark; the text and its color.
    size : float
        Of the texts, in points.
    """
    scale, renderer = axes.figure.dpi / 72, axes.figure.canvas.get_renderer()
    marks = axes.transData.transform([point[:2] for point in points])
    sizes = [Text(text=text, fontsize=size, figure=axes.figure).get_window_extent(renderer).size
             for _, _, text, _ in points]
    fixed = [_boxes(marks, 4 * scale)]
    for line in axes.get_lines():
        places = axes.transData.transform(line.get_xydata())
        if line.get_linestyle() == 'None':
            fixed.append(_boxes(places, 4 * scale))
        else:
            fixed += [_pieces(*ends, scale) for ends in zip(places, places[1:])]
    if axes.get_legend():
        fixed.append([axes.get_legend().get_window_extent(renderer).extents])
    places = _places(marks, sizes, np.concatenate(fixed), axes.bbox.extents, scale)
    for (x, y, distance), (*point, text, color) in zip(places, points):
        axes.annotate(
            text, point, (x, y), textcoords='offset points', fontsize=size, color=color, in_layout=False,
            ha=('left', 'center', 'right')[int(2 * _share(x))], va=('bottom', 'center', 'top')[int(2 * _share(y))],
            arrowprops=dict(arrowstyle='-', color=color, lw=0.5, shrinkA=0, shrinkB=2) if distance > _LEADER else None)


def _places(marks: np.ndarray, sizes: Sequence[np.ndarray], fixed: np.ndarray, edges: Sequence[float], scale: float
            ) -> list[tuple[float, float, float]]:
    """A place for each label, in several sweeps: each goes to the best of its places, given where the others are.

    Parameters
    ----------
    marks, sizes : sequence of (float, float)
        Centers of the marks; width and height of the labels. All lengths in pixels.
    fixed : numpy.ndarray
        (n, 4) boxes that labels should not cover; first those of the marks.
    edges : sequence of float
        Left, lower, right and upper edge of the panel.
    scale : float
        Pixels in a point.

    Returns
    -------
    list of (float, float, float)
        The offset of each label from its mark, and its distance, in points.
    """
    chosen = {}  # index of the mark: the place, the box of its label, the pieces of its line
    for _ in range(_SWEEPS):
        for index, (mark, size) in enumerate(zip(marks, sizes)):
            chosen.pop(index, None)
            labels = np.concatenate([box for _, box, _ in chosen.values()] or [np.empty((0, 4))])
            leaders = np.concatenate([pieces for _, _, pieces in chosen.values()] or [np.empty((0, 4))])
            best = np.inf
            for distance, x, y in _PLACES:
                if distance >= best:
                    break
                corner = mark + [scale * x, scale * y] - size * [_share(x), _share(y)]
                box, center = np.array([[*corner, *corner + size]]), corner + size / 2
                far = distance > _LEADER
                pieces = _pieces(mark, center, scale) if far else np.empty((0, 4))
                outside = box[0, 0] < edges[0] or box[0, 2] > edges[2]
                covered = _hits(box, fixed) + _hits(box, labels) + _hits(box, leaders) + _hits(pieces, labels) + outside
                if far:  # a line may cover marks beside its own only
                    confusing = _hits(pieces, leaders) + _hits(pieces[20:], fixed[:len(marks)]) > 0
                else:
                    confusing = _astray(center, mark, marks)
                cost = distance + _COVERED * covered + _CONFUSING * confusing
                if cost < best:
                    best, chosen[index] = cost, ((x, y, distance), box, pieces)
    return [chosen[index][0] for index in range(len(marks))]


def _share(offset: float) -> float:
    """The share of a label that lies before its anchor: none if it stands right of its mark or above."""
    return 0 if offset > 0 else 1 if offset < 0 else 0.5


def _astray(center: np.ndarray, mark: np.ndarray, marks: np.ndarray) -> bool:
    """Whether a place is nearer to another mark than to its own."""
    return np.hypot(*(marks - center).T).min() < np.hypot(*(mark - center)) - 1


def _boxes(centers: np.ndarray, reach: float) -> np.ndarray:
    return np.concatenate([centers - reach, centers + reach], axis=1)


def _pieces(start: np.ndarray, end: np.ndarray, width: float) -> np.ndarray:
    """A line as small boxes."""
    return _boxes(start + (end - start) * np.linspace(0, 1, 50)[:, None], width)


def _hits(boxes: np.ndarray, others: np.ndarray) -> int:
    """How many pairs of boxes overlap."""
    a, b = np.asarray(boxes)[:, None], np.asarray(others)[None]
    return np.sum((a[..., :2] < b[..., 2:]).all(-1) & (b[..., :2] < a[..., 2:]).all(-1))
