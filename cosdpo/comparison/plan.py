"""What a comparison is made of: cases (a seed, and a fold where there are several), and the trainings of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cosdpo.comparison.result import Budget
from cosdpo.config import Config, MethodName
from cosdpo.data.ranking_splits import fold_count
from cosdpo.methods import method_of
from cosdpo.methods.method import Method, TrainingRun
from cosdpo.simplex import das_dennis

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One seed on one fold: data of its own, and every method on it."""

    seed: int
    fold: int
    """0 where there is one fold only."""
    config: Config
    """Its output is the case's folder."""

    @property
    def name(self) -> str:
        """Such as seed-0 or seed-0/fold-2."""
        return f"seed-{self.seed}" + (f"/fold-{self.fold}" if self.fold else "")


@dataclass(frozen=True)
class Entry:
    """One method in one case under one budget."""

    name: MethodName
    budget: Budget
    method: Method
    runs: list[TrainingRun]

    def front(self, case: Case) -> Path:
        """Where its front is kept."""
        return case.config.output / f"{self.name}-{self.budget}.json"


def cases(config: Config) -> list[Case]:
    """All seeds, and all folds of each unless data.fold names one."""
    folds = [0]
    if config.task == "ranking":
        count = fold_count(config.data)
        folds = [config.data.fold] if config.data.fold or count == 1 else list(range(1, count + 1))
    found = []
    for seed in config.comparison.seeds:
        for fold in folds:
            case = Case(seed, fold, config)
            data = config.data.model_copy(update={"fold": fold})
            folder = config.output / case.name
            found.append(Case(seed, fold, config.model_copy(update={"output": folder, "seed": seed, "data": data})))
    return found


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
                baseline = config.baseline.model_copy(update={"steps": steps})
                method = method_of(name, config.model_copy(update={"baseline": baseline}))
                runs = method.runs(grid)
            yield Entry(name, budget, method, runs)


def run_name(run: TrainingRun) -> str:
    """Unique within a case: the same weights may be trained for different numbers of steps."""
    return f"{run.name}@{run.config.training.steps}"
