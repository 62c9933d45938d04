"""`bench train`: a training step of a network, beside the same network with bits=32."""
from __future__ import annotations

from typing import Any, Callable, Mapping

import mxnet as mx
from mxnet import autograd, gluon

from ..io.text import table
from ..models import get_model
from ..nn import config
from ..train import recipes, regularizers
from .timing import interleave, progress, row


def measure(model: str, batch: int, size: int, rounds: int) -> tuple[list[dict[str, Any]], str]:
    """Time forward, backward and update, all finished, of both networks in turns.

    Returns
    -------
    (list of dict, str)
        Rows with the fields optimizer, size and ratio (to bits=32); the table.
    """
    recipe = recipes.resolve(model, 'folder', {'batch_size': batch})
    optimizer, parameters = recipes.optimizer(recipe, 'float32')
    contestants = {}
    for implementation, bits in (('binary', 1), ('bits=32', 32)):
        progress(f'preparing {model}, {implementation}')
        with config(bits=bits):
            net = get_model(model)
        regularizers.set_decays(net, recipe)
        contestants[implementation] = training_step(net, batch, size, optimizer, parameters)
    seconds, _ = interleave(contestants, rounds)
    rows = [row(model, implementation, batch, times, isa=None, reference='bits=32',
                ratio=min(times) / min(seconds['bits=32']), optimizer=optimizer, size=size)
            for implementation, times in seconds.items()]
    text = table(['training step', 'min ms', 'median ms', 'of bits=32'],
                 [[f'{entry["name"]} {entry["implementation"]}', entry['min_ms'], entry['median_ms'], entry['ratio']]
                  for entry in rows])
    return rows, f'{text}\ninput {size}x{size}, optimizer {optimizer}'


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
