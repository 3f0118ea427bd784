"""Doing something to a run on Ray while it trains."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import psutil

from cosdpo.config import Config
from cosdpo.training.tracking import last_metrics


def workers() -> list[int]:
    """Processes of training workers among those that this process started."""
    pids = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "RayTrainWorker" in " ".join(process.cmdline()):
                pids.append(process.pid)
        except psutil.Error:
            continue
    return pids


@contextmanager
def at_step(config: Config, step: int, act: Callable[[], object]) -> Iterator[list[int]]:
    """Calls `act` once as soon as `step` is logged; the list then holds the step that was."""
    stop, acted = threading.Event(), []

    def watch() -> None:
        while not stop.wait(0.005):
            line = last_metrics(config.output)
            if line and line["step"] >= step:
                act()
                acted.append(int(line["step"]))
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield acted
    finally:
        stop.set()
        watcher.join()


def killing_a_worker(config: Config, step: int) -> AbstractContextManager[list[int]]:
    """SIGKILLs one worker as soon as `step` is logged; the list then holds the last step that was."""
    return at_step(config, step, lambda: os.kill(workers()[-1], signal.SIGKILL))
