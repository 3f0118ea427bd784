"""Notices that a node of a training will be taken away, as clouds give them for spot machines half a minute before."""

from __future__ import annotations

import time

import ray
from ray._private.state import state

EVERY = 1.0
"""Seconds between two questions. Among several workers each is a round of messages, in which none of them trains."""


class Preemption:
    """Called after each step of a training by one process; true once when its node is being drained."""

    def __init__(self) -> None:
        self.since = time.monotonic()
        self.told = False

    def __call__(self) -> bool:
        """Whether the node that was not known to leave is about to."""
        if self.told or time.monotonic() - self.since < EVERY:
            return False
        self.since = time.monotonic()
        # Ray has no public name for this outside of Ray Train; Ray Serve reads it from here too.
        self.told = ray.get_runtime_context().get_node_id() in state.get_draining_nodes()
        return self.told


class GroupPreemption:
    """The same for workers of Ray Train; true once for each node that is being drained.

    All workers have to ask at the same step, and only their first one decides which: the next one after a second.
    """

    def __init__(self) -> None:
        self.told: set[str] = set()
        self.wait = self.left = 1
        self.since = time.perf_counter()

    def __call__(self) -> bool:
        """Whether a node that was not known to leave is about to."""
        self.left -= 1
        if self.left:
            return False
        from ray import train  # here: one process does without it, and it takes seconds to import
        from ray.train import collective

        seconds = (time.perf_counter() - self.since) / self.wait
        info = train.get_preemption_info()
        self.wait = self.left = collective.broadcast_from_rank_zero(max(1, round(EVERY / seconds)))
        self.since = time.perf_counter()
        leaving = set() if info is None else set(info.preempted_node_ids)
        new = leaving - self.told
        self.told |= leaving
        return bool(new)
