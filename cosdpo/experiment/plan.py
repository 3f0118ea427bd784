"""What a comparison is made of: cases (a seed, and a fold where there are several), and the trainings of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cosdpo.config import Config
from cosdpo.data.ranking_splits import fold_count
from cosdpo.errors import InputError
from cosdpo.experiment.results.result import Budget
from cosdpo.methods import method_of
from cosdpo.methods.cos import Cos
from cosdpo.methods.method import Method, TrainingRun
from cosdpo.preflight.estimate import estimate
from cosdpo.simplex import das_dennis


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

    name: str
    """The method's, and the conditioning where several are compared: cos, or cos, hyper_prompt."""
    budget: Budget
    method: Method
    runs: list[TrainingRun]

    def front(self, case: Case) -> Path:
        """Where its front is kept."""
        return case.config.output / f"{self.name.replace(', ', '-')}-{self.budget}.json"


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
    for kind in config.comparison.conditionings:
        variant = Cos(conditioned_by(kind, config), f"cos_{kind}")
        yield Entry(f"cos, {kind}", "steps", variant, variant.runs(grid))


def conditioned_by(kind: str, config: Config) -> Config:
    """`config` with another conditioning.

    Raises:
        InputError: there is no such conditioning for the task.
    """
    known = ("concatenation", "gates", "both") if config.task == "ranking" else ("hyper_prompt", "gated_lora", "both")
    if kind not in known:
        raise InputError(f"comparison.conditionings names {kind!r}; a {config.task} model knows {', '.join(known)}")
    if config.task == "ranking":
        return config.model_copy(update={"ranker": config.ranker.model_copy(update={"conditioning": kind})})
    return config.model_copy(update={"conditioning": kind})


def print_plan(config: Config) -> None:
    """Prints methods with their trainings, steps and estimated cost, and what a language model's training needs.

    A method is charged for every training that it needs, though trainings that several methods need are run once.

    Raises:
        InputError: wrong input, or a training that no GPU of gpu.memory could hold.
    """
    found = cases(config)
    table = Table("method", "budget", "trainings", "steps", "GPU hours", box=None, pad_edge=False)
    if config.gpu.price:
        table.add_column("price")
    work = estimate(found[0].config)
    unique: dict[str, int] = {}
    for entry in entries(found[0].config):
        steps = sum(run.config.training.steps for run in entry.runs)
        unique |= {run_name(run): run.config.training.steps for run in entry.runs}
        table.add_row(entry.name, entry.budget, *_cost(len(entry.runs), steps, len(found), work.step_flops, config))
    together = _cost(len(unique), sum(unique.values()), len(found), work.step_flops, config)
    table.add_row("together, shared ones once", "", *together)
    console = Console()
    console.print(table)
    console.print(
        f"{len(config.comparison.seeds)} seed(s), {len(found) // len(config.comparison.seeds)} fold(s), "
        f"{len(das_dennis(len(config.objectives), config.partitions))} weights; "
        f"{work.step_flops:.3g} FLOP a step, {config.gpu.tflops:g} TFLOP/s sustained (gpu.tflops)\n"
    )
    if work.memory is not None:
        work.memory.print()
        work.memory.check()


def _cost(runs: int, steps: int, cases: int, flops: float, config: Config) -> list[str]:
    hours = steps * cases * flops / (config.gpu.tflops * 1e12) / 3600
    price = [f"{hours * config.gpu.price:,.2f}"] if config.gpu.price else []
    return [f"{runs * cases}", f"{steps * cases:,}", f"{hours:.3g}", *price]


def run_name(run: TrainingRun) -> str:
    """Unique within a case: the same weights may be trained for different numbers of steps."""
    return f"{run.name}@{run.config.training.steps}"
