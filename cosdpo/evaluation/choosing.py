"""The point of a front at which something must hold: at least so much of one objective, at most so much of a price.

    choose(front, at_least={"relevance": 0.40}, best="clicks")
    choose(front, at_most={"KL to base": 0.1}, best="helpful")
    choose(front, best=KNEE)

A conditioned model has every weight, of which its front was measured at some. Between those, values are interpolated
linearly over the weights (two objectives: along the line, more: over a Delaunay triangulation of the simplex).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
    front = front.at(1)
    metric = metric or main_metric(front)
    if metric not in front.metrics:
        raise InputError(f"metric {metric!r} is not in the front, which has {', '.join(front.metrics)}")
    names, table, better = _measured(front, metric)
    weights, values = _between(front.weights, table)
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
    gains = (better * values - (better * table).min(axis=0)) / reach
    wanted = gains[:, : len(front.objectives)].sum(axis=1) if best == KNEE else gains[:, names.index(best)]
    chosen = int(allowed[np.argmax(wanted[allowed])])
    missed = {
        name: float(lacks[chosen, k] * reach[names.index(name)])
        for k, (name, _, _) in enumerate(bounds)
        if lacks[chosen, k] > 1e-12
    }
    return ChosenPoint(
        weights=weights[chosen].tolist(),
        values=dict(zip(names, values[chosen].tolist(), strict=True)),
        misses=missed,
        measured=bool(np.isclose(front.weights, weights[chosen]).all(axis=1).any()),
    )


def _measured(front: Front, metric: str) -> tuple[list[str], Floats, Floats]:
    """Names of what was measured, its values [N, k], and 1 where more of it is better, else -1, [k]."""
    columns, signs = list(front.values(metric).T), [front.metrics[metric].higher_is_better] * len(front.objectives)
    names = list(front.objectives)
    if front.main is not None:
        names.append(front.main.name)
        columns.append(np.array(front.main.values))
        signs.append(front.main.higher_is_better)
    return names, np.stack(columns, axis=1), np.where(signs, 1.0, -1.0)


def _between(weights: Floats, table: Floats) -> tuple[Floats, Floats]:
    """The measured weights [N, m] with those between them, and the values [K, k] there."""
    m = weights.shape[1]
    if m == 1 or len(weights) <= m:
        return weights, table
    fine = das_dennis(m, CANDIDATES.get(m, 10))
    if m == 2:
        order = np.argsort(weights[:, 0])
        between = np.stack([np.interp(fine[:, 0], weights[order, 0], column[order]) for column in table.T], axis=1)
    else:
        from scipy.interpolate import LinearNDInterpolator  # here, since all else needs no scipy

        between = LinearNDInterpolator(weights[:, :-1], table)(fine[:, :-1])
    inside = np.isfinite(between).all(axis=1)
    return np.concatenate([weights, fine[inside]]), np.concatenate([table, between[inside]])
