"""A run on Ray Train: the worker function, its checkpoints and its restarts.

Rank 0 writes metrics and checkpoints; every worker trains on its share of each global batch and then runs the job's
`finish`, which measures what was trained. Data comes out of Ray's object store, so only `output` must be on storage
that all nodes see.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ray
import ray.train
import torch
import torch.distributed as dist
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.training.checkpoint import Clock, read_state, write_state
from cosdpo.training.devices import training_device
from cosdpo.training.loop import World, train_together
from cosdpo.training.strategies.start import start
from cosdpo.training.tracking import RunLog

FOLDER = "training"
"""Name of Ray Train's own folder inside a run folder."""


class Scorer(Protocol):
    """What a worker trains: a module that scores candidates and writes itself to a folder."""

    def save(self, folder: Path) -> None:
        """Writes the servable checkpoint."""


@dataclass(frozen=True)
class Job:
    """What every worker receives."""

    config: dict[str, Any]
    create: Callable[[Config, torch.device], Any]
    """Builds the scorer on the worker's device, under a seed that all workers share."""
    data: Any
    """Object reference of the training data."""
    finish: Callable[[Any, Config, World], Any]
    """Called on every worker with the trained scorer; must be picklable, as must what it returns."""


@dataclass(frozen=True)
class Outcome:
    """What a finished run returns."""

    clock: Clock
    parts: list[Any]
    """What `finish` returned, by worker."""


def fit(config: Config, job: Job) -> Outcome:
    """Runs `job` on the cluster that Ray is connected to; goes on from the newest checkpoint in config.output.

    Raises:
        InputError: the run diverged or kept failing; the message says where its checkpoints are.
    """
    outcome: Outcome = on_workers(config, FOLDER, _run, job)
    return outcome


def on_workers(config: Config, name: str, work: Callable[[Any], Any], argument: Any) -> Any:
    """What `work(argument)` returns on the first of the run's workers, which are one process group.

    Args:
        name: of the folder in config.output that Ray Train keeps its state in.
        work: called on every worker; what it reports as a checkpoint it finds again after a restart.

    Raises:
        InputError: `work` did, or workers kept failing.
    """
    scaling = config.scaling
    trainer: Any = TorchTrainer(
        _answer,
        train_loop_config={"work": work, "argument": argument},
        scaling_config=ScalingConfig(
            num_workers=scaling.workers,
            use_gpu=scaling.use_gpu,
            resources_per_worker={"CPU": scaling.cpus_per_worker} | ({"GPU": 1} if scaling.use_gpu else {}),
        ),
        run_config=RunConfig(
            name=name,
            storage_path=str(config.output.resolve()),
            checkpoint_config=CheckpointConfig(num_to_keep=config.training.keep_checkpoints),
            failure_config=FailureConfig(max_failures=scaling.max_failures),
        ),
    )
    try:
        returned = trainer.fit().return_value
    except ray.train.TrainingFailedError as error:
        failures = getattr(error, "worker_failures", {}).values()
        causes = [getattr(failure, "health_check_failure", failure) for failure in failures]
        # One dead worker is enough: the others then fail because their connections to it broke.
        if not any(isinstance(cause, ray.exceptions.RayActorError) for cause in causes):
            raise
        raise InputError(
            f"workers died more than scaling.max_failures = {scaling.max_failures} times; the checkpoints in "
            f"{config.output} are good: run again with --resume"
        ) from error
    if isinstance(returned, str):
        raise InputError(returned)
    return returned


def _answer(loop_config: dict[Any, Any]) -> Any:
    """A user's mistake is returned as its message, since raising it would restart the run."""
    try:
        return loop_config["work"](loop_config["argument"])
    except InputError as error:
        return str(error)


def _run(job: Job) -> Outcome:
    config = Config.model_validate(job.config)
    context = ray.train.get_context()
    world = World(context.get_world_rank(), context.get_world_size())
    device = training_device(config.scaling.use_gpu)
    torch.set_num_threads(config.scaling.threads or max(1, int(config.scaling.cpus_per_worker)))
    strategy = start(config, job.create, device)
    scorer: Scorer = strategy.scorer
    clock = Clock()
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            tensors, clock = read_state(Path(folder))
        strategy.restore(tensors, clock.step)

    def save(now: Clock) -> None:
        tensors = strategy.state()
        with tempfile.TemporaryDirectory() as name:
            mine = None
            if world.rank == 0:
                scorer.save(Path(name))
                write_state(Path(name), tensors, now)
                mine = Checkpoint.from_directory(name)
            ray.train.report({"step": now.step}, checkpoint=mine, checkpoint_dir_name=f"checkpoint_{now.step:08d}")

    data = ray.get(job.data)
    if world.rank == 0:
        with RunLog(config, clock.step) as log:
            clock = train_together(strategy, data, config, clock, log, save, world, device)
        write_checkpoint(scorer, config.output / "checkpoint")
    else:
        clock = train_together(strategy, data, config, clock, lambda line: None, save, world, device)
    strategy.scorer.eval()
    with strategy.apart():
        part = job.finish(scorer, config, world)
    parts: list[Any] = [part]
    if world.size > 1:
        parts = [None] * world.size
        dist.all_gather_object(parts, part)
    return Outcome(clock, parts)


def write_checkpoint(scorer: Scorer, folder: Path) -> None:
    """Writes the servable checkpoint whole or not at all."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    scorer.save(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
