"""`bench train`: a training step and the evaluation of a network, beside the same network with bits=32.

Run as a process of its own it prints the bytes of memory that steps need: model, bits, batch, size, and the settings of
its layers as JSON.
"""
from __future__ import annotations

import dataclasses
import json
import sys
import time
from typing import Any, Callable, Mapping, Sequence

import mxnet as mx
from mxnet import autograd, gluon

from .. import ops
from ..deploy import in_memory
from ..io.text import table
from ..models import get_model
from ..nn import config
from ..train import recipes, regularizers
from .memory import growth, peak
from .timing import interleave, progress, row

# What is compared, and its bits.
_BITS = {'binary': 1, 'bits=32': 32}
STEP, EVALUATION = 'step', 'evaluation'


def measure(models: Sequence[str], batch: int, size: int,
            rounds: int) -> tuple[list[dict[str, Any]], str]:
    """Time a network and its twin in turns: forward, backward and update, all finished, and an evaluation.

    Returns
    -------
    (list of dict, str)
        Rows with the fields measured (`STEP` or `EVALUATION`), optimizer, size, ratio (to bits=32); of steps,
        peak_bytes; of evaluations, conversion_ms, what comes once before a validation's first batch; the table.
    """
    rows = [entry for model in models for entry in _rows(model, batch, size, rounds)]
    rows.sort(key=lambda entry: entry['measured'] != STEP)
    twins = {entry['name']: entry['peak_bytes'] for entry in rows if entry['implementation'] == 'bits=32'
             and entry['peak_bytes']}
    text = table(['network', 'measured', 'min ms', 'median ms', 'of bits=32', 'peak MiB', 'of bits=32', 'converted ms'],
                 [[f'{entry["name"]} {entry["implementation"]}', entry['measured'], entry['min_ms'], entry['median_ms'],
                   entry['ratio'], entry['peak_bytes'] and entry['peak_bytes'] / 2 ** 20,
                   entry['peak_bytes'] and entry['peak_bytes'] / twins[entry['name']], entry['conversion_ms']]
                  for entry in rows])
    optimizers = ', '.join(dict.fromkeys(entry['optimizer'] for entry in rows))
    return rows, f'{text}\ninput {size}x{size}, optimizer {optimizers}'


def _rows(model, batch, size, rounds):
    """The rows of one network and its twin, in turns in this process."""
    recipe = recipes.resolve(model, 'folder', {'batch_size': batch})
    optimizer, _ = recipes.optimizer(recipe, 'float32')
    contestants, conversion = {}, {}
    for implementation, bits in _BITS.items():
        progress(f'preparing {model}, {implementation}')
        net, step = _prepare(model, bits, batch, size)
        step()  # settles the running statistics
        begin = time.perf_counter()
        deployed = in_memory(net, (batch, 3, size, size))
        conversion[implementation] = None if deployed is None else 1e3 * (time.perf_counter() - begin)
        contestants.update({(STEP, implementation): step,
                            (EVALUATION, implementation): _evaluation(deployed or net, batch, size)})
    seconds, _ = interleave(contestants, rounds)
    for (measured, implementation), times in seconds.items():
        reference = seconds[measured, 'bits=32']
        entry = row(model, implementation, batch, times, isa=ops.isa() if implementation == 'binary' else None,
                    measured=measured, reference='bits=32', ratio=min(times) / min(reference), optimizer=optimizer,
                    size=size, peak_bytes=None, conversion_ms=None)
        if measured == STEP:
            progress(f'memory of {implementation}')
            entry.update(peak_bytes=_peak(model, _BITS[implementation], batch, size))
        else:
            entry.update(conversion_ms=conversion[implementation])
        yield entry


def _prepare(model, bits, batch, size):
    """A network, and a function that trains it for a step."""
    recipe = recipes.resolve(model, 'folder', {'batch_size': batch})
    with config(bits=bits):
        net = get_model(model)
    regularizers.set_decays(net, recipe)
    return net, training_step(net, batch, size, *recipes.optimizer(recipe, 'float32'))


def _evaluation(net, batch, size):
    x = mx.nd.random.normal(shape=(batch, 3, size, size))

    def evaluation():
        net(x)
        mx.nd.waitall()
    return evaluation


def _peak(model, bits, batch, size):
    """Peak memory of training steps in bytes, measured in a process of its own; None if that fails."""
    with config() as settings:
        return peak('train', model, bits, batch, size, json.dumps(dataclasses.asdict(settings)))


def training_step(net: gluon.HybridBlock, batch: int, size: int, optimizer: str,
                  parameters: Mapping[str, Any]) -> Callable[[], None]:
    """A function that trains an uninitialized network for one step, always on the same random images."""
    net.initialize(mx.init.Xavier())
    net.hybridize(static_alloc=True, static_shape=True)
    x = mx.nd.random.normal(shape=(batch, 3, size, size))
    label = mx.nd.zeros(batch)
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    with autograd.pause():
        net(x[:1])  # settles the shapes
    trainer = gluon.Trainer(net.collect_params(), optimizer, parameters)

    def run():
        with autograd.record():
            value = loss(net(x), label)
        value.backward()
        trainer.step(batch)
        mx.nd.waitall()
    return run


if __name__ == '__main__':
    _name, *_numbers = sys.argv[1:5]
    with config(**json.loads(sys.argv[5])):
        print(growth(lambda: _prepare(_name, *map(int, _numbers))[1]))
