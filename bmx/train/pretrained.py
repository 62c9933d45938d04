"""Trained parameters as a file that `bmx.get_model(..., pretrained=True)` finds, and what is known of such files.

Beside NAME.params lie NAME.json, its description; NAME-symbol.json and NAME-0000.params, the deployed model; and
NAME-accuracy.json, what that reached on the validation images.
"""
from __future__ import annotations

import dataclasses
import os
from typing import Sequence

import mxnet as mx
import numpy as np

from .. import deploy
from ..deploy.files import params_path
from ..io.description import parse_json, read_description, write_description
from ..io.formats import write_json
from ..io.storage import LoadError, load_parameters, parameter_arrays, save_arrays
from ..nn import quantized_layers
from ..nn.quantizers import ApproxSign, Sign
from .data import ImageData
from .evaluation import evaluate


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """What a deployed network reached.

    Attributes
    ----------
    data : str
        Name of the data.
    images : int
        How many validation images.
    top1, top5 : float
        In %.
    """
    data: str
    images: int
    top1: float
    top5: float


def accuracy_path(params: str) -> str:
    """Where the accuracy of the network of a parameter file is."""
    return os.path.splitext(params)[0] + '-accuracy.json'


def read_accuracy(params: str) -> Accuracy | None:
    """The `Accuracy` beside a parameter file, None if there is none; a LoadError if it is damaged."""
    path = accuracy_path(params)
    if not os.path.isfile(path):
        return None
    with open(path, 'rb') as stream:
        content = parse_json(stream.read(), f'{path} is damaged')
    types = {'data': str, 'images': int, 'top1': float, 'top5': float}
    if not isinstance(content, dict) or {name: type(value) for name, value in content.items()} != types:
        raise LoadError(f'{path} is damaged: it must have {", ".join(types)}')
    return Accuracy(**content)


def condense(net: mx.gluon.HybridBlock) -> dict[str, mx.nd.NDArray]:
    """The parameters of a network, without what it does not compute with.

    Weights of which only the signs count become +m and -m in float16, m the layer's mean absolute weight, so that a
    further training begins with weights of their size. Such a file takes half the room, and an archive packs it to a
    bit a weight.
    """
    arrays, alone = parameter_arrays(net), {}
    for layer in quantized_layers(net):
        quantizer, name = layer.quantization.weight_quantizer, layer.weight.name
        signs = isinstance(quantizer, (Sign, ApproxSign)) and quantizer.scaling == 'none'
        alone[name] = signs and alone.get(name, True)  # several layers may share a weight
    for name, parameter in net._collect_params_with_prefix().items():
        if alone.get(parameter.name):
            weight = arrays[name].asnumpy()
            size = np.float16(max(np.abs(weight).mean(), 2 ** -14))  # from which on float16 has all its digits
            arrays[name] = mx.nd.array(np.where(weight < 0, -size, size), dtype='float16')
    return arrays


def add(net: mx.gluon.HybridBlock, folder: str, data: ImageData, name: str) -> tuple[str, Accuracy]:
    """Make the files of a pretrained network.

    Parameters
    ----------
    net : gluon.HybridBlock
        A model with the best parameters of a training; it gets what the file holds of them.
    folder : str
        Receives the files; made if it is missing.
    data : ImageData
        What it was trained with, with the same classes in the same order: on its validation images the deployed network
        is verified and measured.
    name : str
        Of the data.

    Returns
    -------
    (str, Accuracy)
        The parameter file, and what the deployed network reached, computed from its files.

    Raises
    ------
    TrainingError, ExportError, OSError
        As `evaluate`, `bmx.export` and `write_file`.
    """
    os.makedirs(folder, exist_ok=True)
    prefix = os.path.join(folder, net.model_name)
    path = prefix + '.params'
    save_arrays(path, condense(net))
    load_parameters(net, path)  # what is deployed is what the file holds
    write_description(path, net, data.classes, data.preprocess)
    deploy.export(net, prefix, (1,) + data.image_shape, (mx.nd.array(batch.data) for batch in data.val_batches()
                                                         if len(batch.label)),
                  classes=data.classes, preprocess=data.preprocess)
    totals = evaluate(deploy.load(prefix)[0], data.classes, data).totals
    accuracy = Accuracy(name, totals.images, 100 * totals.mean('top1'), 100 * totals.mean('top5'))
    write_json(accuracy_path(path), dataclasses.asdict(accuracy))
    return path, accuracy


def known(paths: Sequence[str]) -> list[dict]:
    """A row for each of some parameter files, with what is known of it; None where it is not."""
    rows = []
    for path in paths:
        description, accuracy = read_description(path), read_accuracy(path)
        deployed = params_path(os.path.splitext(path)[0])
        rows.append({
            'model': os.path.splitext(os.path.basename(path))[0],
            'classes': None if description is None else len(description.classes),
            'trained on': None if accuracy is None else accuracy.data,
            'top-1 %': None if accuracy is None else round(accuracy.top1, 2),
            'images': None if accuracy is None else accuracy.images,
            'MiB deployed': os.path.getsize(deployed) / 2 ** 20 if os.path.isfile(deployed) else None,
            'parameters': path})
    return rows
