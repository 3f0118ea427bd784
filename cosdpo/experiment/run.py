"""What every training job carries out: a run of one method, with folds where the data has some.

    data -> reference scores (cached) -> one conditioned run, or the trainings of a baseline -> front

runs/mslr/fold-1 ... fold-5     ordinary run folders, each to be had alone by --data.fold K
runs/mslr                       front.json of the mean over the folds
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.evaluation.front import mean_over_folds
from cosdpo.experiment import compare, job_checks, plan
from cosdpo.experiment.execute import execute, raise_failure
from cosdpo.experiment.fronts import EXAMPLE, FRONT, kept_samples
from cosdpo.experiment.plan import Case
from cosdpo.experiment.planned_cost import print_plan
from cosdpo.experiment.results.run_result import RunResult
from cosdpo.files import write_whole
from cosdpo.tasks import task_of
from cosdpo.training import run_folder

log = logging.getLogger("cosdpo")


def run(config: Config) -> Iterator[RunResult]:
    """Trains by config.method and measures: every fold as it is finished, and last the mean where there are several;
    nothing with config.plan, which prints what it would take.

    Raises:
        InputError: anything wrong with configuration, data, model, cluster or output folder, or a training failed.
    """
    if config.plan or config.method != "cos":
        config = compare.located(plan.alone(config))
        compare.check(config)
    else:
        config = job_checks.located(plan.alone(config))
        job_checks.check(config)
    if config.plan:
        print_plan(config)
    elif config.method != "cos":
        yield _baseline(config)
    else:
        yield from _conditioned(config)


def _conditioned(config: Config) -> Iterator[RunResult]:
    cases = plan.cases(config, lone=True)
    if len(cases) == 1:
        yield _lone(cases[0])
        return
    job_checks.check_no_push(config, "name a fold by data.fold")
    for case in cases:
        # Read and dropped again: what is wrong with the last fold shall not show after hours on the others.
        task_of(case.config).prepare(case.config)
    run_folder.create(config)
    fronts = []
    for case in cases:
        log.info("fold %d of %d", case.fold, len(cases))
        result = _lone(case)
        fronts.append(result.front)
        yield result
    front = mean_over_folds(fronts)
    front.save(config.output / FRONT)
    yield RunResult(config, front, {"folds": len(cases), "seconds of training": round(front.train_seconds_total, 1)})


def _lone(case: Case) -> RunResult:
    """The conditioned run of one case, in its own run folder."""
    executed = execute(case.config, [case])
    raise_failure(executed.schedule, case.config)
    (prepared,) = executed.prepared
    (entry,) = prepared.entries
    front, (trained,) = executed.front(case, entry), executed.trained(case, entry)
    assert front is not None  # a failure was raised
    task = prepared.task
    if (example := task.example()) is not None:
        write_whole(case.config.output / EXAMPLE, json.dumps(example))
    facts = {**task.facts(), "workers": case.config.scaling.workers}
    if trained.base_parameters:
        facts["base_parameters"] = trained.base_parameters
    if task.config.training.keep == "best" and trained.kept_step is not None:
        facts["best state"] = f"after {trained.kept_step} of {trained.steps} steps"
    samples, rankings = kept_samples(case.config.output)
    return RunResult(task.config.changed({"output": case.config.output}), front, facts, task.notes, samples, rankings)


def _baseline(config: Config) -> RunResult:
    """The front of a method that needs several trainings, in the usual run folder."""
    executed = execute(config, plan.cases(config))
    results, failures = compare.gathered(executed)
    if failures:
        name, reason = next(iter(failures.items()))
        raise InputError(f"{name} failed: {reason}; what was finished is kept: run again with --resume")
    first = executed.prepared[0].task
    front = results[0].front
    front.save(config.output / FRONT)
    facts = {**first.facts(), "cases": len(executed.prepared), "trainings": results[0].runs}
    return RunResult(config, front, facts, first.notes)
