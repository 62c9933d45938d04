"""What a training tells, as events that TensorBoard shows."""
from __future__ import annotations

import contextlib
import glob
import os
import time
from typing import Any, Iterator, Mapping, Sequence

import mxnet as mx
import numpy as np
from PIL import Image

from .errors import TrainingError
from .progress import logger

# The scalars of an epoch: their names there, and their columns in metrics.csv.
SCALARS = {'loss/train': 'train_loss', 'loss/val': 'val_loss', 'top1/train': 'train_top1', 'top1/val': 'val_top1',
           'top5/val': 'val_top5', 'lr': 'lr', 'images_per_s': 'images_per_s', 'sign_flips/all': 'sign_flips'}

_BINS = 64


class Events:
    """The events of one training; steps are batches since its beginning.

    They are written at once and in order: tensorboardX's own thread waits for ever once it cannot write.

    Parameters
    ----------
    directory : str, optional
        Where they are written; None writes nothing.
    batches_per_epoch : int

    Raises
    ------
    TrainingError
        tensorboardX is not installed.
    """

    def __init__(self, directory: str | None, batches_per_epoch: int) -> None:
        self._directory = directory
        self._batches = batches_per_epoch
        self._writer: Any = None
        self._next = 0  # the least step that is not written yet
        if directory is not None:
            try:
                import tensorboardX.event_file_writer  # noqa: F401
            except ImportError as error:
                raise TrainingError(f"--tensorboard writes with tensorboardX, which cannot be imported ({error}): pip "
                                    "install 'bmx[tensorboard]', or leave it out") from None

    @contextlib.contextmanager
    def opened(self, epoch: int, batch: int) -> Iterator[None]:
        """Write inside, from a place of the training on: whatever earlier runs wrote of later steps is taken back."""
        if self._directory is None:
            yield
            return
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        try:
            os.makedirs(self._directory, exist_ok=True)
            earlier = len(glob.glob(os.path.join(glob.escape(self._directory), '*.tfevents.*')))
            # A number makes the name unique and keeps files in order that are begun in the same second.
            self._writer = EventsWriter(os.path.join(self._directory, 'events'), f'.{earlier:04d}')
        except OSError as error:
            raise TrainingError(f'cannot write for TensorBoard: {error}') from None
        # What an epoch ends with is written after its checkpoint, so perhaps it is not there; all else is.
        self._next = epoch * self._batches + batch + (batch % self._batches > 0) if earlier else 0
        try:
            if self._next:
                self._write(Event(step=self._next, session_log=SessionLog(status=SessionLog.START)))
            yield
        finally:
            writer, self._writer = self._writer, None
            with contextlib.suppress(OSError):
                if writer is not None:
                    writer.close()

    def add_loss(self, epoch: int, batch: int, loss: float) -> None:
        """The mean training loss of the epoch so far, within an epoch."""
        step = epoch * self._batches + batch
        if self._writer is not None and batch < self._batches and step >= self._next:
            from tensorboardX import summary
            self._add(step, [summary.scalar('loss/train_so_far', loss)])

    def add_epochs(self, history: Sequence[Mapping[str, Any]], weights: Mapping[str, mx.gluon.Parameter],
                   curves: str) -> None:
        """What is not yet written of the epochs so far.

        Parameters
        ----------
        history : list of dict
            Rows of epochs, as a checkpoint holds them.
        weights : dict
            Name of a layer to the weights, as they are now, behind the last row.
        curves : str
            Path of the picture of these epochs.
        """
        if self._writer is None:
            return
        from tensorboardX import summary
        for row in history:
            step = row['epoch'] * self._batches
            if step < self._next:
                continue
            values = [summary.scalar(name, row[column]) for name, column in SCALARS.items() if row[column] is not None]
            flips = np.array(row['sign_flips_of_layers'])
            if flips.size:  # a bin for each layer, as high as its percentage
                values.append(_histogram('sign_flips/layers', np.arange(flips.size + 1) + 0.5, flips))
            if row is history[-1]:
                values += [_histogram(f'weights/{name}', *np.histogram(weight.list_data()[0].asnumpy(), _BINS)[::-1])
                           for name, weight in weights.items()]
                values.append(_picture('curves', curves))
            self._add(step, values)
            self._next = step + 1

    def _add(self, step: int, summaries: Sequence[Any]) -> None:
        from tensorboardX.proto.event_pb2 import Event
        for each in summaries:
            self._write(Event(step=step, wall_time=time.time(), summary=each))
        self._write(None)

    def _write(self, event: Any) -> None:
        """Write an event, None: give those before to the system."""
        if self._writer is None:
            return
        try:
            if event is None:
                self._writer.flush()
            else:
                self._writer.write_event(event)
        except OSError as error:  # half an event hides those behind it
            self._writer = None
            logger.warning('cannot write for TensorBoard any more, the training goes on without: %s', error)


def _histogram(name: str, edges: np.ndarray, counts: np.ndarray) -> Any:
    """A histogram; its sums are those of values in the middle of their bins."""
    from tensorboardX import summary
    middles = (edges[1:] + edges[:-1]) / 2
    return summary.histogram_raw(name, float(edges[0]), float(edges[-1]), float(counts.sum()),
                                 float(counts @ middles), float(counts @ middles ** 2), edges[1:].tolist(),
                                 counts.tolist())


def _picture(name: str, path: str) -> Any:
    from tensorboardX.proto.summary_pb2 import Summary
    with Image.open(path) as image:
        (width, height), channels = image.size, len(image.getbands())
    with open(path, 'rb') as content:
        picture = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=content.read())
    return Summary(value=[Summary.Value(tag=name, image=picture)])
