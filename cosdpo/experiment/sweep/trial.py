"""One trial: an ordinary run in one process, with fronts along the way, which goes on from its newest checkpoint.

trials/NAME/   config.yaml  metrics.jsonl  checkpoint/  front.json  front.png  report.html  (the usual run folder)
               trial.json   (its settings and all fronts' metrics)

`train_trial` knows nothing of Tune; sweep/tuning.py connects the two.
"""

from __future__ import annotations

import copy
import dataclasses
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from cosdpo import run
from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front, build
from cosdpo.experiment.sweep.record import Record
from cosdpo.experiment.sweep.targets import measured_values
from cosdpo.simplex import das_dennis
from cosdpo.tasks.task import Findings, Measure, Task
from cosdpo.training import run_folder
from cosdpo.training.devices import worker_device
from cosdpo.training.loop import optimizer_for, train
from cosdpo.training.ray_train import write_checkpoint
from cosdpo.training.tracking import RunLog
from cosdpo.training.training_state import Clock, load_state, save_state

Reference = Mapping[str, Sequence[float]]
"""[m] reference point of every metric, fixed before the sweep."""
Report = Callable[[dict[str, float], Path | None], None]
"""Receives the newest line of the history (or only the step) and a folder with the training state."""


def reference_points(task: Task, measure: Measure) -> dict[str, list[float]]:
    """Reference point of every metric, from the base on the held-out data: 0.5 for accuracy, else the base's values."""
    config = task.config.model_copy(update={"grid": task.config.grid.model_copy(update={"partitions": 1})})
    scorer = _fresh(task, config)
    scorer.eval()
    grid = das_dennis(len(config.objectives), 1)
    findings = task.findings([measure(scorer, config, range(len(grid)), True, False)], grid)
    return {name: list(map(float, metric.reference_point)) for name, metric in findings.metrics.items()}  # type: ignore[arg-type]


def train_trial(
    task: Task,
    config: Config,
    measure: Measure,
    reference: Reference,
    record: Record,
    state: Path | None,
    report: Report,
) -> Record:
    """Trains and measures one trial to its end.

    Args:
        task: data with reference scores; its own configuration is not used.
        config: the trial's; its output is the trial's folder.
        record: of a trial that starts; where it goes on, the history up to `state` is kept.
        state: what `report` received before, to go on from; None starts anew.

    Returns:
        The finished trial, or the failed one whose loss was not finite.
    """
    task = copy.copy(task)
    task.config = config
    torch.set_num_threads(max(1, int(config.scaling.cpus_per_worker)))
    scorer = _fresh(task, config)
    optimizer, clock = optimizer_for(scorer, config), Clock()
    if state is not None:
        clock = load_state(state, scorer, optimizer)
        before = Record.load(state)
        record = before or record
    run_folder.create(config)
    record.save(config.output)
    every = config.evaluation.front_every or config.training.checkpoint_every
    stepped = config.training.model_copy(update={"checkpoint_every": every})
    # Fronts and checkpoints are no training time: the clock of the loop runs on while they are made.
    paused = 0.0

    def save(now: Clock) -> None:
        nonlocal record, paused
        began = time.perf_counter()
        now = dataclasses.replace(now, seconds=now.seconds - paused)
        done = now.step == config.training.steps
        line = {"step": float(now.step)}
        if done or config.evaluation.front_every:
            scorer.eval()
            write_checkpoint(scorer, config.output / "checkpoint")
            findings = _findings(task, measure, scorer, done)
            front = _front(config, findings, reference, now.seconds)
            line |= measured_values(front)
            record = record.model_copy(
                update={"history": [*record.history, line], "state": "finished" if done else "running"}
            )
            if done:
                describe(task, config, front, findings.pictures, findings.base_parameters)
            else:
                front.save(config.output / "front.json")
            scorer.train()
        with tempfile.TemporaryDirectory() as name:
            save_state(Path(name), scorer, optimizer, now)
            record.save(Path(name))
            record.save(config.output)
            report(line, Path(name))
        paused += time.perf_counter() - began

    try:
        with RunLog(config, clock.step) as log:
            train(
                scorer,
                task.train,
                config.model_copy(update={"training": stepped}),
                optimizer,
                clock,
                lambda line: log(line | {"seconds": round(line["seconds"] - paused, 3)}),
                save,
                device=scorer.device,
            )
    except InputError as error:  # the loss is not finite: bad settings, which the search shall learn from
        record = record.model_copy(update={"state": "failed", "reason": str(error)})
        record.save(config.output)
    return record


def describe(
    task: Task, config: Config, front: Front, pictures: dict[str, Any] | None = None, base_parameters: int | None = None
) -> None:
    """Writes front.json, front.png and report.html of a trial."""
    job = "train_ltr.py" if config.task == "ranking" else "train_gpt2.py"
    facts = {**task.facts(), "trial": config.output.name}
    if base_parameters is not None:
        facts["base_parameters"] = base_parameters
    command = f"python jobs/{job} --config {config.output / run_folder.CONFIG} --output runs/again"
    run.write(config, front, pictures or {}, facts, task.notes, command)


def _fresh(task: Task, config: Config) -> Any:
    torch.manual_seed(config.seed)
    return task.create(config, worker_device(config.scaling.use_gpu))


def _findings(task: Task, measure: Measure, scorer: Any, illustrate: bool) -> Findings:
    config = task.config
    grid = das_dennis(len(config.objectives), config.partitions)
    if not illustrate and not any(name.endswith("/reward") for name in config.sweep.metrics):
        # Text is generated for the last front only, unless its scores are what is searched for.
        config = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"scorers": {}})})
    return task.findings([measure(scorer, config, range(len(grid)), True, illustrate)], grid)


def _front(config: Config, findings: Findings, reference: Reference, seconds: float) -> Front:
    return build(
        method=config.method,
        task=config.task,
        objectives=config.objectives,
        seed=config.seed,
        trained_temperature=config.temperature,
        train_seconds=seconds,
        trained_parameters=findings.trained_parameters,
        weights=das_dennis(len(config.objectives), config.partitions),
        metrics={
            name: dataclasses.replace(metric, reference_point=reference[name])
            for name, metric in findings.metrics.items()
        },
        main=findings.main,
    )
