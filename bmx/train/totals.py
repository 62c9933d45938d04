"""What a training counts over images."""
from __future__ import annotations

import math
from typing import Sequence

import numpy as np


class Totals:
    """Sums over the images of one epoch so far; plain numbers, so that a checkpoint can hold them."""

    def __init__(self, images: int = 0, loss: float = 0.0, top1: int = 0, top5: int = 0, skipped: int = 0,
                 seconds: float = 0.0, waited: float = 0.0) -> None:
        self.images = images
        self.loss = loss
        self.top1 = top1
        self.top5 = top5
        self.skipped = skipped
        self.seconds = seconds
        self.waited = waited  # seconds of these in which there was no batch yet

    def add(self, scores: np.ndarray, label: np.ndarray, loss: float) -> None:
        """Count one batch: scores (N, classes) and labels (N,) as NumPy arrays, the sum of its losses."""
        best = np.argsort(-scores, axis=1)[:, :5]
        hits = best == label.astype(int)[:, None]
        self.images += len(label)
        self.loss += loss
        self.top1 += int(hits[:, 0].sum())
        self.top5 += int(hits.sum())

    @property
    def counts(self) -> list[float]:
        """All but the seconds, which do not add up over workers."""
        return [self.images, self.loss, self.top1, self.top5, self.skipped]

    def include(self, counts: Sequence[float]) -> None:
        """Add the `counts` of others."""
        images, loss, top1, top5, skipped = counts
        self.images += int(images)
        self.loss += loss
        self.top1 += int(top1)
        self.top5 += int(top5)
        self.skipped += int(skipped)

    def mean(self, name: str) -> float:
        """Mean over the images; NaN of no images."""
        return getattr(self, name) / self.images if self.images else math.nan

    @property
    def images_per_s(self) -> float:
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def waiting(self) -> float:
        """Share of the time that passed waiting for images."""
        return self.waited / self.seconds if self.seconds else 0.0
