"""The point of a front at which something must hold: at least so much of one objective, at most so much of a price.

    choose(front, at_least={"relevance": 0.40}, best="clicks")
    choose(front, at_most={"KL to base": 0.1}, best="helpful")
    choose(front, best=KNEE)

A conditioned model has every weight; its front is known at some, along its curve or, where there is none, at the points
that were measured. Between those, values are interpolated linearly over the weights (two objectives: along the line,
more: over a Delaunay triangulation of the simplex). So are their deviations, which is no less than the deviation of the
value between: two values never spread more together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from cosdpo.arrays import Floats
from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front, main_metric
from cosdpo.simplex import das_dennis

KNEE = "knee"
"""As `best`: where the objectives together have most of what they can have each."""
CANDIDATES = {1: 1, 2: 100, 3: 40, 4: 16}
"""Partitions of the weights that are looked at, by number of objectives; more take 10."""


@dataclass(frozen=True)
class ChosenPoint:
    """A weighting, and what the front says of it."""

    weights: list[float]
    """[m]"""
    values: dict[str, float]
    """Interpolated values by name: of each objective, and of the main objective where there is one."""
    misses: dict[str, float]
    """By how much it misses what must hold, by name; empty where all of it holds."""
    measured: bool
    """Whether these weights were measured, and nothing is interpolated."""
    deviations: dict[str, float]
    """How sure the values are: their deviation over other held-out contexts (bootstrap.py), by name. Empty of a front
    that does not say."""


@dataclass(frozen=True)
class Choices:
    """What is known of a front at the trained temperature: along a curve that has the metric, else at the points."""

    weights: Floats
    """[K, m]"""
    names: list[str]
    """The m objectives, and the main objective where there is one."""
    values: Floats
    """[K, k] by name."""
    deviations: Floats
    """[K, k] of the values, NaN where they are not known."""
    better: Floats
    """[k] 1 where more is better, else -1."""

    @classmethod
    def of(cls, front: Front, metric: str) -> Choices:
        """Of one metric of `front`."""
        curve, front = front.curve, front.at(1)
        if curve is not None and metric in curve.metrics:
            weights, values = np.array(curve.weights), np.array(curve.values[metric])
            chosen, main = curve.metrics[metric], curve.main
        else:
            weights, values, chosen, main = front.weights, front.values(metric), front.metrics[metric], front.main
        names, unknown = list(front.objectives), np.full(len(weights), np.nan)
        columns, signs = list(values.T), [chosen.higher_is_better] * len(names)
        deviations = [unknown] * len(names) if chosen.deviations is None else list(np.array(chosen.deviations).T)
        if main is not None:
            names.append(main.name)
            columns.append(np.array(main.values))
            deviations.append(unknown if main.deviations is None else np.array(main.deviations))
            signs.append(main.higher_is_better)
        better = np.where(signs, 1.0, -1.0)
        return cls(weights, names, np.stack(columns, axis=1), np.stack(deviations, axis=1), better)

    def between(self) -> Choices:
        """These, and interpolated ones between them."""
        m = self.weights.shape[1]
        if m == 1 or len(self.weights) <= m:
            return self
        fine, table = das_dennis(m, CANDIDATES.get(m, 10)), np.concatenate([self.values, self.deviations], axis=1)
        if m == 2:
            order = np.argsort(self.weights[:, 0])
            known = self.weights[order, 0]
            found = np.stack([np.interp(fine[:, 0], known, column[order]) for column in table.T], axis=1)
        else:
            from scipy.interpolate import LinearNDInterpolator  # here, since all else needs no scipy

            found = LinearNDInterpolator(self.weights[:, :-1], table)(fine[:, :-1])
        inside = np.isfinite(found[:, 0])
        values, deviations = np.split(found[inside], 2, axis=1)
        return replace(
            self,
            weights=np.concatenate([self.weights, fine[inside]]),
            values=np.concatenate([self.values, values]),
            deviations=np.concatenate([self.deviations, deviations]),
        )


def choose(
    front: Front,
    at_least: Mapping[str, float] | None = None,
    at_most: Mapping[str, float] | None = None,
    best: str = KNEE,
    metric: str = "",
) -> ChosenPoint:
    """The weights at which all holds and `best` is best, at the trained temperature; or, where nothing holds all, those
    that miss it by the least, each miss as a share of how far the front reaches in it.

    Args:
        at_least, at_most: values that must hold, by objective, or by the main objective's name.
        best: an objective, the main objective, or KNEE.
        metric: of the objectives' values; the front's leading one by default.

    Raises:
        InputError: a name that the front does not have, or a bound that is no finite number.
    """
    metric = metric or main_metric(front)
    if metric not in front.metrics:
        raise InputError(f"metric {metric!r} is not in the front, which has {', '.join(front.metrics)}")
    known = Choices.of(front, metric)
    between, names, table = known.between(), known.names, known.values
    weights, values = between.weights, between.values
    bounds = [(name, value, 1) for name, value in (at_least or {}).items()]
    bounds += [(name, value, -1) for name, value in (at_most or {}).items()]
    for name in (*(name for name, _, _ in bounds), *([] if best == KNEE else [best])):
        if name not in names:
            raise InputError(f"{name!r} is not in the front, which has {', '.join(names)}")
    reach = np.ptp(table, axis=0)
    reach[reach == 0] = 1.0
    lacks = np.zeros((len(values), len(bounds)))
    for k, (name, bound, sign) in enumerate(bounds):
        if not np.isfinite(bound):
            raise InputError(f"{name}: {bound} is no finite number")
        j = names.index(name)
        lacks[:, k] = np.maximum(0.0, sign * (bound - values[:, j])) / reach[j]
    worst = lacks.max(axis=1, initial=0.0)
    allowed = np.flatnonzero(worst <= worst.min() + 1e-12)
    gains = (known.better * values - (known.better * table).min(axis=0)) / reach
    wanted = gains[:, : len(front.objectives)].sum(axis=1) if best == KNEE else gains[:, names.index(best)]
    chosen = int(allowed[np.argmax(wanted[allowed])])
    missed = {
        name: float(lacks[chosen, k] * reach[names.index(name)])
        for k, (name, _, _) in enumerate(bounds)
        if lacks[chosen, k] > 1e-12
    }
    sure = between.deviations[chosen].tolist()
    return ChosenPoint(
        weights=weights[chosen].tolist(),
        values=dict(zip(names, values[chosen].tolist(), strict=True)),
        misses=missed,
        measured=bool(np.isclose(front.weights, weights[chosen]).all(axis=1).any()),
        deviations={name: s for name, s in zip(names, sure, strict=True) if np.isfinite(s)},
    )
