"""The training loop of every method and every scorer: plain PyTorch, unaware of Ray and of what is scored.

One step draws a global batch of contexts and a weight per context, scores all candidates once, takes all m losses
from that one pass, and steps AdamW. Several workers each take a share of the same global batch; several micro-batches
accumulate to the same gradient.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cosdpo.config import Config
from cosdpo.data.batching import BatchOrder
from cosdpo.data.training_data import TrainingData
from cosdpo.errors import InputError
from cosdpo.simplex import dirichlet, normalise
from cosdpo.training.meter import Meter
from cosdpo.training.objective import Objective
from cosdpo.training.strategies.strategy import Strategy
from cosdpo.training.training_state import Clock
from cosdpo.training.world import World


@dataclass(frozen=True)
class Draw:
    """The random part of one global batch."""

    contexts: list[int]
    weights: Tensor
    """[B, m]"""
    temperatures: Tensor
    """[B, m]"""
    group: int = 1
    """Neighbouring contexts with the same weights, which no worker and no micro-batch divides."""

    def share(self, world: World, start: int, stop: int | None) -> Draw:
        """Contexts start..stop of this worker's share; shares interleave, so that workers get similar lengths."""
        groups = torch.arange(len(self.contexts)).unflatten(0, (-1, self.group))
        mine = groups[world.rank :: world.size].flatten()[start:stop]
        contexts = [self.contexts[i] for i in mine.tolist()]
        return Draw(contexts, self.weights[mine], self.temperatures[mine], self.group)


class Sampler:
    """The global batch of any step: contexts, weights and temperatures, all functions of (seed, step)."""

    def __init__(self, data: TrainingData, config: Config, apart: Sequence[int] = ()) -> None:
        """Args:
        apart: contexts that are not trained on.
        """
        self.contexts = np.setdiff1d(np.arange(len(data)), apart)
        self.order = BatchOrder(data.lengths[self.contexts], config.training.batch_size, config.seed)
        self.config = config

    def __call__(self, step: int) -> Draw:
        """The global batch of `step`, counted from 0."""
        config, m, group = self.config, len(self.config.objectives), self.config.training.group
        size = config.training.batch_size // group
        rng = np.random.default_rng((config.seed, step, 1))
        if config.training.weights:
            weights = np.broadcast_to(normalise(config.training.weights, config.objectives), (size, m))
        else:
            weights = dirichlet(rng, size, m, config.training.alpha, config.training.stratified)
        beta = np.broadcast_to(np.array(config.temperatures), (size, m))
        if config.model.temperature_conditioned:
            # The scale kappa = ||beta||_1 stays the trained one: every other scale follows exactly after training.
            directions = dirichlet(rng, size, m, config.training.temperature_alpha, config.training.stratified)
            beta = beta.sum(-1, keepdims=True) * directions
        weights, beta = (np.repeat(drawn, group, axis=0) for drawn in (weights, beta))
        return Draw(
            self.contexts[self.order(step)].tolist(), torch.tensor(weights).float(), torch.tensor(beta).float(), group
        )


def largest_share(config: Config, workers: int) -> int:
    """Contexts of a batch that the first of `workers` workers gets; the others have as many or one group fewer."""
    group = config.training.group
    return math.ceil(config.training.batch_size / group / workers) * group


def optimizer_for(scorer: Any, config: Config) -> torch.optim.AdamW:
    """AdamW with the hyper prompt's own learning rate, and weight decay on what `scorer` says it decays."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    training = config.training
    for name, parameter in scorer.named_parameters():
        if parameter.requires_grad:
            rate = training.prompt_learning_rate if name.startswith("prompt.") else training.learning_rate
            decay = training.weight_decay if scorer.decays(name) else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": p, "lr": lr, "peak": lr, "weight_decay": decay} for (lr, decay), p in groups.items()]
    )


def learning_rate_scale(step: int, steps: int, warmup: float) -> float:
    """Share of the peak learning rate at `step`: a linear rise over warmup * steps, then a cosine to 0."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def train(
    scorer: nn.Module,
    data: TrainingData,
    config: Config,
    optimizer: torch.optim.Optimizer,
    start: Clock,
    log: Callable[[dict[str, float]], None],
    save: Callable[[Clock], None],
    device: torch.device | None = None,
) -> Clock:
    """`train_together` by one worker."""
    return train_together(Strategy(scorer, optimizer), data, config, start, log, save, World(), device)


def train_together(
    strategy: Strategy,
    data: TrainingData,
    config: Config,
    start: Clock,
    log: Callable[[dict[str, float]], None],
    save: Callable[[Clock], None],
    world: World,
    device: torch.device | None = None,
    notice: Callable[[], bool] = lambda: False,
    held_out: Callable[[Clock], dict[str, float]] = lambda clock: {},
    apart: Sequence[int] = (),
) -> Clock:
    """Trains the scorer of `strategy` in place from `start` to training.steps.

    Any number of workers up to that of the groups in a batch trains the same: shares may differ by one group, and a
    worker with nothing left takes part in the last pass with a group that counts for nothing.

    Args:
        strategy: the scorer, called as scorer(contexts, weights, beta), and how the workers share it.
        log: receives a line of metrics every training.log_every steps, on every worker.
        save: called every training.checkpoint_every steps and after the last one, on every worker; what it takes is no
            training time.
        notice: asked after other steps, on every worker alike; where it says true, `save` is called at once.
        held_out: called after every step, on every worker, for what is measured on the way; that is no training time
            either. A line of metrics is logged wherever there is any.
        apart: contexts that are not trained on.

    Raises:
        InputError: the loss is not finite; the checkpoints written so far are good.
    """
    device = device or torch.device("cpu")
    settings = config.training
    sampler, objective = Sampler(data, config, apart), Objective(data, config)
    share = largest_share(config, world.size)
    micro = settings.micro_batch or share
    meter = Meter(config.objectives, settings.batch_size, data.unit)
    began, clock = time.perf_counter(), start
    strategy.scorer.train()
    for step in range(start.step, settings.steps):
        torch.manual_seed(int(np.random.SeedSequence((config.seed, step, world.rank)).generate_state(1)[0]))
        draw = sampler(step)
        scale = learning_rate_scale(step, settings.steps, settings.warmup)
        strategy.set_rate(scale)
        for begin in range(0, share, micro):
            part = draw.share(world, begin, begin + micro)
            counts = bool(part.contexts)
            if not counts:
                part = draw.share(World(), 0, draw.group)
            batch = data.batch(part.contexts).to(device)
            weights, beta = (drawn.to(device, non_blocking=True) for drawn in (part.weights, part.temperatures))
            with strategy.micro_batch(last=begin + micro >= share):
                minimised = objective.minimised(strategy, batch, weights, beta)
                scores = strategy.score(batch.contexts, weights, beta)
                rewards = (scores - batch.reference) * batch.mask
                if batch.margins is not None:
                    rewards = rewards - batch.margins
                losses = objective.losses(rewards, batch, beta)
                loss = minimised(rewards, losses).sum() / settings.batch_size
                strategy.backward(loss * world.size * counts)
            if counts:
                meter.add(losses, loss, batch.items)
        norm = strategy.step(settings.clip)
        if not math.isfinite(norm):
            raise InputError(
                f"the loss is not finite at step {step}: lower training.learning_rate or training.clip; "
                "the checkpoints before it are good"
            )
        meter.steps += 1
        clock = Clock(step + 1, start.seconds + time.perf_counter() - began)
        done = clock.step == settings.steps
        paused = time.perf_counter()
        watched = held_out(clock)
        took = time.perf_counter() - paused
        began, meter.since = began + took, meter.since + took
        if done or watched or clock.step % settings.log_every == 0:
            rates = {"learning_rate": settings.learning_rate * scale, "gradient_norm": norm}
            log(meter.line(world, clock) | rates | watched)
        if done or clock.step % settings.checkpoint_every == 0 or notice():
            paused = time.perf_counter()
            save(clock)
            began += time.perf_counter() - paused  # neither checkpoints nor fronts measured on the way are training
    return clock
