"""The front of a model between the weights of its grid, without another pass of the model.

A conditioned model, and a soup, give every candidate a score that is a smooth function of the weights: these enter
through gates, soft tokens or shares of parameters. So it is the scores that are interpolated, candidate by candidate,
and what they come to (pairs ordered right, losses, NDCG) is counted as it is at the grid's weights. Interpolating the
counts would smooth over the steps at which candidates change places. With two objectives by a cubic spline, with more
by cubic radial basis functions on a quadratic; docs/EXPERIMENTS.md has how far this is from measuring.
"""

from __future__ import annotations

from math import comb

import numpy as np

from cosdpo.arrays import Floats
from cosdpo.simplex import das_dennis

FEWEST_PARTITIONS = 4
"""Of a grid that says enough of what lies between."""


def curve_weights(grid: Floats, partitions: int, count: int) -> Floats | None:
    """The weights of the grid [N, m] with those of the largest Das-Dennis grid of at most `count`, [K, m], in order.

    None where the grid of so many partitions is too coarse, or already as fine.
    """
    m = grid.shape[1]
    finer = max((p for p in range(1, count) if comb(p + m - 1, m - 1) <= count), default=0)
    if m == 1 or partitions < FEWEST_PARTITIONS or finer <= partitions:
        return None
    both = np.concatenate([grid, das_dennis(m, finer)])
    _, first = np.unique(both.round(9), axis=0, return_index=True)
    weights: Floats = both[first]
    return weights


def interpolation(grid: Floats, weights: Floats) -> Floats:
    """Shares [K, N] that turn values at the grid [N, m] into those at the weights [K, m]; exact at the grid's own."""
    ends, m = np.eye(len(grid)), grid.shape[1]
    if m == 2:
        from scipy.interpolate import CubicSpline  # here, as below: it takes a second that who scores need not wait

        order = np.argsort(grid[:, 0])
        shares: Floats = CubicSpline(grid[order, 0], ends[order])(weights[:, 0])
        return shares
    from scipy.interpolate import RBFInterpolator

    around: Floats = RBFInterpolator(grid[:, :-1], ends, kernel="cubic", degree=2)(weights[:, :-1])
    return around
