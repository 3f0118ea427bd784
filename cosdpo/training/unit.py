"""Training one thing: the one body behind runs, baselines, base rankers, comparisons and the trials of a sweep.

    seed, create, restore -> train -> checkpoint/ -> rewards for others' margins -> done.json

It knows neither Ray nor where its states are kept (training/checkpoints.py), and goes on from the newest of them.

RUN FOLDER/   metrics.jsonl  tensorboard/  training/checkpoint_STEP (to go on after a kill)
              checkpoint/ (servable)  rewards.parquet (for MO-DPO's margins)  done.json (all of it is there)
"""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from cosdpo.arrays import Floats
from cosdpo.config import Config
from cosdpo.data.training_data import TrainingData
from cosdpo.files import whole_folder, write_whole
from cosdpo.training import margins
from cosdpo.training.best import BEST, Best
from cosdpo.training.checkpoints import Checkpoints
from cosdpo.training.curve import SELECTION, Curve
from cosdpo.training.loop import train_together
from cosdpo.training.strategies.start import Create, start
from cosdpo.training.tracking import RunLog
from cosdpo.training.training_state import Clock
from cosdpo.training.world import World

DONE = "done.json"
CHECKPOINT = "checkpoint"


@dataclass(frozen=True)
class Unit:
    """What is trained; picklable."""

    config: Config
    """Its output is the run folder."""
    create: Create
    """Builds a fresh scorer on a device, under a seed that all workers share."""
    sources: Sequence[tuple[Path, float]] = field(default_factory=list)
    """Run folders whose rewards are margins here, and their weights (MO-DPO)."""
    keep_rewards: bool = False
    """Also score the training data, for units that have this one as a source."""
    curve: Curve | None = None
    """What is measured on the way."""


@dataclass(frozen=True)
class Trained:
    """What is left of a finished training, in done.json."""

    steps: int
    seconds: float
    """Wall time of the training loop, over all restarts."""
    reward_seconds: float
    """Wall time of scoring the training data for those that take margins from this run."""
    parameters: int
    """Parameters that were trained."""
    peak_memory: int
    """Largest resident memory of any worker's process, in bytes; of its GPU's where one was used."""
    base_parameters: int = 0
    """Parameters of the frozen base; 0 in files of versions that did not write it."""
    workers: int = 1
    """Workers at the end."""
    kept_step: int | None = None
    """Steps after which the trained tensors were as checkpoint/ has them; None in files that did not say."""

    @classmethod
    def read(cls, folder: Path) -> Trained | None:
        """The finished training in `folder`, or None."""
        path = folder / DONE
        return cls(**json.loads(path.read_text())) if path.exists() else None


def train_unit(
    unit: Unit,
    data: TrainingData,
    checkpoints: Checkpoints,
    device: torch.device,
    world: World | None = None,
    notice: Callable[[], bool] = lambda: False,
    watch: Callable[[Any, Clock], None] = lambda scorer, clock: None,
) -> Trained:
    """Trains `unit` to its end, by this worker together with the others of `world`.

    Args:
        notice: see `train_together`.
        watch: called with the scorer before every state is kept, on every worker; what it takes is no training time.

    Raises:
        InputError: the loss is not finite; the checkpoints written so far are good.
    """
    config, world = unit.config, world or World()
    config.output.mkdir(parents=True, exist_ok=True)
    strategy = start(config, unit.create, device)
    scorer, clock = strategy.scorer, Clock()
    if (saved := checkpoints.newest()) is not None:
        tensors, clock = saved
        strategy.restore(tensors, clock.step)
    if unit.sources:
        data.set_margins(margins.read(unit.sources, config))

    def save(now: Clock) -> None:
        watch(scorer, now)
        checkpoints.save(strategy, now)

    curve, best = unit.curve, Best(config.output / BEST)

    def held_out(now: Clock) -> dict[str, float]:
        if curve is None or not curve.due(now.step, config):
            return {}
        line = curve.line(strategy, config, device)
        if SELECTION in line:
            best.offer(line[SELECTION], strategy, now, world)
        return line

    apart = curve.apart if curve else ()
    with RunLog(config, clock.step) if world.rank == 0 else nullcontext(lambda line: None) as log:
        clock = train_together(strategy, data, config, clock, log, save, world, device, notice, held_out, apart)
    kept = best.take(strategy, world) if apart else clock.step
    if world.rank == 0:
        write_checkpoint(scorer, config.output / CHECKPOINT)
    scorer.eval()
    rewards: dict[int, Floats] = {}
    reward_seconds = 0.0
    if unit.keep_rewards:
        with strategy.apart():
            rewards, reward_seconds = margins.rewards(scorer, config, data, device, world)
    parts = world.gathered((rewards, reward_seconds, peak_memory(device)))
    parameters = scorer.trained_parameters()
    trained = Trained(
        steps=clock.step,
        seconds=clock.seconds,
        reward_seconds=max(seconds for _, seconds, _ in parts),
        parameters=parameters,
        peak_memory=max(memory for _, _, memory in parts),
        base_parameters=sum(p.numel() for p in scorer.parameters()) - parameters,
        workers=world.size,
        kept_step=kept,
    )
    if world.rank == 0:
        if unit.keep_rewards:
            margins.store(config.output, {index: row for part, _, _ in parts for index, row in part.items()})
        write_whole(config.output / DONE, json.dumps(asdict(trained)))
        best.remove()
    return trained


def write_checkpoint(scorer: Any, folder: Path) -> None:
    """Writes the servable checkpoint whole or not at all."""
    with whole_folder(folder) as temporary:
        scorer.save(temporary)


def peak_memory(device: torch.device) -> int:
    """Largest resident memory of this process so far, in bytes; of the GPU's where one is used."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
