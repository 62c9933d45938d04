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
from ..io.description import Description, description_path, parse_json, read_description, write_description
from ..io.formats import write_json
from ..io.storage import LoadError, load_parameters, parameter_arrays, save_arrays
from ..network import NetworkOptions
from ..nn import config, quantized_layers
from ..nn.quantizers import ApproxSign, Sign
from .data import Source, open_data
from .errors import TrainingError
from .options import DataOptions
from .totals import Totals

# Images of a step.
_BATCH = 50


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


def build(description: Description) -> mx.gluon.HybridBlock:
    """The network that a description tells of, not initialized."""
    with config(**description.layer_defaults):
        return NetworkOptions(description.model, description.settings).build()


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


def add(params: str, folder: str, source: Source) -> tuple[str, Accuracy]:
    """Make the files of a pretrained network of a training's best parameters.

    Parameters
    ----------
    params : str
        With its description beside it.
    folder : str
        Receives the files; made if it is missing.
    source : Source
        The data that it was trained with: on its validation images the deployed network is verified and measured.

    Returns
    -------
    (str, Accuracy)
        The parameter file, and what the deployed network reached, computed from its files.

    Raises
    ------
    TrainingError
        There is no description, the data has other classes, or no image of it can be read.
    LoadError, FileNotFoundError, ExportError, OSError
        As `load_parameters` and `bmx.export`.
    """
    description = read_description(params)
    if description is None:
        raise TrainingError(f'there is no {description_path(params)}, which tells how the network was built: give the '
                            'best parameters of a training')
    size, crop_ratio = description.preprocess['size'], description.preprocess['crop_ratio']
    data = open_data(source, DataOptions(batch_size=_BATCH, input_size=size[0], crop_ratio=crop_ratio,
                                         augmentation='paper', seed=0, num_workers=1))
    if data.classes != description.classes or data.preprocess != description.preprocess:
        raise TrainingError(f'{params} was trained with other data: its {len(description.classes)} classes or its '
                            'preprocessing are not those of this data')
    net = build(description)
    load_parameters(net, params)
    condensed = condense(net)
    os.makedirs(folder, exist_ok=True)
    prefix = os.path.join(folder, net.model_name)
    target = prefix + '.params'
    save_arrays(target, condensed)
    load_parameters(net, target)  # what is deployed is what the file holds
    write_description(target, net, data.classes, data.preprocess)
    deploy.export(net, prefix, (1,) + data.image_shape, (mx.nd.array(batch.data) for batch in data.val_batches()
                                                         if len(batch.label)),
                  classes=data.classes, preprocess=data.preprocess)
    deployed, _ = deploy.load(prefix)
    totals = Totals()
    for batch in data.val_batches():
        if len(batch.label):
            totals.add(deployed(mx.nd.array(batch.data)).asnumpy(), np.asarray(batch.label), 0.0)
    name = os.path.basename(os.path.abspath(source.location)) if isinstance(source.location, str) else source.kind
    accuracy = Accuracy(name, totals.images, 100 * totals.mean('top1'), 100 * totals.mean('top5'))
    write_json(accuracy_path(target), dataclasses.asdict(accuracy))
    return target, accuracy


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
