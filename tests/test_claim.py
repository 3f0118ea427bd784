"""A folder's claim: against another process, after its death, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosdpo.claim import CLAIM, claim, release
from cosdpo.errors import InputError

HOLD = "import sys, time; from pathlib import Path; from cosdpo.claim import claim; claim(Path(sys.argv[1])); print('has it', flush=True); time.sleep(600)"  # noqa: E501


@pytest.fixture(autouse=True)
def released() -> Iterator[None]:
    yield
    release()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the folder `run`."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "has it\n"
    yield process
    process.kill()
    process.wait()


def test_another_process_is_named(tmp_path: Path, holder: subprocess.Popen[str]):
    owner = f"process {holder.pid} on {socket.gethostname()}"
    with pytest.raises(InputError, match=rf"output .*/run is being written by {owner}: wait for its end, or name"):
        claim(tmp_path / "run")


def test_a_killed_process_has_nothing_any_more(tmp_path: Path, holder: subprocess.Popen[str]):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    claim(tmp_path / "run")
    assert (tmp_path / "run" / CLAIM).read_text().startswith(f"process {os.getpid()} on ")


def test_the_same_process_may_ask_again_and_leaves_nothing(tmp_path: Path):
    claim(tmp_path / "new" / "run")
    claim(tmp_path / "new" / "run")
    release()
    assert list(tmp_path.iterdir()) == []


def test_what_was_written_and_what_was_there_stays(tmp_path: Path):
    claim(tmp_path / "new" / "run")
    (tmp_path / "new" / "run" / "front.json").touch()
    (tmp_path / "empty").mkdir()
    claim(tmp_path / "empty")
    release()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty", "front.json", "new", "run"]


@pytest.mark.parametrize("place", ["file/run", "file", "/dev/null/run", "/proc/nothing/run"])
def test_a_folder_that_cannot_be_made(tmp_path: Path, place: str):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be written .*: name another folder with --output"):
        claim(tmp_path / place)
