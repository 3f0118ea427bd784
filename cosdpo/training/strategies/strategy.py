"""What the training loop asks of a strategy, and its answer for one worker."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from cosdpo.training.training_state import restore, trained_state


class Strategy:
    """A scorer with its optimiser on one worker; the others override what workers do together.

    All workers call the methods together and in the same order.
    """

    def __init__(self, scorer: Any, optimizer: torch.optim.Optimizer) -> None:
        self.scorer = scorer
        self.optimizer = optimizer
        self.parameters: list[nn.Parameter] = [p for p in scorer.parameters() if p.requires_grad]

    def set_rate(self, scale: float) -> None:
        """Sets the learning rate of every group to `scale` times its peak."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * scale

    @contextmanager
    def micro_batch(self, last: bool) -> Iterator[None]:
        """Around the forward and backward pass of a micro-batch; after the `last` one of a step gradients are whole."""
        yield

    def score(self, contexts: Sequence[Any], weights: Tensor, temperatures: Tensor) -> Tensor:
        """The scorer's scores [B, n], for training."""
        scores: Tensor = self.scorer(contexts, weights, temperatures)
        return scores

    def backward(self, loss: Tensor) -> None:
        """Adds the gradient of this worker's loss; the gradients of all workers are averaged."""
        loss.backward()

    def step(self, clip: float) -> float:
        """Clips the gradients to norm `clip`, steps the optimiser and forgets the gradients.

        Returns:
            The gradients' norm before clipping, the same on all workers. Where it is not finite the run has to end:
            no good step was made.
        """
        norm = float(nn.utils.clip_grad_norm_(self.parameters, clip))
        if math.isfinite(norm):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def apart(self) -> AbstractContextManager[None]:
        """Within it workers may call the scorer differently often and with different inputs."""
        return nullcontext()

    def state(self) -> dict[str, Tensor]:
        """Trained tensors and AdamW's moments, whole and by the same names under every strategy; called by all."""
        return trained_state(self.scorer, self.optimizer)

    def restore(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Takes over what `state` gave after `step` steps, under this or another strategy."""
        restore(self.scorer, self.optimizer, tensors, step)
