"""Shows the trials of a sweep as they run and end: how far they came, what they reached, and their settings."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar

from ray.tune import Callback

from cosdpo.config import Config
from cosdpo.evaluation.numbers import short
from cosdpo.experiment.progress import Activity, Display, State
from cosdpo.experiment.sweep.record import Record
from cosdpo.experiment.sweep.targets import Target
from cosdpo.experiment.trackers import Trackers

_STATES: dict[str, State] = {"RUNNING": "running", "TERMINATED": "done", "ERROR": "failed"}


class TrialProgress(Callback):
    """Follows the trials; Tune keeps it with its snapshots."""

    following: ClassVar[tuple[Config, Trackers] | None] = None
    """The sweep's configuration and its trackers, which no snapshot may keep."""

    def __init__(self, count: int, target: Target, folder: Path, steps: int) -> None:
        """`count` trials of `steps` steps are to be run, judged by `target`; their run folders are in `folder`."""
        self.count = count
        self.target = target
        self.folder = folder
        self.steps = steps
        self.remarks: dict[str, str] = {}
        self.best: float | None = None
        self._display: Display | None = None
        self._began = time.monotonic()
        self._ended_before = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_display": None}

    def setup(self, *args: Any, **info: Any) -> None:
        """Opens the display; trials that ended in an earlier process say nothing of this one's pace."""
        self._display = Display()
        self._display.__enter__()
        self._began, self._ended_before = time.monotonic(), len(self.remarks)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Draws all trials as they are."""
        if self._display is None:
            return
        numbered = {f"trial {number}": trial for number, trial in enumerate(trials, 1)}
        states = {name: _STATES.get(trial.status, "waiting") for name, trial in numbered.items()}
        states |= {f"trial {number}": "waiting" for number in range(len(trials) + 1, self.count + 1)}
        running = {name: self._activity(trial) for name, trial in numbered.items() if states[name] == "running"}
        remarks = {
            name: self.remarks[trial.trial_id] for name, trial in numbered.items() if trial.trial_id in self.remarks
        }
        ended = len(self.remarks) - self._ended_before
        left = self.count - len(self.remarks)
        remaining = (time.monotonic() - self._began) * left / ended if ended else None
        self._display.show(states, running, remarks, remaining)

    def _activity(self, trial: Any) -> Activity:
        return Activity.of_training(self.folder / str(trial), trial.config.get("training.steps", self.steps))

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Draws the end."""
        self.on_step_end(0, trials)
        if self._display is not None:
            self._display.__exit__(None, None, None)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial was started, or goes on."""
        if self.following is not None:
            config, trackers = self.following
            trackers.follow(str(trial), config.changed({**trial.config, "output": self.folder / str(trial)}))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial was finished, or stopped by the scheduler."""
        self._remark(trial, (trial.last_result or {}).get(self.target.name))
        if self.following is not None:
            record = Record.load(self.folder / str(trial))
            diverged = record is not None and record.state == "failed"
            self.following[1].end(str(trial), "FAILED" if diverged else "FINISHED")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial failed for good."""
        self._remark(trial, None)
        if self.following is not None:
            self.following[1].end(str(trial), "FAILED")

    def _remark(self, trial: Any, value: float | None) -> None:
        if value is not None:
            better = self.best is None or self.target.sign * value > self.target.sign * self.best
            self.best = value if better else self.best
        best = "none yet" if self.best is None else f"best {short(self.best)}"
        reached = "broke off" if value is None else f"{self.target.name} {short(value)}"
        steps = int((trial.last_result or {}).get("step", 0))
        settings = ", ".join(f"{key} {_shown(one)}" for key, one in trial.config.items())
        self.remarks[trial.trial_id] = f"{reached} after {steps} steps ({best}); {settings}"

    def get_state(self) -> dict[str, Any]:
        """What a restored sweep goes on with."""
        return {"remarks": dict(self.remarks), "best": self.best}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from `get_state`."""
        self.remarks, self.best = dict(state.get("remarks", {})), state.get("best")


def _shown(value: object) -> str:
    return short(value) if isinstance(value, float) else str(value)
