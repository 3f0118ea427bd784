"""The curves of a run: each metric against its weight, and the course of the training.

Up is better (axes of losses are reversed) and an objective keeps its colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cosdpo.arrays import Floats
from cosdpo.evaluation.front import Front
from cosdpo.evaluation.numbers import short
from cosdpo.reports import drawing
from cosdpo.reports.drawing import INK, MUTED, clipped, colour, dot, quiet


def steering_figure(front: Front) -> Figure:
    """Metric j against weight w_j: rows of metrics, columns of objectives.

    With 2 objectives the points lie on one curve. With more, several points share a w_j, and the curve is their median.
    """
    names, m = list(front.metrics), len(front.objectives)
    with mpl.rc_context(drawing.STYLE):
        drawn = drawing.figure(drawing.WIDTH, 0.3 + 1.95 * len(names))
        grid = drawn.subplots(len(names), m, squeeze=False, sharex=True)
        for line, (row, name) in enumerate(zip(grid, names, strict=True)):
            metric, values = front.metrics[name], front.values(name)
            for j, axes in enumerate(row):
                weight_panel(axes, front, j, values[:, j], metric.base[j], metric.controllability[j], line == 0)
                axes.set_ylabel(name if j == 0 else "")
                if not metric.higher_is_better:
                    axes.invert_yaxis()
        for j, axes in enumerate(grid[-1] if m <= 3 else ()):
            axes.set_xlabel(f"weight of {clipped(front.objectives[j], 64 // m)}")
    return drawn


def weight_panel(
    axes: Axes, front: Front, j: int, values: Floats, base: float, correlation: float, named: bool = True
) -> None:
    """Draw values [N] of the points against w_j, their median at each w_j, the base dashed, and the correlation.

    `named` titles the panel with the objective. With more than 3 objectives panels are too narrow for more than the
    name there, and the correlation stands under the panel.
    """
    weights, m = front.weights[:, j], len(front.objectives)
    quiet(axes)
    axes.axhline(base, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    steps = np.unique(weights.round(9))
    median = [np.median(values[np.isclose(weights, step)]) for step in steps]
    axes.plot(steps, median, color=colour(j), linewidth=1.8, solid_capstyle="round")
    for i, (x, y) in enumerate(zip(weights, values, strict=True)):
        dot(axes, i, x, y, colour(j), size=5 if m == 2 else 3.6, alpha=1 if m == 2 else 0.45)
    axes.margins(x=0.04, y=0.14)
    axes.set_title(clipped(front.objectives[j], (64 if m <= 3 else 100) // m) if named else "", color=colour(j))
    if m <= 3:
        note = f"rank correlation {short(correlation)}"
        axes.set_title(note, loc="right", color=MUTED, fontsize=8, fontweight="normal")
    else:
        axes.set_xlabel(f"weight \u00b7 \u03c1 {short(correlation)}")


def training_figure(rows: Sequence[Mapping[str, float]], objectives: Sequence[str]) -> Figure | None:
    """Loss per objective, learning rate, gradient norm and throughput over the steps; None when none was logged.

    Args:
        rows: lines of metrics.jsonl, with the keys step, loss/NAME of each objective, learning_rate, gradient_norm and
            contexts_per_second; what is missing is left out.
    """
    losses = {f"loss/{name}": (name, colour(j)) for j, name in enumerate(objectives)}
    others = ("learning_rate", "gradient_norm", "contexts_per_second")
    wanted = {"training loss": losses} | {key.replace("_", " "): {key: ("", INK)} for key in others}
    logged = {key for row in rows for key in row}
    panels = {
        title: [(key, *look) for key, look in series.items() if key in logged]
        for title, series in wanted.items()
        if logged & series.keys()
    }
    if not panels:
        return None
    with mpl.rc_context(drawing.STYLE):
        drawn = drawing.figure(drawing.WIDTH, 2.5)
        for axes, (title, lines) in zip(drawn.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
            quiet(axes)
            axes.set_title(title)
            axes.set_xlabel("step")
            for key, name, ink in lines:
                _curve(axes, rows, key, name, ink)
            if lines[0][1]:
                axes.legend(frameon=False, fontsize=7.5, labelcolor="linecolor", handlelength=0.8, borderaxespad=0.1)
            axes.margins(y=0.12)
            axes.set_ylim(bottom=0 if title in ("contexts per second", "learning rate") else None)
    return drawn


def _curve(axes: Axes, rows: Sequence[Mapping[str, float]], key: str, name: str, ink: str) -> None:
    """One logged series: faint as logged, and over it the running mean of the last tenth of its points."""
    logged = [(row.get("step", i), row[key]) for i, row in enumerate(rows) if np.isfinite(row.get(key, np.nan))]
    if not logged:
        return
    steps, values = np.array(logged, dtype=np.float64).T
    window = len(values) // 10
    if window < 2 or key == "learning_rate":
        axes.plot(steps, values, color=ink, linewidth=1.5, label=name)
        return
    total = np.concatenate([[0.0], values.cumsum()])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    axes.plot(steps, values, color=ink, linewidth=0.7, alpha=0.3)
    axes.plot(steps, (total[ends] - total[starts]) / (ends - starts), color=ink, linewidth=1.6, label=name)
