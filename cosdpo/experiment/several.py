"""Trainings and measurements of a comparison that several workers share, on Ray Train; training.py has those of one.

Both are called in a Ray task that takes no resources itself: Ray Train reserves those of the workers.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
import torch
import torch.distributed as dist

from cosdpo.arrays import Floats
from cosdpo.config import Config
from cosdpo.data.training_data import TrainingData
from cosdpo.experiment.cluster import ask_workers_often
from cosdpo.experiment.single import Measuring, Trained, keep, peak_memory, read_margins, rewards, store_rewards
from cosdpo.training.devices import training_device
from cosdpo.training.ray_train import FOLDER, Job, fit, on_workers_for_once
from cosdpo.training.strategies.fsdp import shard
from cosdpo.training.strategies.lockstep import Rounds
from cosdpo.training.world import World


@dataclass(frozen=True)
class _Part:
    """What a worker says of a finished training."""

    rewards: dict[int, Floats]
    reward_seconds: float
    parameters: int
    peak_memory: int


def train_one(
    config_tree: dict[str, Any],
    create: Callable[[Config, torch.device], Any],
    data: TrainingData,
    sources: Sequence[tuple[Path, float]],
    keep_rewards: bool,
) -> Trained:
    """As `cosdpo.experiment.single.train_one`, by scaling.workers workers under scaling.strategy."""
    ask_workers_often()
    config = Config.model_validate(config_tree)
    if sources:
        data.set_margins(read_margins(sources, config))
    config.output.mkdir(parents=True, exist_ok=True)
    stored = ray.put(data)
    job = Job(config_tree, create, stored, partial(_finish, data=stored, keep_rewards=keep_rewards))
    outcome = fit(config, job)
    parts: list[_Part] = outcome.parts
    if keep_rewards:
        found = {index: row for part in parts for index, row in part.rewards.items()}
        store_rewards(config.output, [found[index] for index in range(len(data))])
    trained = Trained(
        steps=outcome.clock.step,
        seconds=outcome.clock.seconds,
        reward_seconds=max(part.reward_seconds for part in parts),
        parameters=parts[0].parameters,
        peak_memory=max(part.peak_memory for part in parts),
    )
    keep(trained, config.output)
    shutil.rmtree(config.output / FOLDER, ignore_errors=True)
    return trained


def _finish(scorer: Any, config: Config, world: World, data: Any, keep_rewards: bool) -> _Part:
    device = training_device(config.scaling.use_gpu)
    found, seconds = rewards(scorer, config, ray.get(data), device, world) if keep_rewards else ({}, 0.0)
    return _Part(found, seconds, scorer.trained_parameters(), peak_memory(device))


def measure_some(wanted: Measuring) -> list[Any]:
    """As `cosdpo.experiment.single.measure_some`, on a base that no worker holds whole."""
    ask_workers_often()
    config = Config.model_validate(wanted.config)
    parts: list[Any] = on_workers_for_once(config, FOLDER, _measure, wanted)
    shutil.rmtree(config.output, ignore_errors=True)
    return parts


def _measure(wanted: Measuring) -> list[Any]:
    """The parts of all workers; each measures every N-th grid point of a policy, the first is the lead."""
    config = Config.model_validate(wanted.config)
    torch.set_num_threads(config.scaling.worker_threads)
    device, rank, size = training_device(config.scaling.use_gpu), dist.get_rank(), dist.get_world_size()
    parts: list[Any] = []
    for checkpoints, indices in wanted.by_policy():
        scorer = wanted.average(checkpoints, config, torch.device("cpu"))
        shard(scorer, device, offload=config.scaling.offload == "parameters")
        lead = rank == 0 and not parts
        with Rounds(scorer).uneven():
            mine = wanted.measure(scorer, config, indices[rank::size], lead, False)
        gathered: list[Any] = [None] * size
        dist.all_gather_object(gathered, mine)
        parts += gathered
    return parts
