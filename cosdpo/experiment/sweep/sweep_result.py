"""What a sweep found: its trials with their fronts, trials.parquet, and the best settings as best.yaml."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cosdpo.cli.yaml_file import to_yaml
from cosdpo.config import Config, SweepConfig
from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front
from cosdpo.experiment.fronts import FRONT, kept_samples
from cosdpo.experiment.results.run_result import RunResult
from cosdpo.experiment.sweep.record import Record, records
from cosdpo.experiment.sweep.targets import Target, targets
from cosdpo.experiment.sweep.trial import with_config
from cosdpo.files import whole_file, write_whole
from cosdpo.tasks.task import Task
from cosdpo.training.checkpoints import FOLDER
from cosdpo.training.unit import Trained

TRIALS, BEST, BEST_RUN = "trials.parquet", "best.yaml", "best"


@dataclass(frozen=True)
class SweepResult:
    """A sweep that came to its end."""

    config: Config
    """That all trials share."""
    targets: Sequence[Target]
    task: Task
    """The data that all trials share."""
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
        own = {"output": self.config.output / BEST_RUN, "resume": False, "sweep": SweepConfig()}
        return self.config.changed({**self.best.settings, **own})

    def runs(self) -> Iterator[RunResult]:
        """The trials with a front, each as the run that it is."""
        for trial in self.trials:
            if trial.name in self.fronts:
                folder = self.config.output / "trials" / trial.name
                config = self.config.changed({**trial.settings, "output": folder})
                facts = {**with_config(self.task, config).facts(), "trial": trial.name}
                trained = Trained.read(folder)
                if trained is not None:
                    facts["base_parameters"] = trained.base_parameters
                samples, rankings = kept_samples(folder)
                yield RunResult(config, self.fronts[trial.name], facts, self.task.notes, samples, rankings)

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
            fronts[trial.name] = Front.load(folder / FRONT)
        if trial.state == "stopped":  # for good: what it could go on from is of no use
            shutil.rmtree(folder / FOLDER, ignore_errors=True)
        trial.save(folder)
        trials.append(trial)
    result = SweepResult(config, targets(config), task, trials, fronts)
    write_trials(result, config.output / TRIALS)
    if not result.finished:
        reasons = [trial.reason for trial in trials if trial.reason] or ["none was started"]
        raise InputError(f"not a single trial was finished: {reasons[0]}; what was measured is in {TRIALS}")
    write_whole(config.output / BEST, to_yaml(result.best_config()))
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
