"""Notices that a node of the run will be taken away, as clouds give them for spot machines half a minute before."""

from __future__ import annotations

import time

import ray.train
import ray.train.collective

EVERY = 1.0
"""Seconds between two questions. Each is a round of messages between all workers, milliseconds in which none trains."""


class Notices:
    """Called by every worker after each step; true once for each node that is being drained.

    All workers have to ask at the same step, and only their first one decides which: the next one after a second.
    """

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.wait = self.left = 1
        self.since = time.perf_counter()

    def __call__(self) -> bool:
        """Whether a node that was not known to leave is about to."""
        self.left -= 1
        if self.left:
            return False
        seconds = (time.perf_counter() - self.since) / self.wait
        info = ray.train.get_preemption_info()
        self.wait = self.left = ray.train.collective.broadcast_from_rank_zero(max(1, round(EVERY / seconds)))
        self.since = time.perf_counter()
        leaving = set() if info is None else set(info.preempted_node_ids)
        new = leaving - self.known
        self.known |= leaving
        return bool(new)
