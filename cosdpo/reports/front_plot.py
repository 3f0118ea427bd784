"""The plot of a front: a plane for 2 objectives, all pairs of planes for 3, parallel coordinates for more.

Up and right is better everywhere (axes of losses are reversed), an objective keeps its colour, and a trade-off has the
mixture of its objectives' colours. Dominated points are hollow.
"""

from __future__ import annotations

from itertools import combinations, repeat
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from cosdpo.evaluation import indicators
from cosdpo.evaluation.front import Front
from cosdpo.evaluation.numbers import number, short, surely
from cosdpo.reports.drawing import INK, MUTED, clipped, colour, mix
from cosdpo.reports.planes import Plane, between, trail
from cosdpo.reports.sheet import Sheet, panels

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]])
"""Of the triangle of weights, one for each of three objectives."""


def front_sheet(front: Front) -> Sheet:
    """The front of every metric: a plane for 2 objectives, all pairs for 3, parallel coordinates otherwise."""
    names, m = list(front.metrics), len(front.objectives)
    each = 4 if m == 3 else 1
    layouts: dict[int, dict[str, Any]] = {
        2: {"columns": min(len(names), 3), "height": 0.84, "widest": 5.6, "extra": 0.35},
        3: {"columns": 4, "height": 2.85},
    }
    layout = layouts.get(m, {"columns": 1, "height": 3.1})
    with panels(each * len(names), **layout, key=_key(front)) as sheet:
        for row, name in enumerate(names):
            own = sheet.panels[each * row : each * (row + 1)]
            if m in (2, 3):
                for axes, pair in zip(own, combinations(range(m), 2), strict=False):
                    _plane(sheet, axes, front, name, pair)
            else:
                _parallel(own[0], front, name)
            if m == 3:
                _simplex(own[3], front, name)
            own[0].set_title(f"{name}  ·  hypervolume {front.metrics[name].hypervolume:.4g}")
    return sheet


def places(front: Front, sheet: Sheet) -> list[dict[str, object]]:
    """Where a value lies in the planes and triangles of `front_sheet`, for a script that moves a mark there.

    Each has the `metric`, the `pair` of objectives (none of a triangle, whose place is of the weights), and `x` and `y`
    as [offset, factor, factor] over the two values or the first two weights, in the SVG's own units.
    """
    m, names = len(front.objectives), list(front.metrics)
    if m not in (2, 3):
        return []
    pairs: list[tuple[int, int] | None] = list(combinations(range(m), 2))
    kinds = [(name, pair) for name in names for pair in pairs + ([None] if m == 3 else [])]
    height, pixel = 72 * sheet.figure.get_size_inches()[1], 72 / sheet.figure.dpi
    found: list[dict[str, object]] = []
    for axes, (name, pair) in zip(sheet.panels, kinds, strict=True):
        ends = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        if pair is None:
            ends = CORNERS[[2, 0, 1]]
        spots = axes.transData.transform(ends) * pixel
        spots[:, 1] = height - spots[:, 1]
        x, y = ([spots[0, k], *(spots[1:, k] - spots[0, k])] for k in (0, 1))
        found.append({"metric": name, "pair": pair, "x": x, "y": y})
    return found


def _key(front: Front) -> str:
    """One line on how to read the plot."""
    names = [clipped(name, 28) for name in front.objectives]
    between = f" · {'line' if len(names) == 2 else 'small'}: interpolated between them" if front.curve else ""
    if len(names) == 2:
        return (
            f"numbers: weight of {names[0]}, the rest is {names[1]}'s\n"
            f"up and right is better · shaded: hypervolume · hollow: dominated points{between}"
        )
    if len(names) == 3:
        return f"up and right is better · colour: weights, as in the triangles · hollow: dominated points{between}"
    return "up is better · bold: the trade-off with the largest weight on the objective of that colour"


def _plane(sheet: Sheet, axes: Axes, front: Front, name: str, pair: tuple[int, int]) -> None:
    """Two objectives of one metric. Of two objectives in all, points are named by their weight of the first; of more,
    those with the largest weight on an objective by its name.
    """
    plane, values = Plane.of(front, name, pair), front.values(name)[:, pair]
    two, inks = len(front.objectives) == 2, [mix(weights) for weights in front.weights]
    dominated = ~indicators.non_dominated(front.gains(name))
    curve = front.curve and front.curve.values.get(name)
    joined = MUTED if two and not curve else None
    trail(axes, values, inks, size=7.5 if len(values) < 20 else 5, line=joined, hollow=dominated)
    if front.curve and curve:
        between(axes, np.array(curve)[:, pair], [mix(weights) for weights in front.curve.weights], joined=two)
    if two:
        plane.shade(axes, front.gains(name))
        for place, weight, ink in zip(values, front.weights[:, 0], inks, strict=True):
            sheet.name(axes, place, f"{weight:.2g}", ink)
        sheet.keep_clear(
            axes, np.concatenate([values[:-1] + part * np.diff(values, axis=0) for part in (0.25, 0.5, 0.75)])
        )
    else:
        for j, best in enumerate(front.weights.argmax(axis=0)):
            sheet.name(axes, values[best], clipped(front.objectives[j], 16), colour(j))
        sheet.keep_clear(axes, values)
    plane.frame(sheet, axes)


def _simplex(axes: Axes, front: Front, name: str) -> None:
    """The weights of three objectives in their triangle, coloured as in the planes: their legend."""
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.fill(*CORNERS.T, facecolor="none", edgecolor=MUTED, linewidth=0.8)
    dominated = ~indicators.non_dominated(front.gains(name))
    trail(axes, front.weights @ CORNERS, [mix(weights) for weights in front.weights], size=6, hollow=dominated)
    for j, (x, y, side) in enumerate(((-0.05, -0.07, "left"), (1.05, -0.07, "right"), (0.5, 0.93, "center"))):
        where = "top" if j < 2 else "bottom"
        axes.text(x, y, clipped(front.objectives[j], 14), ha=side, va=where, color=colour(j), size=8)
    axes.set(xlim=(-0.18, 1.18), ylim=(-0.24, 1.08))


def _parallel(axes: Axes, front: Front, name: str) -> None:
    """A line per trade-off over one axis per objective, each axis from its worst to its best value."""
    metric, m = front.metrics[name], len(front.objectives)
    sign = 1 if metric.higher_is_better else -1
    measured = np.vstack([front.gains(name), sign * np.array(metric.base)])
    worst, best = measured.min(axis=0), measured.max(axis=0)
    *rows, base = (measured - worst) / np.where(best == worst, 1.0, best - worst)
    axes.set_axis_off()
    for j in range(m):
        axes.plot([j, j], [0, 1], color=MUTED, linewidth=0.8, zorder=1)
        axes.text(j, 1.03, number(sign * best[j]), ha="center", va="bottom", color=MUTED, size=8)
        axes.text(j, -0.04, number(sign * worst[j]), ha="center", va="top", color=MUTED, size=8)
        axes.text(
            j, -0.15, clipped(front.objectives[j], 100 // m), ha="center", va="top", color=colour(j), weight="bold"
        )
    ends = set(front.weights.argmax(axis=0).tolist())
    for i, row in enumerate(rows):
        (line,) = axes.plot(range(m), row, color=mix(front.weights[i]), gid=f"line-{i}", solid_capstyle="round")
        line.set(linewidth=2.2 if i in ends else 0.9, alpha=1 if i in ends else 0.4, zorder=3 if i in ends else 2)
    axes.plot(range(m), base, color=INK, linewidth=1.3, linestyle=(0, (4, 3)), zorder=4)
    axes.text(-0.04, base[0], "base", ha="right", va="center", size=8)
    axes.set(xlim=(-0.3, m - 0.7), ylim=(-0.25, 1.14))


def point_title(front: Front, index: int) -> str:
    """Hover text of a point: its weights, its temperature where there are several, and all it measured."""
    point = front.points[index]
    lines = [", ".join(f"{name} {short(w)}" for name, w in zip(front.objectives, point.weights, strict=True))]
    if len(front.ratios) > 1:
        lines.append(f"temperature {', '.join(short(beta) for beta in dict.fromkeys(point.temperature))}")
    for metric, values in point.values.items():
        deviations = front.metrics[metric].deviations
        lines.append(f"{metric}: " + ", ".join(map(surely, values, deviations[index] if deviations else repeat(None))))
    if main := front.main:
        sure = main.deviations[index] if main.deviations else None
        lines.append(f"{main.name} {main.metric}: {surely(main.values[index], sure)}")
    return "\n".join(lines)
