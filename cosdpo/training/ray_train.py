"""A run on Ray Train: the worker function, its checkpoints and its restarts.

Rank 0 writes metrics and checkpoints; every worker trains on its share of each global batch and then runs the job's
`finish`, which measures what was trained. Data comes out of Ray's object store, so only `output` must be on storage
that all nodes see. The number of workers may change with every restart.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ray
import ray.train
import torch
import torch.distributed as dist
from ray.train import Checkpoint, CheckpointConfig, CheckpointUploadMode, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from safetensors import SafetensorError

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.training import storage
from cosdpo.training.devices import training_device
from cosdpo.training.loop import train_together
from cosdpo.training.preemption import Notices
from cosdpo.training.strategies.start import start
from cosdpo.training.strategies.strategy import Strategy
from cosdpo.training.tracking import RunLog
from cosdpo.training.training_state import Clock, write_state
from cosdpo.training.world import World

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
        InputError: `work` did, workers kept failing, or what they write cannot be written.
    """
    scaling = config.scaling
    storage.mend(config, name)
    workers: Any = (scaling.min_workers, scaling.workers) if scaling.min_workers else scaling.workers
    failures: dict[str, Any] = {"max_failures": scaling.max_failures, "max_preemption_failures": -1}
    trainer: Any = TorchTrainer(
        _answer,
        train_loop_config={"work": work, "argument": argument},
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=scaling.use_gpu,
            resources_per_worker={"CPU": scaling.cpus_per_worker} | ({"GPU": 1} if scaling.use_gpu else {}),
        ),
        run_config=RunConfig(
            name=name,
            storage_path=storage.location(config),
            checkpoint_config=CheckpointConfig(num_to_keep=config.training.keep_checkpoints),
            failure_config=FailureConfig(**failures),
        ),
    )
    try:
        returned = trainer.fit().return_value
    except ray.train.TrainingFailedError as error:
        message = _explained(error, config)
        if message is None:
            raise
        raise InputError(message) from error
    if isinstance(returned, str):
        raise InputError(returned)
    return returned


def on_workers_for_once(config: Config, name: str, work: Callable[[Any], Any], argument: Any) -> Any:
    """As `on_workers`, for work that starts anew after a kill: nothing of it is kept, wherever checkpoints are."""
    here = config.model_copy(update={"scaling": config.scaling.model_copy(update={"storage": ""})})
    found = on_workers(here, name, work, argument)
    shutil.rmtree(config.output / name, ignore_errors=True)
    return found


def _explained(error: ray.train.TrainingFailedError, config: Config) -> str | None:
    """One line on a failure that is no defect: dead workers, a full disk or lost storage; None otherwise."""
    place = storage.location(config)
    wrapped = [getattr(error, "controller_failure", error), *getattr(error, "worker_failures", {}).values()]
    causes = [getattr(one, "health_check_failure", getattr(one, "_base_exc", one)) for one in wrapped]
    for cause in causes:
        # Ray's own words where its marker is gone from the storage.
        lost = isinstance(cause, RuntimeError) and "cluster storage" in str(cause)
        broken = isinstance(cause, OSError) and not isinstance(cause, ConnectionError | TimeoutError)
        if lost or broken or isinstance(cause, SafetensorError):
            reason = f"{place} is gone" if lost else str(cause).splitlines()[0]
            return (
                f"a worker cannot read or write what it has to ({reason}): mend that, then run again with --resume; "
                "the checkpoints before it are good"
            )
    # One dead worker is enough: the others then fail because their connections to it broke.
    if any(isinstance(cause, ray.exceptions.RayActorError) for cause in causes):
        return (
            f"workers died more than scaling.max_failures = {config.scaling.max_failures} times; the checkpoints in "
            f"{place} are good: run again with --resume"
        )
    return None


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
    torch.set_num_threads(config.scaling.worker_threads)
    strategy = start(config, job.create, device)
    scorer: Scorer = strategy.scorer
    clock = Clock()
    place = context.get_storage()
    saved = storage.newest(ray.train.get_checkpoint(), place.storage_filesystem, place.experiment_fs_path)
    if saved is not None:
        tensors, clock = saved
        strategy.restore(tensors, clock.step)

    save = saving(strategy, world)
    data = ray.get(job.data)
    with RunLog(config, clock.step) if world.rank == 0 else nullcontext(lambda line: None) as log:
        clock = train_together(strategy, data, config, clock, log, save, world, device, Notices())
    if world.rank == 0:
        write_checkpoint(scorer, config.output / "checkpoint")
    strategy.scorer.eval()
    with strategy.apart():
        part = job.finish(scorer, config, world)
    parts: list[Any] = [part]
    if world.size > 1:
        parts = [None] * world.size
        dist.all_gather_object(parts, part)
    return Outcome(clock, parts)


def saving(strategy: Strategy, world: World) -> Callable[[Clock], None]:
    """What every worker calls to save: Ray Train copies the checkpoint to its storage while training goes on."""

    def save(now: Clock) -> None:
        tensors = strategy.state()
        mine = None
        if world.rank == 0:
            folder = Path(tempfile.mkdtemp())  # Ray deletes it when all of it was copied
            strategy.scorer.save(folder)
            write_state(folder, tensors, now)
            mine = Checkpoint.from_directory(folder)
        ray.train.report(
            {"step": now.step},
            checkpoint=mine,
            checkpoint_dir_name=f"{storage.PREFIX}{now.step:08d}",
            checkpoint_upload_mode=CheckpointUploadMode.ASYNC,
        )

    return save


def write_checkpoint(scorer: Scorer, folder: Path) -> None:
    """Writes the servable checkpoint whole or not at all."""
    temporary = folder.with_name(f".{folder.name}")  # one name, so that a kill leaves nothing behind for long
    shutil.rmtree(temporary, ignore_errors=True)
    scorer.save(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
