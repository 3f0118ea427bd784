"""Starts a training or a measurement where it belongs: a Ray task for one worker, Ray Train for several.

The trials of a sweep train in Ray Tune's own processes (sweep/tuning.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cosdpo.activity import counting
from cosdpo.config import Config
from cosdpo.data.training_data import TrainingData
from cosdpo.experiment import resources
from cosdpo.experiment.resources import Resources
from cosdpo.tasks.task import Average, Measure
from cosdpo.training import storage
from cosdpo.training.checkpoints import FOLDER, FolderCheckpoints
from cosdpo.training.devices import training_device, worker_device
from cosdpo.training.preemption import Preemption
from cosdpo.training.unit import Trained, Unit, train_unit
from cosdpo.training.world import World

ObjectRef = ray.ObjectRef[Any]


@dataclass(frozen=True)
class Measuring:
    """The policies of some grid points, to be measured; picklable."""

    name: str
    """Of the folder in config.output that several workers keep while they measure."""
    config: Config
    policies: Sequence[tuple[int, Mapping[Path, float]]]
    """(grid index, checkpoints with their shares) pairs."""
    average: Average
    measure: Measure
    illustrate: bool
    """Whether the lead shows the trade-off in samples."""


def start_training(unit: Unit, data: ObjectRef, one_of_many: bool) -> ObjectRef:
    """Trains `unit`, from its newest state where there is one; the reference is that of its `Trained`.

    Args:
        one_of_many: each training gets a process of its own, so that its peak memory is not that of the one before.
    """
    config = unit.config
    if config.scaling.workers > 1 or config.scaling.storage:
        return _started(_train_together, resources.NOTHING, config, unit, [data])
    return _started(_train_alone, resources.of_worker(config), config, unit, data, own_process=one_of_many)


def start_measuring(wanted: Measuring) -> ObjectRef:
    """Measures policies by as many workers as the training had; the reference is that of the parts, a lead's first."""
    config = wanted.config
    if config.scaling.workers > 1:
        return _started(_measure_together, resources.NOTHING, config, wanted)
    return _started(_measure_alone, resources.of_worker(config), config, wanted)


def _started(
    work: Callable[..., Any], taken: Resources, config: Config, *arguments: Any, own_process: bool = False
) -> ObjectRef:
    """A Ray task, begun again when its process or node dies. One on a GPU has a process of its own in any case: an idle
    one would hold on to the GPU's memory.
    """
    calls = int(own_process or taken.gpus > 0)  # 0: any number
    options = taken.options | {"max_calls": calls, "max_retries": config.scaling.max_failures}
    if taken == resources.NOTHING:
        options["scheduling_strategy"] = _here()
    remote: Any = ray.remote(**options)
    reference: ObjectRef = remote(work).remote(*arguments)
    return reference


def _here() -> NodeAffinitySchedulingStrategy:
    """This process's node: Ray Train puts its controller beside the one that asks, and a node that is taken away would
    end all workers with it.
    """
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)


def _train_alone(unit: Unit, data: TrainingData) -> Trained:
    config = unit.config
    storage.forget(config, FOLDER)
    checkpoints = FolderCheckpoints(config.output / FOLDER, config.training.keep_checkpoints)
    trained = train_unit(unit, data, checkpoints, _device(config), notice=Preemption())
    checkpoints.remove()
    return trained


def _train_together(unit: Unit, data: Sequence[ObjectRef]) -> Trained:
    from cosdpo.training.ray_train import train_on_workers  # here: its import takes seconds, that one worker can save

    return train_on_workers(unit, data[0])


def _measure_alone(wanted: Measuring) -> list[Any]:
    return measure_policies(wanted, _device(wanted.config))


def _measure_together(wanted: Measuring) -> list[Any]:
    from cosdpo.training.ray_train import on_workers_for_once

    parts: list[Any] = on_workers_for_once(wanted.config, wanted.name, _measure_on_worker, wanted)
    return parts


def _measure_on_worker(wanted: Measuring) -> list[Any]:
    from cosdpo.training.ray_train import place

    torch.set_num_threads(wanted.config.scaling.worker_threads)
    return measure_policies(wanted, training_device(wanted.config.scaling.use_gpu), place())


def measure_policies(wanted: Measuring, device: torch.device, world: World | None = None) -> list[Any]:
    """The parts of all workers of `world`, a lead's first; a policy is loaded once for all its grid points."""
    config, world = wanted.config, world or World()
    parts: list[Any] = []
    for checkpoints, indices in _shares(wanted, world):
        scorer, together = _placed(wanted.average, checkpoints, config, device)
        lead = world.rank == 0 and not parts
        with together, counting(config.output, wanted.name, len(indices)):
            parts.append(wanted.measure(scorer, config, indices, lead, lead and wanted.illustrate, config.ratios))
    return [part for of_worker in world.gathered(parts) for part in of_worker]


def _shares(wanted: Measuring, world: World) -> Iterator[tuple[Mapping[Path, float], list[int]]]:
    """Every policy that this worker measures, with its grid points.

    A base that no worker holds whole is loaded by all of them together: then they share the points of each policy.
    """
    sharded = wanted.config.scaling.shards_the_base
    mine = wanted.policies if sharded else wanted.policies[world.rank :: world.size]
    groups: dict[tuple[tuple[Path, float], ...], list[int]] = {}
    for index, shares in mine:
        groups.setdefault(tuple(shares.items()), []).append(index)
    for policy, indices in groups.items():
        yield dict(policy), indices[world.rank :: world.size] if sharded else indices


def _placed(
    average: Average, checkpoints: Mapping[Path, float], config: Config, device: torch.device
) -> tuple[Any, AbstractContextManager[None]]:
    """The policy's scorer on `device`, and the context in which workers may use it differently often."""
    if not config.scaling.shards_the_base:
        return average(checkpoints, config, device), nullcontext()
    from cosdpo.training.strategies.fsdp import shard
    from cosdpo.training.strategies.lockstep import Rounds

    scorer = average(checkpoints, config, torch.device("cpu"))
    shard(scorer, device, offload=config.scaling.offload == "parameters")
    return scorer, Rounds(scorer).uneven()


def _device(config: Config) -> torch.device:
    """Where a task of one worker computes, with as many threads as it has cores."""
    taken = resources.of_worker(config)
    torch.set_num_threads(config.scaling.threads or max(1, int(taken.cpus)))
    return worker_device(taken.gpus > 0)
