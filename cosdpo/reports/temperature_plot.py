"""What the temperature buys: the front at several temperatures, each objective against the main one.

A line per temperature along the weights, light to dark by temperature. Up is better (axes of losses are reversed), and
right is a better main objective: nearer to the base. An objective keeps its colour.
"""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cosdpo.arrays import Floats
from cosdpo.evaluation.front import Front, Main, main_metric
from cosdpo.evaluation.numbers import short
from cosdpo.reports import drawing
from cosdpo.reports.drawing import INK, MUTED, PAPER, clipped, colour, dot, label, quiet

PALEST = 0.35
"""Share of the objective's colour in the lightest line."""


def has_temperatures(front: Front) -> bool:
    """Whether the front has points at several temperatures, and a main objective to set them against."""
    return front.main is not None and len(front.ratios) > 1


def temperature_figure(front: Front, main: Main) -> Figure:
    """A panel per objective, and one of the hypervolume against the mean of the main objective, a dot per temperature.

    Points of 3 objectives and more share their weight of one of them: a line then runs through their medians.
    """
    # Texts are what a temperature changes most; the order of given answers hardly moves.
    m, name = len(front.objectives), "reward" if "reward" in front.metrics else main_metric(front)
    metric = front.metrics[name]
    columns = m + 1 if m < 4 else -(-(m + 1) // 2)
    rows = -(-(m + 1) // columns)
    with mpl.rc_context(drawing.STYLE):
        drawn = drawing.figure(drawing.WIDTH, 3.4 * rows)
        grid = drawn.subplots(rows, columns, squeeze=False)
        for axes in grid.flat:
            quiet(axes)
            axes.axvline(main.base, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
            axes.set_xlabel(f"{clipped(main.name, 28)} {main.metric}{'' if main.higher_is_better else ' (reversed)'}")
            axes.margins(0.1)
        for axes in grid.flat[m + 1 :]:
            axes.set_axis_off()
        panels = list(grid.flat[: m + 1])
        for j, axes in enumerate(panels[:-1]):
            axes.set_title(f"{clipped(front.objectives[j], 60 // columns)} {name}", color=colour(j))
            _diamond(axes, main.base, metric.base[j])
        panels[-1].set_title(f"hypervolume of {name}")
        _diamond(panels[-1], main.base, 0.0)
        ends = [_objective(axes, front, name, j) for j, axes in enumerate(panels[:-1])]
        ends.append(_hypervolume(panels[-1], front, name))
        for axes in panels:
            if not main.higher_is_better:
                axes.set_xscale("function", functions=(_root, _square))  # a KL falls with c squared
                axes.invert_xaxis()
        if not metric.higher_is_better:
            for axes in panels[:-1]:
                axes.invert_yaxis()
        drawn.supxlabel(
            "numbers: temperature as a multiple of the trained one, light to dark; the trained one is drawn bold\n"
            "up and right is better · diamond: base",
            size=8,
            color=MUTED,
        )
        drawn.draw_without_rendering()  # settles the layout, which the labels need
        texts = [f"\u00d7{short(c)}" for c in front.ratios]
        for j, (axes, places) in enumerate(zip(panels, ends, strict=True)):
            ink = colour(j) if j < m else INK
            label(axes, places[: len(texts)], texts, [ink] * len(texts), others=places)
    return drawn


def shade(ink: str, place: float) -> str:
    """`ink` mixed with paper as #rrggbb: palest at `place` 0, pure at 1."""
    share = PALEST + (1 - PALEST) * place
    channels = [round(share * int(ink[k : k + 2], 16) + (1 - share) * int(PAPER[k : k + 2], 16)) for k in (1, 3, 5)]
    return "#" + "".join(f"{channel:02x}" for channel in channels)


def _root(x: Floats) -> Floats:
    """The square root, of negative numbers with their sign."""
    return np.sign(x) * np.sqrt(np.abs(x))


def _square(x: Floats) -> Floats:
    """The inverse of `_root`."""
    return np.sign(x) * np.square(x)


def _shades(front: Front, ink: str) -> list[str]:
    """A shade for every temperature, evenly in their order."""
    last = len(front.ratios) - 1
    return [shade(ink, i / last) for i in range(last + 1)]


def _diamond(axes: Axes, x: float, y: float) -> None:
    axes.plot(x, y, marker="D", color=PAPER, markeredgecolor=INK, markersize=6, linestyle="", zorder=3)


def _objective(axes: Axes, front: Front, name: str, j: int) -> Floats:
    """Draw objective j; returns the places of the lines' ends with the largest weight, then of all dots, [K, 2]."""
    ends, dots = [], []
    few = len(front.objectives) == 2
    for c, ink in zip(front.ratios, _shades(front, colour(j)), strict=True):
        one = front.at(c)
        assert one.main is not None
        x, y, weights = np.array(one.main.values), one.values(name)[:, j], one.weights[:, j].round(9)
        line = np.array([[np.median(v[weights == w]) for v in (x, y)] for w in np.unique(weights)])
        axes.plot(*line.T, color=ink, linewidth=2.4 if c == 1 else 1.3, solid_capstyle="round", zorder=2)
        numbers = [i for i, point in enumerate(front.points) if point.temperature == one.points[0].temperature]
        for i, x_i, y_i in zip(numbers, x, y, strict=True):
            dot(axes, i, x_i, y_i, ink, size=5.5 if few else 3.2, alpha=1 if few else 0.4)
        ends.append(line[-1])
        dots.append(np.stack([x, y], 1))
    return np.concatenate([np.array(ends), *dots])


def _hypervolume(axes: Axes, front: Front, name: str) -> Floats:
    """Draw the hypervolume at every temperature against the mean of the main objective; returns the places."""
    fronts = [front.at(c) for c in front.ratios]
    places = np.array([(np.mean(one.main.values), one.metrics[name].hypervolume) for one in fronts if one.main])
    axes.plot(*places.T, color=MUTED, linewidth=1.1, alpha=0.7, zorder=2)
    for place, ink, c in zip(places, _shades(front, INK), front.ratios, strict=True):
        axes.plot(*place, marker="o", markersize=9 if c == 1 else 6, color=ink, markeredgecolor=PAPER, linestyle="")
    if not places[:, 1].any():
        axes.set_ylim(-0.05, 1)
    return places
