"""The fronts of all methods in one plot: planes for 2 and 3 objectives, metric against weight for more.

Up and right is better everywhere (axes of losses are reversed). A method has one colour and one marker; its mean over
the seeds is bold, each seed faint.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from cosdpo.evaluation.front import Front
from cosdpo.evaluation.numbers import short
from cosdpo.experiment.results.by_weight import mean_over_seeds
from cosdpo.experiment.results.result import Result
from cosdpo.experiment.results.statistics import written
from cosdpo.experiment.results.summary import Comparison
from cosdpo.reports.curves import along
from cosdpo.reports.drawing import PAPER, base_line, clipped
from cosdpo.reports.method_marks import Look, legend, looks
from cosdpo.reports.planes import Plane, trail
from cosdpo.reports.sheet import Sheet, panels

IN_PLANES = "up and right is better · bold: mean over the seeds, faint: each seed"
AGAINST_WEIGHT = (
    "up is better · dashed: the base model · bold: mean over the seeds and over the trade-offs that share the weight, "
    "faint: each seed"
)


def fronts_sheet(comparison: Comparison, results: Sequence[Result]) -> Sheet:
    """All fronts of one budget.

    With 2 objectives a plane per metric, with 3 all pairs, otherwise a panel per objective with its metric against its
    weight: lines are means over the trade-offs that share the weight.
    """
    names, m = list(comparison.higher_is_better), len(comparison.objectives)
    planes = m in (2, 3)
    pairs = list(combinations(range(m), 2)) if planes else [(j, j) for j in range(m)]
    layouts: dict[int, dict[str, Any]] = {
        2: {"columns": min(len(names), 3), "height": 0.84, "widest": 6.6, "extra": 0.4},
        3: {"columns": 3, "height": 3.6},
    }
    layout = layouts.get(m, {"columns": m, "height": 2.3, "extra": 0.9})
    methods = looks(list(comparison.methods))
    with panels(len(names) * len(pairs), **layout, key=IN_PLANES if planes else AGAINST_WEIGHT) as sheet:
        for axes, (name, pair) in zip(sheet.panels, product(names, pairs), strict=True):
            for method, look in reversed(methods.items()):  # the first one is judged, and lies on top
                own = [result for result in results if result.front.method == method]
                if planes:
                    _in_plane(sheet, axes, own, name, pair, look)
                else:
                    _against_weight(axes, [result.front for result in own], name, pair[0], look)
            better, base = comparison.higher_is_better[name], comparison.base[name]
            if planes:
                reference = comparison.reference_point[name]
                Plane(comparison.objectives, name, better, base, reference, pair).frame(sheet, axes)
                axes.set_title(name if pair == (0, 1) else "")
                continue
            base_line(axes, base[pair[0]])
            objective = clipped(comparison.objectives[pair[0]], 100 // m)
            axes.set(xlabel="weight", title=objective if pair[0] else f"{name}  ·  {objective}")
            axes.margins(x=0.06, y=0.1)
            if not better:
                axes.invert_yaxis()
        legend(sheet.figure, methods)
    return sheet


def _in_plane(
    sheet: Sheet, axes: Axes, results: Sequence[Result], name: str, pair: tuple[int, int], look: Look
) -> None:
    """One method in a plane."""
    objectives = results[0].front.objectives
    joined = len(objectives) == 2  # the weights of 2 objectives lie on a line, so that neighbours can be joined
    for result in results:
        places = result.front.values(name)[np.lexsort(result.front.weights.T[::-1])][:, pair]
        curve = result.front.curve and result.front.curve.values.get(name)
        line = np.array(curve)[:, pair] if curve else places
        axes.plot(*line.T, color=look.ink, alpha=0.28, linewidth=0.9 if joined else 0, zorder=2)
        axes.plot(*places.T, color=look.ink, alpha=0.22, marker=look.marker, markersize=3, linestyle="", zorder=2)
        sheet.keep_clear(axes, places)
    means = mean_over_seeds(results, results[0].front.method, name)
    gids = []
    for weights, mean in means:
        values = ", ".join(
            written(value, std if mean.seeds > 1 else None)
            for value, std in zip(mean.mean.tolist(), mean.std.tolist(), strict=True)
        )
        shares = ", ".join(f"{objective} {short(w)}" for objective, w in zip(objectives, weights, strict=True))
        gids.append(sheet.hover(f"{results[0].front.method}\n{shares}\n{name}: {values}"))
    trail(
        axes,
        np.array([mean.mean[list(pair)] for _, mean in means]),
        [look.ink] * len(means),
        gids,
        size=7 if joined else 6,
        line=look.ink if joined else None,
        width=1.7,
        alpha=1,
        marker=look.marker,
    )


def _against_weight(axes: Axes, fronts: Sequence[Front], name: str, j: int, look: Look) -> None:
    """Metric j of one method against w_j."""
    weights, values = [front.weights[:, j] for front in fronts], [front.values(name)[:, j] for front in fronts]
    for one_seed in zip(weights, values, strict=True):
        axes.plot(*along(*one_seed, np.mean), color=look.ink, alpha=0.28, linewidth=0.9, zorder=2)
    mean = along(np.concatenate(weights), np.concatenate(values), np.mean)
    axes.plot(*mean, color=look.ink, linewidth=1.7, zorder=3, marker=look.marker, markersize=5.5, markeredgecolor=PAPER)
