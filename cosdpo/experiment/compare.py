"""Several methods on equal terms: the same data, reference scores, order of batches, weights and measurements.

    methods x seeds x weights -> trainings on Ray, shared where methods need the same -> fronts -> report.html

Killed and started again with `resume`, it goes on with what is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray

from cosdpo import run as single_run
from cosdpo.arrays import Floats
from cosdpo.config import Config
from cosdpo.cross_validation import mean_front
from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front, build
from cosdpo.experiment import cluster, resources
from cosdpo.experiment import several as sharing
from cosdpo.experiment import single as training
from cosdpo.experiment.plan import Case, Entry, cases, conditioned_by, entries, print_plan, run_name
from cosdpo.experiment.results.comparison_result import ComparisonResult
from cosdpo.experiment.results.result import Result
from cosdpo.experiment.results.summary import summarise
from cosdpo.experiment.schedule import Schedule, Step
from cosdpo.experiment.single import Trained
from cosdpo.experiment.state_table import StateTable
from cosdpo.methods.method import Policy, TrainingRun
from cosdpo.preflight.estimate import refuse_too_large
from cosdpo.reports.comparison_page import write_comparison
from cosdpo.simplex import das_dennis
from cosdpo.tasks import task_of
from cosdpo.tasks.task import Task
from cosdpo.training import run_folder, storage
from cosdpo.training.strategies import compatible

log = logging.getLogger("cosdpo")

RUNS = "runs"
"""Folder of a case's trainings."""


@dataclass
class Prepared:
    """A case whose data is read and has its reference scores."""

    case: Case
    task: Task
    entries: list[Entry] = field(default_factory=list)


def compare(config: Config) -> list[Result]:
    """Trains, measures and reports all methods with all seeds.

    Raises:
        InputError: wrong input, or not a single method that could be finished.
    """
    config = located(config)
    check(config)
    if config.plan:
        print_plan(config)
        return []
    done = execute(config)
    taken = resources.of_run(config)
    facts = {**done.facts, "CPUs per run": taken.cpus, "GPUs per run": taken.gpus}
    result = ComparisonResult(config, done.results, summarise(done.results, done.failures), facts)
    result.save()
    write_comparison(result)
    return done.results


def located(config: Config) -> Config:
    """`config` with absolute paths; a share of a GPU for each run is a GPU for the reference scores too."""
    config = single_run.located(config)
    use_gpu = config.scaling.use_gpu or config.comparison.gpus_per_run > 0
    return config.model_copy(update={"scaling": config.scaling.model_copy(update={"use_gpu": use_gpu})})


def _alone(config: Config) -> Config:
    """A comparison of config.method with nothing."""
    comparison = config.comparison.model_copy(
        update={"methods": [config.method], "seeds": [config.seed], "budgets": ["steps"], "conditionings": []}
    )
    return config.model_copy(update={"comparison": comparison})


def plan_method(config: Config) -> None:
    """Prints what config.method would train and need.

    Raises:
        InputError: wrong input, or a training that no GPU could hold.
    """
    config = located(_alone(config))
    check(config)
    print_plan(config)


def run_method(config: Config) -> Front:
    """The front of config.method, whose trainings are scheduled together; writes the usual run folder.

    Raises:
        InputError: as for a single run, or a training failed.
    """
    config = located(_alone(config))
    check(config)
    done = execute(config)
    if done.failures:
        name, reason = next(iter(done.failures.items()))
        raise InputError(f"{name} failed: {reason}; what was finished is kept: run again with --resume")
    front = done.results[0].front
    single_run.write(config, front, {}, {**done.facts, "trainings": done.results[0].runs}, done.notes)
    return front


@dataclass(frozen=True)
class Done:
    """What came out of the steps of a comparison."""

    results: list[Result]
    failures: dict[str, str]
    """Reason by step."""
    facts: dict[str, str | int | float]
    notes: dict[str, int]


def execute(config: Config) -> Done:
    """Reads the data of all cases, then trains and measures what is not done yet."""
    prepared = [Prepared(case, task_of(case.config).prepare(case.config)) for case in cases(config)]
    refuse_too_large(prepared[0].task)
    cluster.connect(config)
    slots = resources.at_once(config)
    _forget_fronts(config, [one.case for one in prepared])
    run_folder.create(config)
    for one in prepared:
        one.case.config.output.mkdir(parents=True, exist_ok=True)
        one.task.add_reference()
        one.entries = list(entries(one.task.config))
    results: dict[str, object] = {}
    steps = [step for one in prepared for step in _steps(one, results)]
    with StateTable() as table:
        schedule = Schedule(steps, slots, table.show, results)
        schedule.run()
    found, failures = _results(prepared, schedule)
    if not found:
        raise InputError(f"no method could be finished: {next(iter(failures.values()))}; mend it and --resume")
    first = prepared[0].task
    return Done(found, failures, {**first.facts(), "cases": len(prepared)}, first.notes)


def check(config: Config) -> None:
    """What can be refused before any data is read."""
    for what in ("methods", "seeds", "budgets"):
        chosen = getattr(config.comparison, what)
        if not chosen:
            raise InputError(f"comparison.{what} is empty; name at least one")
        if len({*map(str, chosen)}) < len(chosen):
            raise InputError(f"comparison.{what} names one twice; name each once")
    resources.check(config)
    if config.scaling.workers == 1:
        compatible.check_single(config, "trainings of comparisons and baselines with scaling.workers 1")
    for kind in config.comparison.conditionings:
        single_run.check(conditioned_by(kind, config))
    single_run.check(config)


def _remote(config: Config, alone: Callable[..., Any], together: Callable[..., Any], shared: bool) -> Any:
    """`alone` as a Ray task on one worker's resources, or `together`, which has Ray Train reserve its workers'."""
    # A process for each call: the peak memory of a run shall not be that of the one before.
    remote = partial(ray.remote, max_calls=1, max_retries=2)
    if shared:
        return remote(num_cpus=0)(together)
    return remote(**resources.of_worker(config).options)(alone)


def _steps(one: Prepared, results: Mapping[str, Any]) -> list[Step]:
    """Every training once, then the measurement of every method, which reads the `results` of its trainings."""
    config, folder = one.task.config, one.case.config.output / RUNS
    train = _remote(config, training.train_one, sharing.train_one, shared=config.scaling.workers > 1)
    measure = _remote(config, training.measure_some, sharing.measure_some, shared=compatible.shards_the_base(config))
    data, measurement = ray.put(one.task.train), one.task.measure()
    runs = {run_name(run): run for entry in one.entries for run in entry.runs}
    wanted = {_source(run, name) for run in runs.values() for name in run.margins}
    grid = das_dennis(len(config.objectives), config.partitions)

    def at(run: Config, name: str) -> dict[str, Any]:
        """A part's configuration, with places of its own in the case's folder and in scaling.storage."""
        scaling = storage.below(run.scaling, f"{one.case.name}/{name}")
        placed = run.model_copy(update={"output": one.case.config.output / name, "scaling": scaling})
        return placed.model_dump(mode="json")

    def training_of(name: str, run: TrainingRun) -> Step:
        def start() -> object:
            done = Trained.read(folder / name)
            sources = [(folder / _source(run, other), share) for other, share in run.margins.items()]
            return done or train.remote(
                at(run.config, f"{RUNS}/{name}"), one.task.create, data, sources, name in wanted
            )

        needs = tuple(f"{one.case.name} {_source(run, other)}" for other in run.margins)
        return Step(f"{one.case.name} {name}", run.config.training.steps, needs, start)

    def measuring(entry: Entry) -> Step:
        policies = []
        steps_of = {run.name: run_name(run) for run in entry.runs}
        for index, weights in enumerate(grid):
            shares = entry.method.at(weights).shares
            policies.append((index, Policy({steps_of[name]: share for name, share in shares.items()})))

        needs = tuple(f"{one.case.name} {run_name(run)}" for run in entry.runs)

        def start() -> object:
            kept = _kept_front(entry.front(one.case), grid)
            tree = at(config, f"measuring-{entry.front(one.case).stem}")
            return kept or measure.remote(training.Measuring(tree, folder, policies, one.task.average, measurement))

        def finish(parts: list[Any]) -> Front:
            return _front(one, entry, parts, [results[need] for need in needs])

        return Step(f"{one.case.name} measure {entry.name} ({entry.budget})", len(grid), needs, start, finish)

    return [training_of(name, run) for name, run in runs.items()] + [measuring(entry) for entry in one.entries]


def _source(run: TrainingRun, name: str) -> str:
    """Full name of the run that `run` takes margins from: trained as long as `run` itself."""
    return f"{name}@{run.config.training.steps}"


def _results(prepared: Sequence[Prepared], schedule: Schedule) -> tuple[list[Result], dict[str, str]]:
    """A result per method, seed and budget; folds are averaged."""
    failures = dict(schedule.failures)
    gathered: dict[tuple[str, str, int], list[tuple[Front, Entry, list[Trained]]]] = {}
    for one in prepared:
        for entry in one.entries:
            name = f"{one.case.name} measure {entry.name} ({entry.budget})"
            if schedule.states[name] != "done":
                continue
            runs = [schedule.results[f"{one.case.name} {run_name(run)}"] for run in entry.runs]
            found = (schedule.results[name], entry, runs)
            gathered.setdefault((entry.name, entry.budget, one.case.seed), []).append(found)
    results = []
    folds = len({one.case.fold for one in prepared})
    for (name, _, seed), members in gathered.items():
        fronts = [front for front, _, _ in members]
        if len(fronts) < folds:
            failures[f"{name} seed-{seed}"] = f"only {len(fronts)} of {folds} folds were finished"
            continue
        entry = members[0][1]
        results.append(
            Result(
                front=mean_front(fronts) if folds > 1 else fronts[0],
                budget=entry.budget,
                runs=len(entry.runs),
                peak_memory=max(run.peak_memory for _, _, runs in members for run in runs),
            )
        )
    return results, failures


def _forget_fronts(config: Config, found: Sequence[Case]) -> None:
    """Deletes fronts that were measured with other settings, before the new ones are written down."""
    if not (config.output / run_folder.CONFIG).exists():
        return
    if run_folder.stored(config.output)["evaluation"] != config.evaluation.model_dump(mode="json"):
        for case in found:
            for entry in entries(case.config):
                entry.front(case).unlink(missing_ok=True)


def _kept_front(path: Path, grid: Floats) -> Front | None:
    """The front that was measured before, unless it was on another grid."""
    front = Front.load(path) if path.exists() else None
    return front if front is not None and np.array_equal(front.weights, grid) else None


def _front(one: Prepared, entry: Entry, parts: list[Any], runs: Sequence[Trained]) -> Front:
    """The front of a method in a case, kept for a later resume."""
    config = one.task.config
    grid = das_dennis(len(config.objectives), config.partitions)
    findings = one.task.findings(parts, grid)
    margins = any(run.margins for run in entry.runs)
    total = sum(run.seconds + (run.reward_seconds if margins else 0.0) for run in runs)
    front = build(
        method=entry.name,
        task=one.task.name,
        objectives=config.objectives,
        seed=one.case.seed,
        trained_temperature=config.temperature,
        train_seconds=float(np.mean([run.seconds for run in runs])),
        train_seconds_total=total,
        trained_parameters=sum(run.parameters for run in runs),
        weights=grid,
        metrics=findings.metrics,
        main=findings.main,
    )
    front.save(entry.front(one.case))
    return front


def print_results(config: Config, results: Sequence[Result]) -> None:
    """Prints hypervolume and time of every method, and where the report is; nothing after a plan."""
    names = list(dict.fromkeys((result.front.method, result.budget) for result in results))
    for method, budget in names:
        chosen = [r for r in results if (r.front.method, r.budget) == (method, budget)]
        seconds = np.mean([r.front.train_seconds_total for r in chosen])
        for metric in chosen[0].front.metrics:
            volumes = [r.front.metrics[metric].hypervolume for r in chosen]
            deviation = np.std(volumes, ddof=1) if len(volumes) > 1 else 0.0
            print(
                f"{method} ({budget}) {metric}: hypervolume {np.mean(volumes):.4g} ± {deviation:.2g} over "
                f"{len(volumes)} seeds, {chosen[0].runs} runs, {seconds:.0f} s of training"
            )
    if results:
        print(f"report: {Path(config.output) / 'report.html'}")
