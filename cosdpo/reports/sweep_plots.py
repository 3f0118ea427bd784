"""The plots of a sweep: its course, the settings of its trials, and what its best trials reached.

Not Optuna's own: those know finished trials alone and name none, while here stopped trials stand out, a trial keeps its
colour and its hover text from plot to plot, keys are written out, and metrics of any number are set against each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cosdpo.evaluation import indicators
from cosdpo.evaluation.front import Front
from cosdpo.evaluation.numbers import fact
from cosdpo.experiment.sweep.record import Record
from cosdpo.experiment.sweep.space import Choice, Range, Space
from cosdpo.experiment.sweep.sweep_result import SweepResult
from cosdpo.experiment.sweep.targets import Target
from cosdpo.experiment.sweep.trial_settings import Value
from cosdpo.reports.drawing import INK, MUTED, PAPER, blend, clipped, mark
from cosdpo.reports.front_plot import point_title
from cosdpo.reports.method_marks import FIRST
from cosdpo.reports.planes import Plane, trail
from cosdpo.reports.sheet import Sheet, panels

WORST, BEST = "#9db8d2", FIRST[0]
BOLD = 3
"""Trials drawn bold."""
PLANES = 3
"""Pairs of objectives shown at most."""


def shades(values: Mapping[str, float], sign: int) -> dict[str, str]:
    """#rrggbb by name: BEST for the best of `values`, WORST for the worst; evenly by rank, since one outlier would
    otherwise make all others look alike.
    """
    names = sorted(values, key=lambda name: sign * values[name])
    shares = np.linspace(0, 1, len(names)) if len(names) > 1 else [1.0]
    return {name: blend([WORST, BEST], [1 - share, share]) for name, share in zip(names, shares, strict=False)}


def course_sheet(result: SweepResult, inks: Mapping[str, str]) -> Sheet:
    """What each trial reached, and next to it the curves of the trials where fronts were measured along the way.

    Args:
        inks: colour by trial name.
    """
    target, curves = result.targets[0], any(len(trial.history) > 1 for trial in result.trials)
    measured = [(i, trial) for i, trial in enumerate(result.trials) if target.name in trial.last]
    with panels(1 + curves, 1 + curves, 3.4, sharey=curves) as sheet:
        _history(sheet.panels[0], measured, target, inks)
        for axes in sheet.panels[1:]:
            axes.set(title="along the training", xlabel="step")
            for i, trial in measured:
                course = np.array([(line["step"], line[target.name]) for line in trial.history if target.name in line])
                axes.plot(*course.T, color=inks[trial.name], linewidth=1.4, gid=f"line-{i}")
                if trial.state != "finished":
                    axes.plot(*course[-1:].T, marker="x", color=inks[trial.name], markersize=5, linestyle="")
        for axes in sheet.panels:
            axes.margins(x=0.04, y=0.12)
    return sheet


def _history(axes: Axes, measured: Sequence[tuple[int, Record]], target: Target, inks: Mapping[str, str]) -> None:
    """Every trial in the order of their start, and the best that was finished so far."""
    best: list[tuple[int, float]] = []
    for i, trial in measured:
        value, finished = trial.last[target.name], trial.state == "finished"
        mark(axes, i + 1, value, inks[trial.name], 7, gid=f"point-{i}", hollow=not finished)
        so_far = [reached for _, reached in best[-1:]] + [value] * finished
        if so_far:
            best.append((i + 1, target.sign * max(target.sign * reached for reached in so_far)))
    if best:
        axes.plot(*np.array(best).T, color=INK, linewidth=1.2, drawstyle="steps-post", zorder=2)
        axes.annotate(
            "best so far", best[-1], (0, 5), textcoords="offset points", ha="right", va="bottom", size=7.5, color=MUTED
        )
    axes.set_title(f"{target.name} of every trial")
    axes.set_xlabel("trial, in the order of their start \u00b7 hollow: stopped early")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def settings_sheet(trials: Sequence[Record], space: Space, target: Target, values: Mapping[str, float]) -> Sheet:
    """Parallel coordinates: a line per measured trial over one axis per searched key; the last axis is the metric.

    Args:
        values: the metric by trial name.
    """
    inks, low, high = shades(values, target.sign), min(values.values()), max(values.values())
    measured = [(i, trial) for i, trial in enumerate(trials) if trial.name in values]
    measured.sort(key=lambda numbered: target.sign * values[numbered[1].name])
    reached = {name: (value - low) / (high - low) if high > low else 0.5 for name, value in values.items()}
    with panels(1, 1, 3.6) as sheet:
        (axes,) = sheet.panels
        axes.set_axis_off()
        for place, name in enumerate([*space, target.name]):
            last = place == len(space)
            axes.plot([place, place], [0, 1], color=INK if last else MUTED, linewidth=1.2 if last else 0.8, zorder=1)
            # Two rows, since long names side by side would run into each other.
            height = -0.13 if place % 2 == 0 else -0.22
            axes.text(place, height, clipped(name, 30), ha="center", va="top", weight="bold", size=8)
            ends = [(0.0, low), (1.0, high)] if last else [(_height(end, space[name]), end) for end in space[name].ends]
            for height, end in ends:
                # The veil keeps numbers readable where lines cross them.
                veil = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 1.0}
                axes.text(place + 0.03, height, fact(end), va="center", color=MUTED, size=7.5, bbox=veil, zorder=5)
        for rank, (i, trial) in enumerate(measured):
            row = [*(_height(trial.settings[key], domain) for key, domain in space.items()), reached[trial.name]]
            (line,) = axes.plot(row, color=inks[trial.name], gid=f"line-{i}", solid_capstyle="round")
            bold = rank >= len(measured) - BOLD
            line.set(linewidth=2.2 if bold else 1.1, alpha=1 if bold else 0.6, zorder=2 + rank / len(measured))
        axes.set(xlim=(-0.3, len(space) + 0.4), ylim=(-0.32, 1.08))
    return sheet


def _height(value: Value, domain: Range | Choice) -> float:
    """Place of a value on its axis, from 0 to 1."""
    if isinstance(domain, Choice):
        return domain.values.index(value) / max(1, len(domain.values) - 1)
    ends = np.array([domain.low, domain.high, float(value)])
    low, high, place = np.log(ends) if domain.kind == "loguniform" else ends
    return float((place - low) / (high - low))


def best_fronts_sheet(fronts: Mapping[str, Front], metric: str) -> Sheet:
    """The fronts of the best trials in the planes of the first pairs of objectives.

    Args:
        fronts: by the trial's name, the best first; at most len(FIRST).
    """
    first = next(iter(fronts.values()))
    pairs = list(combinations(range(len(first.objectives)), 2))[:PLANES] or [(0, 0)]
    with panels(len(pairs), len(pairs), 0.84, widest=5.6) as sheet:
        for axes, pair in zip(sheet.panels, pairs, strict=True):
            for (name, front), ink in zip(fronts.items(), FIRST, strict=False):
                places, dominated = front.values(metric)[:, pair], ~indicators.non_dominated(front.gains(metric))
                gids = [sheet.hover(f"{name}\n{point_title(front, i)}") for i in range(len(places))]
                trail(axes, places, [ink] * len(places), gids, size=5.5, line=ink, hollow=dominated)
                sheet.keep_clear(axes, places)
            Plane.of(first, metric, pair).frame(sheet, axes)
        handles = [Line2D([], [], color=ink, marker="o", markersize=5) for ink in FIRST]
        axes.legend(handles[: len(fronts)], list(fronts), frameon=False, fontsize=7.5, labelcolor="linecolor")
    return sheet


def pareto(trials: Sequence[Record], targets: Sequence[Target]) -> list[Record]:
    """Trials that no other one beats in all metrics."""
    if not trials:
        return []
    gains = np.array([[target.sign * trial.last[target.name] for target in targets] for trial in trials])
    return [trial for trial, kept in zip(trials, indicators.non_dominated(gains), strict=True) if kept]


def trade_off_sheet(trials: Sequence[Record], targets: Sequence[Target], inks: Mapping[str, str]) -> Sheet:
    """The first metric against every further one, with the trials that no other one beats joined."""
    first, *others = targets
    with panels(len(others), len(others), 0.7, widest=5.6) as sheet:
        for axes, other in zip(sheet.panels, others, strict=True):
            kept = sorted((trial.last[other.name], trial.last[first.name]) for trial in pareto(trials, [first, other]))
            axes.plot(*np.array(kept).T, color=INK, linewidth=1.1, zorder=2)
            places = np.array([(trial.last[other.name], trial.last[first.name]) for trial in trials])
            trail(axes, places, [inks[trial.name] for trial in trials], size=7)
            axes.set(xlabel=other.name, ylabel=first.name)
            axes.margins(0.1)
    return sheet
