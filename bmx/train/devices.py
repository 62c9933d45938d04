"""What several devices of a machine have to agree on beside gradients."""
from __future__ import annotations

from typing import Iterable

import mxnet as mx


def average_statistics(parameters: Iterable[mx.gluon.Parameter]) -> None:
    """Give all devices the mean of what each counted for itself: the running statistics of batch normalisation.

    That is what is saved of them, so what is validated is what is saved.

    Parameters
    ----------
    parameters : iterable of gluon.Parameter
        Those that no optimizer trains are averaged.
    """
    for parameter in parameters:
        arrays = parameter.list_data()
        if parameter.grad_req == 'null' and len(arrays) > 1:
            mean = parameter._reduce()
            for array in arrays:  # `set_data` would have the trainer forget its optimizer's state
                mean.copyto(array)
