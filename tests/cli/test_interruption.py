"""Signals in the frame of jobs, sent to real processes, and in threads beside them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cosdpo.cli.interruption import beside, kept_signals, take_signals
from cosdpo.errors import InputError

JOB = """
import signal, time
from pathlib import Path
from cosdpo.cli import main
from cosdpo.cli.interruption import kept_signals

def job(config):
    with kept_signals():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *given: exit(7))
    print("at work", flush=True)
    try:
        time.sleep(600)
    except BaseException:
        raise KeyboardInterrupt from None  # as Ray's compiled code does

main(job)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_job_with_one_line(tmp_path: Path, number: signal.Signals, status: int):
    command = [sys.executable, "-c", JOB, "--output", str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "at work\n"
        process.send_signal(number)
        assert process.wait(60) == status
        assert process.stderr.read() == "interrupted; go on with the same command and --resume\n"
    assert list(tmp_path.iterdir()) == []


def test_handlers_of_others_do_not_stay():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with kept_signals():
        take_signals()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_beside_gives_what_the_work_gives():
    def refuse() -> None:
        raise InputError("wrong")

    assert beside(lambda: 3) == 3
    with pytest.raises(InputError, match="wrong"):
        beside(refuse)


def test_a_signal_does_not_wait_for_the_work_beside():
    with kept_signals():
        take_signals()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, lambda *given: signal.raise_signal(signal.SIGINT))
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            beside(lambda: time.sleep(5))
