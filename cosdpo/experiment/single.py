"""One training and one measurement of a comparison by one worker, each a Ray task with a folder of its own.

seed-0/runs/single_0.3_0.7/   state/STEP/ (to go on after a kill)   checkpoint/   done.json   rewards.parquet (margins)
"""

from __future__ import annotations

import json
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from cosdpo.arrays import Floats
from cosdpo.config import Config
from cosdpo.data.training_data import TrainingData
from cosdpo.experiment.resources import of_worker
from cosdpo.files import whole_file
from cosdpo.losses import modpo_margins
from cosdpo.methods.method import Policy
from cosdpo.tasks.task import Average, Measure
from cosdpo.training.devices import worker_device
from cosdpo.training.loop import optimizer_for, train
from cosdpo.training.ray_train import write_checkpoint
from cosdpo.training.tracking import RunLog
from cosdpo.training.training_state import Clock, load_state, save_state
from cosdpo.training.world import World

DONE = "done.json"
REWARDS = "rewards.parquet"


@dataclass(frozen=True)
class Trained:
    """What is left of a finished training, in done.json."""

    steps: int
    seconds: float
    """Wall time of the training loop, over all restarts."""
    reward_seconds: float
    """Wall time of scoring the training data for those that take margins from this run."""
    parameters: int
    peak_memory: int
    """Largest resident memory of the process, in bytes; of the GPU's where one was used."""

    @classmethod
    def read(cls, folder: Path) -> Trained | None:
        """The finished training in `folder`, or None."""
        path = folder / DONE
        return cls(**json.loads(path.read_text())) if path.exists() else None


def train_one(
    config_tree: dict[str, Any],
    create: Callable[[Config, torch.device], Any],
    data: TrainingData,
    sources: Sequence[tuple[Path, float]],
    keep_rewards: bool,
) -> Trained:
    """Trains one run to its end in config.output, from its own saved state where there is one.

    Args:
        sources: folders of the runs whose rewards are margins here, and their weights.
        keep_rewards: also score the training data, for runs that have this one as a source.
    """
    config = Config.model_validate(config_tree)
    folder, device = config.output, _device(config)
    torch.manual_seed(config.seed)
    scorer = create(config, device)
    optimizer = optimizer_for(scorer, config)
    if sources:
        data.set_margins(read_margins(sources, config))
    folder.mkdir(parents=True, exist_ok=True)
    states, clock = folder / "state", Clock()
    if saved := _saved(states):
        clock = load_state(saved[-1], scorer, optimizer)

    def save(now: Clock) -> None:
        before, temporary = _saved(states), states / ".new"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        save_state(temporary, scorer, optimizer, now)
        temporary.rename(states / f"{now.step:08d}")
        # Only now: at every moment there is a whole state.
        for old in before:
            shutil.rmtree(old)

    with RunLog(config, clock.step) as log:
        clock = train(scorer, data, config, optimizer, clock, log, save, device=device)
    scorer.eval()
    write_checkpoint(scorer, folder / "checkpoint")
    reward_seconds = 0.0
    if keep_rewards:
        found, reward_seconds = rewards(scorer, config, data, device, World())
        store_rewards(folder, [found[index] for index in range(len(data))])
    trained = Trained(
        steps=clock.step,
        seconds=clock.seconds,
        reward_seconds=reward_seconds,
        parameters=scorer.trained_parameters(),
        peak_memory=peak_memory(device),
    )
    keep(trained, folder)
    shutil.rmtree(states, ignore_errors=True)
    return trained


def keep(trained: Trained, folder: Path) -> None:
    """Writes done.json, after which the run is not done again."""
    with whole_file(folder / DONE) as temporary:
        temporary.write_text(json.dumps(asdict(trained)))


def _saved(states: Path) -> list[Path]:
    """Whole states by step, the newest last: two where a kill came before the older one was deleted."""
    return sorted(states.glob("[0-9]*"))


@torch.no_grad()
def rewards(
    scorer: Any, config: Config, data: TrainingData, device: torch.device, world: World
) -> tuple[dict[int, Floats], float]:
    """Rewards beta r_i = beta (log pi - log pi_ref) of every candidate under one objective's policy.

    Args:
        world: this worker's place among those that divide the contexts among them.

    Returns:
        [n] of each of this worker's contexts by its index, and the seconds it took.
    """
    began, values = time.perf_counter(), {}
    m = len(config.objectives)
    beta = torch.tensor(config.temperatures, device=device, dtype=torch.float32)
    weights = torch.tensor(config.training.weights or [1 / m] * m, device=device, dtype=torch.float32)
    own = int(np.argmax(config.training.weights)) if config.training.weights else 0
    batches = data.in_order_of_length(config.evaluation.batch_tokens)
    for indices in islice(batches, world.rank, None, world.size):
        batch = data.batch(indices).to(device)
        rows = (len(indices), m)
        scores = scorer(batch.contexts, weights.expand(rows), beta.expand(rows)) - batch.reference
        scaled = (scores * config.temperatures[own]).double().cpu().numpy()
        for index, row, count in zip(indices, scaled, batch.mask.sum(1).tolist(), strict=True):
            values[index] = row[:count]
    return values, time.perf_counter() - began


def read_margins(sources: Sequence[tuple[Path, float]], config: Config) -> list[Floats]:
    """(1 / beta) sum_k w_k r^k of every candidate, [n] per context."""
    own = int(np.argmax(config.training.weights))
    # MO-DPO trains at beta / w_j; the margin is divided by beta itself.
    weight = 1 - sum(w for _, w in sources)
    beta = config.temperatures[own] * weight
    stored = [pq.read_table(folder / REWARDS)["rewards"].to_pylist() for folder, _ in sources]
    shares = torch.tensor([w for _, w in sources], dtype=torch.float64)
    return [
        modpo_margins(torch.tensor(rows, dtype=torch.float64), shares, beta).numpy()
        for rows in zip(*stored, strict=True)
    ]


def store_rewards(folder: Path, values: Sequence[Floats]) -> None:
    """Writes what `read_margins` reads."""
    column = pa.array([row.tolist() for row in values], type=pa.list_(pa.float64()))
    with whole_file(folder / REWARDS) as temporary:
        pq.write_table(pa.table({"rewards": column}), temporary)


@dataclass(frozen=True)
class Measuring:
    """The policies of some grid points, to be measured."""

    config: dict[str, Any]
    runs: Path
    """Folder of the trained runs."""
    policies: Sequence[tuple[int, Policy]]
    """(grid index, policy) pairs."""
    average: Average
    measure: Measure

    def by_policy(self) -> Iterator[tuple[dict[Path, float], list[int]]]:
        """Checkpoints of every different policy with their shares, and the grid points that it is for."""
        groups: dict[tuple[tuple[str, float], ...], list[int]] = {}
        for index, policy in self.policies:
            groups.setdefault(tuple(policy.shares.items()), []).append(index)
        for shares, indices in groups.items():
            yield {self.runs / name / "checkpoint": share for name, share in shares}, indices


def measure_some(wanted: Measuring) -> list[Any]:
    """A part for each policy, which is loaded once for all its grid points; the first is the lead's."""
    config = Config.model_validate(wanted.config)
    device = _device(config)
    parts: list[Any] = []
    for checkpoints, indices in wanted.by_policy():
        scorer = wanted.average(checkpoints, config, device)
        parts.append(wanted.measure(scorer, config, indices, not parts, False))
    return parts


def _device(config: Config) -> torch.device:
    resources = of_worker(config)
    torch.set_num_threads(config.scaling.threads or max(1, int(resources.cpus)))
    return worker_device(resources.gpus > 0)


def peak_memory(device: torch.device) -> int:
    """Largest resident memory of this process so far, in bytes; of the GPU's where one is used."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
