"""Importance weights: points of the simplex {w : w_j >= 0, sum_j w_j = 1}.

Training draws them from a Dirichlet, one per context and stratified over the batch; evaluation walks the Das-Dennis
grid; a person types them in any scale and `normalise` brings them to sum 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from cosdpo.arrays import Floats
from cosdpo.errors import InputError


def normalise(weights: Sequence[float] | Mapping[str, float], objectives: Sequence[str]) -> Floats:
    """Weights over `objectives` scaled to sum 1, shape [m].

    Args:
        weights: one number per objective in their order, or a mapping by name in which absent objectives weigh 0.
        objectives: the m names.

    Raises:
        InputError: unknown name, wrong length, a negative or non-finite number, or a sum of 0.
    """
    if isinstance(weights, Mapping):
        unknown = sorted(set(weights) - set(objectives))
        if unknown:
            raise InputError(f"weights name unknown objectives {unknown}; known are {list(objectives)}")
        weights = [weights.get(name, 0.0) for name in objectives]
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (len(objectives),):
        raise InputError(f"weights need {len(objectives)} numbers, one per objective {list(objectives)}")
    if not np.isfinite(values).all() or (values < 0).any():
        raise InputError("weights must be finite and not negative")
    largest = values.max()
    if largest <= 0:
        raise InputError("weights must not all be zero")
    values = values / largest  # first, so that the sum of huge weights cannot overflow
    normalised: Floats = values / values.sum()
    return normalised


def named_weights(text: str) -> dict[str, float]:
    """The weights of a list such as helpful=0.7,harmless=0.3.

    Raises:
        InputError: it is no such list, or names an objective twice.
    """
    pairs = [pair.split("=") for pair in text.split(",")]
    given = {pair[0].strip(): _weight(pair[1]) for pair in pairs if len(pair) == 2}
    if None in given.values() or len(given) < len(pairs):
        raise InputError(f"{text!r} is no list of weights; give OBJECTIVE=WEIGHT,OBJECTIVE=WEIGHT, each once")
    return {objective: weight for objective, weight in given.items() if weight is not None}


def named_point(model: str) -> tuple[str, dict[str, float] | None]:
    """Name and weights of what is asked for as NAME@helpful=0.7,harmless=0.3; the weights are None where only NAME is.

    Raises:
        InputError: what follows the @ is no list of weights.
    """
    name, at, asked = model.partition("@")
    if not at:
        return name, None
    try:
        return name, named_weights(asked)
    except InputError as error:
        raise InputError(f"model: {error}, as in NAME@helpful=0.7,safe=0.3") from None


def _weight(text: str) -> float | None:
    """The weight that a text says, or None where it says none."""
    try:
        weight = float(text)
    except ValueError:
        return None
    return weight if 0 <= weight < math.inf else None


def nearest(weights: Floats, partitions: int) -> list[int]:
    """The point of the grid of `das_dennis` that is nearest to weights [m], in units of 1/partitions.

    Rounding down leaves fewer than m units, which go where most was cut off; at ties to the objectives named first.
    """
    scaled = weights * partitions
    units = np.floor(scaled)
    most = np.argsort(units - scaled, kind="stable")
    units[most[: partitions - int(units.sum())]] += 1
    return [int(unit) for unit in units]


def das_dennis(objectives: int, partitions: int) -> Floats:
    """The grid of all weights that are multiples of 1/partitions, shape [N, m] (Das and Dennis, 1998).

    N = C(partitions + m - 1, m - 1). For m = 2 the rows run from (0, 1) to (1, 0).
    """
    if objectives == 1:
        return np.ones((1, 1))
    from pymoo.util.ref_dirs import get_reference_directions  # here: who scores and serves needs no grid

    grid: Floats = get_reference_directions("das-dennis", objectives, n_partitions=partitions)
    return grid


def showcase(objectives: int, count: int) -> Floats:
    """Weights at which the report answers one prompt, [N, m]: evenly along the line for two objectives, else the
    vertices, the centre and the middles of the edges, at most `count` (but always the vertices).
    """
    if objectives == 2:
        first = np.linspace(1, 0, count)
        return np.stack([first, 1 - first], 1)
    corners = np.eye(objectives)
    middles = [(corners[i] + corners[j]) / 2 for i in range(objectives) for j in range(i)]
    line: Floats = np.concatenate(
        [corners, np.full((1, objectives), 1 / objectives), np.array(middles).reshape(-1, objectives)]
    )
    return line[: max(count, objectives)]


def dirichlet(rng: np.random.Generator, count: int, objectives: int, alpha: float, stratified: bool = True) -> Floats:
    """Draws from Dir(alpha, ..., alpha), shape [count, objectives].

    Each draw has exactly this distribution either way. Stratified draws of one call are spread evenly: they come from
    stick-breaking, w_1 ~ Beta(alpha, (m-1) alpha) and so on through the remaining stick, with the uniform behind each
    Beta taken from one of `count` equal strata (a Latin hypercube), and the stick's order shuffled.
    """
    if objectives == 1:
        return np.ones((count, 1))
    if not stratified:
        return rng.dirichlet(np.full(objectives, alpha), size=count)
    draws = np.empty((count, objectives))
    stick = np.ones(count)
    for j in range(objectives - 1):
        uniform = (rng.permutation(count) + rng.random(count)) / count
        draws[:, j] = stick * _beta_quantile(alpha, alpha * (objectives - 1 - j), uniform)
        stick = stick - draws[:, j]
    draws[:, -1] = np.maximum(stick, 0.0)
    shuffled: Floats = draws[:, rng.permutation(objectives)]
    return shuffled


def _beta_quantile(a: float, b: float, shares: Floats) -> Floats:
    """Where the distribution function of Beta(a, b) is `shares`; at a = 1 that is 1 - (1 - share)^(1 / b)."""
    if a == 1:
        even: Floats = -np.expm1(np.log1p(-shares) / b)
        return even
    from scipy.special import betaincinv  # here: the models import this module, and only training draws

    quantiles: Floats = betaincinv(a, b, shares)
    return quantiles
