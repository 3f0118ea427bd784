"""Where the metrics of a training go: metrics.jsonl, from which trackers get them, and TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

from cosdpo.config import Config
from cosdpo.files import whole_file

METRICS = "metrics.jsonl"
LONGEST_LINE = 65_536


class RunLog:
    """Writes each line of metrics; opened by one worker, at the step the run goes on from."""

    def __init__(self, config: Config, start: int) -> None:
        """Lines after `start` are from a killed run that lost them with its worker: they are written anew."""
        path = config.output / METRICS
        kept = [line for line in read_metrics(config.output) if line["step"] <= start]
        with whole_file(path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self.file = path.open("a")
        self.board = SummaryWriter(str(config.output / "tensorboard"), purge_step=start + 1)

    def __call__(self, line: Mapping[str, float]) -> None:
        """Writes one line; `step` is its key."""
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()
        step = int(line["step"])
        for name, value in line.items():
            if name != "step":
                self.board.add_scalar(name, value, step)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.file.close()
        self.board.close()


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl in order; a last line cut short by a kill is left out."""
    path = folder / METRICS
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def last_metrics(folder: Path) -> dict[str, float] | None:
    """The newest whole line of metrics.jsonl, read from the end of the file."""
    path = folder / METRICS
    if not path.exists():
        return None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LONGEST_LINE))
        whole = file.read().split(b"\n")[:-1]
    return json.loads(whole[-1]) if whole and whole[-1] else None
