"""What a training tells: log lines, metrics.csv, the picture of the curves."""
from __future__ import annotations

import contextlib
import logging
import shutil
import sys
from typing import Any, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from tqdm import tqdm

from ..io.formats import save_picture, write_csv
from ..io.text import printable

# One row of metrics.csv; an epoch's number counts from 1.
COLUMNS = ('epoch', 'lr', 'train_loss', 'train_top1', 'val_loss', 'val_top1', 'val_top5', 'images_per_s', 'seconds',
           'skipped_images', 'sign_flips')

logger = logging.getLogger('bmx.train')


class _Formatter(logging.Formatter):
    def format(self, record):
        return printable(super().format(record))


class _Lasting(logging.Handler):
    """A handler that goes on after a line that cannot be written, for example on a full disk, and says so once."""

    _failed = False

    def handleError(self, record):
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._failed:
            self._failed = True
            with contextlib.suppress(OSError):
                print(f'{getattr(self, "baseFilename", "the output")} lacks lines: {error}', file=sys.stderr)

    def close(self):
        with contextlib.suppress(OSError):
            super().close()


class _File(_Lasting, logging.FileHandler):
    pass


class _Console(_Lasting, logging.StreamHandler):
    """Writes above progress bars."""

    def emit(self, record):
        try:
            tqdm.write(self.format(record), file=self.stream)
            self.flush()
        except Exception:
            self.handleError(record)


def configure_logging(path: str | None = None, quiet: bool = False) -> None:
    """Log to the console and to a file.

    The file gets every line. A terminal shows a progress bar, so the lines within an epoch (level DEBUG) go to the
    console only where it is not one.

    Parameters
    ----------
    path : str, optional
        Log file, appended to.
    quiet : bool
        Only warnings and errors go to the console.
    """
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    console = _Console(sys.stdout)
    console.setLevel(logging.WARNING if quiet else logging.INFO if sys.stderr.isatty() else logging.DEBUG)
    console.setFormatter(_Formatter())
    logger.addHandler(console)
    if path is not None:
        file = _File(path, encoding='utf-8')
        file.setFormatter(_Formatter('%(asctime)s %(levelname)s %(message)s'))
        logger.addHandler(file)


# What stands in a bar, in less than 80 columns: with its own time left, or with that of the whole training, which its
# postfix tells.
_BAR = '{desc} {percentage:3.0f}%|{bar}| {rate_noinv_fmt}, {remaining} left'
TRAINING_BAR = '{desc} {percentage:3.0f}%|{bar}| {rate_noinv_fmt}{postfix}'


def progress_bar(title: str, images: int | None, layout: str = _BAR, done: int = 0) -> tqdm:
    """A progress bar over so many images, some of them done already, or over an unknown number.

    Only on a terminal; the log lines do the same elsewhere.
    """
    # A terminal that does not know its size says 0, and tqdm would draw nothing.
    columns, rows = shutil.get_terminal_size()
    return tqdm(desc=title, total=images, initial=done, unit=' images', leave=False, disable=None, ncols=columns,
                nrows=rows, bar_format=None if images is None else layout)


def write_metrics(path: str, history: Sequence[Mapping[str, Any]]) -> None:
    """Write all rows (dicts with the keys `COLUMNS`) of a training as CSV."""
    write_csv(path, [{key: row[key] for key in COLUMNS} for row in history], COLUMNS)


_CURVES = (('loss', (('train_loss', 'training'), ('val_loss', 'validation'))),
           ('accuracy / %', (('train_top1', 'training top-1'), ('val_top1', 'validation top-1'),
                             ('val_top5', 'validation top-5'))))


def draw_curves(path: str, history: Sequence[Mapping[str, Any]], title: str) -> None:
    """Draw loss and accuracy against the epoch; without the top-5 where that is always 100 %."""
    figure = Figure(figsize=(11, 4.2), dpi=120, constrained_layout=True)
    FigureCanvasAgg(figure)
    epochs = [row['epoch'] for row in history]
    for axes, (label, curves) in zip(figure.subplots(1, len(_CURVES)), _CURVES):
        for key, name in curves:
            values = [row[key] * (100 if '%' in label else 1) for row in history]
            if key == 'val_top5' and min(values) == 100:
                continue
            axes.plot(epochs, values, label=f'{name} ({values[-1]:.4g})', marker='.')
        axes.set_ylabel(label)
        count_epochs(axes)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title)
    save_picture(path, figure)


def count_epochs(axes: Axes) -> None:
    """Whole epochs on the axis, however few."""
    axes.set_xlabel('epoch')
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, seconds = divmod(int(round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{seconds:02d}'
