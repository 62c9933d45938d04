"""The registry of models: one table, one `get_model`."""
from __future__ import annotations

import dataclasses
import difflib
import inspect
import numbers
import os
from typing import Any, Callable, Mapping, Sequence

import mxnet as mx
import numpy as np
from mxnet import gluon

from bmx.nn.configuration import ROLES, check_told_once, config, resolve
from bmx.nn.quantizers import names_quantizer, parse_quantizer

Build = Callable[..., gluon.HybridBlock]
MODELS: dict[str, Build] = {}

# Where `get_model` looks for pretrained parameters, NAME.params: in a folder of the user's, in what comes with bmx.
ROOT = os.path.join('~', '.mxnet', 'models')
INSTALLED = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'pretrained')


def register(entry: Build) -> Build:
    """Make a function `name(classes, **kwargs) -> gluon.HybridBlock` known under its name; usable as a decorator."""
    if entry.__name__ in MODELS:
        raise ValueError(f'a model named {entry.__name__} is registered already')
    MODELS[entry.__name__] = entry
    return entry


def register_family(network: type[gluon.HybridBlock], members: Mapping[str, Mapping[str, Any]]) -> None:
    """Register a family: a model for each row, a name and its keywords of `network`, a block's class."""
    def entry_point(name, row):
        def build(**kwargs):
            return network(**dict(row, **kwargs))
        build.__name__ = name
        vars(build).update(network=network, row=row)
        return build

    for name, row in members.items():
        register(entry_point(name, row))


def find(name: str) -> Build:
    """What builds the model of a name, in any case.

    Raises
    ------
    ValueError
        Unknown name; the message lists the valid ones.
    """
    entry = MODELS.get(name.lower())
    if entry is None:
        raise ValueError(f'unknown model {name!r}; choose from {", ".join(sorted(MODELS))}')
    return entry


# Arguments of Gluon's blocks, which say nothing about a model.
_OF_GLUON = ('prefix', 'params')


def keywords(name: str) -> dict[str, inspect.Parameter] | None:
    """The keywords of a model with their defaults, as parameters of a function; None where it takes any.

    Those of a class are its own and, where it passes others on, those of its base; `network` names a model whose
    keywords are passed on.
    """
    entry = find(name)
    network = getattr(entry, 'network', None)
    found: dict[str, inspect.Parameter] = {}
    complete = False
    owners = [entry] if network is None else [each.__init__ for each in network.__mro__ if '__init__' in vars(each)]
    for owner in owners:
        parameters = list(inspect.signature(owner).parameters.values())
        for parameter in parameters:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY) and (
                    parameter.name not in _OF_GLUON + ('self',)):
                found.setdefault(parameter.name, parameter)
        complete = not any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters)
        if complete:
            break
    row = getattr(entry, 'row', {})
    found = {key: parameter.replace(default=row.get(key, parameter.default)) for key, parameter in found.items()}
    if 'network' in found:
        found = {**(keywords(found['network'].default) or {}), **found}
    return found if complete else None


def family(name: str) -> type[gluon.HybridBlock] | None:
    """The class of a model that was registered as one of a family."""
    return getattr(find(name), 'network', None)


def _check_keywords(name: str, given: Mapping[str, Any]) -> None:
    """Refuse keywords that a model has not, and values of another kind than those that it has by default."""
    known = keywords(name)
    if known is None:
        return
    if isinstance(given.get('network'), str) and 'network' in known:
        known = {**(keywords(given['network']) or {}), **known}
    unknown = [key for key in given if key not in known and key not in _OF_GLUON + ROLES]
    if unknown:
        close = [match for key in unknown for match in difflib.get_close_matches(key, known, 1)]
        meant = f' (did you mean {", ".join(close)}?)' if close else ''
        raise ValueError(f'{name} has no keyword {", ".join(map(repr, unknown))[:100]}{meant}: its keywords are '
                         f'{", ".join(sorted(known))}')
    for key, value in given.items():
        default = known[key].default if key in known else None
        for kind, accepts, wanted in _KINDS:
            if isinstance(default, kind):
                if not accepts(value):
                    raise ValueError(f'{key} of {name} must be {wanted}, as {default!r:.60} is, got {value!r:.60}')
                break


# Of a default: its type, which values may take its place, what they are called.
_KINDS: tuple[tuple[Any, Callable[[Any], bool], str], ...] = (
    (bool, lambda value: value is None or value in (False, True), 'True or False'),
    (numbers.Real, lambda value: value is None or isinstance(value, numbers.Real) and not isinstance(value, bool),
     'a number'),
    (str, lambda value: value is None or isinstance(value, str), 'a name'),
    ((list, tuple), lambda value: isinstance(value, (list, tuple)), 'a sequence'),
)


def get_model(name: str, classes: int | None = None, ctx: mx.Context | Sequence[mx.Context] = mx.cpu(),
              pretrained: bool = False, root: str = ROOT, **kwargs: Any) -> gluon.HybridBlock:
    """Build a model by its name.

    Parameters
    ----------
    name : str
        A name of `MODELS`, in any case.
    classes : int, optional
        Outputs of the classifier; by default the model's own number, 1000 but for a model that says another.
    ctx : Context or list of Context
        Where pretrained parameters go.
    pretrained : bool
        Load `root`/`name`.params, or what is installed with bmx; nothing is downloaded.
    root : str
        Folder of parameter files, looked into first.
    **kwargs
        Keywords of the model, for example stem='thumbnail'. `activation` and `weight` may name quantizers for its
        layers, as in the scope `bmx.nn.config`.

    Returns
    -------
    gluon.HybridBlock
        Not initialized, unless pretrained. Its `model_name`, `model_kwargs` and `layer_defaults` (of the scope
        `bmx.nn.config`) say how to build it again.

    Raises
    ------
    ValueError
        Unknown name or keyword; the message lists the valid ones. A value of another kind than the keyword's default. A
        quantizer that there is not, or beside shorthand for it.
    FileNotFoundError
        `pretrained` without a parameter file.
    """
    entry = find(name)
    if classes is None:
        classes = getattr(entry, 'row', {}).get('classes', 1000)
    settings = {key: _own_number(value) for key, value in dict(kwargs, classes=classes).items()}
    quantized_by = {key: settings.pop(key) for key in ROLES if names_quantizer(settings.get(key))}
    # The model hands shorthand to its layers, where it goes before the names, even what is the default.
    check_told_once({**settings, **dict.fromkeys(ROLES), **quantized_by}, defaults=True)
    _check_keywords(name.lower(), settings)
    with config(**quantized_by):
        try:
            net = entry(**settings)
        except TypeError as error:
            for role in ROLES:
                if f"unexpected keyword argument '{role}'" in str(error):
                    parse_quantizer(settings[role])  # says what is wrong
            raise
        net.layer_defaults = dataclasses.asdict(resolve())
    net.model_name = entry.__name__
    net.model_kwargs = settings
    if pretrained:
        net.load_parameters(pretrained_path(name, root), ctx=ctx, cast_dtype=True)
    return net


def pretrained_path(name: str, root: str = ROOT) -> str:
    """The file of a model's pretrained parameters: `root`/`name`.params, else the one that comes with bmx; a
    FileNotFoundError says where it is missing."""
    name = find(name).__name__
    paths = [os.path.join(folder, name + '.params') for folder in (os.path.expanduser(root), INSTALLED)]
    for path in paths:
        if os.path.isfile(path):
            return path
    raise FileNotFoundError(f'no pretrained parameters of {name} at {paths[0]}: train it with train_imagenet.py and '
                            'put its .params there, or give root=')


def _own_number(value: Any) -> Any:
    """A setting with Python's numbers in the place of NumPy's, which neither Gluon nor JSON takes everywhere."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(_own_number, value))
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value
