"""The state of an optimizer as a file: what gluon.Trainer.save_states writes, a pickle, read without trusting it."""
from __future__ import annotations

import io
import math
import numbers
import os
import pickle
import struct

import mxnet as mx
import numpy as np

from ..io.storage import LoadError

# Of an array in MXNet's format: the number of the format, of "dense", of each device, and bytes of each data type.
_FORMATS, _DENSE, _DEVICES = (0xF993FAC9, 0xF993FACA), 0, (1, 2, 3)
_TYPES = {0: ('float32', 4), 1: ('float64', 8), 2: ('float16', 2), 3: ('uint8', 1), 4: ('int32', 4), 5: ('int8', 1),
          6: ('int64', 8)}

# Attributes of the trainer's optimizer that no file changes.
_KEPT = {'param_dict', 'lr_scheduler'}


def dump(trainer: mx.gluon.Trainer) -> bytes:
    """The bytes that `trainer.save_states` writes."""
    return _updaters(trainer)[0].get_states(dump_optimizer=True)


def load(trainer: mx.gluon.Trainer, path: str | os.PathLike) -> None:
    """Do what `trainer.load_states` does with a file from anywhere.

    Python's pickles may call whatever they name. In this file there can be nothing but numbers and arrays of the
    trainer's optimizer and parameters.

    Parameters
    ----------
    trainer : gluon.Trainer
        Its parameters are initialized.
    path : str or os.PathLike

    Raises
    ------
    LoadError
        The file cannot be read, is damaged, holds something else, or belongs to another network or optimizer.
    """
    updaters, optimizer = _updaters(trainer), trainer.optimizer
    try:
        with open(path, 'rb') as content:
            found = _Reader(io.BytesIO(content.read()), type(optimizer)).load()
        states, attributes = (found[0], found[1].content) if isinstance(found, tuple) else (found, {})
        if attributes:
            _check_attributes(attributes, vars(optimizer))
        for index, state in states.items():
            weight = dict(enumerate(trainer._params))[index].list_data()[0]
            _check_state(state, optimizer.create_state_multi_precision(index, weight))
        states = _with_arrays(states)
        attributes = {name: _with_arrays(attributes[name]) for name in attributes if name not in _KEPT}
    except Exception as error:  # a damaged pickle raises anything
        raise LoadError(f'cannot load {path}, it is damaged or not of this training: {type(error).__name__}: '
                        f'{error}') from None
    for updater in updaters:
        updater.set_states(pickle.dumps(states))
    vars(optimizer).update(attributes)


def _updaters(trainer):
    """What holds the states of a trainer: one for all devices, or one for each."""
    if not isinstance(trainer._kvstore_params['kvstore'], str):
        # The store of a distributed training holds none that can be reached, and begins when all workers have it begin.
        return trainer._updaters
    if not trainer._kv_initialized:
        trainer._init_kvstore()
    if trainer._params_to_init:
        trainer._init_params()
    return [trainer._kvstore._updater] if trainer._update_on_kvstore else trainer._updaters


class _Array:
    """An array of a file: its bytes, which fit its shape and type."""

    def __init__(self, nothing):
        if nothing is not None:
            raise ValueError(f'an array of {type(nothing)!r}')

    def __setstate__(self, state):
        self.content = state['handle']
        form, layout, dimensions = struct.unpack_from('<Iii', self.content)
        if form not in _FORMATS or layout != _DENSE or not 0 < dimensions <= 32:
            raise ValueError('an array of an unknown format')
        self.shape = struct.unpack_from(f'<{dimensions}q', self.content, 12)
        head = struct.calcsize(f'<Iii{dimensions}qiii')
        device, number, kind = struct.unpack_from('<iii', self.content, head - 12)
        self.dtype, size = _TYPES[kind]
        if min(self.shape) < 1 or device not in _DEVICES or number < 0 or (
                len(self.content) != head + size * math.prod(self.shape)):
            raise ValueError(f'an array of shape {self.shape} in {len(self.content)} bytes')


class _Optimizer:
    """The attributes of an optimizer."""

    def __setstate__(self, state):
        self.content = state


class _Bytes(bytearray):
    def __init__(self, content):
        if not isinstance(content, bytes):
            raise ValueError(f'bytes of {type(content)!r}')
        super().__init__(content)

    def __setstate__(self, state):
        raise ValueError('bytes with attributes')


class _Reader(pickle._Unpickler):  # in Python: the one in C takes memory for as many objects as a file claims to have
    """Reads an optimizer's states into `_Array` and `_Optimizer`; refuses whatever else a pickle can name."""

    def __init__(self, content, optimizer):
        super().__init__(content)
        self._known = {(mx.nd.NDArray.__module__, 'NDArray'): _Array, ('builtins', 'bytearray'): _Bytes,
                       (optimizer.__module__, optimizer.__name__): _Optimizer}

    def find_class(self, module, name):
        if (module, name) not in self._known:
            raise pickle.UnpicklingError(f'it holds {module}.{name}')
        return self._known[module, name]


def _check_attributes(found, expected):
    """Refuse attributes that no optimizer like the trainer's has."""
    differing = set(found) ^ set(expected) - {'param_dict'}
    if differing:
        raise ValueError(f'an optimizer with or without {", ".join(sorted(map(str, differing)))}')
    for name in set(found) - _KEPT:
        value, like = found[name], expected[name]
        if isinstance(like, dict):
            fits = _is_plain(value, dict, depth=3) and all(
                isinstance(each, dict) for each in value.values() if name == '_all_index_update_counts')
        else:
            fits = value is like or type(value) is type(like) or all(
                isinstance(each, numbers.Real) or each is None for each in (value, like))
        if not fits:
            raise ValueError(f'an optimizer whose {name} is {value!r:.40}')


def _is_plain(value, kinds, depth):
    """Whether a value is of some kinds and, if a dict, holds but numbers, text, arrays and dicts of them."""
    return isinstance(value, kinds) and (not isinstance(value, dict) or depth > 0 and all(
        isinstance(key, (int, str)) and _is_plain(each, (dict, numbers.Real, str, _Array), depth - 1)
        for key, each in value.items()))


def _check_state(found, expected):
    """Refuse a state that is not like what the optimizer makes for a weight."""
    if isinstance(expected, (tuple, list)) and type(found) is type(expected) and len(found) == len(expected):
        for each in zip(found, expected):
            _check_state(*each)
    elif isinstance(expected, mx.nd.NDArray) and isinstance(found, _Array):
        if (found.shape, found.dtype) != (expected.shape, np.dtype(expected.dtype).name):
            raise ValueError(f'a state of shape {found.shape}, {found.dtype} for a weight of {expected.shape}, '
                             f'{np.dtype(expected.dtype).name}')
    elif found is not None or expected is not None:
        raise ValueError('a state that is no state of this optimizer')


def _with_arrays(value):
    """A value with NDArrays in place of the `_Array`s."""
    if isinstance(value, _Array):
        array = mx.nd.NDArray(None)
        array.__setstate__({'handle': bytearray(value.content)})
        return array
    if isinstance(value, dict):
        return {key: _with_arrays(each) for key, each in value.items()}
    return type(value)(map(_with_arrays, value)) if isinstance(value, (tuple, list)) else value
