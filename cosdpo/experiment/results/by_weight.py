"""Weight by weight: what each method has at every point of the grid, and where the conditioned run is beaten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cosdpo.arrays import Floats
from cosdpo.experiment.results.result import Result
from cosdpo.experiment.results.statistics import deviation, pooled

Weights = tuple[float, ...]


@dataclass(frozen=True)
class SeedMean:
    """One method at one weight."""

    mean: Floats
    """[m] mean values over the seeds, in the metric's own direction."""
    std: Floats
    """[m] their sample deviation, 0 for one seed."""
    seeds: int
    """Number of seeds with this weight."""


@dataclass(frozen=True)
class WeightComparison:
    """All methods at one weight."""

    weights: Weights
    methods: Mapping[str, SeedMean]
    """By method; a method without this weight is missing."""
    beaten_by: Sequence[str]
    """Rivals to which the subject is inferior in every objective at once, by more than the pooled deviation of the
    seeds that both have; with one seed, by any amount."""


def table(results: Sequence[Result], metric: str, subject: str, rivals: Sequence[str]) -> list[WeightComparison]:
    """A row per weight vector, those of the subject first, in the order of its grid.

    Args:
        results: of one budget.
        subject: the method to be judged, compared with each of `rivals`.
    """
    sign = 1 if results[0].front.metrics[metric].higher_is_better else -1
    methods = list(dict.fromkeys(result.front.method for result in results))
    grids = {method: by_weight(results, method, metric) for method in [subject, *methods]}
    rows = []
    for weights in dict.fromkeys(key for grid in grids.values() for key in grid):
        here = {method: grids[method][weights] for method in methods if weights in grids[method]}
        beaten = [
            rival for rival in rivals if subject in here and rival in here and _below(here[subject], here[rival], sign)
        ]
        rows.append(WeightComparison(weights, {method: _seed_mean(values) for method, values in here.items()}, beaten))
    return rows


def by_weight(results: Sequence[Result], method: str, metric: str) -> dict[Weights, dict[int, Floats]]:
    """Values [m] of one method by weight vector and seed; points that share weights and seed are averaged."""
    gathered: dict[Weights, dict[int, list[Floats]]] = {}
    for result in results:
        if result.front.method == method:
            for weights, values in zip(result.front.weights.round(6), result.front.values(metric), strict=True):
                gathered.setdefault(tuple(weights.tolist()), {}).setdefault(result.front.seed, []).append(values)
    return {key: {seed: np.mean(values, axis=0) for seed, values in seeds.items()} for key, seeds in gathered.items()}


def mean_over_seeds(results: Sequence[Result], method: str, metric: str) -> list[tuple[Weights, SeedMean]]:
    """The method's weights, sorted, each with mean and deviation over the seeds."""
    return [(key, _seed_mean(seeds)) for key, seeds in sorted(by_weight(results, method, metric).items())]


def _seed_mean(seeds: Mapping[int, Floats]) -> SeedMean:
    values = list(seeds.values())
    return SeedMean(np.mean(values, axis=0), deviation(values), len(values))


def _below(own: Mapping[int, Floats], other: Mapping[int, Floats], sign: int) -> bool:
    shared = sorted(own.keys() & other.keys())
    if not shared:
        return False
    mine, theirs = (sign * np.array([values[seed] for seed in shared]) for values in (own, other))
    gap = theirs.mean(axis=0) - mine.mean(axis=0)
    return bool((gap > pooled(mine, theirs) + 1e-12 * np.abs(theirs).max(axis=0)).all())
