"""Several methods on equal terms: the same data, reference scores, order of batches, weights and measurements.

methods x seeds x weights -> trainings, shared where methods need the same -> fronts -> comparison.json
"""

from __future__ import annotations

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front, mean_over_folds
from cosdpo.experiment import job_checks, plan, resources
from cosdpo.experiment.execute import Executed, execute
from cosdpo.experiment.plan import Entry
from cosdpo.experiment.planned_cost import print_plan
from cosdpo.experiment.results.comparison_result import ComparisonResult
from cosdpo.experiment.results.result import Result
from cosdpo.experiment.results.summary import summarise
from cosdpo.training.unit import Trained


def compare(config: Config) -> ComparisonResult | None:
    """Trains and measures all methods with all seeds; None after a plan, which is printed.

    Raises:
        InputError: wrong input, or not a single method that could be finished.
    """
    config = located(config)
    check(config)
    if config.plan:
        print_plan(config)
        return None
    executed = execute(config, plan.cases(config))
    results, failures = gathered(executed)
    taken = resources.of_run(config)
    facts = {
        **executed.prepared[0].task.facts(),
        "cases": len(executed.prepared),
        "CPUs per run": taken.cpus,
        "GPUs per run": taken.gpus,
    }
    result = ComparisonResult(config, results, summarise(results, failures), facts)
    result.save()
    return result


def located(config: Config) -> Config:
    """`config` with absolute paths; a share of a GPU for each run is a GPU for the reference scores too."""
    config = job_checks.located(config)
    return config.changed({"scaling.use_gpu": config.scaling.use_gpu or config.comparison.gpus_per_run > 0})


def check(config: Config) -> None:
    """What can be refused before any data is read."""
    job_checks.check_no_push(config, "leave it out, and push one of the run folders by python -m cosdpo.hub")
    for what in ("methods", "seeds", "budgets"):
        chosen = getattr(config.comparison, what)
        if not chosen:
            raise InputError(f"comparison.{what} is empty; name at least one")
        if len({*map(str, chosen)}) < len(chosen):
            raise InputError(f"comparison.{what} names one twice; name each once")
    resources.check(config)
    if config.training.start:
        raise InputError("training.start is for a conditioned run: baselines cannot start there, so leave it out")
    for kind in config.comparison.conditionings:
        job_checks.check(plan.conditioned_by(kind, config))
    job_checks.check(config)


def gathered(executed: Executed) -> tuple[list[Result], dict[str, str]]:
    """A result per method, seed and budget, folds averaged; and the reasons of what has none.

    Raises:
        InputError: not a single method could be finished.
    """
    failures = dict(executed.schedule.failures)
    by_seed: dict[tuple[str, str, int], list[tuple[Front, Entry, list[Trained]]]] = {}
    for prepared in executed.prepared:
        for entry in prepared.entries:
            if (front := executed.front(prepared.case, entry)) is not None:
                member = (front, entry, executed.trained(prepared.case, entry))
                by_seed.setdefault((entry.name, entry.budget, prepared.case.seed), []).append(member)
    results = []
    folds = len({prepared.case.fold for prepared in executed.prepared})
    for (name, _, seed), members in by_seed.items():
        fronts = [front for front, _, _ in members]
        if len(fronts) < folds:
            failures[f"{name} seed-{seed}"] = f"only {len(fronts)} of {folds} folds were finished"
            continue
        entry = members[0][1]
        results.append(
            Result(
                front=mean_over_folds(fronts) if folds > 1 else fronts[0],
                budget=entry.budget,
                runs=len(entry.runs),
                peak_memory=max(run.peak_memory for _, _, runs in members for run in runs),
            )
        )
    if not results:
        raise InputError(f"no method could be finished: {next(iter(failures.values()))}; mend it and --resume")
    return results, failures
