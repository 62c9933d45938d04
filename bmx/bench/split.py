"""`bench split`: where the time of a deployed network goes, layer by layer, beside its share of the operations."""
from __future__ import annotations

import re
import tempfile
import time
from typing import Any

import mxnet as mx

from .. import ops
from ..accounting import summary
from ..deploy import files
from ..graph import Graph, programs, without_prefix
from ..graph.parameters import PARAMETERS, as_variables
from ..io.text import table
from ..models import get_model
from .models import inference, load, write
from .timing import RUNS, row


def measure(model: str, batch: int, size: int, rounds: int) -> tuple[list[dict[str, Any]], str]:
    """Time each instruction of a deployed network's programs; what remains are MXNet's operators.

    Returns
    -------
    (list of dict, str)
        Rows, of layers in their order and of the rest, with the fields ops (operations, one of 64 binary ones),
        share_of_time, share_of_ops (both of 1) and outputs (values written); the table.
    """
    x = mx.nd.random.normal(shape=(batch, 3, size, size))
    net = get_model(model)
    with tempfile.TemporaryDirectory() as folder:
        prefix = write(net.model_name, net, x, folder, ['deployed'])[net.model_name, 'deployed']
        run = inference(load(prefix, 'deployed', x), x)
        layers = _layers(prefix, x.shape, net.prefix)
        runs = [_run(run) for _ in range(RUNS * rounds + 1)][1:]  # the first allocates
    counted = summary(net, (1,) + x.shape[1:])
    layers.append({'name': "MXNet's operators", 'implementation': 'float', 'outputs': None,
                   'ops': counted.ops - sum(layer['ops'] for layer in layers)})
    best = [min(times) for times in zip(*runs)]
    rows = [row(layer['name'], layer['implementation'], batch, times, ops.isa(),
                share_of_time=fastest / sum(best), share_of_ops=layer['ops'] / counted.ops, ops=layer['ops'],
                outputs=layer['outputs']) for layer, fastest, times in zip(layers, best, zip(*runs))]
    lines = [[entry['name'], entry['implementation'], f'{entry["min_ms"]:.3f}', f'{100 * entry["share_of_time"]:.1f}',
              f'{100 * entry["share_of_ops"]:.1f}',
              f'{entry["share_of_time"] / entry["share_of_ops"]:.1f}' if entry['ops'] else '-',
              '-' if entry['outputs'] is None else f'{entry["outputs"] / 1e3:.0f}'] for entry in rows]
    text = table(['layer', 'what', 'ms', '% of time', '% of OPs', 'ratio', 'outputs / 1e3'], lines)
    return rows, f'{net.model_name}, {1e3 * sum(best):.2f} ms\n{text}'


def _run(run):
    """Seconds of each instruction and of the rest, in one run."""
    with ops.profile() as profile:
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
    return profile.instructions + [seconds - sum(profile.instructions)]


def _layers(prefix, shape, name):
    """What each instruction of the programs is: dicts with name, implementation, ops and outputs, of one image.

    `name` is the network's, which is left out of the layers'.
    """
    graph = Graph.from_symbol(mx.sym.load(files.symbol_path(prefix)), {'data': (1,) + shape[1:]})
    shapes = graph.infer_shapes()
    as_variables(graph, shapes)
    return [_layer(instruction, name) for node in graph.nodes for instruction in programs.layers(node, shapes)]


def _layer(instruction, prefix):
    if instruction.weight is None:
        return {'name': '', 'implementation': ', '.join(instruction.steps) or 'copy', 'ops': 0, 'outputs': None}
    size, groups = instruction.output[1:], instruction.groups
    words = ['x'.join(map(str, instruction.kernel)), f'{instruction.channels}->{instruction.output[0]}',
             'x'.join(map(str, size)), f'groups of {instruction.channels // groups}' if groups > 1 else '',
             '' if instruction.binary else 'float']
    name = next(iter(instruction.weight.attr(PARAMETERS)))
    return {'name': re.sub('_weight$', '', without_prefix(name, prefix)),
            'implementation': ' '.join(filter(None, words)),
            'ops': instruction.macs / (64 if instruction.binary else 1), 'outputs': instruction.values}
