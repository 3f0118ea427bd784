"""report.html of a sweep: its course, the settings that mattered, and the fronts of the best trials.

The page is a single file that loads nothing and runs nothing; it uses the style sheet of a run's report, and links to
the reports of its trials by their place in the same folder.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from markupsafe import Markup

from cosdpo.cli.yaml_file import to_yaml
from cosdpo.evaluation.numbers import number, short
from cosdpo.experiment.sweep.record import Record
from cosdpo.experiment.sweep.search import DATABASE
from cosdpo.experiment.sweep.space import parse_space
from cosdpo.experiment.sweep.sweep_result import BEST, TRIALS, SweepResult
from cosdpo.files import whole_file
from cosdpo.reports import run_page as run_report
from cosdpo.reports.best_fronts import fronts_figure, pareto, trade_off_figure
from cosdpo.reports.colormap import FIRST, shades
from cosdpo.reports.drawing import inline_svg
from cosdpo.reports.importance import importances, judged
from cosdpo.reports.page import page_environment
from cosdpo.reports.parallel import parallel_figure
from cosdpo.reports.sweep_history import course_figure
from cosdpo.tasks import task_of

PAGE = "report.html"


def write_sweep(outcome: SweepResult, command: str | None = None) -> Path:
    """Writes report.html into the sweep's folder and returns its path.

    Args:
        command: what to type to get this sweep again; the command line of this process by default.
    """
    environment = page_environment(Path(__file__).parent, {"shown": _shown, "figure": _figure})
    target, space = outcome.targets[0], parse_space(outcome.config)
    step, values = judged(outcome.trials, target)
    newest = {trial.name: trial.last[target.name] for trial in outcome.trials if target.name in trial.last}
    inks, titles = shades(newest, target.sign), [_title(outcome, trial) for trial in outcome.trials]
    importance, estimated = importances(outcome.trials, space, target)
    names = {trial.name: f"trial {place}" for place, trial in enumerate(outcome.trials, start=1)}
    best = [(names[trial.name], outcome.fronts[trial.name]) for trial in outcome.finished[: len(FIRST)]]
    metric = target.name.split("/")[-1] if "/" in target.name else task_of(outcome.config).metrics(outcome.config)[0]
    page = environment.get_template("sweep.html.j2").render(
        outcome=outcome,
        config=outcome.config,
        target=target,
        headline=_headline(outcome),
        findings=_findings(outcome, importance),
        names=names,
        inks=inks,
        step=step,
        importance=importance,
        estimated=estimated,
        largest=max(importance.values(), default=0.0) or 1.0,
        kept={trial.name for trial in pareto(outcome.finished, outcome.targets)} if len(outcome.targets) > 1 else set(),
        course_plot=Markup(inline_svg(course_figure(outcome, inks), titles, f"{target.name} of all trials")),
        parallel_plot=Markup(
            inline_svg(
                parallel_figure(outcome.trials, space, target, values, shades(values, target.sign)),
                titles,
                "Settings of all trials",
            )
        ),
        fronts_plot=Markup(inline_svg(fronts_figure(best, metric), (), "Fronts of the best trials")),
        trade_off_plot=_trade_off(outcome, inks, [_title(outcome, trial) for trial in outcome.finished]),
        files={
            TRIALS: "every measured front of every trial, with its settings",
            BEST: "configuration of the best trial",
        }
        | {DATABASE: "Optuna's study, for optuna-dashboard", "trials/": "a run folder for every trial"},
        database=f"sqlite:///{outcome.config.output / DATABASE}",
        job="train_ltr.py" if outcome.config.task == "ranking" else "train_gpt2.py",
        best_file=outcome.config.output / BEST,
        config_yaml=to_yaml(outcome.config).strip(),
        command=command or shlex.join(["python", *sys.argv]),
        paper=run_report.PAPER,
    )
    with whole_file(outcome.config.output / PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return outcome.config.output / PAGE


def _trade_off(outcome: SweepResult, inks: Mapping[str, str], titles: list[str]) -> Markup | None:
    if len(outcome.targets) == 1:
        return None
    drawn = trade_off_figure(outcome.finished, outcome.targets, inks)
    return Markup(inline_svg(drawn, titles, "Trade-off between the metrics"))


def _headline(outcome: SweepResult) -> str:
    target, finished = outcome.targets[0], outcome.finished
    value = _figure(outcome.best.last[target.name])
    if len(finished) == 1:
        return f"One trial was finished, with {target.name} {value}."
    worst = _figure(finished[-1].last[target.name])
    return f"The best of {len(outcome.trials)} trials reaches {target.name} {value}; the worst finished one {worst}."


def _findings(outcome: SweepResult, importance: Mapping[str, float]) -> list[str]:
    finished, total = outcome.finished, len(outcome.trials)
    sentences = [f"{len(finished)} of {total} trials took all their steps."]
    stopped = [trial for trial in outcome.trials if trial.state == "stopped"]
    if stopped:
        taken = sum(int(trial.last.get("step", 0)) for trial in outcome.trials)
        asked = sum(trial.steps for trial in outcome.trials)
        sentences.append(
            f"{len(stopped)} were stopped early, so that the sweep took {taken:,} of {asked:,} optimiser steps."
        )
    if outcome.count("failed"):
        sentences.append(f"{outcome.count('failed')} failed.")
    if len(importance) > 1 and total > 2:
        sentences.append(f"{next(iter(importance))} mattered most, {list(importance)[-1]} least.")
    return sentences


def _title(outcome: SweepResult, trial: Record) -> str:
    """Hover text of a trial: its settings and what it reached."""
    lines = [
        f"trial {list(outcome.trials).index(trial) + 1}, {trial.state} after {int(trial.last.get('step', 0))} steps"
    ]
    lines += [f"{target.name}: {_figure(trial.last[target.name])}" for target in outcome.targets if trial.history]
    return "\n".join([*lines, *(f"{key}: {_shown(value)}" for key, value in trial.settings.items())])


def _shown(value: object) -> str:
    return short(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _figure(value: float) -> str:
    """A metric: counts as whole numbers."""
    return f"{value:,.0f}" if value >= 1 and value == int(value) else number(value)
