"""Optimizers that MXNet 1.9.1 does not have; importing this module registers them under their names."""
from __future__ import annotations

import math
from typing import Any

import mxnet as mx
from mxnet import nd


@mx.optimizer.Optimizer.register
class RAdam(mx.optimizer.Optimizer):
    """Rectified Adam: Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", ICLR 2020, Algorithm 2.

    With ``rho_inf = 2 / (1 - beta2) - 1`` and ``rho_t = rho_inf - 2 t beta2^t / (1 - beta2^t)``, step `t` is ::

        g = clip(rescale_grad * grad + wd * weight)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g^2
        m_hat = m / (1 - beta1^t)
        rho_t > 4:  r = sqrt((rho_t - 4) (rho_t - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho_t))
                    weight -= lr * r * m_hat * sqrt(1 - beta2^t) / (sqrt(v) + epsilon)
        otherwise:  weight -= lr * m_hat

    Parameters
    ----------
    learning_rate : float
    beta1, beta2 : float
        Decay rates of the first and second moment.
    epsilon : float
        Added to the root of the second moment, as in the authors' implementation.
    **kwargs
        Arguments of `mxnet.optimizer.Optimizer`: ``wd``, ``clip_gradient``, ``multi_precision``, ...
    """

    def __init__(self, learning_rate: float = 0.001, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8,
                 **kwargs: Any) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon

    def create_state(self, index: int, weight: nd.NDArray) -> tuple[nd.NDArray, nd.NDArray]:
        """First and second moment of one parameter, shape and dtype of `weight`."""
        return nd.zeros_like(weight), nd.zeros_like(weight)

    def update(self, index: int, weight: nd.NDArray, grad: nd.NDArray, state: tuple[nd.NDArray, nd.NDArray]) -> None:
        """One step, in place on `weight` and on both moments of `state`."""
        self._update_count(index)
        t = self._index_update_count[index]
        lr = self._get_lr(index) / (1 - self.beta1 ** t)
        rectification = self._rectification(t)
        mean, variance = state
        clip = {} if self.clip_gradient is None else {'clip_gradient': self.clip_gradient}
        # With a learning rate of 0 the fused operator updates the moments alone.
        fused_lr = 0.0 if rectification is None else lr * rectification * math.sqrt(1 - self.beta2 ** t)
        nd.adam_update(weight, grad, mean, variance, out=weight, lr=fused_lr, wd=self._get_wd(index), beta1=self.beta1,
                       beta2=self.beta2, epsilon=self.epsilon, rescale_grad=self.rescale_grad, **clip)
        if rectification is None:
            weight -= lr * mean

    def _rectification(self, t: int) -> float | None:
        """Factor r of step `t`, or None while the variance of the adaptive step has no finite value."""
        decay = self.beta2 ** t
        rho_inf = 2 / (1 - self.beta2) - 1
        rho = rho_inf - 2 * t * decay / (1 - decay)
        if rho <= 4:
            return None
        return math.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
