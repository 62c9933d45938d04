"""Gradients in few bits: whether they are finite, and what the loss is multiplied by so that they do not become 0."""
from __future__ import annotations

import itertools
from typing import Any, Iterable, Mapping, Sequence

import mxnet as mx

# MXNet's operator takes so many arrays; it does not refuse more, but writes beyond its own.
_MOST_ARRAYS = 200


def all_finite(arrays: Iterable[mx.nd.NDArray]) -> bool:
    """Whether no array has a value that is infinite or no number; of any data types and devices."""
    def kind(array: mx.nd.NDArray) -> tuple[str, str]:
        return str(array.context), str(array.dtype)

    found = []
    for _, alike in itertools.groupby(sorted(arrays, key=kind), kind):  # the operator takes arrays of one kind
        group = list(alike)
        for start in range(0, len(group), _MOST_ARRAYS):
            chunk = group[start:start + _MOST_ARRAYS]
            found.append(mx.nd.multi_all_finite(*chunk, num_arrays=len(chunk)))
    return all(bool(each.asscalar()) for each in found)


class LossScale:
    """A factor of the loss that keeps small gradients of float16 from becoming 0, found while training.

    It begins at `START`. Where a gradient overflows, the step is left out and the scale halved; after `GROWTH_STEPS`
    steps in a row without that it is doubled. These are the numbers of MXNet's automatic mixed precision, whose own
    `LossScaler` looks at the gradients of one device only, halves without end and cannot be saved.

    Parameters
    ----------
    dtype : {'float32', 'float16'}
        With float32 the scale is 1 and stays it.

    Attributes
    ----------
    scale : float
    skipped : int
        Steps left out since `take_skipped` was called last.
    """

    START, LEAST, MOST, GROWTH_STEPS = 2.0 ** 16, 1.0, 2.0 ** 24, 2000

    def __init__(self, dtype: str) -> None:
        self.dynamic = dtype == 'float16'
        self.scale = self.START if self.dynamic else 1.0
        self.skipped = 0
        self._good_steps = 0

    def head_gradients(self, losses: Sequence[mx.nd.NDArray]) -> list[mx.nd.NDArray] | None:
        """What `autograd.backward` takes for losses, to multiply their gradients by the scale."""
        return [mx.nd.full(loss.shape, self.scale, ctx=loss.context) for loss in losses] if self.dynamic else None

    def grow(self) -> None:
        """Count a step that was made."""
        self._good_steps += 1
        if self.dynamic and self._good_steps >= self.GROWTH_STEPS:
            self.scale, self._good_steps = min(self.MOST, 2 * self.scale), 0

    def shrink(self) -> bool:
        """Count an overflow; False where the scale is the least already, so that it is not to blame."""
        if self.scale <= self.LEAST:
            return False
        self.scale, self._good_steps = max(self.LEAST, self.scale / 2), 0
        self.skipped += 1
        return True

    def take_skipped(self) -> int:
        """`skipped`, which begins anew."""
        skipped, self.skipped = self.skipped, 0
        return skipped

    @property
    def state(self) -> dict[str, Any]:
        """What `restore` needs to know, for JSON."""
        return {'scale': self.scale, 'good_steps': self._good_steps, 'skipped': self.skipped}

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Go on from a `state`; None, of a checkpoint without one, changes nothing.

        Raises
        ------
        KeyError, TypeError, ValueError
            It is not one.
        """
        if state is None or not self.dynamic:
            return
        scale, good_steps, skipped = (state[name] for name in ('scale', 'good_steps', 'skipped'))
        if not self.LEAST <= scale <= self.MOST or good_steps + 0 < 0 or skipped + 0 < 0:
            raise ValueError(f'a loss scale of {scale}')
        self.scale, self._good_steps, self.skipped = scale, good_steps, skipped
