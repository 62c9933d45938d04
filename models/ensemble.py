"""Ensembles of binary networks (Zhu et al. 2019, "Binary Ensemble Neural Network: More Bits per Network or More
Networks per Bit?")."""
from __future__ import annotations

from typing import Any

from mxnet import gluon
from mxnet.gluon import nn

from bmx.nn.tensors import Tensor

from .blocks import check_counts
from .registry import find, register_family


class Ensemble(gluon.HybridBlock):
    """Networks of one kind whose outputs are averaged.

    Bagging and boosting (section 4) are ways of training the members, one by one: `net.members[i]` on a sample of the
    training data drawn with replacement, or on data weighted by what the members before it got wrong. Trained as a
    whole, the members learn together, from the loss of the average.

    Inputs: (N, 3, H, W). Outputs: (N, classes).

    Parameters
    ----------
    network : str
        A name of `MODELS`.
    members : int
        How many.
    **kwargs
        Those of each member: classes, stem, bits, ...
    """

    def __init__(self, network: str, members: int = 6, prefix: str | None = None,
                 params: gluon.ParameterDict | None = None, **kwargs: Any) -> None:
        super().__init__(prefix=prefix, params=params)
        check_counts(members=members)
        with self.name_scope():
            self.members = nn.HybridSequential(prefix='')
            self.members.add(*[find(network)(**kwargs) for _ in range(members)])

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:
        total, *others = [member(x) for member in self.members]
        for scores in others:
            total = total + scores
        return total * (1 / len(self.members))


MEMBERS: dict[str, dict[str, Any]] = {
    'ensemble_resnete18': dict(network='resnete18'),
}
register_family(Ensemble, MEMBERS)
