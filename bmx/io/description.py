"""What parameters do not say of their network: how it was built, and what its inputs and outputs are.

A training leaves it beside its best parameters, X.params, as X.json; a deployed model holds it as well
(`bmx.deploy.Metadata`).
"""
from __future__ import annotations

import dataclasses
import json
import math
import os
import reprlib
from typing import Any, Iterable, Mapping, Sequence

import numpy as np
from mxnet import gluon

from ..nn import config
from .formats import write_json
from .storage import LoadError

# Arguments of `get_model` that say nothing about the model; no file decides them.
NOT_KEYWORDS = ('ctx', 'name', 'params', 'prefix', 'pretrained', 'root')

# The least and the greatest number that a setting can be; what nests deeper is none; axes that an input can have.
_NUMBERS = -2 ** 31, 2 ** 31
_DEPTH = 8
_AXES = 16


@dataclasses.dataclass
class Description:
    """How to build a network again and what to feed it.

    Attributes
    ----------
    model : str
        Name of the model.
    settings : dict
        Its keywords.
    layer_defaults : dict
        The scope `bmx.nn.config` that it was built in.
    classes : list of str
        Names of the outputs.
    preprocess : dict
        How an image becomes an input (`bmx.io.preprocess`).
    """
    model: str
    settings: dict
    layer_defaults: dict
    classes: list[str]
    preprocess: dict


def description_path(params: str) -> str:
    """Where the description of the network of a parameter file is."""
    return os.path.splitext(params)[0] + '.json'


def write_description(params: str, net: gluon.HybridBlock, classes: Iterable[str],
                      preprocess: Mapping[str, Any]) -> None:
    """Describe a network of `bmx.get_model` beside its parameter file `params`."""
    described = Description(net.model_name, net.model_kwargs, net.layer_defaults, list(classes),
                            dict(preprocess))
    write_json(description_path(params), plain(dataclasses.asdict(described)))


def read_description(params: str) -> Description | None:
    """The `Description` beside a parameter file, None if there is none.

    Raises
    ------
    LoadError
        It is damaged, or another file.
    """
    path = description_path(params)
    if path == params:
        raise LoadError(f'{params} is no file of parameters: give the .params file')
    if not os.path.isfile(path):
        return None
    with open(path, 'rb') as stream:
        content = parse_json(stream.read(), f'{path} is damaged')
    names = [field.name for field in dataclasses.fields(Description)]
    if not isinstance(content, dict) or set(content) != set(names):
        raise LoadError(f'{path} is damaged, or does not describe a network: it must have {", ".join(names)}')
    check_description(content, path)
    check_preprocess(content['preprocess'], path)
    return Description(**content)


def plain(value: Any) -> Any:
    """A value with Python's own numbers and lists in the place of NumPy's and of tuples, as JSON can hold it."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def parse_json(text: bytes, complaint: str) -> Any:
    """What JSON text, bytes in UTF-8, holds; what it cannot hold is a LoadError that begins with `complaint`."""
    try:
        return json.loads(text.decode('utf-8'))
    except (ValueError, RecursionError, MemoryError) as error:
        raise LoadError(f'{complaint}: {error or type(error).__name__}') from None


def check_description(content: Mapping[str, Any], where: str) -> None:
    """Refuse, by a LoadError, values that cannot be those of a `Description` or of `bmx.deploy.Metadata`."""
    _check_scale(content['preprocess'], where)
    for name, accepts in (('model', _is_name), ('settings', _are_settings), ('layer_defaults', _are_scalars),
                          ('classes', _are_names), ('preprocess', _is_part_of_preprocess)):
        if not accepts(content[name]):
            raise _damaged(where, name, content[name])
    foreign = [name for name in NOT_KEYWORDS if name in content['settings']]
    if foreign:
        raise LoadError(f'{where} is damaged, or not to be trusted: its settings have {", ".join(foreign)}, no keyword '
                        'of a model')
    try:
        with config(**content['layer_defaults']):
            pass
    except (TypeError, ValueError) as error:
        raise LoadError(f'{where} is damaged, or of another version of bmx: layer_defaults: {error}') from None


def check_preprocess(content: object, where: str) -> None:
    """Refuse, by a LoadError, what does not say how an image becomes an input of three channels."""
    _check_scale(content, where)
    if not isinstance(content, dict) or not set(_PREPROCESS) <= set(content) or not _is_part_of_preprocess(content):
        raise _damaged(where, 'preprocessing', content)


def preprocessing(metadata: Any) -> Mapping[str, Any]:
    """How an image becomes the input of a deployed model; a LoadError if its `Metadata` do not say it."""
    if metadata.preprocess is None:
        raise LoadError('the model does not say how an image becomes its input: export it again with preprocess=')
    check_preprocess(metadata.preprocess, 'the model')
    return metadata.preprocess


def complete_preprocess(content: Any, input_shape: Sequence[int]) -> dict[str, Any]:
    """A preprocessing that is given for inputs of a shape (without the batch), with Python's own numbers.

    Raises
    ------
    ValueError
        It is none, lacks something or has something else, or makes other inputs.
    """
    content = plain(content)
    names = ', '.join(_PREPROCESS)
    if not isinstance(content, dict) or set(content) != set(_PREPROCESS):
        raise ValueError(f'preprocess must be a dict of {names}, got {reprlib.repr(content)}')
    check_preprocess(content, 'preprocess')
    made = [3] + content['size']
    if made != list(input_shape):
        raise ValueError(f'preprocess makes inputs of shape {tuple(made)}, those of the network are '
                         f'{tuple(input_shape)}: give its size as [height, width] of data_shape')
    return content


def check_shape(content: object, where: str) -> None:
    """Refuse, by a LoadError, what cannot be the shape of one input."""
    if not isinstance(content, list) or len(content) > _AXES or not all(
            type(size) is int and size >= 1 for size in content) or math.prod(content) > _NUMBERS[1]:
        raise _damaged(where, 'input_shape', content)


def _damaged(where: str, name: str, value: object) -> LoadError:
    return LoadError(f'{where} is damaged: its {name} cannot be {reprlib.repr(value)}')


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value.isprintable()


def _are_names(value: object) -> bool:
    return value is None or isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_number(value: Any, least: float = _NUMBERS[0], most: float = _NUMBERS[1]) -> bool:
    return type(value) in (int, float) and least <= value <= most  # which a NaN is not


def _are_scalars(value: object) -> bool:
    return isinstance(value, dict) and all(
        each is None or isinstance(each, (str, bool)) or _is_number(each) or each == math.inf
        for each in value.values())


def _are_settings(value: object, depth: int = _DEPTH) -> bool:
    if isinstance(value, dict):
        return depth > 0 and all(_are_settings(each, depth - 1) for each in value.values())
    if isinstance(value, list):
        return 0 < depth < _DEPTH and all(_are_settings(each, depth - 1) for each in value)
    return depth < _DEPTH and (value is None or isinstance(value, (str, bool)) or _is_number(value))


# What a preprocessing has: how many numbers, of which types, the least and the greatest. Mean and deviation are
# those of values from 0 to 1.
_PREPROCESS = {'size': (2, (int,), 1, 2 ** 14), 'crop_ratio': (1, (int, float), 1e-3, 1),
               'mean': (3, (int, float), 0, 1), 'std': (3, (int, float), 1e-3, 1)}


def scale_complaint(name: str, value: float) -> str | None:
    """What is wrong with the 'mean' or 'std' of a channel, in words that say the scale; None where nothing is."""
    _, _, least, most = _PREPROCESS[name]
    if _is_number(value, least, most):
        return None
    hint = ''
    if _is_number(value, 1, 255):
        hint = f': divide it by 255, that is {value / 255:.4g}'
    return (f'{name} {value:g} is not on the scale of values from 0 to 1, where it is from {least:g} to {most:g}{hint}')


def _check_scale(content: object, where: str) -> None:
    for name in ('mean', 'std'):
        numbers = content.get(name) if isinstance(content, dict) else None
        for number in numbers if isinstance(numbers, list) else ():
            complaint = scale_complaint(name, number) if type(number) in (int, float) and abs(number) < 1e9 else None
            if complaint:
                raise LoadError(f'{where} is damaged, or not from bmx: its preprocessing has {complaint}')


def _is_part_of_preprocess(value: object) -> bool:
    """Whether what there is of a preprocessing can be."""
    if value is None:
        return True
    if not isinstance(value, dict):
        return False
    for name in set(_PREPROCESS) & set(value):
        length, types, least, most = _PREPROCESS[name]
        numbers = [value[name]] if name == 'crop_ratio' else value[name]
        if not isinstance(numbers, list) or len(numbers) != length or not all(
                type(number) in types and _is_number(number, least, most) for number in numbers):
            return False
    return True
