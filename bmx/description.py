"""What parameters do not say of their network: how it was built, and what its inputs and outputs are.

A training leaves it beside its best parameters, X.params, as X.json; a deployed model holds it as well
(`bmx.deploy.Metadata`).
"""
import dataclasses
import json
import os
from typing import List

from .nn import config
from .report import write_json
from .storage import LoadError


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
        How an image becomes an input (`bmx.preprocess`).
    """
    model: str
    settings: dict
    layer_defaults: dict
    classes: List[str]
    preprocess: dict


def description_path(params):
    """Where the description of the network of a parameter file is."""
    return os.path.splitext(params)[0] + '.json'


def write_description(params, net, classes, preprocess):
    """Describe a network of `bmx.get_model` beside its parameter file `params`."""
    described = Description(net.model_name, net.model_kwargs, net.layer_defaults, list(classes), preprocess)
    write_json(description_path(params), dataclasses.asdict(described))


def read_description(params):
    """The `Description` beside a parameter file, None if there is none.

    Raises
    ------
    LoadError
        It is damaged, or another file.
    """
    path = description_path(params)
    if not os.path.isfile(path):
        return None
    try:
        with open(path) as stream:
            content = json.load(stream)
    except ValueError as error:
        raise LoadError('%s is damaged: %s' % (path, error)) from None
    names = [field.name for field in dataclasses.fields(Description)]
    if not isinstance(content, dict) or set(content) != set(names):
        raise LoadError('%s is damaged, or does not describe a network: it must have %s' % (path, ', '.join(names)))
    check_description(content, path)
    check_preprocess(content['preprocess'], path)
    return Description(**content)


def check_description(content, where):
    """Refuse, by a LoadError, values that cannot be those of a `Description` or of `bmx.deploy.Metadata`."""
    for name, kinds in (('model', str), ('settings', dict), ('layer_defaults', dict),
                        ('classes', (list, type(None))), ('preprocess', (dict, type(None)))):
        if not isinstance(content[name], kinds):
            raise LoadError('%s is damaged: its %s cannot be %r' % (where, name, content[name]))
    try:
        with config(**content['layer_defaults']):
            pass
    except (TypeError, ValueError) as error:
        raise LoadError('%s is damaged, or of another version of bmx: layer_defaults: %s' % (where, error)) from None


def check_preprocess(content, where):
    """Refuse, by a LoadError, what does not say how an image becomes an input of three channels."""
    lengths = {'size': 2, 'crop_ratio': 1, 'mean': 3, 'std': 3}
    for name, length in lengths.items():
        values = content.get(name) if isinstance(content, dict) else None
        values = [values] if name == 'crop_ratio' else values
        kinds = int if name == 'size' else (int, float)
        if not isinstance(values, list) or len(values) != length or not all(
                isinstance(value, kinds) and (value > 0 or name == 'mean') for value in values):
            raise LoadError('%s is damaged: its preprocessing cannot be %r' % (where, content))
