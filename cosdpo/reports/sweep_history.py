"""The course of a sweep: what each trial reached, the best so far, and the metric along every trial's training."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cosdpo.experiment.sweep.sweep_result import SweepResult
from cosdpo.experiment.sweep.targets import Target
from cosdpo.reports import drawing
from cosdpo.reports.drawing import INK, MUTED, dot, quiet


def course_figure(outcome: SweepResult, inks: Mapping[str, str]) -> Figure:
    """The history of the sweep, and next to it the curves of its trials where fronts were measured along the way.

    Args:
        inks: colour by trial name.
    """
    target = outcome.targets[0]
    curves = any(len(trial.history) > 1 for trial in outcome.trials)
    with mpl.rc_context(drawing.STYLE):
        drawn = drawing.figure(drawing.WIDTH, 3.4)
        panels = drawn.subplots(1, 2 if curves else 1, squeeze=False, sharey=curves)[0]
        _history(panels[0], outcome, target, inks)
        if curves:
            _curves(panels[1], outcome, target, inks)
    return drawn


def _history(axes: Axes, outcome: SweepResult, target: Target, inks: Mapping[str, str]) -> None:
    quiet(axes)
    axes.set_title(f"{target.name} of every trial")
    axes.set_xlabel("trial, in the order of their start \u00b7 hollow: stopped early")
    best, line = None, []
    for number, trial in enumerate(outcome.trials):
        if target.name not in trial.last:
            continue
        value = trial.last[target.name]
        dot(axes, number, number + 1, value, inks[trial.name], size=7, hollow=trial.state != "finished")
        if trial.state == "finished":
            best = value if best is None else target.sign * max(target.sign * best, target.sign * value)
        if best is not None:
            line.append((number + 1, best))
    if line:
        axes.plot(*np.array(line).T, color=INK, linewidth=1.2, drawstyle="steps-post", zorder=2)
        axes.annotate(
            "best so far", line[-1], (0, 5), textcoords="offset points", ha="right", va="bottom", size=7.5, color=MUTED
        )
    axes.margins(x=0.04, y=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _curves(axes: Axes, outcome: SweepResult, target: Target, inks: Mapping[str, str]) -> None:
    quiet(axes)
    axes.set_title("along the training")
    axes.set_xlabel("step")
    for number, trial in enumerate(outcome.trials):
        places = [(line["step"], line[target.name]) for line in trial.history if target.name in line]
        if not places:
            continue
        steps, values = np.array(places).T
        axes.plot(steps, values, color=inks[trial.name], linewidth=1.4, gid=f"line-{number}")
        if trial.state != "finished":
            axes.plot(steps[-1:], values[-1:], marker="x", color=inks[trial.name], markersize=5, linestyle="")
    axes.margins(x=0.04, y=0.12)
