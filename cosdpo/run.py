"""One run, from data to report: what every training job calls, for language models and rankers alike.

    data -> reference scores (cached) -> one conditioned run (Ray Train) -> front -> report.html

All that can be wrong with the input is found before Ray starts and before the run folder is made.
"""

from __future__ import annotations

import json
import logging
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front, build
from cosdpo.experiment import cluster
from cosdpo.experiment.results.run_result import RunResult
from cosdpo.preflight.estimate import refuse_too_large
from cosdpo.reports.run_page import write_run
from cosdpo.simplex import das_dennis
from cosdpo.tasks import task_of
from cosdpo.tasks.task import Measure, Task
from cosdpo.training import run_folder, storage
from cosdpo.training.progress import progress
from cosdpo.training.ray_train import Job, Outcome, fit
from cosdpo.training.strategies import compatible
from cosdpo.training.tracking import check_trackers
from cosdpo.training.world import World

log = logging.getLogger("cosdpo")

SAMPLES = "samples.json"
"""The report's prompts and answers, or queries and rankings, in the run folder."""
EXAMPLE = "example.json"
"""A held-out query of a ranker with its features, in the run folder; the service reads it."""


def run(config: Config) -> Front:
    """Trains, measures and reports; returns the front.

    Raises:
        InputError: anything wrong with configuration, data, model, cluster or output folder.
    """
    config = located(config)
    check(config)
    task = task_of(config).prepare(config)
    for reason, count in task.notes.items():
        log.info("data: %d %s", count, reason)
    refuse_too_large(task)
    cluster.connect(config)
    run_folder.create(config)
    task.add_reference()
    return finish(task, train(task))


def located(config: Config) -> Config:
    """`config` with absolute local paths, since workers have another working directory, and what its task fills in."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    base = Path(config.model.base)
    local = config.model.base and base.is_dir()
    model = config.model.model_copy(update={"base": str(base.resolve())}) if local else config.model
    config = config.model_copy(update={"output": config.output.resolve(), "model": model})
    return task_of(config).resolved(config)


def check(config: Config) -> None:
    """What can be refused without reading any data."""
    if not config.objectives:
        raise InputError("objectives is not set: name them in order, such as --objectives better safer")
    if len(set(config.objectives)) < len(config.objectives):
        raise InputError(f"objectives {config.objectives} names one twice; name each once")
    if len(config.temperatures) != len(config.objectives):
        raise InputError(
            f"temperature has {len(config.temperatures)} numbers for {len(config.objectives)} objectives; "
            "give one for all, or one each"
        )
    if config.training.weights:
        raise InputError("training.weights is for the runs of baselines: leave it out, or set method")
    if config.task == "language" and config.conditioning == "none":
        raise InputError("conditioning none is for the runs of baselines: choose another, or set method")
    check_groups(config)
    if config.training.target == "rewards" and config.training.penalty:
        raise InputError("training.penalty is for training.target labels: set one of the two back to its default")
    check_workers(config)
    compatible.check(config)
    task_of(config).check(config)
    check_trackers(config)
    if not config.plan:
        run_folder.check(config)
        storage.check(config)
        cluster.check_devices(config)


def check_groups(config: Config) -> None:
    """Raises InputError where contexts that are compared with each other would come apart, or cannot be compared."""
    group, training = config.training.compare_across, config.training
    if group == 1:
        return
    if config.task == "ranking" or config.data.comparisons != "pairwise":
        raise InputError(f"training.compare_across {group} compares pairs of responses: set data.comparisons pairwise")
    for key in ("batch_size", "micro_batch"):
        if (size := getattr(training, key)) % group:
            raise InputError(
                f"training.{key} {size} is not a multiple of training.compare_across {group}; change one of them"
            )


def check_workers(config: Config) -> None:
    """Raises InputError where there are more workers than a batch has parts for them, or fewer than the fewest."""
    scaling, group = config.scaling, config.training.compare_across
    parts = config.training.batch_size // group
    if scaling.workers > parts:
        what = "contexts" if group == 1 else f"groups of training.compare_across {group}"
        raise InputError(
            f"scaling.workers {scaling.workers} cannot share training.batch_size {config.training.batch_size}, which "
            f"has {parts} {what}: lower the one or raise the other"
        )
    if scaling.min_workers > scaling.workers:
        raise InputError(
            f"scaling.min_workers {scaling.min_workers} is more than scaling.workers {scaling.workers}: lower the one "
            "or raise the other"
        )


def train(task: Task) -> Outcome:
    """The conditioned run on the connected cluster."""
    config = task.config
    job = Job(
        config=config.model_dump(mode="json"),
        create=task.create,
        data=ray.put(task.train),
        finish=partial(measure_share, measure=task.measure()),
    )
    with progress(config.output, config.training.steps):
        return fit(config, job)


def measure_share(scorer: Any, config: Config, world: World, measure: Measure) -> Any:
    """This worker's share of the grid."""
    points = len(das_dennis(len(config.objectives), config.partitions))
    mine = range(world.rank, points, world.size)
    return measure(scorer, config, mine, world.rank == 0, ratios=config.ratios)


def finish(task: Task, outcome: Outcome) -> Front:
    """Writes front.json, its pictures and report.html."""
    config = task.config
    grid = das_dennis(len(config.objectives), config.partitions)
    findings = task.findings(outcome.parts, grid)
    front = build(
        method=config.method,
        task=task.name,
        objectives=config.objectives,
        seed=config.seed,
        trained_temperature=config.temperature,
        train_seconds=outcome.clock.seconds,
        trained_parameters=findings.trained_parameters,
        weights=np.tile(grid, (len(config.ratios), 1)),
        temperatures=np.outer(np.repeat(config.ratios, len(grid)), config.temperatures),
        metrics=findings.metrics,
        main=findings.main,
    )
    facts = {**task.facts(), "workers": config.scaling.workers, "base_parameters": findings.base_parameters}
    write(config, front, findings.pictures, facts, task.notes)
    if (example := task.example()) is not None:
        (config.output / EXAMPLE).write_text(json.dumps(example), encoding="utf-8")
    return front


def write(
    config: Config,
    front: Front,
    pictures: dict[str, Any],
    facts: dict[str, str | int | float],
    notes: dict[str, int] | None = None,
    command: str | None = None,
) -> None:
    """Writes front.json, front.png, samples.json and report.html into config.output, and front-temperature.png where
    there are several temperatures.

    Args:
        command: what to type to get this run again; the command line of this process by default.
    """
    front.save(config.output / "front.json")
    shown = [item.model_dump() for items in pictures.values() for item in items]
    (config.output / SAMPLES).write_text(json.dumps(shown, indent=2), encoding="utf-8")
    write_run(RunResult(config, front, facts, notes, **pictures), command)


def print_samples(config: Config) -> None:
    """Prints the first sample prompt and its answers along the trade-off."""
    first = json.loads((config.output / SAMPLES).read_text(encoding="utf-8"))[0]
    print(f"\n{first['prompt']}")
    for answer in first["answers"]:
        shares = zip(config.objectives, answer["weights"], strict=True)
        print("  " + " ".join(f"{name} {share:.2f}" for name, share in shares) + f" | {answer['text']}")
    print()


def print_front(config: Config, front: Front) -> None:
    """Prints the figures of the front at the trained temperature and where the report is."""
    front = front.at(1)
    for name, metric in front.metrics.items():
        steering = ", ".join(f"{o} {c:.2f}" for o, c in zip(front.objectives, metric.controllability, strict=True))
        reference = ", ".join(f"{value:.3g}" for value in metric.reference_point)
        print(f"{name}: hypervolume {metric.hypervolume:.4g} above ({reference}); controllability {steering}")
    if front.main is not None:
        values = front.main.values
        print(
            f"{front.main.name} {front.main.metric}: {min(values):.3f} to {max(values):.3f} along the front, base "
            f"{front.main.base:.3f}"
        )
    print(f"trained in {front.train_seconds_total:.0f} s; report: {config.output / 'report.html'}")
