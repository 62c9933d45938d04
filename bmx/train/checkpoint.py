"""Checkpoints that are there whole or not at all.

A checkpoint is a directory ``checkpoint-EEEE`` (EEEE epochs are finished) or ``checkpoint-EEEE-BBBBBB`` (and BBBBBB
batches of the next one) with ``net.params``, ``trainer.states`` and ``checkpoint.json``. It is written under a
temporary name, flushed to the disk and renamed. Random states are not in it: see `randomness`.
"""
import json
import logging
import os
import re
import shutil
import tempfile
from collections import namedtuple

from ..storage import TEMPORARY, digest, flush
from .errors import TrainingError

FORMAT = 2
_NAME = re.compile(r'checkpoint-(\d{4,})(?:-(\d{6,}))?$')
_STATE = 'checkpoint.json'
# Arguments that checkpoints from before them lack, and what those trainings did.
_YOUNGER = {'binarizations': 1}

_logger = logging.getLogger('bmx.train')

Checkpoint = namedtuple('Checkpoint', 'path epoch batch state')
Checkpoint.__doc__ = """A checkpoint found whole: its directory, finished epochs, batches in the next one, its JSON."""


class CheckpointStore:
    """The checkpoints of one training.

    Parameters
    ----------
    directory : str
        Made when the first checkpoint is saved.
    save_frequency : int
        The checkpoint of every `save_frequency`-th epoch is kept for good (0: of none), beside the newest two.
    """

    def __init__(self, directory, save_frequency):
        self.directory = directory
        self._save_frequency = save_frequency

    def _listed(self):
        """(epoch, batch, path) of all checkpoints, the oldest first."""
        if not os.path.isdir(self.directory):
            return []
        matches = [_NAME.match(name) for name in os.listdir(self.directory)]
        return sorted((int(match.group(1)), int(match.group(2) or 0), os.path.join(self.directory, match.group()))
                      for match in matches if match)

    @property
    def newest(self):
        """Path of the newest checkpoint, whole or not; None if there is none."""
        listed = self._listed()
        return listed[-1][2] if listed else None

    def save(self, epoch, batch, state, writers):
        """Write one checkpoint, then delete the ones that are no longer needed.

        Parameters
        ----------
        epoch, batch : int
            Finished epochs, and batches in the next one.
        state : dict
            What goes into ``checkpoint.json``.
        writers : dict
            Name of a file to a function that writes it, given its path.

        Returns
        -------
        str
            Path of the checkpoint.
        """
        path = os.path.join(self.directory, 'checkpoint-%04d' % epoch + ('-%06d' % batch if batch else ''))
        os.makedirs(self.directory, exist_ok=True)
        self._remove_leftovers()
        temporary = tempfile.mkdtemp(prefix=TEMPORARY, dir=self.directory)
        os.chmod(temporary, 0o755)
        for name, write in writers.items():
            write(os.path.join(temporary, name))
        files = {name: digest(os.path.join(temporary, name)) for name in writers}
        with open(os.path.join(temporary, _STATE), 'w') as out:
            json.dump(dict(state, format=FORMAT, epoch=epoch, batch=batch, files=files), out, indent=1)
        for name in os.listdir(temporary):
            flush(os.path.join(temporary, name))
        flush(temporary)
        if os.path.isdir(path):  # a damaged one, or the same state again
            shutil.rmtree(path)
        os.rename(temporary, path)
        flush(self.directory)
        self._prune()
        return path

    def _remove_leftovers(self):
        """Delete what interrupted writes left."""
        for name in os.listdir(self.directory):
            path = os.path.join(self.directory, name)
            if name.startswith(TEMPORARY):
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)

    def _prune(self):
        for epoch, batch, path in self._listed()[:-2]:
            if batch or not self._save_frequency or epoch % self._save_frequency:
                shutil.rmtree(path)

    def latest(self):
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
            except (OSError, ValueError, KeyError) as error:
                _logger.warning('checkpoint %s is damaged (%s); falling back to the one before', path, error)
        if listed:
            raise TrainingError('every checkpoint in %s is damaged: start anew in another --save-dir' % self.directory)
        return None

    @staticmethod
    def _read(path):
        with open(os.path.join(path, _STATE)) as content:
            state = json.load(content)
        if state['format'] != FORMAT:
            raise TrainingError('%s has checkpoint format %s, this version of bmx reads %d: resume it with the version '
                                'that wrote it' % (path, state['format'], FORMAT))
        for name, expected in state['files'].items():
            if digest(os.path.join(path, name)) != expected:
                raise ValueError('%s is not what was written' % name)
        return state


def check_same_training(checkpoint, arguments):
    """Refuse to continue a training with other arguments.

    Parameters
    ----------
    checkpoint : Checkpoint
    arguments : dict
        The arguments of this run that decide its result, with the same keys as the saved ones.

    Raises
    ------
    TrainingError
        Names every difference.
    """
    wanted = json.loads(json.dumps(arguments))
    saved = {**{name: _YOUNGER[name] for name in _YOUNGER if name in wanted}, **checkpoint.state['arguments']}
    differences = ['%s was %s, is now %s' % (name, *(json.dumps(each.get(name)) for each in (saved, wanted)))
                   for name in sorted(set(saved) | set(wanted)) if saved.get(name) != wanted.get(name)]
    if differences:
        raise TrainingError('cannot resume %s with other arguments: %s. Give the ones it was started with, or start '
                            'anew in another --save-dir' % (checkpoint.path, '; '.join(differences)))
