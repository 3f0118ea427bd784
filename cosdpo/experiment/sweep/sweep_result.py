"""What a sweep found: its trials with their fronts, trials.parquet, and the best settings as best.yaml."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cosdpo.cli.yaml_file import to_yaml
from cosdpo.config import Config, SweepConfig
from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front
from cosdpo.experiment.sweep.record import Record, records
from cosdpo.experiment.sweep.targets import Target, targets
from cosdpo.experiment.sweep.trial import describe
from cosdpo.experiment.sweep.trial_settings import apply
from cosdpo.files import whole_file
from cosdpo.tasks.task import Task

TRIALS, BEST, BEST_RUN = "trials.parquet", "best.yaml", "best"


@dataclass(frozen=True)
class SweepResult:
    """A sweep that came to its end."""

    config: Config
    """That all trials share."""
    targets: Sequence[Target]
    trials: Sequence[Record]
    """In the order of their start."""
    fronts: Mapping[str, Front]
    """Newest front by trial name."""

    @property
    def finished(self) -> list[Record]:
        """Trials that took all their steps, the best by the first metric first."""
        target = self.targets[0]
        done = [trial for trial in self.trials if trial.state == "finished"]
        return sorted(done, key=lambda trial: -target.sign * trial.last[target.name])

    @property
    def best(self) -> Record:
        """The best trial by the first metric."""
        return self.finished[0]

    def best_config(self) -> Config:
        """The best trial as a run of its own, which gives the same front; it has no sweep and its own output folder."""
        config = apply(self.config, self.best.settings)
        return config.model_copy(
            update={"output": self.config.output / BEST_RUN, "resume": False, "sweep": SweepConfig()}
        )

    def count(self, state: str) -> int:
        """Trials that ended so."""
        return sum(trial.state == state for trial in self.trials)


def gather(config: Config, task: Task, failures: Mapping[str, str]) -> SweepResult:
    """Reads all trials after their end and writes trials.parquet and best.yaml.

    Args:
        failures: reason by the name of trials that broke off.

    Raises:
        InputError: not a single trial was finished.
    """
    trials, fronts = [], {}
    for found in records(config.output):
        folder = config.output / "trials" / found.name
        trial = _ended(found, failures.get(found.name, ""))
        if trial.history:
            fronts[trial.name] = Front.load(folder / "front.json")
        if trial.state == "stopped" and not (folder / "report.html").exists():
            own = apply(config, trial.settings).model_copy(update={"output": folder})
            describe(_with_config(task, own), own, fronts[trial.name])
        trial.save(folder)
        trials.append(trial)
    result = SweepResult(config, targets(config), trials, fronts)
    write_trials(result, config.output / TRIALS)
    if not result.finished:
        reasons = [trial.reason for trial in trials if trial.reason] or ["none was started"]
        raise InputError(f"not a single trial was finished: {reasons[0]}; what was measured is in {TRIALS}")
    with whole_file(config.output / BEST) as temporary:
        temporary.write_text(to_yaml(result.best_config()), encoding="utf-8")
    return result


def write_trials(result: SweepResult, path: Path) -> None:
    """trials.parquet: a row per measured front of every trial, with the trial's settings; a trial without a front has
    one row with nulls.

    Columns: trial, state, reason, each searched key under its name, step, seconds, parameters, and the metrics.
    """
    measured = list(dict.fromkeys(name for trial in result.trials for line in trial.history for name in line))
    columns: dict[str, list[object]] = {}
    for trial in result.trials:
        for line in trial.history or [{}]:
            row = {"trial": trial.name, "state": trial.state, "reason": trial.reason, **trial.settings}
            for name, value in [*row.items(), *((name, line.get(name)) for name in measured)]:
                columns.setdefault(name, []).append(value)
    if "step" in columns:
        columns["step"] = [None if step is None else int(step) for step in columns["step"]]  # type: ignore[call-overload]
    with whole_file(path) as temporary:
        pq.write_table(pa.table({name: _column(values) for name, values in columns.items()}), temporary)


def _column(values: Sequence[object]) -> pa.Array:
    """Numbers as numbers, and what has several types (a choice of numbers and text) as text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pa.array([None if value is None else float(value) for value in values])  # type: ignore[arg-type]
    return pa.array(values if len(kinds) <= 1 else [None if value is None else str(value) for value in values])


def _ended(trial: Record, failure: str) -> Record:
    """The state of a trial after the sweep: one that still runs was stopped, or broke off."""
    if trial.state != "running":
        return trial
    if failure or not trial.history:
        return trial.model_copy(update={"state": "failed", "reason": failure or "it broke off before its first front"})
    return trial.model_copy(update={"state": "stopped"})


def _with_config(task: Task, config: Config) -> Task:
    own = copy.copy(task)
    own.config = config
    return own


def print_sweep(result: SweepResult) -> None:
    """Prints what was found and where it is."""
    counts = [f"{result.count(state)} {state}" for state in ("finished", "stopped", "failed") if result.count(state)]
    output = result.config.output
    print(f"{len(result.trials)} trials: {', '.join(counts)}")
    for target in result.targets:
        print(f"best {target.name}: {result.best.last[target.name]:.4g}")
    settings = result.best.settings.items()
    print(
        "  "
        + ", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in settings)
    )
    job = "train_ltr.py" if result.config.task == "ranking" else "train_gpt2.py"
    print(f"run it again: python jobs/{job} --config {output / BEST}")
    print(f"report: {output / 'report.html'}")
