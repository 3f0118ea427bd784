"""One trial: an ordinary training in one process, with fronts along the way, which goes on from its newest state.

trials/NAME/   config.yaml  metrics.jsonl  checkpoint/  front.json  samples.json   (the usual run folder)
               trial.json   (its settings and all fronts' metrics)

`train_trial` knows nothing of Tune; sweep/tuning.py connects the two.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.experiment.fronts import FRONT, Reference, curve_over, front_of, keep_samples
from cosdpo.experiment.sweep.record import Record
from cosdpo.experiment.sweep.targets import measured_values
from cosdpo.simplex import das_dennis
from cosdpo.tasks.task import Findings, Measure, Task
from cosdpo.training import run_folder
from cosdpo.training.checkpoints import FOLDER, FolderCheckpoints
from cosdpo.training.devices import worker_device
from cosdpo.training.training_state import Clock
from cosdpo.training.unit import CHECKPOINT, Unit, train_unit, write_checkpoint

Report = Callable[[dict[str, float]], None]
"""Receives each line of the history but the last, after which Tune may end the process; or only the step."""


def reference_points(task: Task, measure: Measure) -> dict[str, list[float]]:
    """Reference point of every metric, from the base on the held-out data: 0.5 for accuracy, else the base's values."""
    config = task.config.changed({"grid.partitions": 1})
    torch.manual_seed(config.seed)
    scorer = task.create(config, worker_device(config.scaling.use_gpu))
    scorer.eval()
    grid = das_dennis(len(config.objectives), 1)
    findings = task.findings([measure(scorer, config, range(len(grid)), True, False)], grid)
    return {name: list(map(float, metric.reference_point)) for name, metric in findings.metrics.items()}  # type: ignore[arg-type]


def with_config(task: Task, config: Config) -> Task:
    """The same data and reference scores under another configuration."""
    own = copy.copy(task)
    own.config = config
    return own


def train_trial(
    task: Task, config: Config, measure: Measure, reference: Reference, record: Record, report: Report
) -> Record:
    """Trains and measures one trial to its end.

    Args:
        task: data with reference scores; its own configuration is not used.
        config: the trial's; its output is the trial's folder.
        record: of a trial that starts, or of one that goes on, whose history is kept up to its newest state.

    Returns:
        The finished trial, or the failed one whose loss was not finite.
    """
    task = with_config(task, config)
    torch.set_num_threads(max(1, int(config.scaling.cpus_per_worker)))
    run_folder.create(config)
    record.save(config.output)
    every = config.evaluation.front_every or config.training.checkpoint_every
    unit = Unit(config.changed({"training.checkpoint_every": every}), task.create)
    checkpoints = FolderCheckpoints(config.output / FOLDER, keep=1)

    def watch(scorer: Any, now: Clock) -> None:
        nonlocal record
        done = now.step == config.training.steps
        line = {"step": float(now.step)}
        if done or config.evaluation.front_every:
            scorer.eval()
            write_checkpoint(scorer, config.output / CHECKPOINT)
            findings = _findings(task, measure, scorer, done)
            parameters = scorer.trained_parameters()
            front = front_of(
                config, config.method, findings, seconds=now.seconds, parameters=parameters, reference=reference
            )
            scorer.train()
            if done:
                keep_samples(config.output, findings)
            front.save(config.output / FRONT)
            line |= measured_values(front)
            before = [measured for measured in record.history if measured["step"] < now.step]
            record = record.model_copy(update={"history": [*before, line]})
            record.save(config.output)
        if not done:
            report(line)

    try:
        train_unit(unit, task.train, checkpoints, worker_device(config.scaling.use_gpu), watch=watch)
        ended = {"state": "finished"}
    except InputError as error:  # the loss is not finite: bad settings, which the search shall learn from
        ended = {"state": "failed", "reason": str(error)}
    record = record.model_copy(update=ended)
    record.save(config.output)
    checkpoints.remove()
    return record


def _findings(task: Task, measure: Measure, scorer: Any, illustrate: bool) -> Findings:
    config = task.config
    grid = das_dennis(len(config.objectives), config.partitions)
    if not illustrate and not any(name.endswith("/reward") for name in config.sweep.metrics):
        # Text is generated for the last front only, unless its scores are what is searched for.
        config = config.changed({"evaluation.scorers": {}})
    curve = curve_over(config, grid) if illustrate else None
    return task.findings([measure(scorer, config, range(len(grid)), True, illustrate)], grid, curve)
