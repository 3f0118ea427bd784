"""ASHA on the metric of intermediate fronts, which also knows the trials of a sweep that is gone on with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from cosdpo.config import Config
from cosdpo.experiment.sweep.record import records
from cosdpo.experiment.sweep.targets import Target


def trial_name(trial: Any) -> str:
    """Name of a Tune trial's folders."""
    return f"trial-{trial.trial_id}"


class RememberingAsha(ASHAScheduler):
    """ASHA whose milestones hold what earlier trials reached: Tune's snapshots leave schedulers out."""

    def __init__(self, output: Path, target: Target, **arguments: Any) -> None:
        """`output`: the sweep's folder, in which the trials' records are."""
        super().__init__(time_attr="step", metric=target.name, mode=target.mode, **arguments)
        self._output = output
        self._target = target
        self._recalled = False

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Takes up the records before the first trial."""
        super().on_trial_add(tune_controller, trial)
        if not self._recalled:
            self._recalled = True
            self._recall()

    def _recall(self) -> None:
        for record in records(self._output):
            past: Any = SimpleNamespace(trial_id=record.name.removeprefix("trial-"))
            for line in record.history:
                if self._target.name in line:
                    self._brackets[0].on_result(past, int(line["step"]), self._target.sign * line[self._target.name])


def scheduler_for(config: Config, wanted: Sequence[Target]) -> TrialScheduler | None:
    """The scheduler of sweep.scheduler; None runs every trial to its end."""
    if config.sweep.scheduler == "none":
        return None
    return RememberingAsha(
        config.output,
        wanted[0],
        max_t=config.training.steps,
        grace_period=config.sweep.grace_steps or config.evaluation.front_every,
        reduction_factor=config.sweep.reduction_factor,
    )
