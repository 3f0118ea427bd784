"""Two workers against one at the same global batch, and what Ray Train adds to a step once workers have started.

    python benchmarks/scaling.py

One run on Ray of two workers with one thread each trains a GPT-2 shape in blocks of steps, three kinds in turn, so that
whatever else the machine does meets all of them alike: alone (the first worker with the whole batch, the other one
waits), bare (both, under DistributedDataParallel) and ray (the same with all that a run on Ray does: metrics, notices,
checkpoints copied in the background). Medians over blocks. Ray Train's own polling of its workers goes on in all three.
Ends with one JSON line: {"two_vs_one_workers": speed-up, "ray_share": share that Ray adds to a step, "notice_ms": one
question for notices}.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import ray
import ray.train
import torch
import torch.distributed as dist
from transformers import AutoModelForCausalLM, GPT2Config

from cosdpo.config import Config
from cosdpo.data.batching import PreferenceData
from cosdpo.data.tokenization import TokenizedContext
from cosdpo.experiment.cluster import start_here
from cosdpo.models.base import freeze
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.models.packing import ATTENTION
from cosdpo.training.loop import optimizer_for, train_together
from cosdpo.training.preemption import GroupPreemption
from cosdpo.training.ray_train import ReportedCheckpoints, on_workers
from cosdpo.training.strategies.ddp import Ddp
from cosdpo.training.strategies.strategy import Strategy
from cosdpo.training.tracking import RunLog
from cosdpo.training.training_state import Clock
from cosdpo.training.world import World

CONTEXTS, TOKENS, STEPS = 64, 48, 5
"""Contexts of the data, tokens of a prompt and of a response, steps of a block."""


def settings(output: Path) -> Config:
    """Eight contexts per step, a checkpoint with every block."""
    return Config.model_validate(
        {
            "objectives": ["first", "second"],
            "conditioning": "gated_lora",
            "output": str(output),
            "model": {"base": "unused", "lora_rank": 8},
            "training": {"batch_size": 8, "log_every": 1, "checkpoint_every": STEPS},
            "scaling": {"workers": 2},
        }
    )


def scorer(config: Config) -> LanguageScorer:
    """The same on every worker."""
    torch.manual_seed(0)
    shape = GPT2Config(n_embd=384, n_layer=6, n_head=6, vocab_size=8_000)
    shape._attn_implementation = ATTENTION
    return LanguageScorer.create(config, freeze(AutoModelForCausalLM.from_config(shape)))


def preferences(config: Config) -> PreferenceData:
    """Random pairs."""
    rng = np.random.default_rng(0)
    texts = rng.integers(0, 8_000, (CONTEXTS, 3, TOKENS)).tolist()
    contexts = [TokenizedContext(prompt, responses) for prompt, *responses in texts]
    return PreferenceData(contexts, [[[0.0, 1.0], [1.0, 0.0]]] * CONTEXTS, [np.zeros(2)] * CONTEXTS, config.data)


def measure(argument: tuple[Config, int]) -> dict[str, list[float]]:
    """Seconds per step of every block, by kind, and of questions for notices; called on both workers."""
    config, blocks = argument
    torch.set_num_threads(1)
    world, data = World(dist.get_rank(), dist.get_world_size()), preferences(config)
    single, shared = scorer(config), scorer(config)
    alone, together = Strategy(single, optimizer_for(single, config)), Ddp(shared, optimizer_for(shared, config))
    seconds: dict[str, list[float]] = {"alone": [], "bare": [], "ray": [], "notice": []}
    notices, save = GroupPreemption(), partial(ReportedCheckpoints(world).save, together)

    def block(kind: str, number: int) -> None:
        stop = (number + 1) * STEPS
        steps = config.changed({"training.steps": stop})
        dist.barrier()
        began = time.perf_counter()
        start = Clock(number * STEPS)
        if kind == "ray":
            log: Any = RunLog(config, start.step) if world.rank == 0 else nullcontext(lambda line: None)
            began = time.perf_counter()  # opened once in a run
            with log as write:
                train_together(together, data, steps, start, write, save, world, notice=notices)
        elif kind == "bare":
            train_together(together, data, steps, start, lambda line: None, lambda clock: None, world)
        elif world.rank == 0:
            train_together(alone, data, steps, start, lambda line: None, lambda clock: None, World())
        dist.barrier()
        seconds[kind].append((time.perf_counter() - began) / STEPS)

    for number in range(blocks + 1):
        for kind in ("alone", "bare", "ray"):
            block(kind, number)
    for _ in range(20):
        seconds["notice"].append(timed(ray.train.get_preemption_info))
    return {kind: values[1:] for kind, values in seconds.items()}  # the first ones warm up


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main(blocks: int) -> None:
    os.environ |= {"OMP_NUM_THREADS": "1", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}
    start_here(num_cpus=2, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        config = settings(Path(folder))
        found = on_workers(config, "training", measure, (config, blocks))
    ray.shutdown()
    for kind, values in found.items():
        print(f"{kind:8} median {median(values) * 1e3:8.1f} ms, {min(values) * 1e3:.1f} to {max(values) * 1e3:.1f}")
    middle = {kind: median(values) for kind, values in found.items()}
    print(
        json.dumps(
            {
                "two_vs_one_workers": round(middle["alone"] / middle["bare"], 2),
                "ray_share": round(median(r / b for r, b in zip(found["ray"], found["bare"], strict=True)) - 1, 3),
                "notice_ms": round(middle["notice"] * 1e3, 1),
            }
        )
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=20)
    main(parser.parse_args().blocks)
