"""Steps with dependencies on Ray: at most what fits at once, the longest first, one failure does not sink the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.experiment.progress import Activity, Display, State
from cosdpo.experiment.trackers import Trackers


@dataclass(frozen=True)
class Step:
    """Something to be done once `needs` are done."""

    name: str
    cost: float
    """Relative length, such as optimiser steps; the longest of those that are ready starts first."""
    needs: tuple[str, ...]
    start: Callable[[], Any]
    """Submits the step and returns its Ray object reference, or its final result where it was done before."""
    finish: Callable[[Any, Mapping[str, Any]], Any] = lambda result, results: result
    """Makes the final result of what the reference gave, and of the results of earlier steps."""
    activity: Callable[[], Activity] = Activity
    """How far the running step is."""
    training: Config | None = None
    """Of a training, whose rows trackers get."""


class Schedule:
    """Runs steps and keeps their states."""

    def __init__(
        self,
        steps: Sequence[Step],
        slots: int,
        display: Display,
        reason: Callable[[BaseException], str],
    ) -> None:
        """Takes the steps, of which at most `slots` run at once.

        Args:
            display: shows their states.
            reason: what a person is told of a failure's cause.
        """
        self.steps = {step.name: step for step in steps}
        self.slots = slots
        self.display = display
        self.reason = reason
        self.states: dict[str, State] = dict.fromkeys(self.steps, "waiting")
        self.results: dict[str, Any] = {}
        """Of every step that is done, by its name."""
        self.failures: dict[str, str] = {}
        """Reason by step."""
        self.errors: list[ray.exceptions.RayError] = []
        """What the steps that failed by themselves raised."""
        self.began = time.monotonic()
        self.cost_before = 0.0
        self.running: dict[Any, str] = {}
        self.trackers = Trackers()

    def run(self) -> None:
        """Until every step is done or has failed."""
        with self.trackers:
            self._run()

    def _run(self) -> None:
        self._fill()
        while self.running:
            self._show()
            finished, _ = ray.wait(list(self.running), timeout=0.5)
            for reference in finished:
                name = self.running.pop(reference)
                try:
                    self._finish(name, self.steps[name].finish(ray.get(reference), self.results))
                except ray.exceptions.RayError as error:
                    self.errors.append(error)
                    self._fail(name, self.reason(getattr(error, "cause", None) or error))
            self._fill()
        self._show()

    def _show(self) -> None:
        activities = {name: self.steps[name].activity() for name in self.running.values()}
        self.display.show(self.states, activities, self.failures, self._remaining_seconds())

    def _fill(self) -> None:
        """Starts what is ready and fits, one after another: a step that was done before may make others ready."""
        while len(self.running) < self.slots:
            ready = [
                step
                for step in self.steps.values()
                if self.states[step.name] == "waiting" and all(self.states[need] == "done" for need in step.needs)
            ]
            if not ready:
                return
            step = max(ready, key=lambda step: step.cost)
            started = step.start()
            if isinstance(started, ray.ObjectRef):
                self.states[step.name] = "running"
                self.running[started] = step.name
                if step.training is not None:
                    self.trackers.follow(step.name, step.training)
            else:
                self.cost_before += step.cost
                self._finish(step.name, started)

    def _finish(self, name: str, result: Any) -> None:
        self.states[name] = "done"
        self.results[name] = result
        self.trackers.end(name, "FINISHED")

    def _fail(self, name: str, reason: str) -> None:
        """Marks a step and all that needs it."""
        self.states[name] = "failed"
        self.failures[name] = reason
        self.trackers.end(name, "FAILED")
        for step in self.steps.values():
            if name in step.needs and self.states[step.name] == "waiting":
                self._fail(step.name, f"needs {name}, which failed")

    def _remaining_seconds(self) -> float | None:
        """Estimated from what was done since the start; None before anything was."""
        left = sum(step.cost for step in self.steps.values() if self.states[step.name] in ("waiting", "running"))
        done = sum(step.cost for step in self.steps.values() if self.states[step.name] == "done") - self.cost_before
        return (time.monotonic() - self.began) * left / done if done > 0 else None


def in_one_line(cause: BaseException) -> str:
    """What a person is told of a failure; a user's mistake has its own message."""
    message = (str(cause).splitlines() or [""])[0]
    return message if isinstance(cause, InputError) else f"{type(cause).__name__}: {message}"
