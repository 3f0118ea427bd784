"""Work that several workers share, on Ray Train: trainings, and passes that are done once, such as measurements.

Rank 0 writes metrics and checkpoints. Data comes out of Ray's object store, so only `output` must be on storage that
all nodes see. The number of workers may change with every restart.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train import Checkpoint, CheckpointConfig, CheckpointUploadMode, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from cosdpo.cli.interruption import beside
from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.training import storage
from cosdpo.training.checkpoints import FOLDER, State, name_of, write
from cosdpo.training.devices import training_device
from cosdpo.training.failures import explained
from cosdpo.training.preemption import GroupPreemption
from cosdpo.training.strategies.strategy import Strategy
from cosdpo.training.training_state import Clock
from cosdpo.training.unit import Trained, Unit, train_unit
from cosdpo.training.world import World


def ask_workers_often() -> None:
    """Has Ray Train ask its workers every 0.2 s; its default of 2 s costs short runs a quarter of their time."""
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")


def train_on_workers(unit: Unit, data: Any) -> Trained:
    """Trains `unit` by scaling.workers workers under scaling.strategy, from the newest state in scaling.storage.

    Args:
        data: object reference of the training data.

    Raises:
        InputError: the run diverged or kept failing; the message says where its checkpoints are.
    """
    trained: Trained = on_workers(unit.config, FOLDER, _train, _Training(unit, data))
    if not unit.config.scaling.storage:
        shutil.rmtree(unit.config.output / FOLDER, ignore_errors=True)
    return trained


def on_workers(config: Config, name: str, work: Callable[[Any], Any], argument: Any) -> Any:
    """What `work(argument)` returns on the first of the run's workers, which are one process group.

    Args:
        name: of the folder in config.output that Ray Train keeps its state in.
        work: called on every worker; what it reports as a checkpoint it finds again after a restart.

    Raises:
        InputError: `work` did, workers kept failing, or what they write cannot be written.
    """
    ask_workers_often()
    scaling = config.scaling
    storage.mend(config, name)
    workers: Any = (scaling.min_workers, scaling.workers) if scaling.min_workers else scaling.workers
    filesystem, path = storage.opened(config)
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
            storage_path=path,
            storage_filesystem=filesystem,
            checkpoint_config=CheckpointConfig(num_to_keep=config.training.keep_checkpoints),
            failure_config=FailureConfig(**failures),
        ),
    )
    try:
        returned = beside(trainer.fit).return_value
    except ray.train.TrainingFailedError as error:
        message = explained(_causes(error), config)
        if message is None:
            raise
        raise InputError(message) from error
    if isinstance(returned, str):
        raise InputError(returned)
    return returned


def on_workers_for_once(config: Config, name: str, work: Callable[[Any], Any], argument: Any) -> Any:
    """As `on_workers`, for work that starts anew after a kill: nothing of it is kept, wherever checkpoints are."""
    returned = on_workers(config.changed({"scaling.storage": ""}), name, work, argument)
    shutil.rmtree(config.output / name, ignore_errors=True)
    return returned


def place() -> World:
    """This worker's place among those of its run."""
    context = ray.train.get_context()
    return World(context.get_world_rank(), context.get_world_size())


@dataclass(frozen=True)
class _Training:
    unit: Unit
    data: Any


def _train(training: _Training) -> Trained:
    config, world = training.unit.config, place()
    device = training_device(config.scaling.use_gpu)
    torch.set_num_threads(config.scaling.worker_threads)
    return train_unit(
        training.unit, ray.get(training.data), ReportedCheckpoints(world), device, world, GroupPreemption()
    )


class ReportedCheckpoints:
    """States that Ray Train copies to its storage while training goes on."""

    def __init__(self, world: World) -> None:
        """Of a worker of `world`."""
        self.world = world

    def newest(self) -> State | None:
        """The newest whole state."""
        where = ray.train.get_context().get_storage()
        return storage.newest(ray.train.get_checkpoint(), where.storage_filesystem, where.experiment_fs_path)

    def save(self, strategy: Strategy, clock: Clock) -> None:
        """Hands the state to Ray Train, which registers it once all of it is there."""
        tensors = strategy.state()
        mine = None
        if self.world.rank == 0:
            folder = Path(tempfile.mkdtemp())  # Ray deletes it when all of it was copied
            write(folder, strategy, tensors, clock)
            mine = Checkpoint.from_directory(folder)
        ray.train.report(
            {"step": clock.step},
            checkpoint=mine,
            checkpoint_dir_name=name_of(clock.step),
            checkpoint_upload_mode=CheckpointUploadMode.ASYNC,
        )


def _causes(error: ray.train.TrainingFailedError) -> list[BaseException]:
    """What ended the workers and their controller, without Ray's wrapping."""
    wrapped = [getattr(error, "controller_failure", error), *getattr(error, "worker_failures", {}).values()]
    return [getattr(cause, "health_check_failure", getattr(cause, "_base_exc", cause)) for cause in wrapped]


def _answer(loop_config: dict[Any, Any]) -> Any:
    """A user's mistake is returned as its message, since raising it would restart the run."""
    try:
        return loop_config["work"](loop_config["argument"])
    except InputError as error:
        return str(error)
