"""The hypervolume of every method: over the seeds, and against the training time it took."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from cosdpo.evaluation.numbers import number, seconds
from cosdpo.experiment.results.statistics import difference, over_seeds
from cosdpo.experiment.results.summary import Comparison, MethodSummary
from cosdpo.reports import drawing
from cosdpo.reports.comparison_fronts import Hover
from cosdpo.reports.drawing import INK, MUTED, PAPER, clipped, label, quiet
from cosdpo.reports.method_marks import Mark, marks
from cosdpo.reports.verdict import best_of, duel

_TICKS = [n * unit for unit in (1, 60, 3600) for n in (1, 2, 5, 10, 20, 30)] + [n * 36_000 for n in (1, 2, 5, 10, 50)]
"""Seconds that people count in."""


def hypervolume_figure(comparison: Comparison) -> tuple[Figure, list[str]]:
    """A row per metric and in it a line per method: mean, deviation, a dot per seed, and the ratio in words."""
    names, looks, hover = list(comparison.higher_is_better), marks(list(comparison.methods)), Hover()
    with mpl.rc_context(drawing.STYLE):
        drawn = drawing.figure(drawing.WIDTH, (0.7 + 0.42 * len(looks)) * len(names) + 0.3)
        for axes, name in zip(drawn.subplots(len(names), 1, squeeze=False).flat, names, strict=True):
            quiet(axes)
            axes.grid(visible=False, axis="y")
            fight = duel(comparison, name)
            for place, (method, look) in enumerate(looks.items()):
                summary = comparison.methods[method]
                _row(axes, place, summary, name, look, hover, method)
                text = over_seeds(summary.hypervolume[name])
                if fight is not None and method != fight.rival:
                    best = comparison.methods[fight.rival]
                    ratio = difference(summary.volumes(name), best.volumes(name)).ratio
                    text += f"  ·  {ratio:.2f} \u00d7 {clipped(fight.rival, 24)}" if ratio is not None else ""
                elif fight is not None:
                    text += f"  ·  {best_of(comparison)}"
                axes.text(1.02, place, text, transform=axes.get_yaxis_transform(), va="center", size=8.5)
            axes.set_yticks(range(len(looks)), [clipped(method, 32) for method in looks])
            axes.tick_params(axis="y", labelcolor=INK, labelsize=9)
            axes.set_ylim(len(looks) - 0.4, -0.6)
            axes.set_xlim(left=0)
            axes.set_title(f"hypervolume of {name}")
        drawn.supxlabel(
            "right is better · bar: mean over the seeds, line: its deviation, dots: each seed", size=8, color=MUTED
        )
    return drawn, hover.titles


def time_figure(comparison: Comparison) -> tuple[Figure, list[str]]:
    """Hypervolume against total training time on a logarithmic axis, a panel per metric; hollow with equal time."""
    names, hover = list(comparison.higher_is_better), Hover()
    groups = {False: comparison.methods, True: _others(comparison)}
    with mpl.rc_context(drawing.STYLE):
        columns = min(3, len(names))
        rows, side = -(-len(names) // columns), min(6.6, drawing.WIDTH / columns)
        drawn = drawing.figure(side * columns, rows * side * 0.72 + 0.4)
        panels = drawn.subplots(rows, columns, squeeze=False).flat
        for axes in panels[len(names) :]:
            axes.set_axis_off()
        looks = marks(list(dict.fromkeys([*comparison.methods, *comparison.equal_time])))
        for axes, name in zip(panels, names, strict=False):
            quiet(axes)
            axes.set_xscale("log")
            for hollow, methods in groups.items():
                for method, summary in reversed(methods.items()):
                    _cloud(axes, summary, name, looks[method], hover, method, hollow)
            axes.margins(0.12)
            axes.set_ylim(bottom=0)
            _time_ticks(axes)
            axes.set_title(name)
            axes.set_xlabel("training time of all runs")
        panels[0].set_ylabel("hypervolume")
        handles = [look.line(clipped(name, 40)) for name, look in looks.items()]
        for handle in handles:
            handle.set_linestyle("")
        if groups[True]:
            handles.append(
                Line2D([], [], linestyle="", marker="o", color=PAPER, markeredgecolor=MUTED, label="with equal time")
            )
        drawn.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 5), frameon=False)
        drawn.supxlabel("up and left is better · large: mean over the seeds, small: each seed", size=8, color=MUTED)
        drawn.draw_without_rendering()  # settles the layout, which the labels need
        for axes, name in zip(panels, names, strict=False):
            _names(axes, comparison.methods, name, looks)
    return drawn, hover.titles


def _others(comparison: Comparison) -> dict[str, MethodSummary]:
    """The methods with equal time whose figures are not those of full steps once more."""
    full = comparison.methods
    return {
        name: one
        for name, one in comparison.equal_time.items()
        if name not in full or one.train_seconds_total != full[name].train_seconds_total
    }


def _row(axes: Axes, place: int, summary: MethodSummary, name: str, look: Mark, hover: Hover, method: str) -> None:
    """One method's mean as a bar, its deviation as a line, its seeds as dots."""
    volume = summary.hypervolume[name]
    axes.barh(place, volume.mean, height=0.56, color=look.ink, alpha=0.2, linewidth=0)
    axes.plot([volume.mean] * 2, [place - 0.28, place + 0.28], color=look.ink, linewidth=2.2, solid_capstyle="butt")
    if len(volume.seeds) > 1:
        ends = [max(0.0, volume.mean - volume.std), volume.mean + volume.std]
        axes.plot(ends, [place, place], color=look.ink, linewidth=1.4)
    for seed, value in zip(summary.seeds, volume.seeds, strict=True):
        axes.plot(
            [value],
            [place],
            marker=look.marker,
            markersize=6,
            color=look.ink,
            markeredgecolor=PAPER,
            markeredgewidth=0.8,
            zorder=4,
            clip_on=False,
            gid=hover.gid(f"{method}, seed {seed}: {number(value)}"),
        )


def _cloud(axes: Axes, summary: MethodSummary, name: str, look: Mark, hover: Hover, method: str, hollow: bool) -> None:
    """One method: small marks for the seeds, joined to a large one for their mean."""
    times, volumes = _times(summary), summary.hypervolume[name].seeds
    x, y = float(np.mean(times)), summary.hypervolume[name].mean
    for seed, time, value in zip(summary.seeds, times, volumes, strict=True):
        axes.plot([x, time], [y, value], color=look.ink, alpha=0.35, linewidth=0.9, zorder=2)
        axes.plot(
            [time],
            [value],
            marker=look.marker,
            markersize=4,
            color=look.ink,
            alpha=0.5,
            markeredgewidth=0,
            zorder=3,
            gid=hover.gid(f"{method}, seed {seed}: {number(value)} in {seconds(time)}"),
        )
    axes.plot(
        [x],
        [y],
        marker=look.marker,
        markersize=9,
        color=PAPER if hollow else look.ink,
        markeredgecolor=look.ink if hollow else PAPER,
        markeredgewidth=1.6 if hollow else 0.8,
        zorder=4,
        gid=hover.gid(
            f"{method}{', equal time' if hollow else ''}: {over_seeds(summary.hypervolume[name])} in {seconds(x)}"
        ),
    )


def _times(summary: MethodSummary) -> list[float]:
    return [max(time, 1e-2) for time in summary.train_seconds_total.seeds]  # a logarithmic axis has no zero


def _names(axes: Axes, methods: Mapping[str, MethodSummary], name: str, looks: Mapping[str, Mark]) -> None:
    """Write each method next to its mean."""
    places = np.array([[np.mean(_times(one)), one.hypervolume[name].mean] for one in methods.values()])
    seeds = [list(zip(_times(one), one.hypervolume[name].seeds, strict=True)) for one in methods.values()]
    texts = [clipped(method, 24) for method in methods]
    label(axes, places, texts, [looks[method].ink for method in methods], others=np.concatenate(seeds))


def _time_ticks(axes: Axes) -> None:
    """Ticks at round seconds, minutes and hours, as many as there is room for."""
    low, high = axes.get_xlim()
    inside = [tick for tick in _TICKS if low <= tick <= high]
    step = -(-len(inside) // 6) or 1
    axes.xaxis.set_minor_locator(NullLocator())
    if len(inside) >= 2:
        axes.xaxis.set_major_locator(FixedLocator(inside[::step]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _round_time(value)))


def _round_time(value: float) -> str:
    """20 s, 5 min, 2 h."""
    for unit, name in ((3600, "h"), (60, "min")):
        if value >= unit:
            return f"{value / unit:.3g} {name}"
    return f"{value:.3g} s"
