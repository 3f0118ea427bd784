"""One run, from data to report: what every training job calls, for language models and rankers alike.

    data -> reference scores (cached) -> one conditioned run (Ray Train) -> front -> report.html

All that can be wrong with the input is found before Ray starts and before the run folder is made.
"""

from __future__ import annotations

import json
import logging
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray

from cosdpo.cli.yaml_file import to_yaml
from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front, build
from cosdpo.experiment import cluster
from cosdpo.preflight.estimate import refuse_too_large
from cosdpo.reports.drawing import save_png
from cosdpo.reports.front_plot import write_front_png
from cosdpo.reports.run_page import write_report
from cosdpo.reports.temperature_plot import has_temperatures, temperature_figure
from cosdpo.simplex import das_dennis
from cosdpo.tasks import task_of
from cosdpo.tasks.task import Measure, Task
from cosdpo.training import run_folder, storage
from cosdpo.training.progress import progress
from cosdpo.training.ray_train import Job, Outcome, fit
from cosdpo.training.strategies import compatible
from cosdpo.training.tracking import check_trackers, read_metrics
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
    config.changed({})  # what `resolved` and `located` filled in goes together as well
    if not config.objectives:
        raise InputError("objectives is not set: name them in order, such as --objectives better safer")
    if config.training.weights:
        raise InputError("training.weights is for the runs of baselines: leave it out, or set method")
    if config.task == "language" and config.conditioning == "none":
        raise InputError("conditioning none is for the runs of baselines: choose another, or set method")
    compatible.check(config)
    task_of(config).check(config)
    check_trackers(config)
    if not config.plan:
        run_folder.check(config)
        storage.check(config)
        cluster.check_devices(config)


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
    write_front_png(front.at(1), config.output / "front.png")
    if front.main is not None and has_temperatures(front):
        save_png(temperature_figure(front, front.main), config.output / "front-temperature.png")
    shown = [item.model_dump() for items in pictures.values() for item in items]
    (config.output / SAMPLES).write_text(json.dumps(shown, indent=2), encoding="utf-8")
    write_report(
        config.output,
        front,
        metrics=read_metrics(config.output),
        config_yaml=to_yaml(config),
        command=command or shlex.join(["python", *sys.argv]),
        notes=facts,
        dropped=notes,
        **{"samples": [], **pictures},
    )


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
