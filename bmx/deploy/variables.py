"""Parameters that a conversion makes: packed weights, thresholds, folded constants."""
from __future__ import annotations

import json
from typing import Iterable, Mapping

import mxnet as mx
import numpy as np

from ..graph import Graph, Node
from ..graph.parameters import PARAMETERS, own_parameters
from .errors import ExportError

_DTYPES = {'float32': '0', 'uint8': '3'}  # as MXNet numbers them


class Variables:
    """The variables of parameters that are made, each once.

    Parameters
    ----------
    params : dict of str to NDArray
        Parameters by name; receives those that are made.
    bits : dict of str to int, optional
        Bits of those that are weights, where these are not 32.
    """

    def __init__(self, params: dict[str, mx.nd.NDArray], bits: Mapping[str, int] | None = None) -> None:
        self._params, self._bits, self._made = params, bits or {}, {}

    def make(self, name: str, value: np.ndarray, sources: Iterable[Node]) -> Node:
        """The variable of a parameter whose value is `value`, a NumPy array; a name of other values gets a number.

        `sources` are the variables of the network's own parameters that it stands for, or those of others made here.

        Raises
        ------
        ExportError
            The network itself has a parameter of that name.
        """
        plain, count = name, 0
        while name in self._made and not np.array_equal(self._params[name].asnumpy(), value):
            count += 1
            name = f'{plain}_{count}'
        if name not in self._made:
            if name in self._params:
                raise ExportError(f'the network has a parameter {name}, the name of one that is made here; rename it')
            self._params[name] = mx.nd.array(value, dtype=value.dtype)
            own = {}
            for source in sources:
                own.update(own_parameters(source, {source.name: self._params[source.name].shape}, self._bits))
            attrs = {'__shape__': str(value.shape), '__dtype__': _DTYPES[value.dtype.name], PARAMETERS: json.dumps(own)}
            self._made[name] = Node('null', name, attrs)
        return self._made[name]

    def make_weight(self, variable: Node, value: np.ndarray, *form: str) -> Node:
        """The variable of a weight in another form, which its name tells: that of the weight, then the form's words.

        'packed' is a binary one as `ops.pack_weights` makes it, followed by '7x7' where a dense layer becomes a
        convolution of that window; 'packed', '4' a float one by `ops.pack_float_weights` in 4 groups. Of those that are
        packed 'interleaved' is by `ops.interleave_weights`, '1x1' a dense layer's as a convolution's.
        """
        return self.make('_'.join((variable.name,) + form), value, [variable])


def used_parameters(graph: Graph, params: Mapping[str, mx.nd.NDArray]) -> dict[str, mx.nd.NDArray]:
    """Those of `params` that a graph reads."""
    names = {node.name for node in graph.nodes if node.is_variable}
    return {name: value for name, value in params.items() if name in names}


def constant_value(node: Node, params: Mapping[str, mx.nd.NDArray]) -> np.ndarray:
    """What a node that depends on parameters alone computes of them."""
    symbol = Graph([(node, 0)]).to_symbol()
    return mx.nd.CachedOp(symbol)(*[params[name] for name in symbol.list_inputs()]).asnumpy()


def fold_constants(graph: Graph, params: Mapping[str, mx.nd.NDArray], variables: Variables) -> None:
    """Compute once what depends on parameters alone (scaling factors, signs of weights of float layers).

    Parameters
    ----------
    graph : Graph
        Changed in place.
    params : dict of str to NDArray
        Its parameters.
    variables : Variables
        Receives the results.
    """
    constant, readers = graph.constants(), graph.consumers()
    for node in graph.nodes:
        if not node.is_variable and id(node) in constant and any(
                id(reader) not in constant for reader in readers.get(id(node), [])):
            value = constant_value(node, params)
            if value.dtype == np.float32:
                sources = [source for source in Graph([(node, 0)]).nodes if source.is_variable]
                graph.replace(node, variables.make(node.name + '_constant', value, sources))
