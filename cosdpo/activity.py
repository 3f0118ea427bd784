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
    began: float = field(default_factory=time.time)
    told: float = 0

    def tell(self) -> None:
        self.told = time.monotonic()
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, json.dumps({"done": self.done, "total": self.total, "began": self.began}))


_counters: list[_Counter] = []
"""The innermost last."""


@contextmanager
def counting(folder: Path, name: str, total: float) -> Iterator[None]:
    """Within this block `advance` counts towards `total`.

    Args:
        folder: the output folder.
        name: what the work is called; several processes may work under one name.
    """
    _counters.append(_Counter(_place(folder, name) / f"{uuid.uuid4().hex}.json", total))
    _counters[-1].tell()
    try:
        yield
    finally:
        _counters.pop().tell()


def advance(amount: float = 1) -> None:
    """Counts; outside of `counting` it does nothing."""
    if _counters:
        counter = _counters[-1]
        counter.done += amount
        if time.monotonic() - counter.told >= EVERY or counter.done >= counter.total:
            counter.tell()


def counted(folder: Path, name: str) -> tuple[float, float, float]:
    """What all processes have counted under `name`: done, of what total, in seconds since the first began; or zeros."""
    parts = []
    for path in _place(folder, name).glob("[!.]*.json"):
        with suppress(OSError):  # taken away at the end of the work
            parts.append(json.loads(path.read_text(encoding="utf-8")))
    if not parts:
        return 0, 0, 0
    done, total = (sum(part[key] for part in parts) for key in ("done", "total"))
    return done, total, time.time() - min(part["began"] for part in parts)


def forget(folder: Path, name: str) -> None:
    """Takes the files of `name` away."""
    shutil.rmtree(_place(folder, name), ignore_errors=True)
    with suppress(OSError):  # others are still counting
        (folder / FOLDER).rmdir()


def _place(folder: Path, name: str) -> Path:
    return folder / FOLDER / name.replace("/", "-")
