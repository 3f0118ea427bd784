"""What a comparison knows of one method with one seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cosdpo.evaluation.front import Front

Budget = Literal["steps", "time"]


@dataclass(frozen=True)
class Result:
    """One method's front under one seed and budget."""

    front: Front
    """Its `method`, `seed` and `train_seconds_total`, which counts every training that the method needs."""
    budget: Budget
    """`steps`: every run has the full number of steps, so that baselines take their whole multiple of the time;
    `time`: all methods get the training time of the one conditioned run, and baselines divide it among their runs."""
    runs: int
    """Trainings that the method needs."""
    peak_memory: int
    """Largest resident memory of any of its runs, in bytes."""
