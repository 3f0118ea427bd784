"""How sure is what was measured? Its deviation, had other contexts been held out: a bootstrap over them.

Every metric here is a ratio of sums over the held-out contexts: pairs ordered right over pairs, loss over comparisons,
NDCG over lists, nats over tokens. The Bayesian bootstrap (Rubin 1981) draws weights of the contexts from Dir(1, ..., 1)
and takes the ratio of the weighted sums. Efron's, which draws whole contexts, differs from it by O(1 / C), and may
leave an objective of few comparisons without any. Figures of several points are drawn together, so that what one
context does to all of them stays together: a hypervolume's deviation is that of the hypervolumes of all draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from cosdpo.arrays import Floats
from cosdpo.evaluation import indicators

DRAWS = 200
"""The deviation of so many draws is known to 5%."""
SEED = 0
FEW_OBJECTIVES, MOST_NUMBERS = 4, 500
"""Up to so many objectives any front has its hypervolume's deviation, with more those of so many values in all."""


@dataclass(frozen=True)
class PerContext:
    """Means over C held-out contexts, with what each context adds to them."""

    sums: Floats
    """[..., C, k] what is averaged, summed within each context."""
    counts: Floats
    """[C, k] of how many; the same whatever is measured on the contexts."""

    @classmethod
    def stacked(cls, parts: Sequence[Self]) -> Self:
        """The same contexts measured several times, [N, ..., C, k]."""
        return cls(np.stack([part.sums for part in parts]), parts[0].counts)

    @classmethod
    def by_temperature(cls, parts: Sequence[Self]) -> Self:
        """N measurements [R, C, k] at R temperatures: those at the first, then those at the next, [R * N, C, k]."""
        return cls(np.concatenate(np.stack([part.sums for part in parts], axis=1)), parts[0].counts)

    @property
    def mean(self) -> Floats:
        """[..., k]."""
        mean: Floats = self.sums.sum(-2) / self.counts.sum(0)
        return mean

    def drawn(self) -> Floats:
        """`mean` under each draw of the contexts' weights, [DRAWS, ..., k]; the same draws for all of C contexts."""
        shares = np.random.default_rng(SEED).standard_exponential((DRAWS, len(self.counts)))
        sums = np.moveaxis(self.sums, -2, 0)  # [C, ..., k]
        counts = (shares @ self.counts).reshape(DRAWS, *[1] * (sums.ndim - 2), -1)
        means: Floats = np.tensordot(shares, sums, 1) / counts
        return means

    def deviation(self) -> Floats:
        """Of the mean, [..., k]."""
        deviation: Floats = self.drawn().std(0, ddof=1)
        return deviation


def hypervolume_deviation(points: Floats, references: Floats) -> float | None:
    """Deviation of the hypervolume over the draws; None where it would take minutes, which grow with the objectives.

    Args:
        points: [DRAWS, N, m] of each draw, more is better.
        references: [DRAWS, m] the worst values that count.
    """
    _, count, m = points.shape
    if m > FEW_OBJECTIVES and m * count > MOST_NUMBERS:
        return None
    volumes = [indicators.hypervolume(*of_draw) for of_draw in zip(points, references, strict=True)]
    return float(np.std(volumes, ddof=1))
