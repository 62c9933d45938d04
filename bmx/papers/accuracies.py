"""Which top-1 accuracy on ImageNet is published of a network, and where.

What the tables of `PAPERS` print is read from there; here are the networks that they leave out.
"""
from __future__ import annotations

import dataclasses
import re
from typing import Any, Iterator, Mapping

from . import PAPERS
from .tables import Paper

# Keywords that the tables give and that a network has anyway.
DEFAULTS = {'stem': 'grouped', 'k': 3}


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """A published accuracy: top-1 in %, who published it, and the keywords that the network takes for it."""
    top1: float
    source: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


# In %, of images of 224x224 pixels.
OTHERS = {
    'Howard et al. 2017, "MobileNets", Table 6': {'mobilenet0.25': 50.6},
    'Sandler et al. 2018, "MobileNetV2", Table 4': {'mobilenetv2_1.0': 72.0},
    "TensorFlow's checkpoints of MobileNetV2": {'mobilenetv2_0.75': 69.8, 'mobilenetv2_0.5': 65.4},
    "GluonCV's model zoo": {'mobilenetv2_0.25': 51.76},
    'Howard et al. 2019, "Searching for MobileNetV3", Table 3': {'mobilenetv3_large': 75.2, 'mobilenetv3_small': 67.4},
    'Liu et al. 2020, "ReActNet"': {'reactnet_a': 69.4, 'reactnet_b': 70.1, 'reactnet_c': 71.4},
    "Larq Zoo's QuickNets": {'quicknet_small': 59.4, 'quicknet': 63.3, 'quicknet_large': 66.9},
}


def published(name: str) -> Accuracy | None:
    """The published accuracy of a network, given by its name here or in GluonCV; None if there is none.

    Of several it is that of the network with the fewest keywords that are not its defaults; of these that of the first
    paper, and there the best: papers compare ways to train.
    """
    found = [accuracy for paper in PAPERS.values() for accuracy in sorted(
        _printed(paper, name), key=lambda accuracy: -accuracy.top1)]
    found += [Accuracy(accuracies[name], source) for source, accuracies in OTHERS.items() if name in accuracies]
    return min(found, key=lambda accuracy: len(accuracy.settings)) if found else None


def _printed(paper: Paper, name: str) -> Iterator[Accuracy]:
    """The accuracies that a paper's tables print of a network whose layers quantize as they do by default."""
    for table in paper.tables:
        heads = [column.head for column in table.columns[1:]]
        if paper.accuracy not in heads:
            continue
        for row in table.rows:
            text = row.printed.split()[heads.index(paper.accuracy)]
            if row.network == name and not row.layers and text not in '-+':
                settings = {key: value for key, value in row.settings.items() if DEFAULTS.get(key) != value}
                yield Accuracy(float(text), f'{paper.title}, {re.split("[:,]", table.title)[0]}', settings)
