"""The progress bar of a run: follows metrics.jsonl, so that it shows the same whichever machine the workers are on."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from cosdpo.training.tracking import read_metrics


@contextmanager
def progress(folder: Path, steps: int) -> Iterator[None]:
    """Shows steps, rate and remaining time on stderr until the block ends; about a line a minute without a terminal."""
    stop = threading.Event()
    quick = sys.stderr.isatty()
    lines = read_metrics(folder)
    start = int(lines[-1]["step"]) if lines else 0
    bar = tqdm(
        total=steps, initial=start, desc="training", unit="step", mininterval=0.5 if quick else 15, dynamic_ncols=True
    )

    def follow() -> None:
        while not stop.wait(0.5):
            refresh()

    def refresh() -> None:
        lines = read_metrics(folder)
        if lines and lines[-1]["step"] != bar.n:
            losses = {k.removeprefix("loss/"): f"{v:.3f}" for k, v in lines[-1].items() if k.startswith("loss/")}
            bar.set_postfix(losses, refresh=False)
            bar.update(int(lines[-1]["step"]) - bar.n)

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
    finally:
        stop.set()
        follower.join()
        refresh()
        bar.close()
