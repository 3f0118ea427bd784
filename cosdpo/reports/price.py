"""The price of a front: what the trade-offs between the objectives do to the main objective.

Up is better (axes of losses are reversed), an objective keeps its colour, and a trade-off has the mixture of its
objectives' colours.
"""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cosdpo.arrays import Floats
from cosdpo.evaluation import indicators
from cosdpo.evaluation.front import Front, Main, main_metric
from cosdpo.reports import drawing
from cosdpo.reports.curves import weight_panel
from cosdpo.reports.drawing import INK, MUTED, PAPER, clipped, colour, dot, mix, quiet


def price_figure(front: Front, main: Main) -> Figure:
    """The main objective against what was asked for and against what was got.

    With 2 objectives: against w_1, and against each objective's own metric. Otherwise: against each weight, a panel
    per objective, with the median over the points that share the weight.
    """
    values, m = np.array(main.values), len(front.objectives)
    with mpl.rc_context(drawing.STYLE):
        drawn = drawing.figure(drawing.WIDTH, 3.3 if m == 2 else 2.45)
        panels = drawn.subplots(1, 3 if m == 2 else m, squeeze=False, sharey=True)[0]
        panels[0].set_ylabel(f"{clipped(main.name, 28)} {main.metric}{'' if main.higher_is_better else ' (reversed)'}")
        if not main.higher_is_better:
            panels[0].invert_yaxis()  # of all panels: they share it
        if m == 2:
            _curve(panels[0], front, front.weights[:, 0], values, main.base)
            panels[0].set_xlabel(f"weight of {clipped(front.objectives[0], 28)}")
            panels[0].set_title("along the weights")
            name = main_metric(front)
            for j, axes in enumerate(panels[1:]):
                _curve(axes, front, front.values(name)[:, j], values, main.base, front.metrics[name].base[j])
                direction = "" if front.metrics[name].higher_is_better else " (reversed)"
                axes.set_xlabel(f"{clipped(front.objectives[j], 28)} {name}{direction}")
                axes.set_title(f"against {clipped(front.objectives[j], 24)}", color=colour(j))
                if direction:
                    axes.invert_xaxis()
        else:
            correlations = indicators.controllability(front.weights, np.tile(main.gains[:, None], m))
            for j, axes in enumerate(panels):
                weight_panel(axes, front, j, values, main.base, float(correlations[j]))
                if m <= 3:
                    axes.set_xlabel(f"weight of {clipped(front.objectives[j], 64 // m)}")
    return drawn


def _curve(axes: Axes, front: Front, x: Floats, values: Floats, base: float, base_x: float | None = None) -> None:
    """The trade-offs of two objectives on their curve, with the base as a line and, where it has an x, as a diamond."""
    quiet(axes)
    axes.axhline(base, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.plot(x, values, color=MUTED, linewidth=1.1, alpha=0.7, zorder=2)
    if base_x is not None:
        axes.plot(base_x, base, marker="D", color=PAPER, markeredgecolor=INK, markersize=6, linestyle="", zorder=3)
    for i, place in enumerate(zip(x, values, strict=True)):
        dot(axes, i, *place, mix(front.weights[i]), size=7.5 if len(values) < 20 else 5)
    axes.margins(0.08)
