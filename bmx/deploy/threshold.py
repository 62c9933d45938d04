"""Channel-wise monotone functions followed by a sign, as one comparison a channel.

Batch normalisation, a scale, a shift or a PReLU in float32 never decrease (or never increase) as x grows, rounding
included. So each channel has an exact boundary among the float32 values, found by bisection: no value is decided
differently after folding, not even one that lies on the boundary.
"""
from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

import mxnet as mx
import numpy as np

from ..graph import Node

# Beyond this, (x - mean) could overflow; no feature map comes near.
LARGEST = np.float32(2.0 ** 120)


def _ordered(x: np.ndarray) -> np.ndarray:
    """Integers in the order of the float32 values."""
    bits = x.view(np.int32)
    return np.where(bits < 0, np.int32(-2 ** 31) - bits, bits).astype(np.int64)


def _float(order: np.ndarray) -> np.ndarray:
    order = order.astype(np.int32)
    return np.where(order < 0, np.int32(-2 ** 31) - order, order).astype(np.int32).view(np.float32)


def find_thresholds(positive: Callable[[np.ndarray], np.ndarray], channels: int) -> np.ndarray:
    """The thresholds t and directions d with `positive(x)` exactly where `d * x >= d * t`.

    Parameters
    ----------
    positive : callable
        From x, float32 (C,), to bool (C,); monotone in each channel.
    channels : int
        C.

    Returns
    -------
    numpy.ndarray
        float32, shape (2, C): t (infinite where the sign is constant), then d (+1 or -1).
    """
    low = np.full(channels, -LARGEST, np.float32)
    high = np.full(channels, LARGEST, np.float32)
    at_low, at_high = positive(low), positive(high)
    low, high = _ordered(low), _ordered(high)
    while (high - low > 1).any():
        middle = (low + high) // 2
        same_as_low = positive(_float(middle)) == at_low
        low, high = np.where(same_as_low, middle, low), np.where(same_as_low, high, middle)
    direction = np.where(at_low & ~at_high, -1, 1).astype(np.float32)
    threshold = np.where(direction > 0, _float(high), _float(low))
    threshold = np.where(at_low == at_high, np.where(at_low, -np.inf, np.inf), threshold)
    return np.stack([threshold, direction]).astype(np.float32)


def batchnorm_threshold(gamma: mx.nd.NDArray, beta: mx.nd.NDArray, mean: mx.nd.NDArray, variance: mx.nd.NDArray,
                        attrs: Mapping[str, Any]) -> np.ndarray:
    """`find_thresholds` of MXNet's BatchNorm in the plain layout and a sign.

    Behind a float convolution MXNet may normalise in a blocked layout, where it rounds otherwise; then the boundary can
    be the next float32 value.

    Parameters
    ----------
    gamma, beta, mean, variance : NDArray
        float32, shape (C,).
    attrs : dict
        Attributes of the BatchNorm operator.
    """
    def positive(x):
        y = mx.nd.BatchNorm(mx.nd.array(x.reshape(1, -1, 1, 1)), gamma, beta, mean, variance,
                            **dict(attrs, use_global_stats=True, output_mean_var=False))
        return y.asnumpy().ravel() >= 0

    return find_thresholds(positive, gamma.shape[0])


def norm_values(node: Node, values: Sequence[np.ndarray]) -> np.ndarray:
    """What the step norm takes for a BatchNorm node: mean, scale and beta, float32 (3, C).

    Parameters
    ----------
    node : Node
    values : sequence of numpy.ndarray
        gamma, beta, mean and variance.
    """
    gamma, beta, mean, variance = values
    if node.attr('fix_gamma', True):
        gamma = np.ones_like(gamma)
    scale = gamma / np.sqrt(variance + np.float32(node.attr('eps', 1e-3)))  # as oneDNN, in float32
    return np.stack([mean, scale, beta])


# Step of a program -> its function of x, (C,), and the parameter.
_FUNCTIONS = {
    'mul': lambda x, values: x * values,
    'add': lambda x, values: x + values,
    'norm': lambda x, values: (x - values[0]) * values[1] + values[2],
    'relu': lambda x, values: np.maximum(x, np.float32(0)),
    'prelu': lambda x, values: np.where(x > 0, x, x * values),
}


def is_monotone(word: str, values: np.ndarray | None, rising: bool = False) -> bool:
    """Whether a step is monotone in each channel, given its parameter; if `rising`, whether it never decreases."""
    if values is None:
        return word in _FUNCTIONS
    if word == 'prelu':
        return bool((values >= 0).all())
    factor = {'mul': values, 'norm': values[1] if word == 'norm' else None}.get(word)
    return word in _FUNCTIONS and (not rising or factor is None or bool((factor >= 0).all()))


def steps_threshold(steps: Sequence[tuple[str, np.ndarray | None]], channels: int,
                    threshold: np.ndarray | None = None) -> np.ndarray | None:
    """`find_thresholds` of monotone steps and the comparison that follows them.

    Parameters
    ----------
    steps : list of (str, numpy.ndarray or None)
        Words of steps and their parameters, (C,) or what broadcasts to it; of norm (3, C).
    channels : int
        C.
    threshold : numpy.ndarray, optional
        float32 (2, C), of what follows; by default the sign.

    Returns
    -------
    numpy.ndarray or None
        None where a step is not a number for numbers this large.
    """
    bound, direction = threshold if threshold is not None else (np.float32(0), np.float32(1))
    undefined = []

    def positive(x):
        with np.errstate(all='ignore'):
            for word, values in steps:
                x = _FUNCTIONS[word](x, values)
        undefined.append(np.isnan(x).any())
        return np.where(direction < 0, x <= bound, x >= bound)

    found = find_thresholds(positive, channels)
    return None if any(undefined) else found
