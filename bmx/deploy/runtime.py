"""The runtime without MXNet, the package bmx_runtime, beside MXNet."""
from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Iterable

import mxnet as mx
import numpy as np

from .verification import as_arrays


def import_runtime() -> ModuleType:
    """The package bmx_runtime.

    Raises
    ------
    FileNotFoundError
        It is not installed, or its library cannot be loaded.
    """
    try:
        return importlib.import_module('bmx_runtime')
    except ImportError as error:
        raise FileNotFoundError(f'the runtime without MXNet cannot be imported ({error}): in a clone of bmx, '
                                '`python -m pip install "./runtime/python[images]"`') from None


def equal_bits(prefix: str | os.PathLike, deployed: mx.gluon.Block,
               batches: mx.nd.NDArray | np.ndarray | Iterable) -> tuple[int, int]:
    """Run a deployed model in the runtime and in MXNet.

    Parameters
    ----------
    prefix : str or os.PathLike
        Of its files.
    deployed : gluon.Block
        The same model, loaded in MXNet.
    batches : iterable
        Inputs, as `as_arrays` takes them.

    Returns
    -------
    (int, int)
        For how many inputs all outputs are the same bits; how many inputs there were.

    Raises
    ------
    FileNotFoundError
        The runtime is not installed.
    ValueError
        The runtime does not take this model: for example, it has operators of MXNet.
    """
    model = import_runtime().Model(prefix)
    equal = count = 0
    for batch in as_arrays(batches):
        expected, found = deployed(batch), model(batch.asnumpy())
        same = np.ones(len(batch), bool)
        for one, other in zip(expected if isinstance(expected, (list, tuple)) else [expected],
                              found if isinstance(found, tuple) else [found]):
            same &= (_bits(one.asnumpy()) == _bits(other)).all(1)
        equal, count = equal + int(same.sum()), count + len(batch)
    return equal, count


def _bits(values: np.ndarray) -> np.ndarray:
    """The bits of float32 values, a row for each input."""
    return values.view(np.uint32).reshape(len(values), -1)
