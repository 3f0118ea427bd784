"""The hypervolume of every method: over the seeds, and against the training time it took."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from cosdpo.evaluation.numbers import number, seconds
from cosdpo.experiment.results.statistics import difference, over_seeds
from cosdpo.experiment.results.summary import Comparison, MethodSummary
from cosdpo.reports.drawing import INK, clipped, mark
from cosdpo.reports.method_marks import Look, legend, looks
from cosdpo.reports.sheet import Sheet, panels
from cosdpo.reports.verdict import best_of, duel

_TICKS = [n * unit for unit in (1, 60, 3600) for n in (1, 2, 5, 10, 20, 30)] + [n * 36_000 for n in (1, 2, 5, 10, 50)]
"""Seconds that people count in."""


def hypervolume_sheet(comparison: Comparison) -> Sheet:
    """A row per metric and in it a line per method: mean, deviation, a dot per seed, and the ratio in words."""
    names, methods = list(comparison.higher_is_better), looks(list(comparison.methods))
    key = "right is better · bar: mean over the seeds, line: its deviation, dots: each seed"
    with panels(len(names), 1, 0.7 + 0.42 * len(methods), extra=0.3, key=key) as sheet:
        for axes, name in zip(sheet.panels, names, strict=True):
            axes.grid(visible=False, axis="y")
            for place, (method, look) in enumerate(methods.items()):
                _bar(sheet, axes, place, comparison.methods[method], name, look, method)
                text = over_seeds(comparison.methods[method].hypervolume[name]) + _ratio(comparison, method, name)
                axes.text(1.02, place, text, transform=axes.get_yaxis_transform(), va="center", size=8.5)
            axes.set_yticks(range(len(methods)), [clipped(method, 32) for method in methods])
            axes.tick_params(axis="y", labelcolor=INK, labelsize=9)
            axes.set_ylim(len(methods) - 0.4, -0.6)
            axes.set_xlim(left=0)
            axes.set_title(f"hypervolume of {name}")
    return sheet


def _ratio(comparison: Comparison, method: str, metric: str) -> str:
    """How a method stands to the strongest rival, behind its hypervolume."""
    fight = duel(comparison, metric)
    if fight is None:
        return ""
    if method == fight.rival:
        return f"  ·  {best_of(comparison)}"
    volumes = [comparison.methods[name].volumes(metric) for name in (method, fight.rival)]
    ratio = difference(*volumes).ratio
    return "" if ratio is None else f"  ·  {ratio:.2f} \u00d7 {clipped(fight.rival, 24)}"


def _bar(sheet: Sheet, axes: Axes, place: int, summary: MethodSummary, metric: str, look: Look, method: str) -> None:
    """One method's mean as a bar, its deviation as a line, its seeds as dots."""
    volume = summary.hypervolume[metric]
    axes.barh(place, volume.mean, height=0.56, color=look.ink, alpha=0.2, linewidth=0)
    axes.plot([volume.mean] * 2, [place - 0.28, place + 0.28], color=look.ink, linewidth=2.2, solid_capstyle="butt")
    if len(volume.seeds) > 1:
        ends = [max(0.0, volume.mean - volume.std), volume.mean + volume.std]
        axes.plot(ends, [place, place], color=look.ink, linewidth=1.4)
    for seed, value in zip(summary.seeds, volume.seeds, strict=True):
        gid = sheet.hover(f"{method}, seed {seed}: {number(value)}")
        mark(axes, value, place, look.ink, 6, gid=gid, marker=look.marker)


def time_sheet(comparison: Comparison) -> Sheet:
    """Hypervolume against total training time on a logarithmic axis, a panel per metric; hollow with equal time."""
    names, columns = list(comparison.higher_is_better), min(3, len(comparison.higher_is_better))
    equal = _differing(comparison)
    methods = looks(list(dict.fromkeys([*comparison.methods, *comparison.equal_time])))
    key = "up and left is better · large: mean over the seeds, small: each seed"
    with panels(len(names), columns, 0.72, widest=6.6, extra=0.4, key=key) as sheet:
        for axes, name in zip(sheet.panels, names, strict=True):
            axes.set_xscale("log")
            for hollow, summaries in ((False, comparison.methods), (True, equal)):
                for method, summary in reversed(summaries.items()):
                    _cloud(sheet, axes, summary, name, methods[method], method, hollow)
            axes.margins(0.12)
            axes.set_ylim(bottom=0)
            _time_ticks(axes)
            axes.set_title(name)
            axes.set_xlabel("training time of all runs")
        sheet.panels[0].set_ylabel("hypervolume")
        legend(sheet.figure, methods, joined=False, hollow="with equal time" if equal else "")
    return sheet


def _differing(comparison: Comparison) -> dict[str, MethodSummary]:
    """The methods with equal time whose figures are not those of full steps once more."""
    full = comparison.methods
    return {
        name: summary
        for name, summary in comparison.equal_time.items()
        if name not in full or summary.train_seconds_total != full[name].train_seconds_total
    }


def _cloud(
    sheet: Sheet, axes: Axes, summary: MethodSummary, metric: str, look: Look, method: str, hollow: bool
) -> None:
    """One method: small marks for the seeds, joined to a large one for their mean, which is named where it is full."""
    volume = summary.hypervolume[metric]
    times = [max(time, 1e-2) for time in summary.train_seconds_total.seeds]  # a logarithmic axis has no zero
    x, y = float(np.mean(times)), volume.mean
    for seed, time, value in zip(summary.seeds, times, volume.seeds, strict=True):
        axes.plot([x, time], [y, value], color=look.ink, alpha=0.35, linewidth=0.9, zorder=2)
        gid = sheet.hover(f"{method}, seed {seed}: {number(value)} in {seconds(time)}")
        mark(axes, time, value, look.ink, 4, gid=gid, marker=look.marker, alpha=0.5)
    gid = sheet.hover(f"{method}{', equal time' if hollow else ''}: {over_seeds(volume)} in {seconds(x)}")
    mark(axes, x, y, look.ink, 9, gid=gid, marker=look.marker, hollow=hollow)
    if not hollow:
        sheet.name(axes, (x, y), clipped(method, 24), look.ink)
        sheet.keep_clear(axes, list(zip(times, volume.seeds, strict=True)))


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
