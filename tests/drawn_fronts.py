"""A front whose values are known, and the data of what was drawn of it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from cosdpo.arrays import Floats
from cosdpo.evaluation.between import curve_weights
from cosdpo.evaluation.front import Front, Main, Measured, curve_of
from cosdpo.simplex import das_dennis
from tests.built_fronts import built


def made_front(m: int, higher_is_better: bool = True, points: int = 4) -> Front:
    """1 + weights above 1, or the loss 2 - weights below 2, with the base in the middle."""
    weights = das_dennis(m, points)
    values = 1 + weights if higher_is_better else 2 - weights
    measured = Measured(values, np.full(m, 1.5), np.full(m, 1.0 if higher_is_better else 2.0), higher_is_better)
    return built(weights, {"metric": measured}, task="ranking", trained_temperature=1.0)


def bent(shift: float = 0.0) -> Front:
    """A quarter of a circle at five weights, and at many more along its curve; the price is w_0 squared."""
    grid = das_dennis(2, 4)
    fine = curve_weights(grid, 4, 101)
    assert fine is not None

    def measured(weights: np.ndarray) -> Measured:
        angle = np.pi / 2 * weights[:, 0]
        return Measured(np.stack([np.sin(angle), np.cos(angle)], 1) + shift, [0, 0], [0, 0])

    def price(weights: np.ndarray) -> Main:
        return Main(name="KL", metric="nats", higher_is_better=False, base=0.0, values=(weights[:, 0] ** 2).tolist())

    along = curve_of(fine, {"accuracy": measured(fine)}, price(fine))
    return built(grid, {"accuracy": measured(grid), "reward": measured(grid)}, main=price(grid), curve=along)


def dots(axes: Axes) -> Floats:
    """Places of the trade-offs in a panel, [N, 2], in their order."""
    return by_gid(axes, "point")[:, 0]


def by_gid(axes: Axes, kind: str) -> Floats:
    """Data of the artists of the trade-offs, [N, their length, 2], in the order of the trade-offs."""
    found = {str(line.get_gid()): drawn(line) for line in axes.lines if str(line.get_gid()).startswith(f"{kind}-")}
    return np.array([found[f"{kind}-{i}"] for i in range(len(found))])


def drawn(line: Line2D) -> Floats:
    """Data of a line, [its length, 2]."""
    return np.asarray(line.get_xydata(), dtype=np.float64)
