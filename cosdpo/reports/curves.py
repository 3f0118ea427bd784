"""A value against a weight or against the steps of the training: the curves of a run.

Up is better (axes of losses are reversed) and an objective keeps its colour.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from cosdpo.arrays import Floats
from cosdpo.evaluation.front import Front
from cosdpo.evaluation.numbers import short
from cosdpo.reports.drawing import INK, MUTED, base_line, clipped, colour, mark
from cosdpo.reports.sheet import Sheet, panels
from cosdpo.training.curve import CURVE


def along(weights: Floats, values: Floats, middle: Callable[..., Floats] = np.median) -> tuple[Floats, Floats]:
    """The different weights [K], rising, and the middle [K, ...] of the values [N, ...] that share each."""
    steps = np.unique(weights.round(9))
    return steps, np.array([middle(values[np.isclose(weights, step)], axis=0) for step in steps])


def steering_sheet(front: Front) -> Sheet:
    """Metric j against weight w_j: rows of metrics, columns of objectives.

    With 2 objectives the points lie on one curve. With more, several points share a w_j, and the curve is their median.
    """
    names, m = list(front.metrics), len(front.objectives)
    with panels(len(names) * m, m, 1.95, extra=0.3, sharex=True) as sheet:
        for place, axes in enumerate(sheet.panels):
            row, j = divmod(place, m)
            metric, values = front.metrics[names[row]], front.values(names[row])[:, j]
            weight_panel(axes, front, j, values, metric.base[j], metric.controllability[j], named=row == 0)
            axes.set_ylabel(names[row] if j == 0 else "")
            if not metric.higher_is_better:
                axes.invert_yaxis()
            if m <= 3 and row == len(names) - 1:
                axes.set_xlabel(f"weight of {clipped(front.objectives[j], 64 // m)}")
    return sheet


def weight_panel(
    axes: Axes, front: Front, j: int, values: Floats, base: float, correlation: float, named: bool = True
) -> None:
    """Draw values [N] of the points against w_j, their median at each w_j, the base dashed, and the correlation.

    `named` titles the panel with the objective. With more than 3 objectives panels are too narrow for more than the
    name there, and the correlation stands under the panel.
    """
    weights, m = front.weights[:, j], len(front.objectives)
    base_line(axes, base)
    axes.plot(*along(weights, values), color=colour(j), linewidth=1.8, solid_capstyle="round")
    for i, (x, y) in enumerate(zip(weights, values, strict=True)):
        mark(axes, x, y, colour(j), 5 if m == 2 else 3.6, gid=f"point-{i}", alpha=1 if m == 2 else 0.45)
    axes.margins(x=0.04, y=0.14)
    axes.set_title(clipped(front.objectives[j], (64 if m <= 3 else 100) // m) if named else "", color=colour(j))
    if m <= 3:
        note = f"rank correlation {short(correlation)}"
        axes.set_title(note, loc="right", color=MUTED, fontsize=8, fontweight="normal")
    else:
        axes.set_xlabel(f"weight \u00b7 \u03c1 {short(correlation)}")


def training_sheet(rows: Sequence[Mapping[str, float]], objectives: Sequence[str]) -> Sheet | None:
    """Loss per objective, in training and held out, learning rate, gradient norm and throughput over the steps; None
    when none was logged.

    Args:
        rows: lines of metrics.jsonl, with the keys step, loss/NAME and held_out/NAME of each objective, learning_rate,
            gradient_norm and contexts_per_second; what is missing is left out.
    """
    losses = {f"loss/{name}": (name, colour(j)) for j, name in enumerate(objectives)}
    others = ("learning_rate", "gradient_norm", "contexts_per_second")
    held_out = {f"{CURVE}/{name}": (name, colour(j)) for j, name in enumerate(objectives)}
    watched = {"held-out loss, base = 1": held_out}
    wanted = {"training loss": losses} | watched | {key.replace("_", " "): {key: ("", INK)} for key in others}
    logged = {key for row in rows for key in row}
    shown = {title: series for title, series in wanted.items() if logged & series.keys()}
    if not shown:
        return None
    with panels(len(shown), len(shown), 2.5) as sheet:
        for axes, (title, series) in zip(sheet.panels, shown.items(), strict=True):
            axes.set_title(title)
            axes.set_xlabel("step")
            for key, (name, ink) in series.items():
                _course(axes, rows, key, name, ink)
            if title in watched:
                base_line(axes, 1.0)
            if title == "training loss":
                axes.legend(frameon=False, fontsize=7.5, labelcolor="linecolor", handlelength=0.8, borderaxespad=0.1)
            axes.margins(y=0.12)
            axes.set_ylim(bottom=0 if title in ("contexts per second", "learning rate") else None)
    return sheet


def _course(axes: Axes, rows: Sequence[Mapping[str, float]], key: str, name: str, ink: str) -> None:
    """One logged series: faint as logged, and over it the running mean of the last tenth of its points."""
    logged = [(row.get("step", i), row[key]) for i, row in enumerate(rows) if np.isfinite(row.get(key, np.nan))]
    if not logged:
        return
    steps, values = np.array(logged, dtype=np.float64).T
    window = len(values) // 10
    if window < 2 or key == "learning_rate":
        dot = "o" if len(values) == 1 else None  # a line of one point shows nothing
        axes.plot(steps, values, color=ink, linewidth=1.5, label=name, marker=dot, markersize=4)
        return
    total = np.concatenate([[0.0], values.cumsum()])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    axes.plot(steps, values, color=ink, linewidth=0.7, alpha=0.3)
    axes.plot(steps, (total[ends] - total[starts]) / (ends - starts), color=ink, linewidth=1.6, label=name)
