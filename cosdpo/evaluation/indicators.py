"""How good is a front? Indicators of a set of points, all for maximisation: negate metrics of which less is better.

Shapes: N points of m objectives, `points` [N, m]. Hypervolume, IGD+ and dominance are moocore's algorithms; the
functions here fix the direction, the treatment of points beyond the reference, and what an empty set means.
"""

from __future__ import annotations

import moocore
import numpy as np
import numpy.typing as npt

from cosdpo.arrays import Booleans, Floats
from cosdpo.errors import InputError

EXACT_OBJECTIVES = 6
EXACT_POINTS = 150
DIRECTIONS = 1 << 20
"""Directions of the approximate hypervolume."""


def non_dominated(points: npt.ArrayLike) -> Booleans:
    """True for every point that no other point dominates, shape [N].

    Point a dominates b when it is at least as good in every objective and better in one. Equal points do not dominate
    each other, so all copies of a non-dominated point are kept.

    Raises:
        InputError: points is not [N, m] or not finite.
    """
    array = _points(points, "points")
    if len(array) == 0:
        return np.zeros(0, dtype=np.bool_)
    mask: Booleans = np.asarray(moocore.is_nondominated(array, maximise=True, keep_weakly=True), dtype=np.bool_)
    return mask


def hypervolume(points: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Volume of the union of the boxes between the reference point and each point (Zitzler and Thiele 1998).

    In the product of the objectives' units. Only points better than the reference in every objective span a box; all
    others contribute 0, and so does an empty set. Exact up to six objectives or 150 points: the time of exact
    algorithms grows exponentially with the objectives (minutes for 330 points of eight). Beyond that it is integrated
    over fixed directions, to about 1% (Deng and Zhang 2019; moocore's Rphi-FWE+).

    Args:
        points: [N, m].
        reference: [m], the worst values that count.

    Raises:
        InputError: the shapes do not fit or a value is not finite.
    """
    array = _points(points, "points")
    corner = np.asarray(reference, dtype=np.float64)
    if corner.shape != array.shape[1:]:
        raise InputError(f"reference has shape {corner.shape}; give one number for each of {array.shape[1]} objectives")
    if not np.isfinite(corner).all():
        raise InputError("reference must be finite")
    above = array[(array > corner).all(axis=1)]
    if not len(above):
        return 0.0
    if above.shape[1] > EXACT_OBJECTIVES and len(above) > EXACT_POINTS:
        return float(moocore.hv_approx(above, ref=corner, maximise=True, nsamples=DIRECTIONS))
    return float(moocore.hypervolume(above, ref=corner, maximise=True))


def igd_plus(points: npt.ArrayLike, target: npt.ArrayLike) -> float:
    """Mean distance by which `points` miss `target`; less is better, 0 when every target point is reached.

    IGD+ (Ishibuchi et al. 2015): the mean over target points t of min over points p of ||max(t - p, 0)||, so being
    better than t costs nothing. In comparisons `target` is the union front of all methods.

    Args:
        points: [N, m], N > 0.
        target: [T, m], T > 0.

    Raises:
        InputError: an empty set, shapes that do not fit, or a value that is not finite.
    """
    array, goal = _points(points, "points"), _points(target, "target")
    if len(array) == 0 or len(goal) == 0:
        raise InputError("IGD+ of an empty set is undefined; give at least one point and one target point")
    if array.shape[1] != goal.shape[1]:
        raise InputError(f"points have {array.shape[1]} objectives and target {goal.shape[1]}; both need the same")
    return float(moocore.igd_plus(array, ref=goal, maximise=True))


def spread(points: npt.ArrayLike) -> float:
    """How far the front reaches: diagonal of the smallest box around its non-dominated points; more is wider.

    sqrt(sum_j (max_j - min_j)^2) over the non-dominated points: maximum spread (Zitzler, PhD thesis, ETH Zurich 1999;
    Deb, "Multi-Objective Optimization using Evolutionary Algorithms", 2001, section 8.2). Dominated points do not
    count, because a cloud that is wide for being bad is no wide front. 0 for a single point and for none.

    Raises:
        InputError: points is not [N, m] or not finite.
    """
    array = _points(points, "points")
    front = array[non_dominated(array)]
    return float(np.linalg.norm(np.ptp(front, axis=0))) if len(front) else 0.0


def controllability(weights: npt.ArrayLike, values: npt.ArrayLike) -> Floats:
    """Spearman's rank correlation of weight w_j with metric j over the points, shape [m], each in [-1, 1].

    1 means that raising the weight of an objective always raises its metric. Ties share their average rank. A constant
    column, of weights or of values, gives 0.0 and not nan: what does not move is not controlled.

    Args:
        weights: [N, m] the weights at which the points were measured.
        values: [N, m] metric j of each point, more is better.

    Raises:
        InputError: the shapes differ or a value is not finite.
    """
    grid, reached = _points(weights, "weights"), _points(values, "values")
    if grid.shape != reached.shape:
        raise InputError(f"weights have shape {grid.shape} and values {reached.shape}; both need [points, objectives]")
    from scipy.stats import spearmanr  # here: importing it takes as long as torch does

    correlations = np.zeros(grid.shape[1])
    for j in range(grid.shape[1]):
        if len(grid) > 1 and np.ptp(grid[:, j]) > 0 and np.ptp(reached[:, j]) > 0:
            correlations[j] = spearmanr(grid[:, j], reached[:, j]).statistic
    return correlations


def _points(values: npt.ArrayLike, name: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] == 0:
        raise InputError(f"{name} has shape {array.shape}; give a matrix of shape [points, objectives]")
    if not np.isfinite(array).all():
        raise InputError(f"{name} must be finite; row {int(np.argmin(np.isfinite(array).all(axis=1)))} is not")
    return array
