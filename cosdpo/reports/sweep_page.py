"""report.html of a sweep: its course, the settings that mattered, and the fronts of the best trials.

The page runs nothing, and links to the reports of its trials by their place in the same folder. sweep.html.j2 holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cosdpo.evaluation.numbers import count, fact
from cosdpo.experiment.sweep.record import Record
from cosdpo.experiment.sweep.search import DATABASE
from cosdpo.experiment.sweep.space import parse_space
from cosdpo.experiment.sweep.sweep_result import BEST, TRIALS, SweepResult
from cosdpo.reports.importance import importances, judged
from cosdpo.reports.inline_svg import inline_svg
from cosdpo.reports.method_marks import FIRST
from cosdpo.reports.page import write_page
from cosdpo.reports.sweep_plots import (
    best_fronts_sheet,
    course_sheet,
    pareto,
    settings_sheet,
    shades,
    trade_off_sheet,
)
from cosdpo.tasks import task_of

FILES = {
    TRIALS: "every measured front of every trial, with its settings",
    BEST: "configuration of the best trial",
    DATABASE: "Optuna's study, for optuna-dashboard",
    "trials/": "a run folder for every trial",
}


def write_sweep(result: SweepResult, command: str | None = None) -> Path:
    """Writes report.html into the sweep's folder and returns its path.

    Args:
        command: what to type to get this sweep again; the command line of this process by default.
    """
    target, space, output = result.targets[0], parse_space(result.config), result.config.output
    step, values = judged(result.trials, target)
    importance, estimated = importances(result.trials, space, target)
    names = {trial.name: f"trial {place}" for place, trial in enumerate(result.trials, start=1)}
    newest = {trial.name: trial.last[target.name] for trial in result.trials if target.name in trial.last}
    inks, titles = shades(newest, target.sign), [_title(result, trial) for trial in result.trials]
    metric = target.name.split("/")[-1] if "/" in target.name else task_of(result.config).metrics(result.config)[0]
    best = {names[trial.name]: result.fronts[trial.name] for trial in result.finished[: len(FIRST)]}
    plots = {
        "course": inline_svg(course_sheet(result, inks), f"{target.name} of all trials", titles),
        "settings": inline_svg(settings_sheet(result.trials, space, target, values), "Settings of all trials", titles),
        "fronts": inline_svg(best_fronts_sheet(best, metric), "Fronts of the best trials"),
    }
    several = len(result.targets) > 1
    if several:
        drawn = trade_off_sheet(result.finished, result.targets, inks)
        finished = [_title(result, trial) for trial in result.finished]
        plots["trade_off"] = inline_svg(drawn, "Trade-off between the metrics", finished)
    return write_page(
        result.config,
        "sweep.html.j2",
        command,
        result=result,
        best=result.best,
        target=target,
        headline=_headline(result),
        findings=_findings(result, importance),
        names=names,
        inks=inks,
        step=step,
        importance=importance,
        estimated=estimated,
        largest=max(importance.values(), default=0.0) or 1.0,
        kept={trial.name for trial in pareto(result.finished, result.targets)} if several else set(),
        plots=plots,
        failures={names[trial.name]: trial.reason for trial in result.trials if trial.state == "failed"},
        front=result.fronts[result.best.name],
        files=FILES,
        database=f"sqlite:///{output / DATABASE}",
        job=task_of(result.config).job,
        best_file=output / BEST,
    )


def _headline(result: SweepResult) -> str:
    target, finished = result.targets[0], result.finished
    value = count(result.best.last[target.name])
    if len(finished) == 1:
        return f"One trial was finished, with {target.name} {value}."
    worst = count(finished[-1].last[target.name])
    return f"The best of {len(result.trials)} trials reaches {target.name} {value}; the worst finished one {worst}."


def _findings(result: SweepResult, importance: Mapping[str, float]) -> list[str]:
    total = len(result.trials)
    sentences = [f"{len(result.finished)} of {total} trials took all their steps."]
    if stopped := result.count("stopped"):
        taken = sum(int(trial.last.get("step", 0)) for trial in result.trials)
        full = sum(trial.steps for trial in result.trials)
        sentences.append(f"{stopped} were stopped early, so that the sweep took {taken:,} of {full:,} optimiser steps.")
    if failed := result.count("failed"):
        sentences.append(f"{failed} failed.")
    if len(importance) > 1 and total > 2:
        sentences.append(f"{next(iter(importance))} mattered most, {list(importance)[-1]} least.")
    return sentences


def _title(result: SweepResult, trial: Record) -> str:
    """Hover text of a trial: its settings and what it reached."""
    number = list(result.trials).index(trial) + 1
    lines = [f"trial {number}, {trial.state} after {int(trial.last.get('step', 0))} steps"]
    lines += [f"{target.name}: {count(trial.last[target.name])}" for target in result.targets if trial.history]
    return "\n".join([*lines, *(f"{key}: {fact(value)}" for key, value in trial.settings.items())])
