"""The progress bar of a run: follows metrics.jsonl, so that it shows the same whichever machine the workers are on."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from cosdpo.training.tracking import last_metrics


@contextmanager
def progress(folder: Path, steps: int, what: str = "training") -> Iterator[None]:
    """Shows steps, rate and remaining time on stderr until the block ends; about a line a minute without a terminal."""
    stop = threading.Event()
    quick = sys.stderr.isatty()
    start = int((last_metrics(folder) or {"step": 0})["step"])
    bar = tqdm(total=steps, initial=start, desc=what, unit="step", mininterval=0.5 if quick else 15, dynamic_ncols=True)

    def follow() -> None:
        while not stop.wait(0.5):
            refresh()

    def refresh() -> None:
        line = last_metrics(folder)
        if line and line["step"] != bar.n:
            losses = {k.removeprefix("loss/"): f"{v:.3f}" for k, v in line.items() if k.startswith("loss/")}
            bar.set_postfix(losses, refresh=False)
            bar.update(int(line["step"]) - bar.n)

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
    finally:
        stop.set()
        follower.join()
        refresh()
        bar.close()
