"""The plot of a front: a plane for 2 objectives, all pairs of planes for 3, parallel coordinates for more.

Up and right is better everywhere (axes of losses are reversed), an objective keeps its colour, and a trade-off has the
mixture of its objectives' colours. Dominated points are hollow.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cosdpo.arrays import Floats
from cosdpo.evaluation import indicators
from cosdpo.evaluation.front import Front
from cosdpo.evaluation.numbers import number
from cosdpo.reports import drawing
from cosdpo.reports.drawing import INK, MUTED, PAPER, clipped, colour, dot, label, mix, quiet


def front_figure(front: Front) -> Figure:
    """The front of every metric: a plane for 2 objectives, all pairs for 3, parallel coordinates otherwise."""
    names, m = list(front.metrics), len(front.objectives)
    with mpl.rc_context(drawing.STYLE):
        if m == 2:
            columns = min(len(names), 3)
            rows = -(-len(names) // columns)
            side = min(5.6, drawing.WIDTH / columns)
            drawn = drawing.figure(side * columns, rows * (side * 0.84 + 0.35))
            grid = drawn.subplots(rows, columns, squeeze=False)
            for axes in grid.flat[len(names) :]:
                axes.set_axis_off()
            for axes, name in zip(grid.flat, names, strict=False):
                _plane(axes, front, name, (0, 1))
                axes.set_title(f"{name}  ·  hypervolume {front.metrics[name].hypervolume:.4g}")
        elif m == 3:
            drawn = drawing.figure(drawing.WIDTH, 2.85 * len(names))
            grid = drawn.subplots(len(names), 4, squeeze=False)
            for row, name in zip(grid, names, strict=True):
                for axes, pair in zip(row, combinations(range(3), 2), strict=False):
                    _plane(axes, front, name, pair)
                _simplex(row[3], front, name)
                row[0].set_title(f"{name}  ·  hypervolume {front.metrics[name].hypervolume:.4g}")
        else:
            drawn = drawing.figure(drawing.WIDTH, 3.1 * len(names))
            grid = drawn.subplots(len(names), 1, squeeze=False)
            for axes, name in zip(grid.flat, names, strict=True):
                _parallel(axes, front, name)
                axes.set_title(f"{name}  ·  hypervolume {front.metrics[name].hypervolume:.4g}")
        drawn.supxlabel(_key(front), size=8, color=MUTED)
        drawn.draw_without_rendering()  # settles the layout, which the labels need
        for axes, name in zip(grid.flat, names, strict=False):
            if m == 2:
                _weight_labels(axes, front, name)
        if m == 3:
            for row, name in zip(grid, names, strict=True):
                for axes, pair in zip(row, combinations(range(3), 2), strict=False):
                    _vertex_labels(axes, front, name, pair)
    return drawn


def _key(front: Front) -> str:
    """One line on how to read the plot."""
    names = [clipped(name, 28) for name in front.objectives]
    if len(names) == 2:
        return (
            f"numbers: weight of {names[0]}, the rest is {names[1]}'s\n"
            "up and right is better · shaded: hypervolume · hollow: dominated points"
        )
    if len(names) == 3:
        return "up and right is better · colour: weights, as in the triangles · hollow: dominated points"
    return "up is better · bold: the trade-off with the largest weight on the objective of that colour"


def write_front_png(front: Front, path: Path) -> None:
    """Draw front.png."""
    drawing.save_png(front_figure(front), path)


def _plane(axes: Axes, front: Front, name: str, pair: tuple[int, int]) -> None:
    """Two objectives of one metric against each other, with base, reference point and dominated region."""
    metric, (a, b) = front.metrics[name], pair
    values, reference, base = front.values(name), np.array(metric.reference_point), np.array(metric.base)
    best = indicators.non_dominated(front.gains(name))
    quiet(axes)
    if len(front.objectives) == 2:
        _dominated(axes, front.gains(name), reference, 1.0 if metric.higher_is_better else -1.0)
        axes.plot(*values.T, color=MUTED, linewidth=1.1, alpha=0.7, zorder=2)
        axes.plot(*reference, marker="+", color=MUTED, markersize=9, markeredgewidth=1.4, linestyle="", zorder=3)
    axes.plot(base[a], base[b], marker="D", color=PAPER, markeredgecolor=INK, markersize=6, linestyle="", zorder=3)
    for i, (x, y) in enumerate(values[:, [a, b]]):
        dot(axes, i, x, y, mix(front.weights[i]), size=7.5 if len(values) < 20 else 5, hollow=not best[i])
    axes.margins(0.1)
    direction = "" if metric.higher_is_better else " (reversed)"
    axes.set_xlabel(f"{clipped(front.objectives[a], 28)} {name}{direction}")
    axes.set_ylabel(f"{clipped(front.objectives[b], 28)} {name}{direction}")
    if not metric.higher_is_better:
        axes.invert_xaxis()
        axes.invert_yaxis()


def _dominated(axes: Axes, gains: Floats, reference: Floats, sign: float) -> None:
    """Shade the region between the reference point and the front: the hypervolume."""
    corner = sign * reference
    front = gains[indicators.non_dominated(gains)]
    front = front[(front > corner).all(axis=1)]
    if len(front) == 0:
        return
    front = front[np.argsort(front[:, 0])]
    heights = np.append(front[:, 1], corner[1])
    edges = np.concatenate([[corner[0]], front[:, 0]])
    axes.fill_between(
        sign * edges, sign * heights, sign * corner[1], step="post", color=MUTED, alpha=0.12, linewidth=0, zorder=1
    )


def _weight_labels(axes: Axes, front: Front, name: str) -> None:
    """Label each point with the weight of the first objective, and the marks of base and reference."""
    metric = front.metrics[name]
    base, reference = np.array(metric.base), np.array(metric.reference_point)
    values = front.values(name)
    places, texts = [*values, base], [f"{w:.2g}" for w in front.weights[:, 0]]
    inks = [mix(w) for w in front.weights]
    together = np.allclose(base, reference)
    texts.append("base = reference" if together else "base")
    if not together:
        places.append(reference)
        texts.append("reference")
    line = np.concatenate([values[:-1] + part * np.diff(values, axis=0) for part in (0.25, 0.5, 0.75)])
    label(axes, np.array(places), texts, inks + [MUTED] * (len(texts) - len(inks)), others=line)


def _vertex_labels(axes: Axes, front: Front, name: str, pair: tuple[int, int]) -> None:
    """Name the points at which each objective has its largest weight, and the base."""
    best = front.weights.argmax(axis=0)
    places = np.vstack([front.values(name)[best][:, pair], np.array(front.metrics[name].base)[list(pair)]])
    inks = [colour(j) for j in range(len(front.objectives))]
    names = [clipped(name, 16) for name in front.objectives]
    label(axes, places, [*names, "base"], [*inks, MUTED], others=front.values(name)[:, pair])


def _simplex(axes: Axes, front: Front, name: str) -> None:
    """The weights of three objectives in their triangle, coloured as in the planes: their legend."""
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]])
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.fill(*corners.T, facecolor="none", edgecolor=MUTED, linewidth=0.8)
    best = indicators.non_dominated(front.gains(name))
    for i, (x, y) in enumerate(front.weights @ corners):
        dot(axes, i, x, y, mix(front.weights[i]), size=6, hollow=not best[i])
    for j, (x, y, side) in enumerate(((-0.05, -0.07, "left"), (1.05, -0.07, "right"), (0.5, 0.93, "center"))):
        where = "top" if j < 2 else "bottom"
        axes.text(x, y, clipped(front.objectives[j], 14), ha=side, va=where, color=colour(j), size=8)
    axes.set_xlim(-0.18, 1.18)
    axes.set_ylim(-0.24, 1.08)


def _parallel(axes: Axes, front: Front, name: str) -> None:
    """A line per trade-off over one axis per objective, each axis from its worst to its best value."""
    metric, m = front.metrics[name], len(front.objectives)
    values, base = front.values(name), np.array(metric.base)
    worst, top = np.minimum(values.min(axis=0), base), np.maximum(values.max(axis=0), base)
    if not metric.higher_is_better:
        worst, top = np.maximum(values.max(axis=0), base), np.minimum(values.min(axis=0), base)
    span = np.where(top == worst, 1.0, top - worst)
    axes.set_axis_off()
    for j in range(m):
        axes.plot([j, j], [0, 1], color=MUTED, linewidth=0.8, zorder=1)
        axes.text(j, 1.03, number(top[j]), ha="center", va="bottom", color=MUTED, size=8)
        axes.text(j, -0.04, number(worst[j]), ha="center", va="top", color=MUTED, size=8)
        axes.text(
            j, -0.15, clipped(front.objectives[j], 100 // m), ha="center", va="top", color=colour(j), weight="bold"
        )
    ends = set(front.weights.argmax(axis=0).tolist())
    for i, row in enumerate((values - worst) / span):
        (line,) = axes.plot(range(m), row, color=mix(front.weights[i]), gid=f"line-{i}", solid_capstyle="round")
        line.set(linewidth=2.2 if i in ends else 0.9, alpha=1 if i in ends else 0.4, zorder=3 if i in ends else 2)
    axes.plot(range(m), (base - worst) / span, color=INK, linewidth=1.3, linestyle=(0, (4, 3)), zorder=4)
    axes.text(-0.04, ((base - worst) / span)[0], "base", ha="right", va="center", size=8)
    axes.set_xlim(-0.3, m - 0.7)
    axes.set_ylim(-0.25, 1.14)
