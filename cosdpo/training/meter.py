"""What metrics.jsonl says of a run: means over the steps since its last line."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from cosdpo.training.training_state import Clock
from cosdpo.training.world import World


class Meter:
    """Means over the steps since the last log line."""

    def __init__(self, objectives: list[str], batch_size: int, unit: str) -> None:
        self.objectives = objectives
        self.batch_size = batch_size
        self.unit = unit
        self._reset()

    def _reset(self) -> None:
        self.sums = torch.zeros(len(self.objectives) + 1, dtype=torch.float64)
        self.items = 0
        self.steps = 0
        self.since = time.perf_counter()

    def add(self, losses: Tensor, loss: Tensor, items: int) -> None:
        """One micro-batch: losses [B, m] of its contexts, its share of the step's loss, its tokens or documents."""
        # Added up where they are: reading them back would make every micro-batch wait for its backward pass.
        row = torch.cat([losses.detach().sum(0), loss.detach()[None]])
        self.sums = self.sums.to(row.device, non_blocking=True) + row
        self.items += items

    def line(self, world: World, clock: Clock) -> dict[str, float]:
        """The line of metrics.jsonl, and a fresh meter."""
        items = torch.tensor([self.items], dtype=torch.float64)
        sums = world.total(torch.cat([self.sums.cpu(), items])).tolist()
        seconds = time.perf_counter() - self.since
        contexts = self.steps * self.batch_size
        means = {f"loss/{name}": total / contexts for name, total in zip(self.objectives, sums, strict=False)}
        line = {
            "step": clock.step,
            "seconds": round(clock.seconds, 3),
            "loss": sums[-2] / self.steps,
            **means,
            "contexts_per_second": contexts / seconds,
            f"{self.unit}_per_second": sums[-1] / seconds,
        }
        self._reset()
        return line
