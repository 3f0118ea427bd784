"""Weight by weight: what each method has at every point of the grid, and where the conditioned run is beaten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cosdpo.arrays import Floats
from cosdpo.experiment.results.result import Result
from cosdpo.experiment.results.statistics import deviation, pooled

Key = tuple[float, ...]


@dataclass(frozen=True)
class Cell:
    """One method at one weight."""

    mean: Floats
    """[m] mean values over the seeds, in the metric's own direction."""
    std: Floats
    """[m] their sample deviation, 0 for one seed."""
    seeds: int
    """Number of seeds with this weight."""


@dataclass(frozen=True)
class Row:
    """All methods at one weight."""

    weights: Key
    cells: Mapping[str, Cell]
    """By method; a method without this weight is missing."""
    beaten_by: Sequence[str]
    """Rivals to which the subject is inferior in every objective at once, by more than the pooled deviation of the
    seeds that both have; with one seed, by any amount."""


def table(results: Sequence[Result], metric: str, subject: str, rivals: Sequence[str]) -> list[Row]:
    """A row per weight vector, those of the subject first, in the order of its grid.

    Args:
        results: of one budget.
        subject: the method to be judged, compared with each of `rivals`.
    """
    sign = 1 if results[0].front.metrics[metric].higher_is_better else -1
    methods = list(dict.fromkeys(result.front.method for result in results))
    found = {method: by_weight(results, method, metric) for method in [subject, *methods]}
    rows = []
    for weights in dict.fromkeys(key for grid in found.values() for key in grid):
        here = {method: found[method][weights] for method in methods if weights in found[method]}
        beaten = [
            rival for rival in rivals if subject in here and rival in here and _below(here[subject], here[rival], sign)
        ]
        cells = {method: _cell(values) for method, values in here.items()}
        rows.append(Row(weights, cells, beaten))
    return rows


def by_weight(results: Sequence[Result], method: str, metric: str) -> dict[Key, dict[int, Floats]]:
    """Values [m] of one method by weight vector and seed; points that share weights and seed are averaged."""
    found: dict[Key, dict[int, list[Floats]]] = {}
    for result in results:
        if result.front.method == method:
            for weights, values in zip(result.front.weights.round(6), result.front.values(metric), strict=True):
                found.setdefault(tuple(weights.tolist()), {}).setdefault(result.front.seed, []).append(values)
    return {key: {seed: np.mean(values, axis=0) for seed, values in seeds.items()} for key, seeds in found.items()}


def mean_front(results: Sequence[Result], method: str, metric: str) -> list[tuple[Key, Cell]]:
    """The method's weights, sorted, each with mean and deviation over the seeds."""
    return [(key, _cell(seeds)) for key, seeds in sorted(by_weight(results, method, metric).items())]


def _cell(seeds: Mapping[int, Floats]) -> Cell:
    values = list(seeds.values())
    return Cell(np.mean(values, axis=0), deviation(values), len(values))


def _below(own: Mapping[int, Floats], other: Mapping[int, Floats], sign: int) -> bool:
    shared = sorted(own.keys() & other.keys())
    if not shared:
        return False
    mine, theirs = (sign * np.array([values[seed] for seed in shared]) for values in (own, other))
    gap = theirs.mean(axis=0) - mine.mean(axis=0)
    return bool((gap > pooled(mine, theirs) + 1e-12 * np.abs(theirs).max(axis=0)).all())
