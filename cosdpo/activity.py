"""How far a piece of work is, told across processes: who works counts into a small file, who waits reads all of them.

The files lie in the output folder, which every node sees. What is only shown must not stop the work: a file that cannot
be written is left out.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from cosdpo.files import write_whole

FOLDER = ".activity"
"""Folder of the files in the output folder; gone when the work is done."""
EVERY = 0.5
"""Seconds between two writings."""


@dataclass
class _Counter:
    path: Path
    total: float
    done: float = 0
    tokens: int = 0
    began: float = field(default_factory=time.time)
    told: float = 0

    def tell(self) -> None:
        self.told = time.monotonic()
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            told = {"done": self.done, "total": self.total, "tokens": self.tokens, "began": self.began}
            write_whole(self.path, json.dumps(told))


_counters: list[_Counter] = []
"""The innermost last."""


@contextmanager
def counting(folder: Path, name: str, total: float = 0) -> Iterator[None]:
    """Within this block `advance` counts towards `total`.

    Args:
        folder: the output folder.
        name: what the work is called; several processes may work under one name.
        total: this process's part of the work, 0 where another one has told all of it.
    """
    _counters.append(_Counter(_place(folder, name) / f"{uuid.uuid4().hex}.json", total))
    _counters[-1].tell()
    try:
        yield
    finally:
        _counters.pop().tell()


def advance(amount: float = 1, tokens: int = 0) -> None:
    """Counts, and the tokens that were written; outside of `counting` it does nothing."""
    if _counters:
        counter = _counters[-1]
        counter.done += amount
        counter.tokens += tokens
        if time.monotonic() - counter.told >= EVERY or (counter.total and counter.done == counter.total):
            counter.tell()


class Counted(NamedTuple):
    """What all processes have counted under one name."""

    done: float = 0
    total: float = 0
    seconds: float = 0
    """Since the first began."""
    tokens: int = 0


def counted(folder: Path, name: str) -> Counted:
    """What all processes have counted under `name`; zeros where none has."""
    parts = []
    for path in _place(folder, name).glob("[!.]*.json"):
        with suppress(OSError):  # taken away at the end of the work
            parts.append(json.loads(path.read_text(encoding="utf-8")))
    if not parts:
        return Counted()
    done, total, tokens = (sum(part[key] for part in parts) for key in ("done", "total", "tokens"))
    working = [
        part for part in parts if part["done"] or part["tokens"]
    ] or parts  # whoever told the total may have waited for the others
    return Counted(done, total, time.time() - min(part["began"] for part in working), tokens)


def forget(folder: Path, name: str) -> None:
    """Takes the files of `name` away."""
    shutil.rmtree(_place(folder, name), ignore_errors=True)
    with suppress(OSError):  # others are still counting
        (folder / FOLDER).rmdir()


def _place(folder: Path, name: str) -> Path:
    return folder / FOLDER / name.replace("/", "-")
