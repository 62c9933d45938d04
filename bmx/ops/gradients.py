"""Gradients that add up, although MXNet does not tell a library's operators when to add."""
import functools
import itertools

import mxnet as mx

_WITH_GRADIENT = ('binarize', 'channelwise', 'residual_binarize')
_readers = itertools.count()


def behind_identity(value):
    """An array or symbol as an operator should get it which always overwrites the gradient of its input.

    MXNet lets gradients add up where a parameter or an array asks for it (grad_req='add') and where 8 or more nodes
    read a value. It does not tell a library's operator, and its own `clip` does not listen. `identity` does; in a graph
    it costs nothing, because it shares its input's memory.

    Parameters
    ----------
    value : NDArray, Symbol or anything else

    Returns
    -------
    NDArray, Symbol or anything else
        An identity of the value; the value itself where no gradient can be asked for.
    """
    if isinstance(value, mx.sym.Symbol):
        # MXNet makes one node of equal ones; a number of its own keeps the identity to one reader.
        return mx.sym.identity(value, attr={'__bmx_reader__': str(next(_readers))})
    return mx.nd.identity(value) if isinstance(value, mx.nd.NDArray) and mx.autograd.is_recording() else value


def _with_identities(function):
    """An operator's function, with identities before its inputs."""
    @functools.wraps(function)
    def operator(*inputs, out=None, **arguments):
        arguments = {key: behind_identity(value) for key, value in arguments.items()}
        return function(*map(behind_identity, inputs), out=out, **arguments)
    return operator


def put_identities(load):
    """`mx.library.load`, followed by identities before the inputs of every operator of this package with a gradient."""
    @functools.wraps(load)
    def loads(*arguments, **named):
        load(*arguments, **named)
        for package in (mx.nd, mx.sym):
            for name in _WITH_GRADIENT:
                function = _with_identities(getattr(package, name))
                for module in (package, package.op):
                    setattr(module, name, function)
    return loads
