"""What the temperature buys: the front at several temperatures, each objective against the main one.

A line per temperature along the weights, light to dark by temperature. Up is better (axes of losses are reversed), and
right is a better main objective: nearer to the base. An objective keeps its colour.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from cosdpo.arrays import Floats
from cosdpo.evaluation.front import Front, Main, main_metric
from cosdpo.evaluation.numbers import short
from cosdpo.reports.curves import along
from cosdpo.reports.drawing import INK, MUTED, PAPER, base_line, base_mark, blend, clipped, colour, mark
from cosdpo.reports.planes import axis_name
from cosdpo.reports.sheet import Sheet, panels

PALEST = 0.35
"""Share of the objective's colour in the lightest line."""

KEY = (
    "numbers: temperature as a multiple of the trained one, light to dark; the trained one is drawn bold\n"
    "up and right is better · diamond: base"
)


def has_temperatures(front: Front) -> bool:
    """Whether the front has points at several temperatures, and a main objective to set them against."""
    return front.main is not None and len(front.ratios) > 1


def temperature_sheet(front: Front, main: Main) -> Sheet:
    """A panel per objective, and one of the hypervolume against the mean of the main objective, a dot per temperature.

    Points of 3 objectives and more share their weight of one of them: a line then runs through their medians.
    """
    # Texts are what a temperature changes most; the order of given answers hardly moves.
    m, name = len(front.objectives), "reward" if "reward" in front.metrics else main_metric(front)
    metric = front.metrics[name]
    columns = m + 1 if m < 4 else -(-(m + 1) // 2)
    with panels(m + 1, columns, 3.4, key=KEY) as sheet:
        *objectives, last = sheet.panels
        for axes in sheet.panels:
            base_line(axes, main.base, upright=True)
            axes.set_xlabel(axis_name(main.name, main.metric, main.higher_is_better))
            axes.margins(0.1)
        for j, axes in enumerate(objectives):
            axes.set_title(f"{clipped(front.objectives[j], 60 // columns)} {name}", color=colour(j))
            base_mark(axes, main.base, metric.base[j])
            _objective(sheet, axes, front, name, j)
            if not metric.higher_is_better:
                axes.invert_yaxis()
        last.set_title(f"hypervolume of {name}")
        base_mark(last, main.base, 0.0)
        _hypervolume(sheet, last, front, name)
        for axes in sheet.panels if not main.higher_is_better else ():
            axes.set_xscale("function", functions=(_root, _square))  # a KL falls with c squared
            axes.invert_xaxis()
    return sheet


def shades(ink: str, count: int) -> list[str]:
    """`ink` from its palest mixture with paper to pure, evenly."""
    shares = np.linspace(PALEST, 1, count)
    return [blend([ink, PAPER], [share, 1 - share]) for share in shares]


def _root(x: Floats) -> Floats:
    """The square root, of negative numbers with their sign."""
    return np.sign(x) * np.sqrt(np.abs(x))


def _square(x: Floats) -> Floats:
    """The inverse of `_root`."""
    return np.sign(x) * np.square(x)


def _objective(sheet: Sheet, axes: Axes, front: Front, name: str, j: int) -> None:
    """Draw objective j; each line is named at its end with the largest weight."""
    few = len(front.objectives) == 2
    for c, ink in zip(front.ratios, shades(colour(j), len(front.ratios)), strict=True):
        at_c = front.at(c)
        assert at_c.main is not None
        places = np.column_stack([at_c.main.values, at_c.values(name)[:, j]])
        _, line = along(at_c.weights[:, j], places)
        axes.plot(*line.T, color=ink, linewidth=2.4 if c == 1 else 1.3, solid_capstyle="round", zorder=2)
        numbers = [i for i, point in enumerate(front.points) if point.temperature == at_c.points[0].temperature]
        for i, (x, y) in zip(numbers, places, strict=True):
            mark(axes, x, y, ink, 5.5 if few else 3.2, gid=f"point-{i}", alpha=1 if few else 0.4)
        _name(sheet, axes, line[-1], c, colour(j))
        sheet.keep_clear(axes, places)


def _hypervolume(sheet: Sheet, axes: Axes, front: Front, name: str) -> None:
    """Draw the hypervolume at every temperature against the mean of the main objective."""
    fronts = [front.at(c) for c in front.ratios]
    places = np.array([(np.mean(at_c.main.values), at_c.metrics[name].hypervolume) for at_c in fronts if at_c.main])
    axes.plot(*places.T, color=MUTED, linewidth=1.1, alpha=0.7, zorder=2)
    for (x, y), ink, c in zip(places, shades(INK, len(places)), front.ratios, strict=True):
        mark(axes, x, y, ink, 9 if c == 1 else 6)
        _name(sheet, axes, (x, y), c, INK)
    if not places[:, 1].any():
        axes.set_ylim(-0.05, 1)


def _name(sheet: Sheet, axes: Axes, place: Sequence[float] | Floats, c: float, ink: str) -> None:
    sheet.name(axes, place, f"\u00d7{short(c)}", ink)
