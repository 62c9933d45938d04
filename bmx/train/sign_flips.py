"""How many weights change sign in a step: counted layer by layer, written, read, drawn.

Tang et al., "How to Train a Compact Binary Neural Network with High Accuracy?", AAAI 2017, Figure 2. Counted are the
weights of all quantized layers, of whatever bits, so that a network with bits=32 can be compared with its binary twin.
"""
from __future__ import annotations

import csv
import math
import os
import textwrap
from typing import Any, Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from mxnet import gluon

from ..graph import without_prefix
from ..io.formats import save_picture, write_csv
from ..nn import quantized_layers
from .errors import TrainingError

# One row of sign_flips.csv: the percentage of a layer's weights that change sign, mean over the steps of an epoch.
COLUMNS = ('epoch', 'layer', 'weights', 'sign_flips')

# Lines in the picture of a training: the first, the last and epochs between them.
_LINES = 5


class SignFlips:
    """Counts the weights that change sign, over the steps of an epoch.

    Parameters
    ----------
    net : gluon.Block
        Initialized, with settled shapes.

    Attributes
    ----------
    layers : dict
        Name of a layer, without the net's prefix, to its number of weights, in the order of the net's blocks.
    weights : dict
        The same to its weights, a `gluon.Parameter`.
    """

    def __init__(self, net: gluon.Block) -> None:
        by_weight = {}
        for layer in quantized_layers(net):
            by_weight.setdefault(layer.weight.name, layer)  # shared weights count for their first layer
        layers = by_weight.values()
        self.weights = {without_prefix(layer.name, net.prefix): layer.weight for layer in layers}
        self.layers = {name: int(np.prod(weight.shape)) for name, weight in self.weights.items()}
        self.restart()

    def restart(self, steps: int = 0, flips: Sequence[int] | None = None) -> None:
        """Go on from a `state`, or from nothing, with the weights as they are now."""
        self._steps = steps
        self._flips = list(flips or [0] * len(self.weights))
        self._negative = [self._signs(weight) for weight in self.weights.values()]

    @staticmethod
    def _signs(weight):
        return weight.list_data()[0].asnumpy() < 0  # the sign of 0 is +1

    @property
    def state(self) -> dict[str, Any]:
        """What `restart` needs to know, for JSON."""
        return {'steps': self._steps, 'flips': self._flips}

    def count(self) -> None:
        """Count what a step has changed."""
        self._steps += 1
        for index, weight in enumerate(self.weights.values()):
            before, now = self._negative[index], self._signs(weight)
            self._flips[index] += int(np.count_nonzero(before != now))
            self._negative[index] = now

    def percentages(self) -> tuple[float | None, list[float]]:
        """Mean percentage of weights that change sign in a step: of all (None of no layers), and a list by layer."""
        if not self.layers:
            return None, []
        sizes, steps = list(self.layers.values()), max(1, self._steps)  # a worker may have had no image
        return (100 * sum(self._flips) / (steps * sum(sizes)),
                [100 * flips / (steps * size) for flips, size in zip(self._flips, sizes)])


# Files ----------------------------------------------------------------------------------------------------------------

def write(path: str, layers: Mapping[str, int], history: Sequence[Mapping[str, Any]]) -> None:
    """Write sign_flips.csv.

    Parameters
    ----------
    path : str
    layers : dict
        `SignFlips.layers`.
    history : list of dict
        Rows with `epoch` and `sign_flips_of_layers`.
    """
    write_csv(path, [dict(zip(COLUMNS, (row['epoch'], name, weights, percentage))) for row in history
                     for (name, weights), percentage in zip(layers.items(), row['sign_flips_of_layers'])], COLUMNS)


def read(path: str) -> dict[str, list[float]]:
    """Read a file like sign_flips.csv.

    Returns
    -------
    dict
        Name of a layer to its percentages, one for each epoch; empty without the file.

    Raises
    ------
    TrainingError
        The file is damaged.
    """
    if not os.path.isfile(path):
        return {}
    layers = {}
    try:
        with open(path, newline='', encoding='utf-8') as content:
            text = content.read()
        reader = csv.DictReader(text.splitlines())
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(f'its columns are not {", ".join(COLUMNS)}')
        if not text.endswith('\n'):
            raise ValueError('its last row is cut')
        for row in reader:
            of_layer = layers.setdefault(row['layer'], [])
            of_layer.append(float(row['sign_flips'] or 'nothing'))
            if row['epoch'] != str(len(of_layer)) or not 0 <= of_layer[-1] <= 100:
                raise ValueError(f'epoch {row["epoch"]} of {row["layer"]}')
        if len(set(map(len, layers.values()))) > 1:
            raise ValueError('some layers have more epochs than others')
    except (OSError, ValueError, csv.Error) as error:
        raise TrainingError(f'{path} is damaged ({error}): delete it; training again restores it from the last '
                            'checkpoint') from None
    return layers


# Pictures -------------------------------------------------------------------------------------------------------------

def draw(path: str, layers: Mapping[str, int], history: Sequence[Mapping[str, Any]], title: str) -> None:
    """Draw the percentages of a training layer by layer, a line for each of some epochs; arguments as of `write`."""
    shown = sorted({round(place) for place in np.linspace(0, len(history) - 1, _LINES)})
    lines = [(f'epoch {history[index]["epoch"]} (mean {history[index]["sign_flips"]:.3g} %)',
              history[index]['sign_flips_of_layers'], dict(color=str(0.75 * (1 - (place + 1) / len(shown)))))
             for place, index in enumerate(shown)]
    figure, (axes,) = _figure(1, len(layers))
    _draw_lines(axes, lines, list(layers))
    figure.suptitle(textwrap.fill(title, int(9 * figure.get_figwidth())))
    save_picture(path, figure)


def draw_comparisons(path: str, comparisons: Mapping[str, Mapping[str, Sequence[Mapping[str, Sequence[float]]]]],
                     title: str) -> None:
    """Draw a panel for each comparison, in it a line for each variant.

    Parameters
    ----------
    path : str
    comparisons : dict
        Title to a dict of the name of a variant to what `read` returned for each of its seeds.
    title : str
    """
    figure, panels = _figure(len(comparisons), max(len(layers) for variants in comparisons.values()
                                                   for seeds in variants.values() for layers in seeds))
    for axes, (name, variants) in zip(panels, comparisons.items()):
        structures = {tuple(layers) for seeds in variants.values() for layers in seeds}
        lines = []
        for place, (variant, seeds) in enumerate(variants.items()):
            means = [[np.mean(epochs) for epochs in layers.values()] for layers in seeds]
            lines.append((variant, np.mean(means, axis=0), dict(color=f'C{place % 10}')))
        # Networks of different layers have only the numbers of these in common.
        names = max(structures, key=len) if len(structures) == 1 else range(1, 1 + max(map(len, structures)))
        _draw_lines(axes, lines, list(map(str, names)))
        axes.set_title(name, loc='left', fontweight='bold')
    figure.suptitle(textwrap.fill(title, int(9 * figure.get_figwidth())))
    save_picture(path, figure)


class _PlainLogFormatter(LogFormatter):
    """Labels where `LogFormatter` has some, but 0.3 and not 3e-1."""

    def __call__(self, x, pos=None):
        return f'{x:g}' if super().__call__(x, pos) else ''


def _figure(panels, layers):
    figure = Figure(figsize=(min(22, max(9, 2 + 0.16 * layers)), 0.5 + 5 * panels), dpi=110, constrained_layout=True)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(panels, 1, squeeze=False)[:, 0]


def _draw_lines(axes, lines, names):
    """Lines of (label, percentages, style) over the names of layers, on a logarithmic axis; 0 has no place on it."""
    for label, values, style in lines:
        axes.plot(range(len(values)), [value or math.nan for value in values], label=label, marker='o', markersize=3,
                  linewidth=1, **style)
    axes.set_yscale('log')
    axes.yaxis.set_major_formatter(_PlainLogFormatter())
    axes.yaxis.set_minor_formatter(_PlainLogFormatter())
    axes.set_ylabel('weights that change sign\nin a step / %')
    axes.set_xticks(range(len(names)))
    axes.set_xticklabels(_without_common_end(names), rotation=90, fontsize=8 if len(names) <= 40 else 6)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.grid(alpha=0.3)
    widest = 0.6 + 0.08 * max(len(label) for label, _, _ in lines)  # of an entry, about, in inches
    columns = max(1, min(len(lines), int((axes.figure.get_figwidth() - 1) / widest)))
    axes.legend(fontsize=8, loc='lower right', bbox_to_anchor=(1, 1), ncol=columns, borderaxespad=0.3)


def _without_common_end(names):
    """Names like stage1_conv0 and stage2_conv0 without what all of them end in: stage1 and stage2."""
    parts = [name.split('_') for name in names]
    while len(parts) > 1 and min(map(len, parts)) > 1 and len({each[-1] for each in parts}) == 1:
        parts = [each[:-1] for each in parts]
    return ['_'.join(each) for each in parts]
