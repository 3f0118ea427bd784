"""--plan: the trainings of an experiment, what they cost, and the memory that each of them takes."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from cosdpo.config import Config
from cosdpo.experiment.plan import cases, entries, run_name
from cosdpo.preflight.estimate import estimate
from cosdpo.simplex import das_dennis


def print_plan(config: Config) -> None:
    """Prints methods with their trainings, steps and estimated cost, and what a language model's training needs.

    A method is charged for every training that it needs, though trainings that several methods need are run once.

    Raises:
        InputError: wrong input, or a training that no GPU of gpu.memory could hold.
    """
    planned = cases(config)
    table = Table("method", "budget", "trainings", "steps", "GPU hours", box=None, pad_edge=False)
    if config.gpu.price:
        table.add_column("price")
    work = estimate(planned[0].config)
    unique: dict[str, int] = {}
    for entry in entries(planned[0].config.changed({"training.steps": work.steps, "training.epochs": 0})):
        steps = sum(run.config.training.steps for run in entry.runs)
        unique |= {run_name(run): run.config.training.steps for run in entry.runs}
        table.add_row(entry.name, entry.budget, *_cost(len(entry.runs), steps, len(planned), work.step_flops, config))
    together = _cost(len(unique), sum(unique.values()), len(planned), work.step_flops, config)
    table.add_row("together, shared ones once", "", *together)
    console = Console()
    console.print(table)
    console.print(
        f"{len(config.comparison.seeds)} seed(s), {len(planned) // len(config.comparison.seeds)} fold(s), "
        f"{len(das_dennis(len(config.objectives), config.partitions))} weights; "
        f"{work.step_flops:.3g} FLOP a step, {config.gpu.tflops:g} TFLOP/s sustained (gpu.tflops)\n"
    )
    if work.memory is not None:
        work.memory.print()
        if config.scaling.use_gpu:
            work.memory.check()


def _cost(runs: int, steps: int, cases: int, flops: float, config: Config) -> list[str]:
    hours = steps * cases * flops / (config.gpu.tflops * 1e12) / 3600
    price = [f"{hours * config.gpu.price:,.2f}"] if config.gpu.price else []
    return [f"{runs * cases}", f"{steps * cases:,}", f"{hours:.3g}", *price]
