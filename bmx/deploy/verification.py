"""Compare a deployed network with the float network it was made of."""
from __future__ import annotations

import dataclasses
from typing import Callable, Iterable, Iterator, Sequence

import mxnet as mx
import numpy as np

from ..graph import Graph
from .arithmetic import OwnNetwork

_IN_PROGRAMS = ('binary_subgraph', 'xnor_popcount')
# Operators that compute nothing.
_MOVING = ('Concat', 'Flatten', 'Reshape', 'SliceChannel', 'SwapAxis', '_npx_reshape', 'clip', 'expand_dims',
           'reshape_like', 'slice_axis', 'squeeze', 'transpose')

# Of the largest output: what another order of float additions explains.
TOLERANCE = 1e-4
# Share of inputs that may differ by more. A wrong conversion changes all; but where oneDNN normalises in another layout
# than the one in which a threshold was found, it may round otherwise, and once in many millions a sign differs.
MAX_SHARE = 0.1


class Comparison:
    """How the outputs of two networks agree.

    Attributes
    ----------
    images : int
        Inputs compared.
    differing_top1 : list of int
        Positions of the inputs whose top-1 (of the first output) differs.
    differing_values : list of int
        Positions of the inputs with an output that differs by more than `TOLERANCE` of that output's largest value.
    max_difference : float
        Largest difference, as a share of that output's largest value.
    """

    def __init__(self) -> None:
        self.images, self.differing_top1, self.differing_values, self.max_difference = 0, [], [], 0.0

    def update(self, expected: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> None:
        """Add a batch: for each output of the networks an array of shape (N, ...)."""
        count = len(expected[0])
        differs = np.zeros(count, bool)
        for one, other in zip(expected, found):
            scale = max(float(np.abs(one).max()), 1e-30)
            difference = np.abs(one - other).reshape(count, -1).max(1) / scale
            differs |= difference > TOLERANCE
            self.max_difference = max(self.max_difference, float(difference.max()))
        top1 = [outputs[0].reshape(count, -1).argmax(1) for outputs in (expected, found)]
        self.differing_top1.extend(np.flatnonzero(top1[0] != top1[1]) + self.images)
        self.differing_values.extend(np.flatnonzero(differs) + self.images)
        self.images += count

    @property
    def equal(self) -> bool:
        """Whether the networks compute the same: every top-1 agrees, and the values but of a few inputs."""
        return not self.differing_top1 and len(self.differing_values) <= MAX_SHARE * self.images

    def __str__(self) -> str:
        return (f'top-1 equal on {self.images - len(self.differing_top1)} and values on '
                f'{self.images - len(self.differing_values)} of {self.images} inputs, largest difference '
                f'{self.max_difference:.2g} of the largest output')


def compare(net: mx.gluon.Block, deployed: mx.gluon.Block,
            batches: mx.nd.NDArray | np.ndarray | Iterable) -> Comparison:
    """Run both networks on the same inputs, each where its parameters are.

    Parameters
    ----------
    net, deployed : gluon.Block
    batches : iterable
        Inputs, as `as_arrays` takes them.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        No inputs, inputs or outputs that are not finite, outputs of different shapes.
    """
    return _compare([net], deployed, batches)[0]


def _compare(networks: Sequence[Callable], deployed: mx.gluon.Block,
             batches: mx.nd.NDArray | np.ndarray | Iterable) -> list[Comparison]:
    """Compare a network with each of some others; returns the comparisons."""
    comparisons = [Comparison() for _ in networks]
    for batch in as_arrays(batches):
        if not np.isfinite(batch.asnumpy()).all():
            raise ValueError('an input to compare on is not finite')
        found = _outputs(deployed, batch)
        for network, comparison in zip(networks, comparisons):
            expected = _outputs(network, batch)
            if [part.shape for part in expected] != [part.shape for part in found]:
                raise ValueError(f'outputs have different shapes: {[part.shape for part in expected]} and '
                                 f'{[part.shape for part in found]}')
            comparison.update(expected, found)
    if not comparisons[0].images:
        raise ValueError('there are no inputs to compare the networks on')
    return comparisons


@dataclasses.dataclass
class Verification:
    """What was seen of a deployed network beside the float network that it was made of.

    Attributes
    ----------
    comparison : Comparison
        With the network that it has to equal: the float network in the arithmetic of programs, or where MXNet's
        operators were kept the float network itself.
    to_the_bit : bool
        Whether every output has to be the same number.
    errors : dict of str to float
        By float operator, how far the instruction in its place was from it, as a share of what two orders of additions
        explain; empty where MXNet's operators were kept.
    float_comparison : Comparison
        With the float network as MXNet computes it on this CPU.
    """
    comparison: Comparison
    to_the_bit: bool
    errors: dict
    float_comparison: Comparison

    @property
    def holds(self) -> bool:
        """Whether the deployed network is the float network, converted."""
        exact = not self.to_the_bit or self.comparison.max_difference == 0
        return self.comparison.equal and exact and all(error <= 1 for error in self.errors.values())

    def __str__(self) -> str:
        if self.comparison is self.float_comparison:
            return f'verified against the float network: {self.comparison}'
        lines = [f'verified against the float network in the arithmetic of programs: {self.comparison}']
        if self.errors:
            name, error = max(self.errors.items(), key=lambda item: item[1])
            lines.append(f"its {len(self.errors)} float operators against MXNet's: largest error {error:.2g} of what "
                         f'two orders of additions explain ({name})')
        lines.append(f'beside the float network as MXNet computes it on this CPU: {self.float_comparison}')
        if self.float_comparison.differing_values:
            lines.append('(MXNet adds up in an order that differs from CPU to CPU; a value next to a threshold then '
                         'takes the other sign)')
        return '\n'.join(lines)


def verify(net: mx.gluon.Block, deployed: mx.gluon.Block, batches: mx.nd.NDArray | np.ndarray | Iterable,
           own: OwnNetwork | None = None) -> Verification:
    """Compare a deployed network with what it was made of.

    Parameters
    ----------
    net, deployed : gluon.Block
    batches : iterable of NDArray
    own : OwnNetwork, optional
        The float network in the arithmetic of programs; None where MXNet's operators were kept.

    Returns
    -------
    Verification

    Raises
    ------
    ValueError
        As `compare`.
    """
    if own is None:
        comparison = compare(net, deployed, batches)
        return Verification(comparison, False, {}, comparison)
    comparison, float_comparison = _compare([own, net], deployed, batches)
    # what MXNet still computes rounds as the layout of the moment has it
    nodes = Graph.from_symbol(deployed._cached_graph[1]).nodes
    to_the_bit = all(node.is_variable or node.op in _IN_PROGRAMS + _MOVING for node in nodes)
    return Verification(comparison, to_the_bit, own.errors, float_comparison)


def as_arrays(inputs: mx.nd.NDArray | np.ndarray | Iterable) -> Iterator[mx.nd.NDArray]:
    """Yield the batches of inputs, float32 NDArrays.

    Parameters
    ----------
    inputs : NDArray, numpy.ndarray, or an iterable of them
        Batch first. What yields pairs of data and labels (`gluon.data.DataLoader`) or `mx.io.DataBatch` will do, too.

    Raises
    ------
    ValueError
        Something else.
    """
    kinds = (mx.nd.NDArray, np.ndarray)
    try:
        batches = iter([inputs] if isinstance(inputs, kinds) else inputs)
    except TypeError:
        raise ValueError(f'inputs must be an array or a sequence of arrays, got a {type(inputs).__name__}') from None
    for batch in batches:
        batch = batch.data if isinstance(batch, mx.io.DataBatch) else batch
        array = batch[0] if isinstance(batch, (list, tuple)) and batch else batch
        if not isinstance(array, kinds):
            raise ValueError(f'a batch of inputs must be an array, got a {type(array).__name__}')
        if isinstance(array, mx.np.ndarray):
            array = array.as_nd_ndarray()
        yield array.astype(np.float32, copy=False) if isinstance(array, mx.nd.NDArray) else mx.nd.array(array)


def context_of(net: mx.gluon.Block | Callable) -> mx.Context:
    """Where a network computes: the (first) context of its parameters."""
    parameters = list(net.collect_params().values()) if isinstance(net, mx.gluon.Block) else []
    return parameters[0].list_ctx()[0] if parameters else mx.cpu()


def _outputs(net: Callable, batch: mx.nd.NDArray) -> list[np.ndarray]:
    with mx.autograd.pause():
        result = net(batch.as_in_context(context_of(net)))
    values = [part.asnumpy() for part in (result if isinstance(result, (list, tuple)) else [result])]
    if not all(np.isfinite(part).all() for part in values):
        raise ValueError(f'the output of {getattr(net, "name", "the float network")} is not finite')
    return values
