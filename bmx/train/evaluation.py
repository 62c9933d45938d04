"""How well a trained network tells classes apart: accuracies, loss, speed, and which classes it takes for which."""
from __future__ import annotations

import dataclasses
import time
from collections import Counter
from typing import Any, Callable, Sequence

import mxnet as mx
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mxnet import gluon

from ..io.formats import save_picture, write_csv
from ..io.storage import LoadError
from ..io.text import table
from .data import ImageData
from .errors import TrainingError
from .totals import Totals

# Classes that the text has a line of, those with the most errors; classes that the picture names and has numbers of.
MOST_LINES, MOST_NAMES, MOST_NUMBERS = 20, 60, 20


@dataclasses.dataclass
class Evaluation:
    """What came out.

    Attributes
    ----------
    totals : Totals
        Images, loss and accuracies.
    classes : list of str
        The network's.
    confusion : numpy.ndarray
        int64 (classes, classes): images of the class of the row that were taken for that of the column.
    seconds : float
        Of all, reading the images included; `totals.seconds` are those of the network alone.
    """
    totals: Totals
    classes: list[str]
    confusion: np.ndarray
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {'images': self.totals.images, 'skipped_images': self.totals.skipped, 'top1': self.totals.mean('top1'),
                'top5': self.totals.mean('top5'), 'loss': self.totals.mean('loss'),
                'images_per_s': self.totals.images / self.seconds,
                'network_images_per_s': self.totals.images_per_s, 'classes': self.classes,
                'confusion': self.confusion.tolist()}

    def __str__(self) -> str:
        totals, lines = self.totals, []
        lines.append(f'top-1 {100 * totals.mean("top1"):.2f} %, top-5 {100 * totals.mean("top5"):.2f} %, loss '
                     f'{totals.mean("loss"):.4f}')
        lines.append(f'{totals.images / self.seconds:.1f} images/s, of the network alone {totals.images_per_s:.1f}')
        if totals.skipped:
            lines.append(f'left out: {totals.skipped} images that cannot be read')
        rows = self._rows()
        if len(rows) > MOST_LINES:
            lines.append(f'the {MOST_LINES} of {len(rows)} classes with the lowest accuracy:')
        lines.append(table(['class', 'images', 'top-1 %', 'most often taken for'], rows[:MOST_LINES]))
        return '\n'.join(lines)

    def _rows(self) -> list[tuple[str, int, float, str]]:
        """For each class that there are images of, the worst first: name, images, accuracy, its likeliest error."""
        rows = []
        for label, counts in enumerate(self.confusion):
            if counts.sum():
                wrong = counts.copy()
                wrong[label] = 0
                error = f'{self.classes[wrong.argmax()]} ({wrong.max()})' if wrong.any() else '-'
                rows.append((self.classes[label], int(counts.sum()), 100 * counts[label] / counts.sum(), error))
        return sorted(rows, key=lambda row: row[2])

    def write_csv(self, path: str) -> None:
        """The confusion matrix as a table: a row for each class, named in its first field, a column for each."""
        names = _different(self.classes)
        write_csv(path, [dict(zip(names, map(int, counts)), **{_TRUE: name})
                         for name, counts in zip(names, self.confusion)], [_TRUE] + names)

    def draw(self, path: str, title: str) -> None:
        """Draw the confusion matrix, each row in percent of its images."""
        count = len(self.classes)
        side = max(5.0, min(16.0, 2.5 + 0.42 * count))
        figure = Figure(figsize=(side + 1.5, side), dpi=120, constrained_layout=True)
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        shares = 100 * self.confusion / np.maximum(1, self.confusion.sum(1, keepdims=True))
        image = axes.imshow(shares, cmap='Blues', vmin=0, vmax=100)
        figure.colorbar(image, ax=axes, label='% of the images of a class', shrink=0.8)
        axes.set(xlabel='taken for', ylabel='class', title=title)
        if count <= MOST_NAMES:
            # a $ would begin a formula
            names = [name.replace('$', r'\$') if len(name) <= 24 else name[:23].replace('$', r'\$') + '…'
                     for name in self.classes]
            axes.set_xticks(range(count))
            axes.set_xticklabels(names, rotation=90)
            axes.set_yticks(range(count))
            axes.set_yticklabels(names)
        if count <= MOST_NUMBERS:
            for (row, column), number in np.ndenumerate(self.confusion):
                if number:
                    axes.text(column, row, str(number), ha='center', va='center', fontsize=8,
                              color='white' if shares[row, column] > 55 else 'black')
        save_picture(path, figure)


_TRUE = 'class'


def _different(names: Sequence[str]) -> list[str]:
    """Names of columns: what is there twice, as ImageNet's crane, gets its number."""
    count = Counter(names)
    count[_TRUE] += 1
    return [name if count[name] == 1 else f'{name} ({index})' for index, name in enumerate(names)]


def labels_in(network: Sequence[str], data: Sequence[str]) -> list[int]:
    """For each class of the data which output of the network is it, by its name.

    Raises
    ------
    TrainingError
        The network does not know a class, or has its name twice.
    """
    if list(network) == list(data):
        return list(range(len(data)))
    unknown = [name for name in data if name not in network]
    if unknown:
        raise TrainingError(f'the network does not know {len(unknown)} of the {len(data)} classes of the images '
                            f'({", ".join(unknown[:5])}{", ..." if unknown[5:] else ""}): its classes are '
                            f'{", ".join(network[:5])}{", ..." if network[5:] else ""}')
    twice = [name for name in data if list(network).count(name) > 1 or list(data).count(name) > 1]
    if twice:
        raise TrainingError(f'several classes are called {twice[0]}: give images of exactly the classes of the network')
    return [list(network).index(name) for name in data]


def evaluate(net: Callable[[mx.nd.NDArray], mx.nd.NDArray], classes: Sequence[str] | None,
             data: ImageData) -> Evaluation:
    """Evaluate a network on the validation images of some data.

    Parameters
    ----------
    net : callable
        From a batch, float32 (N, 3, H, W), to scores (N, classes).
    classes : list of str, optional
        Names of its outputs. Without, those of the data are taken, of which there must be as many.
    data : ImageData
        Its classes may be some of the network's, in any order.

    Returns
    -------
    Evaluation

    Raises
    ------
    TrainingError
        The network does not know the classes, or no image can be read.
    LoadError
        It is no classifier.
    """
    names = list(data.classes if classes is None else classes)
    labels = np.array(labels_in(names, data.classes))
    confusion = np.zeros((len(names), len(names)), np.int64)
    totals, start, loss = Totals(), time.perf_counter(), gluon.loss.SoftmaxCrossEntropyLoss()
    for batch in data.val_batches():
        totals.skipped += batch.skipped
        if not len(batch.label):
            continue
        label, inputs = labels[np.asarray(batch.label).astype(int)], mx.nd.array(batch.data)
        begun = time.perf_counter()
        scores = net(inputs)
        if not isinstance(scores, mx.nd.NDArray) or scores.ndim != 2 or scores.shape[1] != len(names):
            found = getattr(scores, 'shape', 'several arrays')
            raise LoadError(f'the network is no classifier of {len(names)} classes: its output is {found}')
        values = scores.asnumpy()
        totals.seconds += time.perf_counter() - begun
        totals.add(values, label, float(loss(scores, mx.nd.array(label)).sum().asscalar()))
        np.add.at(confusion, (label, values.argmax(1)), 1)
    if not totals.images:
        raise TrainingError(f'none of the {data.val_size} images can be read')
    return Evaluation(totals, names, confusion, time.perf_counter() - start)
