"""Keeps workers in step that share one sharded base but call it differently often.

Every forward pass of a sharded base is a collective: its layers are gathered from all workers. Measuring, sampling and
scoring references give workers shares of different length, and a worker that is done must not leave the others waiting
for its part. So each pass is a round. A worker opens it by saying that it works; one that is done says that it does
not, and as long as anybody works it takes part with a pass over a single token. The saying is one number over all
workers, summed on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any

import torch
import torch.distributed as dist

from cosdpo.data.tokenization import TokenizedContext

ONE_TOKEN = TokenizedContext([0], [[0]])


class Rounds:
    """Forward passes of one sharded base by all workers together."""

    def __init__(self, scorer: Any) -> None:
        """Called by all workers at the same time.

        Args:
            scorer: a FrozenScorer or LanguageScorer whose `body` is sharded.
        """
        self.scorer = scorer
        self.group = dist.new_group(backend="gloo") if dist.get_backend() != "gloo" else dist.group.WORLD

    @contextmanager
    def uneven(self) -> Iterator[None]:
        """Within it this worker may call the base as often as it likes; it ends when all workers are done."""

        def announce(module: Any, inputs: Any) -> None:
            self._open(1)

        hook = self.scorer.body.register_forward_pre_hook(announce, prepend=True)
        try:
            yield
        finally:
            hook.remove()
        state = copy(self.scorer.state)
        while self._open(0):
            self.scorer.reference([ONE_TOKEN])
        # A checkpointed backward pass still reads what the worker's own last pass set.
        self.scorer.state.__dict__.update(state.__dict__)

    def _open(self, working: int) -> int:
        """Number of workers that work in the round that begins."""
        count = torch.tensor(working)
        dist.all_reduce(count, group=self.group)
        return int(count)
