"""The one progress display: steps of a run or a comparison, or trials of a sweep, with rate and remaining time.

On a terminal a bar per running step under a line that counts all of them; elsewhere a line for each that ends, and one
every half minute of those that run.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cosdpo import activity
from cosdpo.evaluation.numbers import seconds
from cosdpo.training.tracking import last_metrics

State = Literal["waiting", "running", "done", "failed"]
EVERY = 30.0
"""Seconds between two lines of what runs, without a terminal."""
PATIENCE = 2.0
"""Seconds after which a phase is shown; a quick one is not worth a line."""
BARS = 16
"""Bars shown at once."""
LATEST = 4
"""Remarks shown of what ended last, besides those of all that failed."""


@dataclass(frozen=True)
class Activity:
    """How far a running step is; nothing is known at first."""

    done: float = 0
    total: float = 0
    """0 where it is not known."""
    seconds: float = 0
    """Taken for what is done."""
    note: str = ""
    unit: str = "steps"

    @classmethod
    def counted(cls, folder: Path, name: str, unit: str) -> Activity:
        """What the processes that work under a name have counted (cosdpo/activity.py)."""
        done, total, taken, tokens = activity.counted(folder, name)
        note = f"{tokens / taken:.3g} tokens a second" if tokens and taken else ""
        return cls(done, total, taken, note, unit)

    @classmethod
    def of_training(cls, folder: Path, steps: int) -> Activity:
        """The newest line of metrics.jsonl: the same whichever machine the workers are on."""
        line = last_metrics(folder)
        if line is None:
            return cls(total=steps)
        losses = {key.removeprefix("loss/"): value for key, value in line.items() if key.startswith("loss/")}
        note = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
        return cls(line["step"], steps, line["seconds"], note)

    def words(self) -> str:
        """120 of 400 steps, 3.2 a second, 1 min 27 s left, cheerful 0.512."""
        parts = [f"{self.done:g} of {self.total:g} {self.unit}"] if self.total else []
        if self.done and self.seconds:
            rate = self.done / self.seconds
            parts += [f"{rate:.3g} a second", f"{seconds((self.total - self.done) / rate)} left"]
        return ", ".join([*parts, *filter(None, [self.note])])


class Display:
    """A context in which `show` keeps stderr up to date."""

    def __init__(self) -> None:
        self.live = Live(console=Console(stderr=True), refresh_per_second=4) if sys.stderr.isatty() else None
        self.before: dict[str, State] = {}
        self.told = time.monotonic()

    def __enter__(self) -> Display:
        if self.live is not None:
            self.live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.live is not None:
            self.live.__exit__(kind, error, at)

    def show(
        self,
        states: Mapping[str, State],
        running: Mapping[str, Activity],
        remarks: Mapping[str, str],
        remaining: float | None,
    ) -> None:
        """Draws the steps as they are now.

        Args:
            states: of all steps.
            running: how far those that run are.
            remarks: what there is to say of steps that ended: why they failed, what they reached.
            remaining: estimated seconds until all are done.
        """
        if self.live is not None:
            self.live.update(_drawn(states, running, remarks, remaining))
        else:
            self._print(states, running, remarks, remaining)
        self.before = dict(states)

    def _print(
        self,
        states: Mapping[str, State],
        running: Mapping[str, Activity],
        remarks: Mapping[str, str],
        remaining: float | None,
    ) -> None:
        lines = [
            f"{name} {state}{_remark(remarks, name)} ({_summary(states, remaining)})"
            for name, state in states.items()
            if state in ("done", "failed") and self.before.get(name) != state
        ]
        if time.monotonic() - self.told >= EVERY:
            lines += [f"{name}: {words}" for name, activity in running.items() if (words := activity.words())]
            self.told = time.monotonic()
        for line in lines:
            print(line, file=sys.stderr, flush=True)


class Phase:
    """A context that shows how far one piece of work is that this process waits for, once it takes a while."""

    def __init__(self, name: str, folder: Path, unit: str = "") -> None:
        """`folder` is the output folder, in which the work is counted under `name` in `unit`s, if it is at all."""
        self.name, self.folder, self.unit = name, folder, unit
        self._ended = threading.Event()
        self._whole = False
        self._began = time.monotonic()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Phase:
        activity.forget(self.folder, self.name)
        self._watcher.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._whole = error is None
        self._ended.set()
        self._watcher.join()
        activity.forget(self.folder, self.name)

    def _watch(self) -> None:
        if self._ended.wait(PATIENCE):
            return
        with Display() as display:
            while True:
                display.show({self.name: "running"}, {self.name: self._activity()}, {}, None)
                if self._ended.wait(0.5):
                    break
            if self._whole:
                display.show({self.name: "done"}, {}, {}, None)

    def _activity(self) -> Activity:
        counted = Activity.counted(self.folder, self.name, self.unit)
        return counted if counted.total else Activity(note=f"{seconds(time.monotonic() - self._began)} so far")


def _remark(remarks: Mapping[str, str], name: str) -> str:
    return f": {remarks[name]}" if name in remarks else ""


def _summary(states: Mapping[str, State], remaining: float | None) -> str:
    counts = Counter(states.values())
    done = f"{counts['done']} of {len(states)} done"
    return done if remaining is None else f"{done}, about {seconds(remaining)} left"


def _drawn(
    states: Mapping[str, State],
    running: Mapping[str, Activity],
    remarks: Mapping[str, str],
    remaining: float | None,
) -> Group:
    bars = Table(box=None, pad_edge=False, show_header=False)
    for name, how_far in list(running.items())[:BARS]:
        total = how_far.total or None
        bars.add_row(name, ProgressBar(total, how_far.done, width=28, pulse=total is None), how_far.words())
    failed = [name for name in remarks if states[name] == "failed"]
    ended = [name for name in remarks if states[name] == "done"][-LATEST:]
    for name in [*failed, *ended]:
        bars.add_row(name, Text(states[name], "bold red" if name in failed else "green"), remarks[name])
    return Group(_summary(states, remaining), bars)
