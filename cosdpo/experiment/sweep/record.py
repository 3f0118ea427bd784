"""trial.json: what is known of one trial, in its run folder. Written whole after every measured front."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from cosdpo.files import write_whole

RECORD = "trial.json"
State = Literal["running", "finished", "stopped", "failed"]


class Record(BaseModel):
    """One trial."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: str
    """Its folder's name, which is Tune's name for it."""
    started: float
    """Seconds since 1970 at its first start."""
    settings: dict[str, bool | int | float | str]
    """The searched keys."""
    steps: int
    """Optimiser steps it is meant to take."""
    state: State = "running"
    """stopped: by the scheduler, before its last step."""
    reason: str = ""
    """Why it failed."""
    history: list[dict[str, float]] = []
    """A line per measured front: step, seconds, parameters and the metrics, in order."""

    @property
    def last(self) -> dict[str, float]:
        """The newest line; empty where nothing was measured."""
        return self.history[-1] if self.history else {}

    def save(self, folder: Path) -> None:
        """Writes trial.json."""
        write_whole(folder / RECORD, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Record | None:
        """The trial of a run folder, or None where there is none."""
        path = folder / RECORD
        return cls.model_validate_json(path.read_bytes()) if path.exists() else None


def records(output: Path) -> list[Record]:
    """All trials of a sweep, in the order of their start."""
    trials = [Record.load(path.parent) for path in (output / "trials").glob(f"*/{RECORD}")]
    return sorted((record for record in trials if record), key=lambda record: (record.started, record.name))
