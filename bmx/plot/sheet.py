"""Lines, boxes and text at places given in pixels; colours and sizes of type."""
from __future__ import annotations

from typing import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.textpath import text_to_path

from ..structure import IMPROVED, KEPT, MERGED, NEW

_DPI = 100  # the unit of length everywhere else is a pixel
SMALL, NORMAL = 8, 8.5  # sizes of type, in points
PAD, LINE = 9, 16
INK, FAINT, BORDER = '#1f2933', '#66727f', '#c3cad2'
BINARY, FEW_BITS, FLOAT = '#2a6fbb', '#7a55a8', '#c2482f'
COLORS = {KEPT: '#d5dae0', NEW: '#f4b942', IMPROVED: '#58b368', MERGED: '#58b368'}
HATCHES = {MERGED: '////'}


def shape_text(shape: Sequence[int]) -> str:
    return '\u00d7'.join(map(str, shape))


def bits_color(bits: str) -> str:
    """The colour of a product by its 'weights/activations'."""
    if bits == '1/1':
        return BINARY
    return FLOAT if '32' in bits.split('/') else FEW_BITS


def bits_text(bits: str) -> str:
    return {'1/1': 'binary', '32/32': 'float', '1/32': 'binary weights'}.get(bits, 'bits ' + bits)


def text_width(text: str, size: float, bold: bool = False) -> float:
    properties = FontProperties(size=size, weight='bold' if bold else 'normal')
    return text_to_path.get_text_width_height_descent(text, properties, ismath=False)[0] * _DPI / 72


class Sheet:
    """What is drawn, in pixels from the upper left corner."""

    def __init__(self) -> None:
        self._figure = Figure(dpi=_DPI, facecolor='white')
        FigureCanvasAgg(self._figure)
        self._axes = self._figure.add_axes([0, 0, 1, 1])
        self._axes.axis('off')

    def figure(self, width: float, height: float) -> Figure:
        self._figure.set_size_inches(width / _DPI, height / _DPI)
        self._axes.set(xlim=(0, width), ylim=(height, 0))
        return self._figure

    def text(self, x: float, y: float, text: str, size: float = SMALL, bold: bool = False, color: str = INK,
             ha: str = 'left', va: str = 'baseline', rotation: float = 0) -> None:
        self._axes.text(x, y, text, fontsize=size, weight='bold' if bold else 'normal', color=color, ha=ha, va=va,
                        rotation=rotation, parse_math=False)

    def rectangle(self, x: float, y: float, width: float, height: float, color: str, hatch: str | None = None) -> None:
        self._axes.add_patch(Rectangle((x, y), width, height, facecolor=color, hatch=hatch, linewidth=0,
                                       edgecolor='white'))

    def box(self, x: float, y: float, width: float, height: float, color: str, edge: str = BORDER) -> None:
        self._axes.add_patch(FancyBboxPatch((x, y), width, height, facecolor=color, edgecolor=edge, linewidth=0.8,
                                            boxstyle='round,pad=0,rounding_size=4'))

    def line(self, *points: tuple[float, float]) -> None:
        self._axes.plot(*zip(*points), color=FAINT, linewidth=1, solid_joinstyle='round')

    def arrow(self, *points: tuple[float, float]) -> None:
        """A line whose last part, horizontal or vertical, ends in an arrow head."""
        (x0, y0), (x, y) = points[-2:]
        self.line(*points)
        side = ((-5, -3), (-5, 3)) if y == y0 else ((-3, -5), (3, -5)) if y > y0 else ((-3, 5), (3, 5))
        self._axes.fill(*zip((x, y), *((x + dx, y + dy) for dx, dy in side)), color=FAINT, linewidth=0)
