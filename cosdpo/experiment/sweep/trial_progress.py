"""A line on stderr for every trial that ends: how far it came, what it reached, and its settings."""

from __future__ import annotations

import logging
from typing import Any

from ray.tune import Callback

from cosdpo.evaluation.numbers import short
from cosdpo.experiment.sweep.targets import Target

log = logging.getLogger("cosdpo")


class Progress(Callback):
    """Counts trials; Tune keeps it with its snapshots."""

    def __init__(self, count: int, target: Target) -> None:
        """`count` trials are to be run, judged by `target`."""
        self.count = count
        self.target = target
        self.ended: dict[str, float | None] = {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial was finished, or stopped by the scheduler."""
        self._show(trial, (trial.last_result or {}).get(self.target.name))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial failed for good."""
        self._show(trial, None)

    def _show(self, trial: Any, value: float | None) -> None:
        self.ended[trial.trial_id] = value
        known = [other * self.target.sign for other in self.ended.values() if other is not None]
        best = f"best {short(max(known) * self.target.sign)}" if known else "none yet"
        reached = "failed" if value is None else f"{self.target.name} {short(value)}"
        steps = int((trial.last_result or {}).get("step", 0))
        settings = ", ".join(f"{key} {_shown(one)}" for key, one in trial.config.items())
        ended = f"trial {len(self.ended)} of {self.count}"
        log.info("%s: %s after %d steps (%s); %s", ended, reached, steps, best, settings)

    def get_state(self) -> dict[str, Any]:
        """What a restored sweep goes on with."""
        return {"ended": dict(self.ended)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from `get_state`."""
        self.ended = dict(state["ended"])


def _shown(value: object) -> str:
    return short(value) if isinstance(value, float) else str(value)
