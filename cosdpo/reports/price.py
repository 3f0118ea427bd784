"""The price of a front: what the trade-offs between the objectives do to the main objective.

Up is better (axes of losses are reversed), an objective keeps its colour, and a trade-off has the mixture of its
objectives' colours.
"""

from __future__ import annotations

import numpy as np

from cosdpo.evaluation import indicators
from cosdpo.evaluation.front import Front, Main, main_metric
from cosdpo.reports.curves import weight_panel
from cosdpo.reports.drawing import MUTED, base_line, base_mark, clipped, colour, mix
from cosdpo.reports.planes import axis_name, trail
from cosdpo.reports.sheet import Sheet, panels


def price_sheet(front: Front, main: Main) -> Sheet:
    """The main objective against what was asked for and against what was got.

    With 2 objectives: against w_1, and against each objective's own metric. Otherwise: against each weight, a panel
    per objective, with the median over the points that share the weight.
    """
    m = len(front.objectives)
    count = 3 if m == 2 else m
    with panels(count, count, 3.3 if m == 2 else 2.45, sharey=True) as sheet:
        sheet.panels[0].set_ylabel(axis_name(main.name, main.metric, main.higher_is_better))
        if not main.higher_is_better:
            sheet.panels[0].invert_yaxis()  # of all panels: they share it
        (_along_the_curve if m == 2 else _against_each_weight)(sheet, front, main)
    return sheet


def _along_the_curve(sheet: Sheet, front: Front, main: Main) -> None:
    """The trade-offs of two objectives, which lie on one curve."""
    name = main_metric(front)
    metric, inks = front.metrics[name], [mix(weights) for weights in front.weights]
    for axes, x in zip(sheet.panels, [front.weights[:, 0], *front.values(name).T], strict=True):
        base_line(axes, main.base)
        trail(axes, np.column_stack([x, main.values]), inks, size=7.5 if len(x) < 20 else 5, line=MUTED)
        axes.margins(0.08)
    sheet.panels[0].set(xlabel=f"weight of {clipped(front.objectives[0], 28)}", title="along the weights")
    for j, axes in enumerate(sheet.panels[1:]):
        base_mark(axes, metric.base[j], main.base)
        axes.set_xlabel(axis_name(front.objectives[j], name, metric.higher_is_better))
        axes.set_title(f"against {clipped(front.objectives[j], 24)}", color=colour(j))
        if not metric.higher_is_better:
            axes.invert_xaxis()


def _against_each_weight(sheet: Sheet, front: Front, main: Main) -> None:
    m = len(front.objectives)
    correlations = indicators.controllability(front.weights, np.tile(main.gains[:, None], m))
    for j, axes in enumerate(sheet.panels):
        weight_panel(axes, front, j, np.array(main.values), main.base, float(correlations[j]))
        if m <= 3:
            axes.set_xlabel(f"weight of {clipped(front.objectives[j], 64 // m)}")
