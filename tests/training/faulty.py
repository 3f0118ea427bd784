"""A tiny ranker's run on Ray that breaks in the way that a file in its run folder asks for.

full     saving finds no room
kill     the process dies while a checkpoint is being copied to its storage
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

import ray
import torch
from torch import Tensor

from cosdpo.config import Config
from cosdpo.models.ranking_scorer import RankingScorer
from cosdpo.training.loop import optimizer_for, train
from cosdpo.training.ray_train import Job
from cosdpo.training.storage import location
from cosdpo.training.training_state import Clock
from cosdpo.training.world import World
from tests import tiny_rankers

STEPS = 40
LARGE = 400 * 2**20
"""Bytes of a file whose copying takes long enough to be interrupted."""


def settings(output: Path, **changes: object) -> Config:
    """A run of 40 steps that saves and logs often."""
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
    """The scorer of a run, with the fault that was asked for in its `save`."""
    scorer = tiny_rankers.scorer(config)
    save: Callable[[Path], None] = scorer.save

    def breaking(folder: Path) -> None:
        save(folder)
        if (config.output / "full").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
        if (config.output / "kill").exists() and folder.name != ".checkpoint":
            (config.output / "kill").unlink()
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
    """Training data that takes its time, so that something can happen within a run."""

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


def finish(scorer: Any, config: Config, world: World) -> dict[str, Any]:
    """The trained tensors, and how many workers there were at the end."""
    return {"tensors": {n: p.tolist() for n, p in scorer.named_parameters() if p.requires_grad}, "workers": world.size}


def job(config: Config, seconds: float = 0.02) -> Job:
    """For `fit`; a step takes about `seconds`."""
    config.output.mkdir(parents=True, exist_ok=True)
    data = ray.put(Slow(tiny_rankers.ranking_data(config), seconds))
    return Job(config.model_dump(mode="json"), create, data, finish)


def whole(config: Config) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Trained tensors and metrics of the run that nothing happened to, without Ray."""
    module, lines = tiny_rankers.scorer(config), []
    data = tiny_rankers.ranking_data(config)
    train(module, data, config, optimizer_for(module, config), Clock(), lines.append, lambda clock: None)
    return {n: p.detach() for n, p in module.named_parameters() if p.requires_grad}, lines


def assert_same(part: dict[str, Any], config: Config) -> None:
    """Trained tensors and logged losses are those of `whole`, and every step was logged once."""
    from cosdpo.training.tracking import read_metrics

    tensors, lines = whole(config)
    for name, tensor in tensors.items():
        # A shift of all keys or of all scores changes nothing: AdamW moves these biases along rounding errors alone.
        if not name.endswith(("qkv.bias", "network.norm.bias")):
            ours = torch.tensor(part["tensors"][name])
            torch.testing.assert_close(ours, tensor, rtol=1e-5, atol=1e-5, msg=name)
    logged = read_metrics(config.output)
    assert [line["step"] for line in logged] == [line["step"] for line in lines]
    for ours, right in zip(logged, lines, strict=True):
        for key in ("loss", "gradient_norm"):
            assert abs(ours[key] - right[key]) < 1e-5 + 1e-4 * abs(right[key]), (key, ours, right)
