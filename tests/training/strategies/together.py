"""Two workers that train together under several strategies, as processes of their own; for the tests of strategies."""

from __future__ import annotations

import itertools
import json
import os
import traceback
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import save_file

from cosdpo.config import Config
from cosdpo.data.batching import PreferenceData
from cosdpo.errors import InputError
from cosdpo.evaluation.profile import profile
from cosdpo.models.base import load_base
from cosdpo.models.frozen_scorer import FrozenScorer
from cosdpo.models.generation import generate
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.simplex import das_dennis
from cosdpo.training.devices import base_dtype
from cosdpo.training.loop import train_together
from cosdpo.training.sharded_reference import score_together
from cosdpo.training.strategies.fsdp import shard
from cosdpo.training.strategies.start import start
from cosdpo.training.strategies.strategy import Strategy
from cosdpo.training.training_state import Clock, read_state, write_state
from cosdpo.training.world import World
from tests import tiny_models
from tests.training.runs import in_processes

CPU = torch.device("cpu")


def under(config: Config, kind: str) -> Config:
    """`config` under ddp, fsdp, zero1, zero2, zero3, or with what is offloaded behind a plus sign."""
    kind, _, offload = kind.partition("+")
    stage = int(kind[-1]) if kind.startswith("zero") else 2
    strategy = "deepspeed" if kind.startswith("zero") else kind
    changes = {"strategy": strategy, "zero_stage": stage, "offload": offload or "none", "workers": 2}
    return config.model_copy(update={"scaling": config.scaling.model_copy(update=changes)})


def run(folder: Path, config: Config, kinds: Sequence[str]) -> None:
    """Two processes write what they found of each of `kinds` into `folder`."""
    (folder / "config.json").write_text(config.model_dump_json())
    in_processes(work, 2, folder, list(kinds))


def work(rank: int, size: int, folder: Path, kinds: list[str]) -> None:
    """One of two processes."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_SIZE": "2"}
    os.environ["DS_ACCELERATOR"] = "cpu"
    dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=2)
    config = Config.model_validate_json((folder / "config.json").read_text())
    data = tiny_models.preferences(Path(config.model.base), config)
    worker = Worker(folder, config, data, World(rank, 2))
    try:
        for kind in kinds:
            worker.whole(kind)
        for first, second in itertools.permutations(kinds, 2):
            worker.resumed(first, second)
        for kind in kinds:
            worker.diverged(kind)
        worker.reference()
    except BaseException:
        (folder / f"error.{rank}").write_text(traceback.format_exc())
        raise
    dist.destroy_process_group()


def scorer(config: Config) -> LanguageScorer:
    """A fresh scorer as a run makes it: in the configured type, checkpointed where the configuration says so."""
    torch.manual_seed(config.seed)
    made = LanguageScorer.create(config, load_base(config.model.base, base_dtype(config, CPU)))
    if config.model.gradient_checkpointing:
        made.model.get_base_model().activation_checkpointing_enable({"use_reentrant": False})
    return made


class Worker:
    """What one process does."""

    def __init__(self, folder: Path, config: Config, data: PreferenceData, world: World) -> None:
        self.folder, self.config, self.data, self.world = folder, config, data, world

    def train(self, kind: str, name: str, strategy: Strategy, clock: Clock, **changes: object) -> None:
        """Trains to the end; writes the log, the states on the way, the trained tensors and the servable checkpoint."""
        config = under(self.config, kind)
        config = config.model_copy(update={"training": config.training.model_copy(update=changes)})
        folder, lines = self.folder / name, []

        def save(now: Clock) -> None:
            tensors = strategy.state()
            if self.world.rank == 0:
                state = folder / f"state.{now.step}"
                state.mkdir(parents=True)
                write_state(state, tensors, now)
                strategy.scorer.save(folder / "checkpoint")

        folder.mkdir(parents=True, exist_ok=True)
        try:
            train_together(strategy, self.data, config, clock, lines.append, save, self.world)
        except InputError as error:
            (folder / f"error.{self.world.rank}").write_text(str(error))
        (folder / f"lines.{self.world.rank}.json").write_text(json.dumps(lines))
        tensors = {n: p.detach().clone() for n, p in strategy.scorer.named_parameters() if p.requires_grad}
        save_file(tensors, folder / f"trained.{self.world.rank}.safetensors")
        dist.barrier()

    def strategy(self, kind: str, seed: int = 0) -> Strategy:
        config = under(self.config.model_copy(update={"seed": seed}), kind)
        return start(config, lambda config, device: scorer(config), CPU)

    def whole(self, kind: str) -> None:
        """An uninterrupted run, and what each worker then measures on its own."""
        strategy = self.strategy(kind)
        self.train(kind, kind, strategy, Clock())
        scorer, found = strategy.scorer.eval(), {}
        part = sum(getattr(p, "_local_tensor", p).numel() for p in scorer.parameters() if not p.requires_grad)
        (self.folder / kind / f"frozen.{self.world.rank}").write_text(str(part))
        grid, beta = das_dennis(2, 4), np.array(self.config.temperatures)
        with strategy.apart():
            # Shares of different length, batches of different size, texts of different length.
            for index in range(self.world.rank, len(grid), 2):
                tokens = 40 + 30 * index
                values = profile(scorer, self.data, grid[index], beta, tokens)
                w = torch.tensor(grid[index][None]).float()
                text = generate(scorer, [self.data.contexts[index].prompt], w, None, 3 + 2 * index)
                base = scorer.all_references(self.data.contexts[: 2 + index], tokens)
                found[index] = {"loss": values.loss.tolist(), "text": text, "base": base}
        (self.folder / kind / f"found.{self.world.rank}.json").write_text(json.dumps(found))

    def resumed(self, first: str, second: str) -> None:
        """Goes on under `second` from the middle of the run under `first`, on a scorer that starts elsewhere."""
        strategy = self.strategy(second, seed=1)
        tensors, clock = read_state(self.folder / first / f"state.{self.config.training.checkpoint_every}")
        strategy.restore(tensors, clock.step)
        self.train(second, f"{first}-{second}", strategy, clock)

    def reference(self) -> None:
        """Scores of the data under a sharded base."""
        frozen = FrozenScorer.of(load_base(self.config.model.base, torch.float32))
        shard(frozen, CPU)
        scores = score_together(frozen, self.data.contexts[:13], 64)
        (self.folder / f"reference.{self.world.rank}.json").write_text(json.dumps(scores))

    def diverged(self, kind: str) -> None:
        """A run whose loss becomes NaN, on one worker alone, after a good checkpoint."""
        strategy = self.strategy(kind)
        scorer, calls = strategy.scorer, itertools.count()
        hook = scorer.register_forward_hook(
            lambda module, inputs, scores: scores * float("nan") if next(calls) == 9 and self.world.rank == 1 else None
        )
        self.train(kind, f"{kind}-nan", strategy, Clock(), micro_batch=0, checkpoint_every=4)
        hook.remove()
