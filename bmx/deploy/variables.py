"""Parameters that a conversion makes: packed weights, thresholds, folded constants."""
import mxnet as mx
import numpy as np

from ..graph import Graph, Node
from .errors import ExportError

_DTYPES = {'float32': '0', 'uint8': '3'}  # as MXNet numbers them


class Variables:
    """The variables of parameters that are made, each once.

    Parameters
    ----------
    params : dict of str to NDArray
        Parameters by name; receives those that are made.
    """

    def __init__(self, params):
        self._params, self._made = params, {}

    def make(self, name, value):
        """The variable of a parameter; `value`, a NumPy array, is kept where the name is new.

        Raises
        ------
        ExportError
            The network itself has a parameter of that name.
        """
        if name not in self._made:
            if name in self._params:
                raise ExportError('the network has a parameter %s, the name of one that is made here; rename it' % name)
            self._params[name] = mx.nd.array(value, dtype=value.dtype)
            self._made[name] = Node('null', name, {'__shape__': str(value.shape),
                                                   '__dtype__': _DTYPES[value.dtype.name]})
        return self._made[name]


def used_parameters(graph, params):
    """Those of `params` that a graph reads."""
    names = {node.name for node in graph.nodes if node.is_variable}
    return {name: value for name, value in params.items() if name in names}


def fold_constants(graph, params, variables):
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
            symbol = Graph([(node, 0)]).to_symbol()
            value = mx.nd.CachedOp(symbol)(*[params[name] for name in symbol.list_inputs()]).asnumpy()
            if value.dtype == np.float32:
                graph.replace(node, variables.make(node.name + '_constant', value))
