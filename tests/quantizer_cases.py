"""What quantizers make of arrays, and their gradients, by the formulas of the papers in NumPy."""
import dataclasses
from typing import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Case:
    """What a quantizer makes of float64 arrays, and the gradients of its input and of what it learns, by name.

    `values` takes x and the learned parameters, a dict; `gradients` these and the gradient of the values, and gives a
    dict, of which 'x' is the input's; None where it is to equal that of `values`, numerically.
    """
    values: Callable
    gradients: Callable


def sign(x):
    return np.where(x >= 0, 1.0, -1.0)


def alpha(w):
    return np.abs(w).mean(axis=(1, 2, 3), keepdims=True)


def residual(x, m):
    """The sum of m scaled signs of each sample."""
    total = np.zeros_like(x)
    for _ in range(m):
        left = x - total
        total = total + sign(left) * np.abs(left).mean(axis=(1, 2, 3), keepdims=True)
    return total


def through(estimator):
    """Gradients of a quantizer that learns nothing: the head where an estimator, of x, lets it through."""
    return lambda x, learned, head: {'x': head * estimator(x)}


def inside(t):
    return through(lambda x: np.abs(x) <= t)


def xnor_gradient(w, learned, head):
    """d/dw of sign(w) alpha, both of its factors (XNOR-Net, section 3.2)."""
    return {'x': head * alpha(w) * (np.abs(w) <= 1.3) + sign(w) * (head * sign(w)).mean(axis=(1, 2, 3), keepdims=True)}


def grid(x, k):
    steps = 2 ** k - 1
    return np.floor(x * steps + 0.5) / steps


def dorefa_weight(w, learned, k=2):
    squashed = np.tanh(w)
    return 2 * grid(squashed / (2 * np.abs(squashed).max()) + 0.5, k) - 1


def dorefa_weight_gradient(w, learned, head):
    squashed = np.tanh(w)
    largest = np.abs(squashed).max()
    found = head / largest
    at = np.unravel_index(np.abs(squashed).argmax(), w.shape)
    found[at] -= np.sign(squashed[at]) * (head * squashed).sum() / largest ** 2
    return {'x': found * (1 - squashed ** 2)}


def xnor_gradient_of_the_paper(w, learned, head):
    """d/dw of sign(w) alpha as XNOR-Net's section 3.1 writes it, without the other weights' part of alpha."""
    return {'x': head * (1 / w[0].size + alpha(w) * (np.abs(w) <= 1))}


def ternary(w, threshold):
    return np.where(w > threshold, 1.0, np.where(w < -threshold, -1.0, 0.0))


def twn(axes):
    """TWN with a threshold and an alpha of what these axes are."""
    def values(w, learned):
        size = np.abs(w)
        codes = ternary(w, 0.7 * size.mean(axis=axes, keepdims=True))
        above = np.abs(codes)
        return codes * (size * above).sum(axis=axes, keepdims=True) / above.sum(axis=axes, keepdims=True)
    return Case(values, through(np.ones_like))


def ttq_codes(w):
    return ternary(w, 0.05 * np.abs(w).max())


def ttq(w, learned):
    codes = ttq_codes(w)
    return np.where(codes > 0, learned['positive'], np.where(codes < 0, -learned['negative'], 0))


def ttq_gradient(w, learned, head):
    codes = ttq_codes(w)
    return {'x': head * np.where(codes > 0, learned['positive'], np.where(codes < 0, learned['negative'], 1)),
            'positive': head[codes > 0].sum().reshape((1, 1, 1, 1)),
            'negative': -head[codes < 0].sum().reshape((1, 1, 1, 1))}


def syq(codes, axes):
    """SYQ, whose alphas are shared along these axes."""
    def gradients(w, learned, head):
        return {'x': head * learned['alpha'], 'alpha': (head * codes(w)).sum(axis=axes, keepdims=True)}
    return Case(lambda w, learned: codes(w) * learned['alpha'], gradients)


def circulant(w):
    """Each fourth filter and its rotations, clockwise by 90 degrees."""
    return np.stack([np.rot90(w[::4], -count, axes=(2, 3)) for count in range(4)], axis=1).reshape(w.shape)


def circulant_gradient(w, learned, head):
    """The sum of what comes back to the rotations, turned back, where the learned filters let it through."""
    found = np.zeros_like(w)
    for count in range(4):
        found[::4] += np.rot90(head[count::4], count, axes=(2, 3))
    return {'x': found * (np.abs(w) <= 1)}


def polynomial(x):
    return np.where(np.abs(x) <= 1, 2 - 2 * np.abs(x), 0)


POLYNOMIAL = through(polynomial)


def hwgq(x, step, k):
    return np.where(x > 0, step * np.clip(np.ceil(x / step - 0.5), 1, 2 ** k - 1), 0)


HWGQ_ESTIMATORS = {
    'clipped': lambda x, largest: (x > 0) & (x <= largest),
    'relu': lambda x, largest: x > 0,
    'log_tailed': lambda x, largest: np.where(x > largest, 1 / (np.maximum(x, largest) - (largest - 1)), x > 0)}


def hwgq_case(k, step, estimator='clipped'):
    largest = (2 ** k - 1) * step
    return Case(lambda x, learned: hwgq(x, step, k),
                through(lambda x: HWGQ_ESTIMATORS[estimator](x, largest)))


def codes(k, lowest):
    """All codes of k bits, (2^k, k), the first bit first; a bit that is not set is `lowest`."""
    return np.array([[1.0 if code >> j & 1 else lowest for j in range(k)] for code in range(2 ** k)])


def nearest(x, basis, lowest):
    """The code, of a basis (k,), of the level that is nearest to each x."""
    table = codes(len(basis), lowest)
    basis = basis * (1 + 1e-9 * np.arange(len(basis)))  # of two codes of one level, that of x's sign
    return table[np.abs(x[..., np.newaxis] - table @ basis).argmin(axis=-1)]


def lq_activation_gradient(x, learned, head):
    basis = learned['basis']
    return {'x': head * ((x > 0) & (x <= basis.sum())),
            'basis': np.tensordot(head, nearest(x, basis, 0), axes=head.ndim)}


def lq_weight(w, learned, k):
    """Four steps of Equations 9 to 11 for each filter, with the levels in the order of the codes."""
    found = np.empty_like(w)
    for filled, values in zip(found, w):
        basis = 2.0 ** np.arange(k) * 0.6745 * np.sqrt((values ** 2).mean()) / 2 ** (k - 1)
        for _ in range(4):
            signs = nearest(values, basis, -1).reshape(-1, k)
            basis = np.sort(np.abs(np.linalg.lstsq(signs, values.reshape(-1), rcond=None)[0]))
            for j in range(1, k):
                basis[j] = max(basis[j], basis[:j].sum())
        filled[:] = nearest(values, basis, -1) @ basis
    return found


def lq_case(k):
    return {'activation': Case(lambda x, learned: nearest(x, learned['basis'], 0) @ learned['basis'],
                               lq_activation_gradient),
            'weight': Case(lambda w, learned: lq_weight(w, learned, k), through(np.ones_like))}


def abc_fit(w, m):
    """The signs of a weight, (..., m), and their scales."""
    shifts = np.linspace(-1, 1, m) if m > 1 else np.zeros(1)
    signs = sign((w - w.mean())[..., np.newaxis] + shifts * w.std())
    return signs, np.linalg.lstsq(signs.reshape(-1, m), w.reshape(-1), rcond=None)[0]


def abc_weight(w, m):
    signs, scales = abc_fit(w, m)
    return signs @ scales


def abc_weight_gradient(w, head, m):
    return head * abc_fit(w, m)[1].sum()


def abc_by_filter(function, *arrays):
    return np.stack([function(*filters) for filters in zip(*arrays)])


def abc_activation(x, learned):
    return sign(np.clip(x[..., np.newaxis] + learned['shift'], 0, 1) - 0.5) @ learned['scale']


def abc_activation_gradient(x, learned, head):
    shifted = x[..., np.newaxis] + learned['shift']
    inside = ((shifted >= 0) & (shifted <= 1)) * learned['scale'] * head[..., np.newaxis]
    return {'x': inside.sum(axis=-1), 'shift': inside.sum(axis=(0, 1, 2, 3)),
            'scale': np.tensordot(head, sign(shifted - 0.5), axes=head.ndim)}


def abc_case(m):
    return {'activation': Case(abc_activation, abc_activation_gradient),
            'weight': Case(lambda w, learned: abc_weight(w, m),
                           lambda w, learned, head: {'x': abc_weight_gradient(w, head, m)})}


def shifted_sign(estimator):
    def gradients(x, learned, head):
        found = head * estimator(x + learned['shift'])
        return {'x': found, 'shift': found.sum(axis=(0, 2, 3), keepdims=True)}
    return Case(lambda x, learned: sign(x + learned['shift']), gradients)


def xnor_activation(x, learned):
    return sign(x) * np.abs(x).mean(axis=1, keepdims=True)


def xnor_activation_gradient(x, learned, head):
    return {'x': head * np.abs(x).mean(axis=1, keepdims=True) * (np.abs(x) <= 1)
            + sign(x) * (head * sign(x)).mean(axis=1, keepdims=True)}


def xnor_pp_factors(w, learned):
    """The factors of channels, rows and columns, in the shapes in which they broadcast."""
    return {'channels': learned['channels'].reshape(-1, 1, 1, 1),
            'rows': learned['rows'][:w.shape[2]].reshape(1, 1, -1, 1),
            'columns': learned['columns'][:w.shape[3]].reshape(1, 1, 1, -1)}


def xnor_pp(w, learned):
    return sign(w) * np.prod(np.broadcast_arrays(*xnor_pp_factors(w, learned).values()), axis=0)


def xnor_pp_gradient(w, learned, head):
    factors = xnor_pp_factors(w, learned)
    found = {'x': head * (np.abs(w) <= 1) * xnor_pp(np.ones_like(w), learned)}
    for name, axis in (('channels', 0), ('rows', 2), ('columns', 3)):
        by_value = head * xnor_pp(w, learned) / factors[name]
        summed = by_value.sum(axis=tuple(set(range(4)) - {axis}))
        found[name] = np.pad(summed, (0, len(learned[name]) - len(summed)))
    return found

CASES = {
    'activation': {
        'float': Case(lambda x, learned: x, through(np.ones_like)),
        'sign': Case(lambda x, learned: sign(x), inside(1.3)),
        'sign(clip=0.5)': Case(lambda x, learned: sign(x), inside(0.5)),
        'approx_sign': Case(lambda x, learned: sign(x), POLYNOMIAL),
        'dorefa(1)': Case(lambda x, learned: grid(np.clip(x, 0, 1), 1), through(lambda x: (x >= 0) & (x <= 1))),
        'dorefa(2)': Case(lambda x, learned: grid(np.clip(x, 0, 1), 2), through(lambda x: (x >= 0) & (x <= 1))),
        'residual(3)': Case(lambda x, learned: residual(x, 3), inside(1.3)),
        'hwgq(1)': hwgq_case(1, 0.7979),
        'hwgq(2)': hwgq_case(2, 0.538),
        "hwgq(2, estimator='relu')": hwgq_case(2, 0.538, 'relu'),
        "hwgq(2, estimator='log_tailed')": hwgq_case(2, 0.538, 'log_tailed'),
        'hwgq(3)': hwgq_case(3, 329 / 1024),
        'lq(1)': lq_case(1)['activation'],
        'lq(2)': lq_case(2)['activation'],
        'lq(3)': lq_case(3)['activation'],
        'abc(1)': abc_case(1)['activation'],
        'abc(3)': abc_case(3)['activation'],
        'rsign': shifted_sign(polynomial),
        'rsign(clip=0.5)': shifted_sign(lambda x: np.abs(x) <= 0.5),
        'xnor': Case(xnor_activation, xnor_activation_gradient),
    },
    'weight': {
        'float': Case(lambda x, learned: x, through(np.ones_like)),
        'sign': Case(lambda x, learned: sign(x), inside(1.3)),
        "sign(scaling='gradient')": Case(lambda x, learned: sign(x) * alpha(x), xnor_gradient),
        "sign(scaling='constant')": Case(lambda x, learned: sign(x) * alpha(x),
                                         through(lambda x: alpha(x) * (np.abs(x) <= 1.3))),
        'approx_sign': Case(lambda x, learned: sign(x), POLYNOMIAL),
        'dorefa(1)': Case(lambda x, learned: sign(x) * np.abs(x).mean(), through(np.ones_like)),
        'dorefa(2)': Case(dorefa_weight, dorefa_weight_gradient),
        'xnor': Case(lambda x, learned: sign(x) * alpha(x), xnor_gradient_of_the_paper),
        'twn': twn((0, 1, 2, 3)),
        "twn(by='channel')": twn((1, 2, 3)),
        'ttq': Case(ttq, ttq_gradient),
        'syq(1)': syq(sign, (0, 1, 3)),
        "syq(2, by='pixel')": syq(ttq_codes, (0, 1)),
        "syq(1, by='layer')": syq(sign, (0, 1, 2, 3)),
        "syq(2, by='layer')": syq(ttq_codes, (0, 1, 2, 3)),
        'sq_bwn(1)': Case(lambda x, learned: sign(x) * alpha(x), through(np.ones_like)),
        'bmxnet': Case(lambda x, learned: (sign(x) + x[0].size) / 2, lambda x, learned, head: {'x': head / 2}),
        'bmxnet(clip=1.0)': Case(lambda x, learned: (sign(x) + x[0].size) / 2,
                                 lambda x, learned, head: {'x': head / 2 * (np.abs(x) <= 1)}),
        'circulant': Case(lambda x, learned: sign(circulant(x)), circulant_gradient),
        'lq(1)': lq_case(1)['weight'],
        'lq(2)': lq_case(2)['weight'],
        'lq(3)': lq_case(3)['weight'],
        'abc(1)': abc_case(1)['weight'],
        'abc(3)': abc_case(3)['weight'],
        'abc(3, by_filter=True)': Case(
            lambda w, learned: abc_by_filter(lambda values: abc_weight(values, 3), w),
            lambda w, learned, head: {'x': abc_by_filter(
                lambda values, part: abc_weight_gradient(values, part, 3), w, head)}),
        'xnor_pp': Case(lambda w, learned: sign(w) * learned['channels'].reshape(-1, 1, 1, 1),
                        lambda w, learned, head: {
                            'x': head * (np.abs(w) <= 1) * learned['channels'].reshape(-1, 1, 1, 1),
                            'channels': (head * sign(w)).sum(axis=(1, 2, 3))}),
        'xnor_pp(side=9)': Case(xnor_pp, xnor_pp_gradient),
    },
}
