"""Checkpoints that are there whole or not at all.

A checkpoint is a directory ``checkpoint-EEEE`` (EEEE epochs are finished) or ``checkpoint-EEEE-BBBBBB`` (and BBBBBB
batches of the next one) with ``net.params``, ``trainer.states`` and ``checkpoint.json``. It is written under a
temporary name, flushed to the disk, read back and renamed. Random states are not in it: see `randomness`.
"""
from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import re
import shutil
import tempfile
from typing import Any, Iterable, Iterator, Mapping

from ..io.storage import TEMPORARY, digest, flush, lock_folder, write_file
from .errors import TrainingError
from .options import TrainingOptions
from .recipes import Recipe
from .workers import Workers

FORMAT = 2
_NAME = re.compile(r'checkpoint-(\d{4,})(?:-(\d{6,}))?$')
_STATE = 'checkpoint.json'
_BEGUN = TEMPORARY + 'checkpoint-'  # how the folder begins that becomes a checkpoint

_logger = logging.getLogger('bmx.train')


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint found whole: its directory, finished epochs, batches in the next one, its JSON."""
    path: str
    epoch: int
    batch: int
    state: dict


class CheckpointStore:
    """The checkpoints of one training.

    Parameters
    ----------
    directory : str or os.PathLike
        Made when it is locked, or the first checkpoint is saved.
    save_frequency : int
        The checkpoint of every `save_frequency`-th epoch is kept for good (0: of none), beside the newest two.
    """

    def __init__(self, directory: str | os.PathLike, save_frequency: int) -> None:
        self.directory = os.fspath(directory)
        self._save_frequency = save_frequency
        self._locked = False
        self._lock: int | None = None

    @contextlib.contextmanager
    def locked(self) -> Iterator[int | None]:
        """Keep other trainings out of the directory, which is made; within it, this store may be locked again.

        Yields what `storage.lock_folder` returned.

        Raises
        ------
        TrainingError
            Another training is in it.
        """
        if self._locked:
            yield self._lock
            return
        os.makedirs(self.directory, exist_ok=True)
        try:
            self._lock = lock_folder(self.directory)
        except BlockingIOError:
            raise TrainingError(f'another process trains in {self.directory}: wait until it ends, or choose another '
                                '--save-dir') from None
        if self._lock is None:
            _logger.warning('the file system of %s has no locks: start no second training in that folder',
                            self.directory)
        self._locked = True
        try:
            yield self._lock
        finally:
            self._locked = False
            if self._lock is not None:
                os.close(self._lock)

    def _listed(self):
        """(epoch, batch, path) of all checkpoints, the oldest first."""
        if not os.path.isdir(self.directory):
            return []
        matches = [_NAME.match(name) for name in os.listdir(self.directory)]
        return sorted((int(match.group(1)), int(match.group(2) or 0), os.path.join(self.directory, match.group()))
                      for match in matches if match)

    @property
    def newest(self) -> str | None:
        """Path of the newest checkpoint, whole or not; None if there is none."""
        listed = self._listed()
        return listed[-1][2] if listed else None

    def save(self, epoch: int, batch: int, state: Mapping[str, Any], contents: Mapping[str, Iterable[bytes]]) -> str:
        """Write one checkpoint, then delete the ones that are no longer needed.

        Parameters
        ----------
        epoch, batch : int
            Finished epochs, and batches in the next one.
        state : dict
            What goes into ``checkpoint.json``.
        contents : dict
            Name of a file to its content, an iterable of bytes.

        Returns
        -------
        str
            Path of the checkpoint.

        Raises
        ------
        OSError
            It cannot be written, for example on a full disk; the checkpoints before it stay.
        """
        path = os.path.join(self.directory, f'checkpoint-{epoch:04d}' + (f'-{batch:06d}' if batch else ''))
        os.makedirs(self.directory, exist_ok=True)
        self._remove_leftovers()
        try:
            self._write(path, dict(state, format=FORMAT, epoch=epoch, batch=batch), contents)
        except OSError as error:
            self._remove_leftovers()
            raise OSError(error.errno, f'{error.strerror}; the checkpoint was not saved, --resume goes on from the one '
                                       'before', path) from None
        self._prune()
        return path

    def _write(self, path, state, contents):
        temporary = tempfile.mkdtemp(prefix=_BEGUN, dir=self.directory)
        os.chmod(temporary, 0o755)
        files = {name: write_file(os.path.join(temporary, name), chunks) for name, chunks in contents.items()}
        write_file(os.path.join(temporary, _STATE), [json.dumps(dict(state, files=files), indent=1).encode()])
        if os.path.isdir(path):  # a damaged one, or the same state again
            shutil.rmtree(path)
        os.rename(temporary, path)
        flush(self.directory)

    def _remove_leftovers(self):
        """Delete what interrupted writes left."""
        for name in os.listdir(self.directory):
            if name.startswith(_BEGUN):
                shutil.rmtree(os.path.join(self.directory, name))

    def _prune(self):
        for epoch, batch, path in self._listed()[:-2]:
            if batch or not self._save_frequency or epoch % self._save_frequency:
                shutil.rmtree(path)

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, with a warning for every newer one that is not.

        Returns
        -------
        Checkpoint or None
            None if there are no checkpoints at all.

        Raises
        ------
        TrainingError
            There are checkpoints, and all are damaged; or one was written by another version.
        """
        listed = self._listed()
        for epoch, batch, path in reversed(listed):
            try:
                return Checkpoint(path, epoch, batch, self._read(path))
            except (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError) as error:
                _logger.warning('checkpoint %s is damaged (%s); falling back to the one before', path, error)
        if listed:
            raise TrainingError(f'every checkpoint in {self.directory} is damaged: start anew in another --save-dir')
        return None

    @staticmethod
    def _read(path):
        with open(os.path.join(path, _STATE)) as content:
            state = json.load(content)
        if state['format'] != FORMAT:
            raise TrainingError(f'{path} has checkpoint format {state["format"]}, this version of bmx reads {FORMAT}: '
                                'resume it with the version that wrote it')
        for name, expected in state['files'].items():
            if digest(os.path.join(path, name)) != expected:
                raise ValueError(f'{name} is not what was written')
        return state


@contextlib.contextmanager
def shared(checkpoint: Checkpoint | None, workers: Workers) -> Iterator[Checkpoint | None]:
    """What rank 0 has found, for all workers, which must all call it: the others get a copy, in a temporary folder.

    So nobody but rank 0 needs to see its directory.

    Parameters
    ----------
    checkpoint : Checkpoint or None
        That of rank 0; whatever the others pass does not matter.
    workers : Workers
    """
    if not workers.distributed:
        yield checkpoint
        return
    head = json.loads(workers.broadcast(json.dumps(checkpoint and dataclasses.astuple(checkpoint)).encode()))
    if head is None:
        yield None
        return
    path, epoch, batch, state = head
    with tempfile.TemporaryDirectory(prefix='bmx-') as folder:
        for name in sorted(state['files']):
            content = b''
            if workers.leads:
                with open(os.path.join(path, name), 'rb') as file:
                    content = file.read()
            content = workers.broadcast(content)
            if not workers.leads:
                write_file(os.path.join(folder, name), [content])
        yield Checkpoint(path if workers.leads else folder, epoch, batch, state)


def _defaults(arguments):
    """What a checkpoint is taken to have of some arguments where it lacks them, because it is older."""
    known = {field.name: field.default for kind in (Recipe, TrainingOptions) for field in dataclasses.fields(kind)
             if field.default is not dataclasses.MISSING}
    return json.loads(json.dumps({name: known[name] for name in arguments if name in known}))


def check_same_training(checkpoint: Checkpoint, arguments: Mapping[str, Any], extend: bool = False) -> None:
    """Refuse to continue a training with other arguments.

    Parameters
    ----------
    checkpoint : Checkpoint
    arguments : dict
        The arguments of this run that decide its result, with the same keys as the saved ones.
    extend : bool
        Allow more epochs than the saved ones.

    Raises
    ------
    TrainingError
        Names every difference.
    """
    wanted = json.loads(json.dumps(arguments))
    saved = {**_defaults(wanted), **checkpoint.state['arguments']}
    longer = _more(wanted.get('num_epochs'), saved.get('num_epochs'))
    if extend and longer:
        saved['num_epochs'] = wanted['num_epochs']
    differences = [f'{name} was {json.dumps(saved.get(name))}, is now {json.dumps(wanted.get(name))}'
                   for name in sorted(set(saved) | set(wanted)) if saved.get(name) != wanted.get(name)]
    if differences:
        hint = '; --extend allows more epochs' if longer and not extend else ''
        raise TrainingError(f'cannot resume {checkpoint.path} with other arguments: {"; ".join(differences)}. Give the '
                            f'ones it was started with, or start anew in another --save-dir{hint}')


def _more(epochs: object, than: object) -> bool:
    """Whether there are more epochs; a damaged checkpoint may hold anything in their place."""
    return isinstance(epochs, int) and isinstance(than, int) and epochs > than
