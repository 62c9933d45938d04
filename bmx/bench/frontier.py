"""`bench frontier`: published accuracy against measured time and size, of every deployed network and MobileNets."""
from __future__ import annotations

import os
import tempfile
import textwrap
from typing import TYPE_CHECKING, Any, Mapping, Sequence

import mxnet as mx
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from .. import ops
from ..accounting import summary
from ..deploy import files
from ..io.formats import save_picture
from ..io.text import table
from ..models import MODELS
from ..papers.accuracies import Accuracy, published
from ..papers.labels import label
from . import models
from .timing import interleave, progress, row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    Rows = Sequence[Mapping[str, Any]]

# GluonCV's MobileNets.
MOBILENETS = ('mobilenet0.25', 'mobilenet0.5', 'mobilenet0.75', 'mobilenet1.0', 'mobilenetv2_0.25', 'mobilenetv2_0.5',
              'mobilenetv2_0.75', 'mobilenetv2_1.0', 'mobilenetv3_small', 'mobilenetv3_large')
# How implementations are drawn: in words, a color of a palette that color-blind people tell apart, marker and its face.
LOOKS = {'deployed': ('binary, deployed by bmx', '#0072B2', 'o', '#0072B2'),
         'mkldnn': ('float, fused by MXNet', '#D55E00', '^', '#D55E00'),
         'plain': ('float, plain MXNet', '#777777', 's', 'white')}
_TOP1 = (20, 30, 40, 50, 55, 60, 65, 70, 75, 80)
_COST = [digit * power for power in (0.1, 1, 10, 100, 1000) for digit in (1, 2, 3, 5)]


def measure(batch: int, size: int, rounds: int) -> tuple[list[dict[str, Any]], str]:
    """Time all networks of the zoo with binary layers, deployed, and GluonCV's MobileNets, plain and fused by MXNet.

    A network with a published accuracy gets the keywords that it was published with.

    Returns
    -------
    (list of dict, str)
        Rows with the fields size, ops, bytes (of both files), top1 and source of the accuracy, None if none is
        published, and optimal (whether it is the most accurate of what is as fast; None without accuracy); the table.
    """
    x = mx.nd.random.normal(shape=(batch, 3, size, size))
    with tempfile.TemporaryDirectory() as folder:
        prefixes, facts = {}, {}
        for name in sorted(MODELS) + list(MOBILENETS):
            accuracy = published(name)
            settings = accuracy.settings if accuracy else {}
            net = models.build(name, **settings)
            counted = summary(net, (1,) + x.shape[1:])
            if name in MODELS and not counted.bops:
                continue
            title = ' '.join([name] + [f'{key}={value}' for key, value in settings.items()])
            progress('preparing ' + title)
            facts[title] = counted.ops, accuracy
            prefixes.update(models.write(title, net, x, folder,
                                         ['deployed'] if name in MODELS else ['plain', 'mkldnn']))
        contestants = {key: models.inference(models.load(prefix, key[1], x), x) for key, prefix in prefixes.items()}
        seconds, _ = interleave(contestants, rounds)
        rows = [_row(key, batch, size, times, prefixes[key], *facts[key[0]]) for key, times in seconds.items()]
    best = optimal(rows, 'min_ms')
    for entry in rows:
        entry['optimal'] = None if entry['top1'] is None else entry in best
    return rows, _text(rows)


def _row(key: tuple[str, str], batch: int, size: int, seconds: Sequence[float], prefix: str, count: float,
         accuracy: Accuracy | None) -> dict[str, Any]:
    paths = files.symbol_path(prefix), files.params_path(prefix)
    return row(*key, batch=batch, seconds=seconds, isa=ops.isa(), ops=count, bytes=sum(map(os.path.getsize, paths)),
               top1=accuracy and accuracy.top1, source=accuracy and accuracy.source, size=size)


def optimal(rows: Rows, cost: str) -> list[Mapping[str, Any]]:
    """The rows that are more accurate than each row of no higher cost, a field; by rising cost."""
    best: list[Mapping[str, Any]] = []
    for entry in sorted((entry for entry in rows if entry['top1'] is not None),
                        key=lambda entry: (entry[cost], -entry['top1'])):
        if not best or entry['top1'] > best[-1]['top1']:
            best.append(entry)
    return best


def _text(rows: Rows) -> str:
    """The table, by rising time; where the accuracies are from; what has none."""
    sources = {source: index + 1 for index, source in enumerate(dict.fromkeys(
        entry['source'] for entry in rows if entry['source'] is not None))}
    lines = [[entry['name'], entry['implementation'], entry['min_ms'], entry['median_ms'], f'{entry["ops"] / 1e6:.1f}',
              f'{entry["bytes"] / 1e6:.2f}', entry['top1'] and f'{entry["top1"]:.1f} [{sources[entry["source"]]}]',
              '*' if entry['optimal'] else ''] for entry in sorted(rows, key=lambda entry: entry['min_ms'])]
    below = ['* the most accurate of what is as fast', 'OPs = BOPs / 64 + FLOPs with the classifier; MB: 1e6 bytes on '
             'disk, graph and parameters']
    below += [f'[{index}] {source}' for source, index in sources.items()]
    if _unpublished(rows):
        below.append(f'no published accuracy on ImageNet: {_unpublished(rows)}')
    return '\n'.join([table(['network', 'implementation', 'min ms', 'median ms', 'OPs 1e6', 'MB', 'published top-1 %',
                             ''], lines)] + [textwrap.fill(line, 118, subsequent_indent='    ') for line in below])


def _unpublished(rows: Rows) -> str:
    return ', '.join(dict.fromkeys(entry['name'] for entry in rows if entry['top1'] is None))


def draw(path: str, rows: Rows, command: str) -> None:
    """Draw published accuracy against time and against size, with a line through the best; the command below."""
    drawn = [dict(entry, mb=entry['bytes'] / 1e6) for entry in rows if entry['top1'] is not None]
    figure = Figure(figsize=(16, 9.6), dpi=110)
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharey=True, gridspec_kw=dict(
        left=0.045, right=0.99, bottom=0.11, top=0.93, wspace=0.02))
    files_of = [entry for entry in drawn if entry['implementation'] != 'plain']  # the same as of mkldnn
    marks = [_panel(panels[0], drawn, 'min_ms', LOOKS), _panel(panels[1], files_of, 'mb', dict(
        LOOKS, mkldnn=('float',) + LOOKS['mkldnn'][1:]))]
    panels[0].set(xlabel='shortest time of a batch, ms' if rows[0]['batch'] > 1 else 'shortest time of an image, ms',
                  ylabel='published top-1 on ImageNet, % (errors on a logarithmic scale)')
    panels[1].set_xlabel('size of the files, MB')
    figure.suptitle('Published accuracy against measured time and size: {cpu}, kernel {isa}, {threads} thread{}, '
                    '{size}x{size}'.format('' if rows[0]['threads'] == 1 else 's', **rows[0]), fontsize=13, y=0.975)
    without = _unpublished(rows)
    figure.text(0.5, 0.012, f'{command}\nAccuracies are those that others published.'
                + (f' Not drawn, because nothing is published: {without}.' if without else ''),
                ha='center', fontsize=8, color='#444444')
    figure.canvas.draw()  # only now marks have a place
    for axes, points in zip(panels, marks):
        label(axes, points)
    save_picture(path, figure)


def _panel(axes: Axes, rows: Rows, cost: str, looks: Mapping[str, tuple[str, str, str, str]]
           ) -> list[tuple[float, float, str, str]]:
    """Draw rows; the points that want a label, as `label` takes them."""
    best = optimal(rows, cost)
    axes.plot([entry[cost] for entry in best], [entry['top1'] for entry in best], color='black', lw=1.5, zorder=1,
              label='the most accurate at each cost')
    points = []
    for implementation, (words, color, marker, face) in looks.items():
        group = {entry['name']: entry for entry in rows if entry['implementation'] == implementation}
        if group:
            axes.plot([entry[cost] for entry in group.values()], [entry['top1'] for entry in group.values()],
                      color=color, marker=marker, mfc=face, ls='None', ms=6, zorder=3, label=words)
        if implementation != 'plain':
            points += [(entry[cost], entry['top1'], name.replace(' ', '\n'), color) for name, entry in group.items()]
            continue
        for name, entry in group.items():  # labeled where it is fused, to where a line leads
            fused = next(each for each in rows if each['name'] == name and each['implementation'] == 'mkldnn')
            axes.plot([fused[cost], entry[cost]], [entry['top1']] * 2, color=color, lw=0.7, zorder=1)
    axes.set_xscale('log')
    axes.set_yscale('function', functions=(lambda top1: -np.log(100 - top1), lambda value: 100 - np.exp(-value)))
    axes.margins(0.1, 0.05)
    axes.xaxis.set_major_locator(FixedLocator(_COST))
    axes.yaxis.set_major_locator(FixedLocator(_TOP1))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter('{x:g}'))
    axes.grid(alpha=0.3)
    axes.legend(loc='lower right', fontsize=9)
    axes.text(0.015, 0.985, '\u2196 better', transform=axes.transAxes, va='top', fontsize=11, color='#444444')
    return points
