"""Ctrl-C and SIGTERM end a job alike, wherever it is: with one line, and with nothing marked as done that is not."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn, TypeVar

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


_came: list[int] = []
"""Numbers of the signals that asked this process to end."""


def status() -> int:
    """Exit status of a process that a signal ended: 130 after Ctrl-C, 143 after SIGTERM.

    The signal tells, not the exception: what a handler raises within Ray's compiled code leaves it as a bare
    KeyboardInterrupt.
    """
    return 128 + (_came[-1] if _came else signal.SIGINT)


def take_signals() -> None:
    """From now on a signal raises KeyboardInterrupt; in another thread than the main one nothing changes."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _raise)


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    _came.append(number)
    raise KeyboardInterrupt


@contextmanager
def kept_signals() -> Iterator[None]:
    """Afterwards signals do what they did before: Ray, Ray Train and Ray Tune put handlers of their own in place."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


def beside(work: Callable[[], T]) -> T:
    """What `work` returns, called in a thread of its own, where no library can take over the signals."""
    outcome: Future[T] = Future()

    def call() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # raised again where it was asked for
            outcome.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return outcome.result()
