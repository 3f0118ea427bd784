"""What an experiment is made of: cases (a seed, and a fold where there are several), and the trainings of each.

A run is a plan of one training, a comparison one of many. Folders follow from that:

    a run           OUTPUT/                   the run folder of its only training, or OUTPUT/fold-2/ with folds
    all others      OUTPUT/seed-0/fold-2/     runs/NAME@STEPS/ of each training, and the methods' fronts
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.experiment.results.result import Budget
from cosdpo.methods import method_of
from cosdpo.methods.cos import Cos
from cosdpo.methods.method import Method, TrainingRun
from cosdpo.simplex import das_dennis
from cosdpo.tasks import task_of
from cosdpo.training import storage

RUNS = "runs"
"""Folder of a case's trainings."""


@dataclass(frozen=True)
class Entry:
    """One method in one case under one budget."""

    name: str
    """The method's, and the conditioning where several are compared: cos, or cos, hyper_prompt."""
    budget: Budget
    method: Method
    runs: list[TrainingRun]


@dataclass(frozen=True)
class Case:
    """One seed on one fold: data of its own, and every method on it."""

    seed: int
    fold: int
    """0 where there is one fold only."""
    config: Config
    """Its output is the case's folder."""
    lone: bool = False
    """Whether its only training is the conditioned run, whose run folder the case's folder then is."""

    @property
    def name(self) -> str:
        """Such as seed-0 or seed-0/fold-2; empty for a run without folds."""
        parts = ["" if self.lone else f"seed-{self.seed}", f"fold-{self.fold}" if self.fold else ""]
        return "/".join(filter(None, parts))

    def step(self, what: str) -> str:
        """Name of one of its steps."""
        return f"{self.name} {what}".strip()

    def training(self, run: TrainingRun) -> str:
        """Name of the step that trains `run`."""
        return self.step("training" if self.lone else run_name(run))

    def measuring(self, entry: Entry) -> str:
        """Name of the step that measures the front of `entry`."""
        return self.step("measuring" if self.lone else f"measure {entry.name} ({entry.budget})")

    def place(self, name: str) -> str:
        """Where in the case's folder the training `name` has its run folder."""
        return "" if self.lone else f"{RUNS}/{name}"

    def folder(self, name: str) -> Path:
        """Run folder of the training `name`."""
        return self.config.output / self.place(name)

    def front(self, entry: Entry) -> Path:
        """Where the front of `entry` is kept."""
        name = "front" if self.lone else f"{entry.name.replace(', ', '-')}-{entry.budget}"
        return self.config.output / f"{name}.json"


def alone(config: Config) -> Config:
    """A comparison of config.method with nothing."""
    return config.changed(
        {
            "comparison.methods": [config.method],
            "comparison.seeds": [config.seed],
            "comparison.budgets": ["steps"],
            "comparison.conditionings": [],
        }
    )


def cases(config: Config, lone: bool = False) -> list[Case]:
    """All seeds, and all folds of each unless data.fold names one.

    Args:
        lone: the only training is the conditioned run.
    """
    count = task_of(config).folds(config)
    folds = [config.data.fold] if config.data.fold or count == 1 else list(range(1, count + 1))
    planned = []
    for seed in config.comparison.seeds:
        for fold in folds:
            # A run of the fold that data.fold names has the output folder to itself.
            shown = 0 if lone and len(folds) == 1 else fold
            name = Case(seed, shown, config, lone).name
            own = config.changed({"output": config.output / name, "seed": seed, "data.fold": fold})
            planned.append(Case(seed, shown, storage.below(own, name), lone))
    return planned


def entries(config: Config) -> Iterator[Entry]:
    """The methods of a case under every budget. The conditioned run is the same under both."""
    grid = das_dennis(len(config.objectives), config.partitions)
    for budget in config.comparison.budgets:
        for name in config.comparison.methods:
            method = method_of(name, config)
            runs = method.runs(grid)
            if budget == "time" and name != "cos":
                # The conditioned run's steps, shared among all runs that this method needs.
                steps = max(1, config.training.steps // len(runs))
                method = method_of(name, config.changed({"baseline.steps": steps}))
                runs = method.runs(grid)
            yield Entry(name, budget, method, runs)
    for kind in config.comparison.conditionings:
        variant = Cos(conditioned_by(kind, config), f"cos_{kind}")
        yield Entry(f"cos, {kind}", "steps", variant, variant.runs(grid))


def conditioned_by(kind: str, config: Config) -> Config:
    """`config` with another conditioning.

    Raises:
        InputError: there is no such conditioning for the task.
    """
    task = task_of(config)
    if kind not in task.conditionings:
        raise InputError(
            f"comparison.conditionings names {kind!r}; a {task.name} model knows {', '.join(task.conditionings)}"
        )
    return config.changed({task.conditioning: kind})


def run_name(run: TrainingRun) -> str:
    """Unique within a case: the same weights may be trained for different numbers of steps."""
    return f"{run.name}@{run.config.training.steps}"


def source_name(run: TrainingRun, name: str) -> str:
    """Full name of the run that `run` takes margins from: trained as long as `run` itself."""
    return f"{name}@{run.config.training.steps}"
