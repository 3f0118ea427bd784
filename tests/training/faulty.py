"""A tiny ranker's training on Ray that breaks in the way that a file in its run folder asks for.

full     saving finds no room
kill     the process dies within a save, with several workers while the state is being copied to its storage
"""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cosdpo.config import Config
from cosdpo.experiment.execute import train_bases
from cosdpo.experiment.plan import Case
from cosdpo.models.ranking_scorer import RankingScorer
from cosdpo.training.storage import location
from cosdpo.training.tracking import read_metrics
from cosdpo.training.unit import CHECKPOINT, Trained, Unit
from tests import tiny_rankers
from tests.training.runs import whole_run

STEPS = 40
LARGE = 400 * 2**20
"""Bytes of a file whose copying takes long enough to be interrupted."""


def settings(output: Path, **changes: object) -> Config:
    """A training of 40 steps that saves and logs often."""
    defaults: dict[str, object] = {
        "output": str(output),
        "training__steps": STEPS,
        "training__batch_size": 8,
        "training__log_every": 1,
        "training__checkpoint_every": 5,
        "scaling__max_failures": 1,
    }
    return tiny_rankers.settings(**{**defaults, **changes})


def create(config: Config, device: torch.device) -> RankingScorer:
    """The scorer of a training, with the fault that was asked for in its `save`."""
    scorer = tiny_rankers.scorer(config)
    save: Callable[[Path], None] = scorer.save

    def breaking(folder: Path) -> None:
        save(folder)
        if (config.output / "full").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
        if (config.output / "kill").exists():
            (config.output / "kill").unlink()
            if config.scaling.workers == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            with (folder / "large").open("wb") as file:
                file.truncate(LARGE)
            threading.Thread(target=die_while_copying, args=(Path(location(config)),), daemon=True).start()

    scorer.save = breaking  # type: ignore[method-assign]
    return scorer


def die_while_copying(place: Path) -> None:
    """SIGKILL as soon as a part of the large file is in the storage."""
    while True:
        for copy in (place / "training").glob("checkpoint_*/large"):
            if 0 < copy.stat().st_size < LARGE:
                os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.001)


class Slow:
    """Training data that takes its time, so that something can happen within a training."""

    def __init__(self, data: Any, seconds: float) -> None:
        self.data, self.seconds = data, seconds

    def __len__(self) -> int:
        return len(self.data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["data"], name)

    def __reduce__(self) -> Any:
        return Slow, (self.data, self.seconds)

    def batch(self, indices: Any) -> Any:
        time.sleep(self.seconds)
        return self.data.batch(indices)


class Given:
    """In the place of a task, what is to be trained; a step takes about `seconds`."""

    def __init__(self, config: Config, seconds: float) -> None:
        self.unit = Unit(config, create)
        self.data = Slow(tiny_rankers.ranking_data(config), seconds)

    def base(self) -> tuple[Unit, Slow]:
        return self.unit, self.data

    def use_base(self, checkpoint: Path) -> None:
        pass


def train(config: Config, seconds: float = 0.0) -> Trained:
    """Trains as a job does, by one worker or several, and goes on with what is there."""
    train_bases([(Case(0, 0, config), Given(config, seconds))], 1, config)  # type: ignore[list-item]
    trained = Trained.read(config.output)
    assert trained is not None
    return trained


def assert_same(config: Config) -> None:
    """Trained tensors and logged losses are those of the training that nothing happened to, without Ray, and every step
    was logged once.
    """
    tensors, lines = whole_run(config)
    trained = load_file(config.output / CHECKPOINT / "model.safetensors")
    for name, tensor in tensors.items():
        # A shift of all keys or of all scores changes nothing: AdamW moves these biases along rounding errors alone.
        if not name.endswith(("qkv.bias", "network.norm.bias")):
            torch.testing.assert_close(trained[name], tensor, rtol=1e-5, atol=1e-5, msg=name)
    logged = read_metrics(config.output)
    assert [line["step"] for line in logged] == [line["step"] for line in lines]
    for ours, right in zip(logged, lines, strict=True):
        for key in ("loss", "gradient_norm"):
            assert abs(ours[key] - right[key]) < 1e-5 + 1e-4 * abs(right[key]), (key, ours, right)


def checkpoints(place: Path) -> list[str]:
    return sorted(path.name for path in (place / "training").glob("checkpoint_0*"))


def first_steps(config: Config) -> list[int]:
    """First step after each start of the workers; each start opens an event file."""
    first = []
    for file in sorted((config.output / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime):
        board = EventAccumulator(str(file))
        board.Reload()
        first.append(board.Scalars("loss")[0].step)
    return first
