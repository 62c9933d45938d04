"""Arrays without dimensions: what the library cannot refuse, because MXNet writes beyond its memory before it asks."""
import functools

import mxnet as mx

_OPERATORS = ('binarize', 'residual_binarize', 'channelwise', 'xnor_popcount', 'binary_subgraph')


def refuse_scalars():
    """Let the operators in ``mx.nd`` raise MXNetError for an array without dimensions.

    For the shapes of all inputs together MXNet reserves the sum of their numbers of dimensions, in which one that has
    none counts as -1.
    """
    for name in _OPERATORS:
        function = _refusing(name, getattr(mx.nd, name))
        for module in (mx.nd, mx.nd.op):
            setattr(module, name, function)


def _refusing(name, function):
    @functools.wraps(function)
    def operator(*inputs, **arguments):
        for value in inputs + tuple(arguments.values()):
            if isinstance(value, mx.nd.NDArray) and not value.shape:
                raise mx.MXNetError('%s: an input has no dimensions; a single value has shape (1,)' % name)
        return function(*inputs, **arguments)
    return operator
