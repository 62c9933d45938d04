"""Random numbers without a state that would have to be saved.

Everything random in a training is drawn from a stream which is named by what it is for and by where the training
stands, so a resumed run draws what the uninterrupted one would have drawn, with any number of data workers.
"""
import numpy as np

_PURPOSES = {'init': 0, 'order': 1, 'sample': 2, 'step': 3, 'reader': 4}


def stream(seed: int, purpose: str, *position: int) -> np.random.RandomState:
    """Random numbers for one purpose at one position of the training.

    Parameters
    ----------
    seed : int
        Seed of the training.
    purpose : {'init', 'order', 'sample', 'step', 'reader'}
        What is drawn: initial weights, sample order, augmentation of a sample, everything inside a step (mixup,
        dropout), or the seeds of a reader with a random generator of its own.
    *position : int
        Where the training stands: epoch, and sample or batch.

    Returns
    -------
    numpy.random.RandomState
    """
    return np.random.RandomState((seed, _PURPOSES[purpose]) + position)


def integer(seed: int, purpose: str, *position: int) -> int:
    """One integer in [0, 2**31) from `stream`, to seed a generator that is not NumPy's."""
    return int(stream(seed, purpose, *position).randint(2 ** 31))
