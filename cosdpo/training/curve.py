"""Held-out losses along a training, each at its objective's own end: whether steering is still being learned.

A few contexts, a pass for each end, an eighth of the steps apart. Nothing is chosen by them: the checkpoint is that of
the last step, and the front is measured on all held-out contexts after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cosdpo.config import Config
from cosdpo.data.batching import Batch
from cosdpo.simplex import normalise
from cosdpo.training.strategies.strategy import Strategy

CURVE = "held_out"
"""How the curve's keys in metrics.jsonl begin: held_out/OBJECTIVE."""
POINTS = 8
"""Of a curve, where nothing else is said."""
FEWEST_STEPS = 25
"""Between two points, likewise: a point costs about as much as a step of training or two."""


@dataclass(frozen=True)
class Curve:
    """Contexts on which a training is watched; picklable."""

    batches: Sequence[Batch]

    @classmethod
    def of(cls, held_out: Any, config: Config) -> Curve | None:
        """Contexts spread over the held-out data, which has its reference scores; None where none are wanted.

        Args:
            held_out: data of the task, as that which is trained on.
        """
        count = min(config.evaluation.curve_contexts, len(held_out))
        if count == 0:
            return None
        chosen = np.linspace(0, len(held_out) - 1, count).round().astype(int).tolist()
        size = config.training.micro_batch or config.training.batch_size
        return cls([held_out.batch(chosen[at : at + size]) for at in range(0, count, size)])

    def due(self, step: int, config: Config) -> bool:
        """Whether there is a point after `step`; there is one after the last."""
        steps = config.training.steps
        every = config.evaluation.curve_every or max(FEWEST_STEPS, -(-steps // POINTS))
        return step == steps or step % every == 0

    @torch.no_grad()
    def line(self, strategy: Strategy, config: Config, device: torch.device) -> dict[str, float]:
        """held_out/NAME of every objective: its loss at its own end over that of the base, so that 1 is the base.

        A run at fixed weights has all losses there. An objective of which the contexts say nothing is left out. Called
        by all workers together.
        """
        m, fixed = len(config.objectives), config.training.weights
        ends = [normalise(fixed, config.objectives).tolist()] if fixed else np.eye(m).tolist()
        sums = np.zeros((2, m))
        strategy.scorer.eval()
        for batch in (batch.to(device) for batch in self.batches):
            count = len(batch.mask)
            beta = torch.tensor(config.temperatures, device=device).expand(count, m)
            base = batch.losses(torch.zeros_like(batch.reference), beta).sum(0)
            for j, end in enumerate(ends):
                weights = torch.tensor(end, device=device).expand(count, m)
                rewards = (strategy.score(batch.contexts, weights, beta) - batch.reference) * batch.mask
                losses = batch.losses(rewards, beta).sum(0)
                own = slice(None) if fixed else slice(j, j + 1)
                sums[0, own] += losses[own].double().cpu().numpy()
            sums[1] += base.double().cpu().numpy()
        strategy.scorer.train()
        pairs = zip(config.objectives, *sums.tolist(), strict=True)
        return {f"{CURVE}/{name}": own / base for name, own, base in pairs if base}
