"""Batch normalisation followed by a sign, as one comparison a channel."""
import mxnet as mx
import numpy as np

# Beyond this, (x - mean) could overflow; no feature map comes near.
_LARGEST = np.float32(2.0 ** 120)


def _ordered(x):
    """Integers in the order of the float32 values."""
    bits = x.view(np.int32)
    return np.where(bits < 0, np.int32(-2 ** 31) - bits, bits).astype(np.int64)


def _float(order):
    order = order.astype(np.int32)
    return np.where(order < 0, np.int32(-2 ** 31) - order, order).astype(np.int32).view(np.float32)


def batchnorm_threshold(gamma, beta, mean, variance, attrs):
    """The thresholds t and directions d with `sign(BatchNorm(x)) == +1` exactly where `d * x >= d * t`.

    BatchNorm in float32 never decreases (or, with a negative gamma, never increases) as x grows, rounding included.
    So each channel has an exact boundary among the float32 values, found by bisection on MXNet's own operator in the
    plain layout: there no value is decided differently after folding, not even one that lies on the boundary. Behind
    a float convolution MXNet may normalise in a blocked layout, where it rounds otherwise; then the boundary can be the
    next float32 value.

    Parameters
    ----------
    gamma, beta, mean, variance : NDArray
        float32, shape (C,).
    attrs : dict
        Attributes of the BatchNorm operator.

    Returns
    -------
    numpy.ndarray
        float32, shape (2, C): t (infinite where the sign is constant), then d (+1 or -1).
    """
    def positive(x):
        y = mx.nd.BatchNorm(mx.nd.array(x.reshape(1, -1, 1, 1)), gamma, beta, mean, variance,
                            **dict(attrs, use_global_stats=True, output_mean_var=False))
        return y.asnumpy().ravel() >= 0

    channels = gamma.shape[0]
    low = np.full(channels, -_LARGEST, np.float32)
    high = np.full(channels, _LARGEST, np.float32)
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
