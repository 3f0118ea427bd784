"""The fronts of all methods in one plot: planes for 2 and 3 objectives, metric against weight for more.

Up and right is better everywhere (axes of losses are reversed). A method has one colour and one marker; its mean over
the seeds is bold, each seed faint.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cosdpo.arrays import Floats
from cosdpo.evaluation.numbers import short
from cosdpo.experiment.results.by_weight import by_weight, mean_over_seeds
from cosdpo.experiment.results.result import Result
from cosdpo.experiment.results.statistics import written
from cosdpo.experiment.results.summary import Comparison
from cosdpo.reports import drawing
from cosdpo.reports.drawing import INK, MUTED, PAPER, clipped, label, quiet
from cosdpo.reports.method_marks import Mark, marks


class Hover:
    """Numbers the artists that have a hover text on the page; drawing.inline_svg finds them by their gid."""

    def __init__(self) -> None:
        self.titles: list[str] = []

    def gid(self, title: str) -> str:
        """The gid of the next artist."""
        self.titles.append(title)
        return f"line-{len(self.titles) - 1}"


def fronts_figure(comparison: Comparison, results: Sequence[Result]) -> tuple[Figure, list[str]]:
    """All fronts of one budget, and the hover texts of the mean trade-offs.

    With 2 objectives a plane per metric, with 3 all pairs, otherwise a panel per objective with its metric against its
    weight: lines are means over the trade-offs that share the weight, faint ones those of single seeds.
    """
    names, m = list(comparison.higher_is_better), len(comparison.objectives)
    looks, hover = marks(list(comparison.methods)), Hover()
    with mpl.rc_context(drawing.STYLE):
        if m == 2:
            columns = min(len(names), 3)
            side = min(6.6, drawing.WIDTH / columns)
            rows = -(-len(names) // columns)
            drawn = drawing.figure(side * columns, rows * (side * 0.84 + 0.4))
            panels = [(name, (0, 1)) for name in names]
        elif m == 3:
            rows, columns = len(names), 3
            drawn = drawing.figure(drawing.WIDTH, 3.6 * rows)
            panels = [(name, pair) for name in names for pair in combinations(range(3), 2)]
        else:
            rows, columns = len(names), m
            drawn = drawing.figure(drawing.WIDTH, 0.9 + 2.3 * rows)
            panels = [(name, (j, j)) for name in names for j in range(m)]
        grid = drawn.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        for axes, (name, pair) in zip(grid.flat, panels, strict=False):
            if m > 3:
                _against_weight(axes, comparison, results, name, pair[0], looks)
            else:
                _plane(axes, comparison, results, name, pair, looks, hover)
        for axes, name in zip(grid.flat if m == 2 else grid[:, 0], names, strict=False):
            axes.set_title(name if m <= 3 else f"{name}  ·  {axes.get_title(loc='left')}")
        handles = [look.line(clipped(name, 40)) for name, look in looks.items()]
        drawn.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 4), frameon=False)
        drawn.supxlabel(
            "up and right is better · bold: mean over the seeds, faint: each seed"
            if m <= 3
            else "up is better · dashed: the base model · bold: mean over the seeds and over the trade-offs that share "
            "the weight, faint: each seed",
            size=8,
            color=MUTED,
        )
        drawn.draw_without_rendering()  # settles the layout, which the labels need
        for axes, (name, pair) in zip(grid.flat, panels if m <= 3 else [], strict=False):
            _places(axes, comparison, results, name, pair)
    return drawn, hover.titles


def _plane(
    axes: Axes,
    comparison: Comparison,
    results: Sequence[Result],
    name: str,
    pair: tuple[int, int],
    looks: dict[str, Mark],
    hover: Hover,
) -> None:
    """Two objectives of one metric against each other."""
    a, b = pair
    quiet(axes)
    joined = (
        len(comparison.objectives) == 2
    )  # the weights of 2 objectives lie on a line, so that neighbours can be joined
    for result in results:
        look = looks[result.front.method]
        x, y = result.front.values(name)[np.lexsort(result.front.weights.T[::-1])][:, pair].T
        axes.plot(x, y, color=look.ink, alpha=0.28, linewidth=0.9 if joined else 0, zorder=2)
        axes.plot(x, y, color=look.ink, alpha=0.22, marker=look.marker, markersize=3, linestyle="", zorder=2)
    for method, look in reversed(looks.items()):  # the first method is the one that is judged, and lies on top
        front = mean_over_seeds(results, method, name)
        means = np.array([cell.mean for _, cell in front])
        axes.plot(*means[:, pair].T, color=look.ink, linewidth=1.7 if joined else 0, zorder=3)
        for weights, cell in front:
            values = ", ".join(
                written(mean, std if cell.seeds > 1 else None)
                for mean, std in zip(cell.mean.tolist(), cell.std.tolist(), strict=True)
            )
            shares = ", ".join(f"{o} {short(w)}" for o, w in zip(comparison.objectives, weights, strict=True))
            axes.plot(
                *cell.mean[list(pair)].reshape(2, 1),
                color=look.ink,
                marker=look.marker,
                markersize=7 if joined else 6,
                markeredgecolor=PAPER,
                markeredgewidth=0.8,
                zorder=4,
                gid=hover.gid(f"{method}\n{shares}\n{name}: {values}"),
            )
    reference, base = (np.array(place[name])[list(pair)] for place in (comparison.reference_point, comparison.base))
    axes.plot(*reference, marker="+", color=MUTED, markersize=9, markeredgewidth=1.4, linestyle="", zorder=3)
    axes.plot(*base, marker="D", color=PAPER, markeredgecolor=INK, markersize=6, linestyle="", zorder=3)
    axes.margins(0.08)
    better = comparison.higher_is_better[name]
    axes.set_xlabel(f"{clipped(comparison.objectives[a], 28)} {name}{'' if better else ' (reversed)'}")
    axes.set_ylabel(f"{clipped(comparison.objectives[b], 28)} {name}{'' if better else ' (reversed)'}")
    if not better:
        axes.invert_xaxis()
        axes.invert_yaxis()


def _places(axes: Axes, comparison: Comparison, results: Sequence[Result], name: str, pair: tuple[int, int]) -> None:
    """Name the marks of base and reference point, away from the fronts."""
    reference, base = (np.array(place[name])[list(pair)] for place in (comparison.reference_point, comparison.base))
    together = np.allclose(base, reference)
    places = np.array([base] if together else [base, reference])
    texts = ["base = reference"] if together else ["base", "reference"]
    others = np.concatenate([result.front.values(name)[:, pair] for result in results])
    label(axes, places, texts, [MUTED] * len(texts), others=others)


def _against_weight(
    axes: Axes, comparison: Comparison, results: Sequence[Result], name: str, j: int, looks: dict[str, Mark]
) -> None:
    """Metric j against w_j, a line per method."""
    quiet(axes)
    axes.axhline(comparison.base[name][j], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    for method, look in reversed(looks.items()):
        seeds = [result.front.seed for result in results if result.front.method == method]
        found = by_weight(results, method, name)
        for seed in seeds:
            curve = _curve(
                {key[j]: [] for key in found}, [(key[j], v[seed][j]) for key, v in found.items() if seed in v]
            )
            axes.plot(*curve, color=look.ink, alpha=0.28, linewidth=0.9, zorder=2)
        mean = _curve({key[j]: [] for key in found}, [(k[j], v[s][j]) for k, v in found.items() for s in v])
        axes.plot(
            *mean,
            color=look.ink,
            linewidth=1.7,
            marker=look.marker,
            markersize=5.5,
            markeredgecolor=PAPER,
            markeredgewidth=0.8,
            zorder=3,
        )
    axes.margins(x=0.06, y=0.1)
    axes.set_title(clipped(comparison.objectives[j], 100 // len(comparison.objectives)))
    axes.set_xlabel("weight")
    if not comparison.higher_is_better[name]:
        axes.invert_yaxis()


def _curve(steps: dict[float, list[float]], points: Sequence[tuple[float, float]]) -> tuple[list[float], Floats]:
    """Mean value at each weight, by rising weight."""
    for weight, value in points:
        steps[weight].append(value)
    known = sorted(step for step, values in steps.items() if values)
    return known, np.array([np.mean(steps[step]) for step in known])
