"""Training that begins with the parameters of another one: what is loaded, and what does not move."""
from __future__ import annotations

import re
from typing import Sequence

import mxnet as mx

from ..io.description import description_path, read_description
from ..io.storage import read_arrays, select_parameters
from ..network import NetworkOptions
from .errors import TrainingError
from .progress import logger


def classifier_to_skip(network: NetworkOptions, path: str, classes: Sequence[str], strict: bool = False) -> str | None:
    """What `load_parameters` has to skip of a file whose network tells other classes apart, and logs it in a line.

    Classes are others where the description beside the file has other names of them, or, without a description, where
    the file's classifier has another number of outputs.

    Parameters
    ----------
    network : NetworkOptions
        What is to be trained.
    path : str
        Its parameters to begin with.
    classes : sequence of str
        Those of the data.
    strict : bool
        Refuse a network of other classes.

    Returns
    -------
    str or None
        A pattern of the names of the classifier's parameters; None where all are to be loaded.

    Raises
    ------
    TrainingError
        The classes are others, and `strict`.
    FileNotFoundError, LoadError
        As `load_parameters`; the description is damaged.
    """
    found, count = read_arrays(path), len(classes)
    one, other = (network.build(classes=size)._collect_params_with_prefix() for size in (count, count + 1))
    classifier = [name for name in one if one[name].shape != other[name].shape]
    described = read_description(path)
    if described is not None and described.classes is not None:
        if described.classes == list(classes):
            return None
        number = len(described.classes)
    else:
        numbers = {found[name].shape[0] for name in classifier if name in found and found[name].shape}
        if numbers in (set(), {count}) or len(numbers) > 1:  # the same, or of another network: load_parameters tells
            return None
        number, = numbers
    difference = f'{number} classes, the data has {"other names for its" if number == count else ""} {count}'
    message = f'{path} is of a network of {" ".join(difference.split())}'
    if strict:
        raise TrainingError(f'{message}: leave out --strict to load everything but the classifier, or give the data '
                            f'that {description_path(path)} tells of')
    logger.info('%s: loaded is everything but the classifier (%s)', message, ', '.join(classifier))
    return f'({"|".join(map(re.escape, classifier))})$'


def freeze(net: mx.gluon.Block, pattern: str) -> list[str]:
    """Keep the parameters that a pattern selects (`select_parameters`) as they are in a training.

    Batch normalisation whose running statistics are among them normalises with these, as in an evaluation, and no
    longer with those of the batch; otherwise they would move.

    Returns
    -------
    list of str
        Names of the parameters that stay.

    Raises
    ------
    TrainingError
        The pattern is none, selects nothing, or leaves nothing to train.
    """
    try:
        frozen = select_parameters(net, pattern)
    except ValueError as error:
        raise TrainingError(f'--freeze {error}') from None
    for parameter in frozen.values():
        parameter.grad_req = 'null'
    if all(parameter.grad_req == 'null' for parameter in net.collect_params().values()):
        raise TrainingError(f'--freeze {pattern} leaves nothing to train')
    kept = set(frozen.values())

    def stop_statistics(block: mx.gluon.Block) -> None:
        if isinstance(block, mx.gluon.nn.BatchNorm) and kept & {block.running_mean, block.running_var}:
            block._kwargs['use_global_stats'] = True
    net.apply(stop_statistics)
    return sorted(frozen)
