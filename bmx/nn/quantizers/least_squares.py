"""The best factors of several signs that stand for a weight."""
from __future__ import annotations

from typing import Any, Callable, Sequence

from ..tensors import Tensor

# Keeps the equations solvable where signs are the same; small beside the means of products of signs, at most 1.
_RIDGE = 1e-6


def fit_scales(weight: Tensor, signs: Sequence[Tensor], mean: Callable[[Tensor], Tensor],
               near: Sequence[Tensor] | None = None) -> list[Tensor]:
    """The scales a of least sum of (weight - sum_i a_i signs_i)^2.

    Parameters
    ----------
    weight : NDArray or Symbol
    signs : sequence of NDArray or Symbol
        Of the weight's shape.
    mean : callable
        Of an array of this shape, over all that shares its scales; it keeps the axes.
    near : sequence, optional
        Scales that are taken where several are as good; else the smallest are.

    Returns
    -------
    list of NDArray or Symbol
        Of the shape that `mean` gives, one for each of the signs.
    """
    size = len(signs)
    matrix: list[list[Any]] = [[1 + _RIDGE] * size for _ in signs]  # the square of a sign is 1
    vector = [mean(sign * weight) for sign in signs]
    for i in range(size):
        for j in range(i):
            matrix[i][j] = matrix[j][i] = mean(signs[i] * signs[j])
        if near is not None:
            vector[i] = vector[i] + _RIDGE * near[i]
    return _solve(matrix, vector)


def _solve(matrix: list[list[Any]], vector: list[Tensor]) -> list[Tensor]:
    """Gauss's elimination of a positive definite system, elementwise: any dtype and device, NDArray or Symbol."""
    size = len(vector)
    for i in range(size):
        for row in range(i + 1, size):
            factor = matrix[row][i] / matrix[i][i]
            for column in range(i + 1, size):
                matrix[row][column] = matrix[row][column] - factor * matrix[i][column]
            vector[row] = vector[row] - factor * vector[i]
    for i in reversed(range(size)):
        for column in range(i + 1, size):
            vector[i] = vector[i] - matrix[i][column] * vector[column]
        vector[i] = vector[i] / matrix[i][i]
    return vector
