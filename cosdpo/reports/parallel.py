"""Parallel coordinates: a line per trial over one axis per searched setting, coloured by what it reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from cosdpo.evaluation.numbers import short
from cosdpo.experiment.sweep.record import Record
from cosdpo.experiment.sweep.space import Choice, Range, Space
from cosdpo.experiment.sweep.targets import Target
from cosdpo.experiment.sweep.trial_settings import Value
from cosdpo.reports import drawing
from cosdpo.reports.drawing import INK, MUTED, PAPER, clipped

_VEIL = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 1.0}
"""Keeps numbers readable where lines cross them."""


def parallel_figure(
    trials: Sequence[Record], space: Space, target: Target, values: Mapping[str, float], inks: Mapping[str, str]
) -> Figure:
    """The settings of all measured trials; the last axis is the metric.

    Args:
        values: the metric by trial name.
        inks: colour by trial name.
    """
    shown = [(number, trial) for number, trial in enumerate(trials) if trial.name in values]
    low, high = min(values.values()), max(values.values())
    with mpl.rc_context(drawing.STYLE):
        drawn = drawing.figure(drawing.WIDTH, 3.6)
        axes = drawn.subplots()
        axes.set_axis_off()
        last = len(space)
        for place, (key, one) in enumerate(space.items()):
            axes.plot([place, place], [0, 1], color=MUTED, linewidth=0.8, zorder=1)
            # Two rows, since long names side by side would run into each other.
            height = -0.13 if place % 2 == 0 else -0.22
            axes.text(place, height, clipped(key, 30), ha="center", va="top", weight="bold", size=8)
            for value in one.ends:
                axes.text(
                    place + 0.03,
                    _height(value, one),
                    _written(value),
                    va="center",
                    color=MUTED,
                    size=7.5,
                    bbox=_VEIL,
                    zorder=5,
                )
        axes.plot([last, last], [0, 1], color=INK, linewidth=1.2, zorder=1)
        axes.text(last, -0.13 if last % 2 == 0 else -0.22, target.name, ha="center", va="top", weight="bold", size=8)
        for height, value in ((0.0, low), (1.0, high)):
            axes.text(last + 0.03, height, short(value), va="center", color=MUTED, size=7.5)
        for rank, (number, trial) in enumerate(sorted(shown, key=lambda one: target.sign * values[one[1].name])):
            reached = (values[trial.name] - low) / (high - low) if high > low else 0.5
            row = [*(_height(trial.settings[key], one) for key, one in space.items()), reached]
            strong = rank >= len(shown) - 3
            axes.plot(
                range(last + 1),
                row,
                color=inks[trial.name],
                linewidth=2.2 if strong else 1.1,
                alpha=1.0 if strong else 0.6,
                zorder=2 + rank / len(shown),
                solid_capstyle="round",
                gid=f"line-{number}",
            )
        axes.set_xlim(-0.3, last + 0.4)
        axes.set_ylim(-0.32, 1.08)
    return drawn


def _height(value: Value, one: Range | Choice) -> float:
    """Place of a value on its axis, from 0 to 1."""
    if isinstance(one, Choice):
        return one.values.index(value) / max(1, len(one.values) - 1)
    low, high, place = one.low, one.high, float(value)
    if one.kind == "loguniform":
        low, high, place = float(np.log(low)), float(np.log(high)), float(np.log(place))
    return (place - low) / (high - low)


def _written(value: Value) -> str:
    return short(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
