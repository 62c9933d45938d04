"""What callers of this package's operators need not think of, although MXNet does not tell a library about it."""
from __future__ import annotations

import ctypes
import functools
import itertools
import json
from typing import Any, Callable, Collection

import mxnet as mx
from mxnet.base import _LIB, OpHandle, c_str, check_call, mx_uint
from mxnet.ndarray.register import _make_ndarray_function
from mxnet.symbol.register import _make_symbol_function

# Operator -> whether it has a gradient.
_OPERATORS = {'binarize': True, 'channelwise': True, 'residual_binarize': True, 'xnor_popcount': False,
              'binary_subgraph': False, 'expand_weights': False, 'binary_convolution': True}
_readers = itertools.count()


def behind_identity(value: Any) -> Any:
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


def is_identity(symbol: mx.sym.Symbol) -> bool:
    """Whether a symbol is what `behind_identity` made."""
    return symbol.attr('__bmx_reader__') is not None


def _check(name: str, value: Any) -> None:
    """Refuse an array without dimensions.

    For the shapes of all inputs together MXNet reserves the sum of their numbers of dimensions, in which one that has
    none counts as -1, and writes beyond that memory before it asks the library.
    """
    if isinstance(value, mx.nd.NDArray) and not value.shape:
        raise mx.MXNetError(f'{name}: an input has no dimensions; a single value has shape (1,)')


def _careful(name: str, function: Callable) -> Callable:
    """An operator's function that looks at its inputs first."""
    def prepared(value):
        _check(name, value)
        return behind_identity(value) if _OPERATORS[name] else value

    @functools.wraps(function)
    def operator(*inputs, out=None, **arguments):
        arguments = {key: prepared(value) for key, value in arguments.items()}
        return function(*map(prepared, inputs), out=out, **arguments)
    return operator


def keep_careful(load: Callable) -> Callable:
    """`mx.library.load`, after which the functions of this package's operators look at their inputs first."""
    @functools.wraps(load)
    def loads(*arguments, **named):
        load(*arguments, **named)
        for package in (mx.nd, mx.sym):
            for name in _OPERATORS:
                _put(package, name, getattr(package, name))
    return loads


def _put(package: Any, name: str, function: Callable) -> None:
    """Give a package of MXNet's the function of an operator, which looks at its inputs first."""
    function = _careful(name, function)
    for module in (package, package.op):
        setattr(module, name, function)


def load_operators(path: str) -> None:
    """Load this package's library and make the functions of its operators.

    `mx.library.load` makes those of all of MXNet's operators anew, which takes longer than all else in this package's
    import.
    """
    check_call(_LIB.MXLoadLib(c_str(path), mx_uint(0)))
    for package, make in ((mx.nd, _make_ndarray_function), (mx.sym, _make_symbol_function)):
        for name in _OPERATORS:
            handle = OpHandle()
            check_call(_LIB.NNGetOpHandle(c_str(name), ctypes.byref(handle)))
            _put(package, name, make(handle, name, name))


def _check_shapes(symbol: mx.sym.Symbol, given: Collection[str]) -> None:
    """Refuse to infer shapes where an operator of this package would read one that nothing tells.

    MXNet counts its dimensions as -1 when it reserves memory for the shapes of all inputs, and writes beyond it.
    """
    nodes = json.loads(symbol.tojson())['nodes']
    for node in nodes:
        if node['op'] in _OPERATORS:
            found = node
            while found['inputs']:  # where the data comes from
                found = nodes[found['inputs'][0][0]]
            if found['op'] == 'null' and found['name'] not in given and '__shape__' not in found.get('attrs', {}):
                raise mx.MXNetError(f'give the shape of {found["name"]}, which {node["name"]} reads')


def keep_shapes_known(symbol_class: Any) -> None:
    """Let a class of symbols check what it is given before MXNet infers shapes."""
    infer, bind = symbol_class._infer_shape_impl, symbol_class.simple_bind

    @functools.wraps(infer)
    def infer_shapes(self, partial, *shapes, **named):
        given = dict(zip(self.list_arguments(), shapes))
        _check_shapes(self, {name for name, shape in dict(given, **named).items() if shape})
        return infer(self, partial, *shapes, **named)

    @functools.wraps(bind)
    def simple_bind(self, *arguments, **named):
        _check_shapes(self, named)
        return bind(self, *arguments, **named)

    symbol_class._infer_shape_impl, symbol_class.simple_bind = infer_shapes, simple_bind
