"""Figures over seeds: mean, sample deviation, and when two methods differ by more than their deviation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from cosdpo.arrays import Floats
from cosdpo.evaluation.numbers import number, short

Deviation = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Standing = Literal["above", "below", "within", "unknown"]


class Statistic(BaseModel):
    """One figure over the seeds of a method."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    mean: FiniteFloat
    """Mean over the seeds."""
    std: Deviation
    """Sample standard deviation (n - 1) over the seeds, 0 for a single one."""
    seeds: Annotated[list[FiniteFloat], Field(min_length=1)]
    """The figure of each seed, in the order of the method's seeds."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Statistic:
        """Mean and deviation of values [seeds]."""
        return cls(mean=float(np.mean(values)), std=float(deviation(values)), seeds=list(values))


class Statistics(BaseModel):
    """One figure per objective over the seeds of a method."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    mean: list[FiniteFloat]
    """[m] mean over the seeds."""
    std: list[Deviation]
    """[m] sample standard deviation (n - 1) over the seeds, 0 for a single one."""
    seeds: Annotated[list[list[FiniteFloat]], Field(min_length=1)]
    """[seeds, m] the figures of each seed, in the order of the method's seeds."""

    @classmethod
    def of(cls, values: Sequence[Sequence[float]]) -> Statistics:
        """Mean and deviation of values [seeds, m], objective by objective."""
        return cls(
            mean=np.mean(values, axis=0).tolist(), std=deviation(values).tolist(), seeds=[list(row) for row in values]
        )


@dataclass(frozen=True)
class Difference:
    """How one method's figure stands to another's, over the seeds that both have."""

    ratio: float | None
    """Mean over mean; None where the other's is 0, or no seed is shared."""
    standing: Standing
    """`within` where |difference of means| <= pooled standard deviation, else `above` or `below`; `unknown` with fewer
    than two shared seeds, which say nothing about deviation."""
    seeds: int
    """Number of shared seeds."""


def deviation(values: npt.ArrayLike) -> Floats:
    """Sample standard deviation (n - 1) over the first axis, 0 for a single row."""
    array = np.asarray(values, dtype=np.float64)
    return np.asarray(array.std(axis=0, ddof=1) if len(array) > 1 else np.zeros(array.shape[1:]))


def pooled(own: npt.ArrayLike, other: npt.ArrayLike) -> Floats:
    """Pooled standard deviation of two groups of the same size, sqrt((s_1^2 + s_2^2) / 2), over the first axis."""
    return np.sqrt((deviation(own) ** 2 + deviation(other) ** 2) / 2)


def difference(own: Mapping[int, float], other: Mapping[int, float]) -> Difference:
    """Compare two figures given by seed."""
    shared = sorted(own.keys() & other.keys())
    if not shared:
        return Difference(None, "unknown", 0)
    mine, theirs = ([values[seed] for seed in shared] for values in (own, other))
    mean, against = float(np.mean(mine)), float(np.mean(theirs))
    standing: Standing = "above" if mean > against else "below"
    if len(shared) == 1:
        standing = "unknown"
    elif abs(mean - against) <= pooled(mine, theirs) + 1e-12 * max(abs(mean), abs(against)):
        standing = "within"  # rounding is no difference either
    return Difference(mean / against if against else None, standing, len(shared))


def written(mean: float, std: float | None) -> str:
    """Mean and deviation to the same decimals, three digits of the mean: 0.0473 \u00b1 0.0025, 0.803 \u00b1 0.003.

    Args:
        std: None with one seed, which leaves the mean alone.
    """
    size = abs(mean)
    if not 1e-4 <= size < 1000:
        return number(mean) if std is None else f"{number(mean)} \u00b1 {short(std)}"
    decimals = min(7, max(0, 2 - math.floor(math.log10(size)))) if size < 0.1 else 3 if size < 10 else 1
    text = f"{mean:.{decimals}f}" if std is None else f"{mean:.{decimals}f} \u00b1 {std:.{decimals}f}"
    return text.replace("-", "\u2212")


def over_seeds(statistic: Statistic) -> str:
    """The figure as people read it: mean and deviation, of one seed its value alone."""
    return written(statistic.mean, statistic.std if len(statistic.seeds) > 1 else None)
