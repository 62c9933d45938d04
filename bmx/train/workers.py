"""The workers of a distributed training: processes that train one network together, through MXNet's KVStore.

`launcher` starts them; docs/distributed.md says how images and rates are divided. Gradients are summed in the store,
and each worker makes the same update of the same weights, so that all that a training does to weights is as with one
process. Only dist_async updates on the servers, see `OnServers`.
"""
from __future__ import annotations

import os
from typing import Any, Iterable, Sequence

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon
from mxnet.base import _LIB, check_call

from .errors import TrainingError
from .recipes import Recipe, optimizer
from .schedule import learning_rate

KVSTORES = ('local', 'device', 'dist_sync', 'dist_sync_device', 'dist_async')

# What ps-lite's processes are told, of which no worker can do without; `launcher` sets it.
_NEEDED = ('DMLC_PS_ROOT_URI', 'DMLC_PS_ROOT_PORT', 'DMLC_NUM_WORKER', 'DMLC_NUM_SERVER')
# A worker's rank, so that it does not depend on who reaches the scheduler first; without it ps-lite's is taken.
RANK = 'BMX_RANK'

# Parameters have the keys of the store below it, what is summed beside them those from it on.
_FIRST_KEY = 1 << 17
# Bytes that are broadcast at once.
_CHUNK = 3 << 20


class Workers:
    """All workers of a training, as one of them sees them; leaving it, a process in trouble does not wait for others.

    Parameters
    ----------
    kvstore : str
        One of `KVSTORES`; with the first two a training has but one worker.

    Attributes
    ----------
    kvstore : str or mx.kv.KVStore
        What `gluon.Trainer` takes.
    count : int
    rank : int
        Of this one; that of rank 0 decides, writes and tells.
    asynchronous : bool
        Whether workers go on without waiting for each other.

    Raises
    ------
    TrainingError
        The process was not started for this.
    """

    def __init__(self, kvstore: str = 'device') -> None:
        self.kvstore: Any = kvstore
        self.count, self.rank = 1, 0
        self.distributed = kvstore.startswith('dist')
        self.asynchronous = kvstore == 'dist_async'
        self._keys: dict[int, int] = {}  # of the sums of so many numbers
        if not self.distributed:
            if os.environ.get('DMLC_ROLE') == 'worker' and os.environ.get('DMLC_NUM_WORKER', '1') != '1':
                raise TrainingError(f'{os.environ["DMLC_NUM_WORKER"]} workers were started, each of which would train '
                                    f'alone with --kvstore {kvstore}: give --kvstore dist_sync')
            return
        if os.environ.get('DMLC_ROLE') != 'worker' or not all(name in os.environ for name in _NEEDED):
            raise TrainingError(f'--kvstore {kvstore} trains with several processes: start it as "python -m bmx launch '
                                '-n 2 -- python train_imagenet.py ..."')
        self.kvstore = mx.kv.create(kvstore)
        self.count = self.kvstore.num_workers
        self.rank = int(os.environ.get(RANK, self.kvstore.rank))
        if self.asynchronous:  # whose servers sum nothing without
            self.kvstore.set_optimizer(OnServers())

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self.distributed and kind is not None:
            check_call(_LIB.MXKVStoreSetBarrierBeforeExit(self.kvstore.handle, 0))

    @property
    def leads(self) -> bool:
        """Whether this is the one that decides, writes and tells."""
        return self.rank == 0

    @property
    def position(self) -> tuple[int, ...]:
        """What tells this worker's random numbers from the others'; of rank 0 they are those of a training alone."""
        return (self.rank,) if self.rank else ()

    def trainer(self, parameters: gluon.ParameterDict, recipe: Recipe, dtype: str, *, update_here: bool,
                batch_size: int, batches: int) -> Trainer:
        """A trainer whose gradients are those of all workers.

        Parameters
        ----------
        parameters : gluon.ParameterDict
        recipe : Recipe
        dtype : {'float32', 'float16'}
        update_here : bool
            Whether updates must not be made in a store of MXNet's.
        batch_size : int
            Images of a step, of one worker.
        batches : int
            Steps of an epoch.

        Raises
        ------
        TrainingError
            The recipe does not go together with dist_async.
        """
        name, arguments = optimizer(recipe, dtype)
        if not self.asynchronous:
            return Trainer(parameters, name, arguments, kvstore=self.kvstore,
                           update_on_kvstore=False if update_here or self.distributed else None)
        if recipe.clip_weights:
            raise TrainingError('dist_async keeps the weights on the servers, where they cannot be clipped: give '
                                '--clip-weights no, or --kvstore dist_sync')
        if recipe.lr_mode == 'plateau':
            raise TrainingError('the servers of dist_async do not know the losses: give another --lr-mode than '
                                'plateau, or --kvstore dist_sync')
        if dtype != 'float32':
            raise TrainingError('dist_async updates in float32: give --dtype float32, or --kvstore dist_sync')
        inner = mx.optimizer.create(name, rescale_grad=1 / batch_size, **arguments)
        ordered = [parameters[key] for key in sorted(parameters)]  # as the trainer numbers them
        inner.set_lr_mult({index: each.lr_mult for index, each in enumerate(ordered)})
        inner.set_wd_mult({index: each.wd_mult for index, each in enumerate(ordered)})
        return Trainer(parameters, OnServers(inner, recipe, batches, self.count), kvstore=self.kvstore,
                       update_on_kvstore=True)

    def no_gradients(self, parameters: Iterable[gluon.Parameter]) -> None:
        """Set gradients to 0, as of no images."""
        with autograd.record():
            nothing = [0 * array for each in parameters for array in each.list_data()]
        autograd.backward(nothing)

    def pull(self, trainer: Trainer) -> None:
        """Take the servers' parameters when all workers have pushed their gradients."""
        trainer.begin()  # a training may go on at the end of an epoch, without a step before this
        self._wait()
        for index, parameter in enumerate(trainer._params):
            if parameter.grad_req != 'null':
                self.kvstore.pull(index, out=parameter.list_data())

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sum numbers over the workers, all of which must call it: as float32, integers exactly below 2^24."""
        return list(values) if not self.distributed else self._sum(np.array(values)).tolist()

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """Array (N,) to array (N,) of float32."""
        store, array = self.kvstore, mx.nd.array(values)
        if self.asynchronous:  # whose sums go on from the ones before
            self._keys[0] = key = self._keys.get(0, _FIRST_KEY - 1) + 1
            store.init(key, array.zeros_like())
        else:
            if len(values) not in self._keys:
                self._keys[len(values)] = _FIRST_KEY + len(self._keys)
                store.init(self._keys[len(values)], array.zeros_like())
            key = self._keys[len(values)]
        store.push(key, array)
        if self.asynchronous:
            self._wait()
        store.pull(key, out=array)
        return array.asnumpy()

    def _wait(self) -> None:
        """Wait until what all workers have pushed is in the store."""
        mx.nd.waitall()
        self.kvstore._barrier()

    def broadcast(self, content: bytes) -> bytes:
        """The bytes of rank 0, for all workers, which must all call it; what the others pass does not matter."""
        if not self.distributed:
            return content
        high, low = self.sum(divmod(len(content), _CHUNK) if self.leads else (0, 0))
        size = int(high) * _CHUNK + int(low)
        parts = []
        for begin in range(0, size, _CHUNK):  # three bytes to a number, which float32 holds exactly
            length = min(_CHUNK, size - begin)
            triples = np.zeros((-(-length // 3), 4), np.uint8)
            if self.leads:
                part = content[begin:begin + length]
                triples[:, :3] = np.frombuffer(part + bytes(-length % 3), np.uint8).reshape(-1, 3)
            numbers = self._sum(triples.view('<u4')[:, 0].astype(np.float32))
            parts.append(numbers.astype('<u4').view(np.uint8).reshape(-1, 4)[:, :3].tobytes()[:length])
        return b''.join(parts)

    def average(self, parameters: Iterable[gluon.Parameter]) -> None:
        """Set parameters to their means over the workers, all of which must call it."""
        parameters = list(parameters)
        if not self.distributed or not parameters:
            return
        values = [each._reduce().asnumpy() for each in parameters]
        means = self._sum(np.concatenate([value.ravel() for value in values])) / self.count
        for each, value, part in zip(parameters, values, np.split(means, np.cumsum([v.size for v in values])[:-1])):
            for array in each.list_data():
                array[:] = part.reshape(value.shape)


class Trainer(gluon.Trainer):
    """A trainer whose store can begin at any time, whatever the network has computed before."""

    _params_to_init: Any

    def begin(self) -> None:
        """Begin the store with the parameters; of a distributed training all workers must, before the first step."""
        if not self._kv_initialized:
            self._init_kvstore()
        if self._params_to_init:
            self._init_params()

    def _init_params(self) -> None:
        # Of copies: the store cannot read weights in the layout in which convolutions of oneDNN leave them when they
        # do not train, and its error comes too late to be heard: a server that is asked for them aborts.
        for each in self._params_to_init if self._kvstore else ():
            value = each.list_data()[0].asnumpy()
            self._kvstore.broadcast(self._param2idx[each.name], mx.nd.array(value, dtype=value.dtype),
                                    each.list_data())
        self._params_to_init = []


class OnServers(mx.optimizer.Optimizer):
    """What the servers of dist_async do with what is pushed: an optimizer's steps, and sums for the other keys.

    MXNet sends an optimizer to the servers once, so that this one has the learning rates of all steps, and the factors
    of each parameter.

    Parameters
    ----------
    optimizer : mx.optimizer.Optimizer, optional
        None: there are no parameters yet.
    recipe : Recipe, optional
    batches : int
        Steps of an epoch.
    workers : int
        So many updates of a parameter are a step.

    Attributes
    ----------
    first_step : int
        At which the training goes on.
    """

    def __init__(self, optimizer: mx.optimizer.Optimizer | None = None, recipe: Recipe | None = None, batches: int = 1,
                 workers: int = 1) -> None:
        super().__init__(rescale_grad=optimizer.rescale_grad if optimizer else 1.0)
        self.first_step = 0
        self._optimizer: Any = optimizer
        self._recipe: Any = recipe
        self._batches, self._workers = batches, workers

    def create_state_multi_precision(self, index: int, weight: mx.nd.NDArray) -> Any:
        return None if index >= _FIRST_KEY else self._optimizer.create_state_multi_precision(index, weight)

    def update_multi_precision(self, index: int, weight: mx.nd.NDArray, grad: mx.nd.NDArray, state: Any) -> None:
        if index >= _FIRST_KEY:
            weight += grad
            return
        updates = self._optimizer._index_update_count.get(index, 0)
        rates = learning_rate(self._recipe, self._batches)
        self._optimizer.lr = rates(self.first_step + updates // self._workers, ())
        self._optimizer.update_multi_precision(index, weight, grad, state)
