"""Quantizers: pure functions of an NDArray or Symbol, each with the gradient that replaces its own; the dtype stays.

Those of 1 bit share the forward of docs/semantics.md, sign(x) = +1 if x >= 0 else -1. On the CPU that is one pass of
the operator `binarize`, or of several binarizations `residual_binarize`; elsewhere the same function is composed of
MXNet's built-in operators, as those of more bits are everywhere.
"""
from __future__ import annotations

import ast
import dataclasses
from typing import Any, Callable, Sequence, Union

import mxnet as mx

from .. import ops

Tensor = Union[mx.nd.NDArray, mx.sym.Symbol]


def namespace(x: Tensor) -> Any:
    """`mx.nd` or `mx.sym`, whichever an array belongs to."""
    return mx.sym if isinstance(x, mx.sym.Symbol) else mx.nd


def has_operator(x: Tensor) -> bool:
    """Whether the operators of this package can serve: they compute on the CPU."""
    # A symbol has no device: Gluon traces a graph inside the context of the data it was called with.
    context = mx.current_context() if isinstance(x, mx.sym.Symbol) else x.context
    return context.device_type.startswith('cpu')


def _awaits_shape(x: Tensor) -> bool:
    """Whether a symbol is made of parameters whose shapes are not all known: they follow from what comes behind it.

    A shape passes backwards through built-in operators only, and MXNet takes what an external operator says of an
    unknown dimension for a size.
    """
    # A variable of data declares no shape; that of an activation is the first of its nodes, which spares the others.
    if not isinstance(x, mx.sym.Symbol) or x.get_internals()[0].attr('__shape__') is None:
        return False
    attributes = x.attr_dict()
    shapes = [attributes.get(name, {}).get('__shape__') for name in x.list_arguments()]
    return None not in shapes and any(size <= 0 for shape in shapes for size in ast.literal_eval(shape))


def clip(x: Tensor, low: float, high: float) -> Tensor:
    """MXNet's `clip`, but for its gradient, which it would not add to what is there."""
    return namespace(x).clip(ops.behind_identity(x), low, high)


def pad(x: Tensor, padding: Sequence[int], value: float) -> Tensor:
    """Put a border of `value` around the last axes of an image (N, C, H, W) or a row (N, C, W).

    Parameters
    ----------
    x : NDArray or Symbol
    padding : tuple of int
        Width of the border at both ends of each axis; empty or 0: none.
    value : float
    """
    if not any(padding):
        return x
    F = namespace(x)
    # MXNet pads 4-D arrays only: a row becomes an image of height 1.
    row = len(padding) == 1
    height, width = (0, padding[0]) if row else padding
    x = F.Pad(F.expand_dims(x, axis=2) if row else x, mode='constant', constant_value=value,
              pad_width=(0, 0, 0, 0, height, height, width, width))
    return F.squeeze(x, axis=2) if row else x


def _clipped(x: Tensor, clip_threshold: float) -> Tensor:
    return clip(x, -clip_threshold, clip_threshold)


def _polynomial(x: Tensor, clip_threshold: float | None) -> Tensor:
    F, clipped = namespace(x), clip(x, -1, 1)
    return clipped * (2 - F.abs(clipped))


@dataclasses.dataclass(frozen=True)
class _Estimator:
    """What takes the sign's gradient: the operators' name for it, its function, whether that has a threshold."""
    name: str
    function: Callable
    has_threshold: bool

    def attributes(self, clip_threshold: float | None, padding: Sequence[int], pad_value: int) -> dict[str, Any]:
        """Those of the operators, but for what would be the default."""
        found: dict[str, Any] = {'estimator': self.name}
        if self.has_threshold:
            found.update(clip_threshold=clip_threshold)
        if any(padding):
            found.update(pad=padding, pad_value=pad_value)
        return found


_ESTIMATORS = {'ste_sign': _Estimator('clip', _clipped, True),
               'approx_sign': _Estimator('polynomial', _polynomial, False)}


def _sign(quantizer: str, x: Tensor, clip_threshold: float | None, composed: bool, padding: Sequence[int],
          pad_value: int) -> Tensor:
    estimator = _ESTIMATORS[quantizer]
    if has_operator(x) and not composed and not _awaits_shape(x):
        return namespace(x).binarize(x, **estimator.attributes(clip_threshold, padding, pad_value))
    surrogate = estimator.function(x, clip_threshold)
    # surrogate - surrogate is exactly 0, so that the forward stays exactly +-1.
    F = namespace(x)
    sign = F.BlockGrad((x >= 0) * 2 - 1) + (surrogate - F.BlockGrad(surrogate))
    return pad(sign, padding, pad_value)


def ste_sign(x: Tensor, clip_threshold: float = 1.3, composed: bool = False, padding: Sequence[int] = (),
             pad_value: int = -1) -> Tensor:
    """Sign with the clipped straight-through estimator (Hubara et al. 2016; MeliusNet, Equations 1 to 3).

    Parameters
    ----------
    x : NDArray or Symbol
        float16, float32 or float64, any shape.
    clip_threshold : float
        t of the gradient: 1 where |x| <= t, else 0.
    composed : bool
        Use built-in operators also where the operator `binarize` could serve.
    padding, pad_value
        The border around the signs, see `pad`.

    Returns
    -------
    NDArray or Symbol
        +1 or -1, of x's shape (and the border) and dtype.
    """
    return _sign('ste_sign', x, clip_threshold, composed, padding, pad_value)


def approx_sign(x: Tensor, clip_threshold: float | None = None, composed: bool = False, padding: Sequence[int] = (),
                pad_value: int = -1) -> Tensor:
    """Sign with the gradient of a piecewise polynomial (Bi-Real-Net, Liu et al., ECCV 2018).

    The gradient is 2 + 2x where -1 <= x < 0, 2 - 2x where 0 <= x <= 1, else 0. `clip_threshold` is ignored: the
    polynomial ends at 1. All else is as of :func:`ste_sign`.
    """
    return _sign('approx_sign', x, clip_threshold, composed, padding, pad_value)


def residual_sign(x: Tensor, binarizations: int, quantizer: str = 'ste_sign', clip_threshold: float = 1.3,
                  composed: bool = False, padding: Sequence[int] = (), pad_value: int = -1) -> tuple[Tensor, Tensor]:
    """Several binarizations of each sample (Tang, Hua and Wang, AAAI 2017, Equations 3 and 4, Algorithm 1).

    E_1 = x, H_i = sign(E_i), alpha_i = mean |E_i| over the sample, E_(i+1) = E_i - alpha_i H_i: x is about the sum of
    alpha_i H_i. What follows is to multiply each term with its alpha; then x receives the gradient of that sum, where
    the quantizer lets it through. It passes through the first term, divided by alpha_1; other gradients stop here.

    Parameters
    ----------
    x : NDArray or Symbol
        float16, float32 or float64, shape (N, C, ...).
    binarizations : int
        m, how many terms.
    quantizer : str
        Name in `QUANTIZERS`, whose gradient is taken.
    clip_threshold : float
        That of `ste_sign`.
    composed : bool
        Use built-in operators also where the operator `residual_binarize` could serve. The scales then may differ in
        the last bit, and with them a sign of a residual next to 0.
    padding, pad_value
        The border around the signs of every term, see `pad`.

    Returns
    -------
    (NDArray or Symbol, NDArray or Symbol)
        The signs H, +1 or -1, shape (m * N, C, ...), one term behind the other, and the scales alpha, shape (m, N); of
        x's dtype.
    """
    F = namespace(x)
    estimator = _ESTIMATORS[quantizer]
    if has_operator(x) and not composed:
        signs, scales = F.residual_binarize(x, binarizations=binarizations,
                                            **estimator.attributes(clip_threshold, padding, pad_value))
        return signs, scales
    residual, signs, scales = F.BlockGrad(x), [], []
    for _ in range(binarizations):
        signs.append((residual >= 0) * 2 - 1)
        scales.append(F.mean(F.abs(residual), axis=0, exclude=True, keepdims=True))
        residual = residual - F.broadcast_mul(signs[-1], scales[-1])
    # |surrogate| is at most a few times the sum of |x|: the quotient is finite. Where alpha_1 is 0, so is x.
    zero = scales[0] == 0
    surrogate = F.broadcast_div(estimator.function(x, clip_threshold), scales[0] + zero)
    surrogate = F.broadcast_mul(surrogate, 1 - zero)
    signs[0] = signs[0] + (surrogate - F.BlockGrad(surrogate))
    return (F.concat(*[pad(sign, padding, pad_value) for sign in signs], dim=0),
            F.concat(*[F.reshape(scale, shape=(1, -1)) for scale in scales], dim=0))


def _quantize_k(x: Tensor, bits: int) -> Tensor:
    # bmx/graph/products.py recognises these operators. MXNet's round_ste passes the gradient on, and clip where
    # 0 <= x <= 1.
    steps = 2 ** bits - 1
    return namespace(x).contrib.round_ste(clip(x, 0, 1) * steps) / steps


def k_bit_activation(x: Tensor, bits: int) -> Tensor:
    """Activations of several bits (DoReFa-Net, Zhou et al. 2016, section 2.4).

    quantize_k(clip(x, 0, 1)) with quantize_k(x) = round((2^bits - 1) x) / (2^bits - 1). A half is rounded up. The
    gradient is 1 where 0 <= x <= 1, both ends included, else 0.

    Parameters
    ----------
    x : NDArray or Symbol
        float16, float32 or float64, any shape.
    bits : int
        2 to 8. With 1 the result is 0 or 1, not a sign.

    Returns
    -------
    NDArray or Symbol
        2^bits levels from 0 to 1, of x's shape and dtype.
    """
    return _quantize_k(x, bits)


def k_bit_weight(x: Tensor, bits: int) -> Tensor:
    """Weights of several bits (DoReFa-Net, Zhou et al. 2016, section 2.3).

    2 quantize_k(tanh(x) / (2 m) + 1/2) - 1 with m = max |tanh(x)| over the whole array and the quantize_k of
    :func:`k_bit_activation`. The gradient takes quantize_k for the identity and is otherwise the true one: of tanh, and
    of the quotient, m included, so that the largest weight also receives what it does to all others. Weights which are
    all 0 are divided by 1.

    Parameters
    ----------
    x : NDArray or Symbol
        float16, float32 or float64, any shape.
    bits : int
        2 to 8.

    Returns
    -------
    NDArray or Symbol
        2^bits levels from -1 to 1, 0 not among them, of x's shape and dtype.
    """
    F = namespace(x)
    squashed = F.tanh(x)
    largest = F.max(F.abs(squashed), keepdims=True)
    largest = largest + (largest == 0)
    # Division elementwise: through broadcasting operators MXNet does not infer a weight's shape from the product.
    normalised = F.elemwise_div(squashed, F.broadcast_like(2 * largest, squashed)) + 0.5
    return 2 * _quantize_k(normalised, bits) - 1


# What a layer's configuration can name; all have the signature (x, clip_threshold, composed, padding, pad_value).
QUANTIZERS = {'ste_sign': ste_sign, 'approx_sign': approx_sign}
