"""Every worker holds the whole model; PyTorch averages the gradients while the backward pass runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from cosdpo.training.strategies.strategy import Strategy


class Ddp(Strategy):
    """DistributedDataParallel."""

    def __init__(self, scorer: Any, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(scorer, optimizer)
        self.synchronised = DistributedDataParallel(scorer)

    @contextmanager
    def micro_batch(self, last: bool) -> Iterator[None]:
        """Workers exchange gradients with the last micro-batch of a step only."""
        if last:
            yield
        else:
            with self.synchronised.no_sync():
                yield

    def score(self, contexts: Sequence[Any], weights: Tensor, temperatures: Tensor) -> Tensor:
        """Through the wrapper, which prepares the exchange of gradients."""
        scores: Tensor = self.synchronised(contexts, weights, temperatures)
        return scores
