"""The progress of a comparison as a table of steps with their states; a line per change without a terminal."""

from __future__ import annotations

import sys
from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table

from cosdpo.evaluation.numbers import seconds

if TYPE_CHECKING:
    from cosdpo.experiment.schedule import Schedule

SHOWN = 24
"""Steps shown at once: those that run or failed first, then the latest that were done, then the next."""
STYLES = {"waiting": "dim", "running": "bold cyan", "done": "green", "failed": "bold red"}
ORDER = {"failed": 0, "running": 1, "done": 2, "waiting": 3}


class StateTable:
    """A context in which `show` keeps the table on stderr up to date."""

    def __init__(self) -> None:
        self.live = Live(console=Console(stderr=True), refresh_per_second=2) if sys.stderr.isatty() else None
        self.before: dict[str, str] = {}

    def __enter__(self) -> StateTable:
        if self.live is not None:
            self.live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.live is not None:
            self.live.__exit__(kind, error, at)

    def show(self, schedule: Schedule) -> None:
        """Draws the states as they are now."""
        if self.live is not None:
            self.live.update(_table(schedule))
            return
        for name, state in schedule.states.items():
            if state in ("done", "failed") and self.before.get(name) != state:
                reason = f": {schedule.failures[name]}" if state == "failed" else ""
                print(f"{name} {state}{reason} ({_summary(schedule)})", file=sys.stderr, flush=True)
        self.before = dict(schedule.states)


def _summary(schedule: Schedule) -> str:
    counts = Counter(schedule.states.values())
    left = schedule.remaining_seconds()
    done = f"{counts['done']} of {len(schedule.states)} done"
    return done if left is None else f"{done}, about {seconds(left)} left"


def _table(schedule: Schedule) -> Table:
    table = Table(title=_summary(schedule), title_justify="left", box=None, pad_edge=False)
    table.add_column("step")
    table.add_column("state")
    table.add_column("")
    for name, state in sorted(schedule.states.items(), key=lambda item: ORDER[item[1]])[:SHOWN]:
        table.add_row(name, f"[{STYLES[state]}]{state}[/]", schedule.failures.get(name, ""))
    return table
