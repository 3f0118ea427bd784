"""The fronts of the best trials on one another, and the trade-off between metrics where several are searched for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from cosdpo.evaluation import indicators
from cosdpo.evaluation.front import Front
from cosdpo.experiment.sweep.record import Record
from cosdpo.experiment.sweep.targets import Target
from cosdpo.reports import drawing
from cosdpo.reports.colormap import FIRST
from cosdpo.reports.drawing import INK, MUTED, PAPER, clipped, dot, quiet

PLANES = 3


def fronts_figure(fronts: Sequence[tuple[str, Front]], metric: str) -> Figure:
    """The planes of the first three pairs of objectives.

    Args:
        fronts: (name, front) of the best trials, the best first; at most len(FIRST).
    """
    first = fronts[0][1]
    pairs = list(combinations(range(len(first.objectives)), 2))[:PLANES] or [(0, 0)]
    side = min(5.6, drawing.WIDTH / len(pairs))
    with mpl.rc_context(drawing.STYLE):
        drawn = drawing.figure(side * len(pairs), side * 0.84)
        for axes, (a, b) in zip(drawn.subplots(1, len(pairs), squeeze=False)[0], pairs, strict=True):
            quiet(axes)
            for (name, front), ink in zip(fronts, FIRST, strict=False):
                values = front.values(metric)
                best = indicators.non_dominated(front.gains(metric))
                axes.plot(values[:, a], values[:, b], color=ink, linewidth=1.1, alpha=0.6, zorder=2)
                axes.plot([], [], color=ink, marker="o", markersize=5, label=name)
                for i, (x, y) in enumerate(values[:, [a, b]]):
                    dot(axes, i, x, y, ink, size=5.5, hollow=not best[i])
            base = first.metrics[metric].base
            axes.plot(base[a], base[b], marker="D", color=PAPER, markeredgecolor=INK, markersize=6, linestyle="")
            axes.annotate("base", (base[a], base[b]), (6, 6), textcoords="offset points", size=7.5, color=MUTED)
            axes.set_xlabel(f"{clipped(first.objectives[a], 28)} {metric}")
            axes.set_ylabel(f"{clipped(first.objectives[b], 28)} {metric}")
            if not first.metrics[metric].higher_is_better:
                axes.invert_xaxis()
                axes.invert_yaxis()
            axes.margins(0.1)
        axes.legend(frameon=False, fontsize=7.5, labelcolor="linecolor", loc="best")
    return drawn


def pareto(trials: Sequence[Record], targets: Sequence[Target]) -> list[Record]:
    """Trials that no other one beats in all metrics."""
    if not trials:
        return []
    gains = np.array([[target.sign * trial.last[target.name] for target in targets] for trial in trials])
    return [trial for trial, best in zip(trials, indicators.non_dominated(gains), strict=True) if best]


def trade_off_figure(trials: Sequence[Record], targets: Sequence[Target], inks: Mapping[str, str]) -> Figure:
    """The first metric against every further one, with the trials that no other one beats joined."""
    first, others = targets[0], targets[1:]
    with mpl.rc_context(drawing.STYLE):
        side = min(5.6, drawing.WIDTH / len(others))
        drawn = drawing.figure(side * len(others), side * 0.7)
        for axes, other in zip(drawn.subplots(1, len(others), squeeze=False)[0], others, strict=True):
            quiet(axes)
            line = sorted((t.last[other.name], t.last[first.name]) for t in pareto(trials, [first, other]))
            axes.plot(*np.array(line).T, color=INK, linewidth=1.1, zorder=2)
            for number, trial in enumerate(trials):
                dot(axes, number, trial.last[other.name], trial.last[first.name], inks[trial.name], size=7)
            axes.set_xlabel(other.name)
            axes.set_ylabel(first.name)
            axes.margins(0.1)
    return drawn
