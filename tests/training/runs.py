"""Whole, interrupted and shared runs of a tiny model or ranker, to compare how they end."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cosdpo.config import Config
from cosdpo.training.loop import optimizer_for, train, train_together
from cosdpo.training.strategies.start import start
from cosdpo.training.training_state import Clock, load_state, save_state
from cosdpo.training.world import World

Tensors = dict[str, Tensor]
Lines = list[dict[str, float]]


def made(config: Config) -> tuple[Any, Any]:
    """A fresh scorer and its training data; a ranker needs no transformers."""
    if config.task == "ranking":
        from tests.tiny_rankers import ranking_data, scorer

        return scorer(config), ranking_data(config)
    from tests import tiny_models

    return tiny_models.scorer(config), tiny_models.preferences(Path(config.model.base), config)


def trained(module: nn.Module) -> Tensors:
    """Copies of what is trained."""
    return {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}


def whole_run(config: Config) -> tuple[Tensors, Lines]:
    """Trained tensors and metrics of an uninterrupted run."""
    module, data = made(config)
    lines: Lines = []
    train(module, data, config, optimizer_for(module, config), Clock(), lines.append, lambda clock: None)
    return trained(module), lines


def resumed_run(config: Config, folder: Path) -> tuple[Tensors, Lines]:
    """The same of a run that ends at its first checkpoint and goes on in a scorer and a process unlike the first; the
    metrics are those from there on.
    """
    first, data = made(config)
    optimizer = optimizer_for(first, config)

    def save(clock: Clock) -> None:
        save_state(folder, first, optimizer, clock)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(first, data, config, optimizer, Clock(), lambda line: None, save)

    torch.manual_seed(99)  # nothing may hang on the state of the process that goes on
    second, _ = made(config.model_copy(update={"seed": 1}))
    with torch.no_grad():
        for parameter in second.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)
    optimizer = optimizer_for(second, config)
    clock = load_state(folder, second, optimizer)
    assert clock.step == config.training.checkpoint_every
    lines: Lines = []
    end = train(second, data, config, optimizer, clock, lines.append, lambda clock: None)
    assert end.step == config.training.steps
    assert end.seconds > clock.seconds > 0
    return trained(second), lines


def shared_run(config: Config, folder: Path, size: int = 2) -> tuple[list[Tensors], Lines]:
    """Trained tensors of each of `size` processes, and the metrics of the first."""
    (folder / "config.json").write_text(config.model_dump_json())
    in_processes(work, size, folder)
    lines = [json.loads(line) for line in (folder / "lines.0").read_text().splitlines()]
    return [load_file(folder / f"trained.{rank}.safetensors") for rank in range(size)], lines


def assert_same_figures(ours: Lines, expected: Lines, keys: Sequence[str], tolerance: float) -> None:
    """The same steps, and the figures under `keys` within a relative tolerance."""
    for line, right in zip(ours, expected, strict=True):
        assert line["step"] == right["step"]
        for key in keys:
            assert line[key] == pytest.approx(right[key], rel=tolerance)


def in_processes(work: Callable[..., None], size: int, *arguments: object) -> None:
    """Calls work(rank, size, *arguments) in `size` processes, forked from one that has imported what they need."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(
        ["tests.tiny_models", "tests.tiny_rankers", __name__]
    )
    torch.multiprocessing.start_processes(work, (size, *arguments), size, start_method="forkserver")


def work(rank: int, size: int, folder: Path) -> None:
    """One of several workers that train together."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=size)
    config = Config.model_validate_json((folder / "config.json").read_text())
    module, data = made(config)
    strategy = start(config, lambda config, device: module, torch.device("cpu"))
    lines: Lines = []
    train_together(strategy, data, config, Clock(), lines.append, lambda clock: None, World(rank, size))
    save_file(trained(module), folder / f"trained.{rank}.safetensors")
    (folder / f"lines.{rank}").write_text("".join(json.dumps(line) + "\n" for line in lines))
    dist.destroy_process_group()
