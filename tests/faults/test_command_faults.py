"""What `python -m serve` does under hostile heads, when Ray dies, when it cannot start, when it is stopped early."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
MEGABYTE = 1 << 20
HOSTILE = 10


@contextmanager
def command(checkpoint: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """The command on a Ray whose files lie in a folder of its own, and that folder."""
    argv = [sys.executable, "-m", "serve", "--checkpoint", str(checkpoint), "--port", "0", "--cpus", "0.5", *flags]
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        env = {**os.environ, "RAY_TMPDIR": folder}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        with subprocess.Popen(argv, cwd=ROOT, env=env, **pipes) as process:  # type: ignore[call-overload]
            try:
                yield process, Path(folder)
            finally:
                process.kill()


def address(process: subprocess.Popen[str]) -> str:
    """Where the service listens, once it does."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"at (http://\S+)", line):
            return found[1]
    raise AssertionError("it did not start")


def ended(process: subprocess.Popen[str], seconds: float) -> tuple[int, str]:
    """The exit code, and what was printed until then."""
    printed, _ = process.communicate(timeout=seconds)
    return process.returncode, printed


def raylet_of(folder: Path) -> int:
    """The process id of the raylet whose files lie in `folder`."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            argv = (place / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if argv[0].endswith("/raylet") and any(str(folder) in part for part in argv):
            return int(place.name)
    raise AssertionError("no raylet")


def endless_header(url: str) -> int:
    """Megabytes of one header that the service takes before it closes the connection."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
        for sent in range(100):
            try:
                connection.sendall(b"a" * MEGABYTE)
            except ConnectionError:
                return sent
    return 100


def test_hostile_heads_hold_nobody_up_and_a_dead_ray_ends_the_command(checkpoint: Path) -> None:
    with command(checkpoint) as (process, folder):
        url = address(process)
        with ThreadPoolExecutor(HOSTILE) as threads:
            sent = [threads.submit(endless_header, url) for _ in range(HOSTILE)]
            assert httpx.get(f"{url}/healthz", timeout=30).status_code == 200
        assert max(task.result() for task in sent) < 50
        os.kill(raylet_of(folder), signal.SIGKILL)
        code, printed = ended(process, 15)
    assert code == 1
    assert "error: Ray's raylet died" in printed


def test_a_model_that_cannot_be_loaded_is_one_line(checkpoint: Path) -> None:
    with command(checkpoint, "--engine.kv_tokens", str(10**12)) as (process, _):
        code, printed = ended(process, 300)
    assert code == 2
    (error,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert "the model could not be started" in error
    assert "memory" in error
    assert "Traceback" not in printed


@pytest.mark.parametrize(("number", "there"), [(signal.SIGINT, "."), (signal.SIGTERM, "session_latest/logs/serve")])
def test_a_signal_before_the_service_is_up_is_one_line(checkpoint: Path, number: signal.Signals, there: str) -> None:
    """Before Ray has begun to start, and after, when it has put a handler of its own in place."""
    with command(checkpoint) as (process, folder):
        assert process.stdout is not None
        assert process.stdout.readline().startswith("loading ")
        while not any(folder.glob(f"**/{there}")):
            time.sleep(0.1)
        process.send_signal(number)
        assert ended(process, 15) == (128 + number, "stopped before the service was up\n")
