"""A worker's place among all workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch.distributed as dist
from torch import Tensor

Part = TypeVar("Part")


@dataclass(frozen=True)
class World:
    """This worker's place among all workers."""

    rank: int = 0
    size: int = 1

    def total(self, values: Tensor) -> Tensor:
        """Sum of `values` over all workers, on the CPU."""
        if self.size > 1:
            values = values.cuda() if dist.get_backend() == "nccl" else values
            dist.all_reduce(values)
        return values.cpu()

    def gathered(self, part: Part) -> list[Part]:
        """The parts of all workers, by rank, on every one of them."""
        parts = [part] * self.size
        if self.size > 1:
            dist.all_gather_object(parts, part)
        return parts
