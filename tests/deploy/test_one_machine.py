"""The start of a Ray that stays, as docs/deployment.md writes it, in a home of its own and from a bare shell."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests import tiny_models

ROOT = Path(__file__).parents[2]
WAIT = 240.0
"""Seconds that a busy machine may take for a step."""
Shell = Callable[..., subprocess.CompletedProcess[str]]


def documented(section: str) -> list[str]:
    """The lines of the first block of a section of docs/deployment.md."""
    text = (ROOT / "docs" / "deployment.md").read_text()
    block = re.search(rf"^## \d+\. {section}\n.*?^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert block
    return block[1].splitlines()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        try:
            if holds():
                return
        except httpx.HTTPError:
            pass
        time.sleep(1)
    pytest.fail(f"not within {WAIT:g} s: {what}")


def up_or_gone(head: subprocess.Popen[bytes], log: Path) -> bool:
    return "Ray runtime started" in log.read_text() or head.poll() is not None


def started(command: str, folder: Path) -> subprocess.Popen[bytes]:
    """A head that runs; Ray gives its processes fifteen seconds each, too little on a busy machine."""
    environment = {"HOME": str(folder / "home"), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder)}
    log = folder / "head.log"
    for _ in range(4):
        with log.open("w") as sink:
            head = subprocess.Popen(["bash", "-c", command], cwd=folder, env=environment, stdout=sink, stderr=sink)
        eventually(partial(up_or_gone, head, log), "the head is up")
        if head.poll() is None:
            return head
    pytest.fail(log.read_text())


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return {"6379": free_port(), "8265": free_port(), "8000": free_port()}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, ports: dict[str, int]) -> Path:
    """What `make quickstart` leaves: the sources, an environment and a run, here a tiny one."""
    root = tmp_path_factory.mktemp("one")
    for name in ("cosdpo", "serve", "jobs"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".gitignore", root)
    config = root / "serve" / "config.yaml"
    config.write_text(config.read_text().replace("port: 8000", f"port: {ports['8000']}"))
    (root / ".venv").mkdir()
    (root / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    base = tiny_models.write_model(root / "base", "llama-tied")
    tiny_models.scorer(tiny_models.settings(base)).save(root / "runs" / "quickstart" / "checkpoint")
    return root


@pytest.fixture(scope="module")
def shell(repository: Path, ports: dict[str, int]) -> Shell:
    """Runs a line after the first one of the block, in a shell that knows nothing else."""
    home = repository / "home"
    home.mkdir()
    bare = {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": str(repository)}
    first = documented("One machine")[0]

    def run(line: str) -> subprocess.CompletedProcess[str]:
        for usual, own in ports.items():
            line = line.replace(f":{usual}", f":{own}")
        return subprocess.run(
            ["bash", "-c", f"{first}\n{line}"],
            cwd=repository,
            env=bare,
            capture_output=True,
            text=True,
            timeout=WAIT,
            check=False,
        )

    return run


@pytest.mark.slow
def test_the_whole_start(shell: Shell, repository: Path, ports: dict[str, int]) -> None:
    """The lines of the documentation in their order; only ports, and the folder that Ray writes, are our own."""
    _, token, start, submit, deploy, ask = documented("One machine")
    assert shell(token).returncode == 0
    file = repository / "home" / ".ray" / "auth_token"
    assert file.stat().st_mode & 0o777 == 0o600
    folder = Path("/tmp") / f"rt{os.getpid()}"
    own = f"--port={ports['6379']} --dashboard-port={ports['8265']} --temp-dir={folder} --num-cpus=4 --block"
    head = started(f"{documented('One machine')[0]}\nexec {start} {own}", repository)
    try:
        dashboard = f"http://127.0.0.1:{ports['8265']}/api/version"
        eventually(lambda: httpx.get(dashboard).status_code == 401, "strangers are asked for a token")
        authorised = {"Authorization": f"Bearer {file.read_text()}"}
        eventually(lambda: httpx.get(dashboard, headers=authorised).status_code == 200, "the owner is let in")

        asked = "python jobs/quickstart.py --help"  # the job's own python, not a whole training
        job = re.sub(r"python jobs/quickstart\.py.*", asked, submit)
        submitted = shell(job)
        while "No available agent" in submitted.stderr:  # for some seconds, where the machine is busy
            submitted = shell(job)
        assert submitted.returncode == 0, submitted.stdout + submitted.stderr
        assert "--training.steps" in submitted.stdout

        address = f"--address http://127.0.0.1:{ports['8265']}"
        deployed = shell(f"{deploy} {address}")
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        models = f"http://127.0.0.1:{ports['8000']}/v1/models"
        eventually(lambda: httpx.get(models).status_code == 200, "the service answers")
        assert '"objectives":["kind","short"]' in shell(f"{ask} --silent").stdout.replace(" ", "")

        config = repository / "serve" / "config.yaml"
        config.write_text(config.read_text().replace("new_tokens: 1024", "new_tokens: 1"))
        assert shell(f"{deploy} {address}").returncode == 0
        text = {"prompt": "a", "max_new_tokens": 2}
        statuses: list[int] = []
        running: list[int] = []

        def replaced() -> bool:
            status = dashboard.replace("version", "serve/applications/")
            deployments = httpx.get(status, headers=authorised).json()["applications"]["cosdpo"]["deployments"]
            states = [[r["state"] for r in deployment["replicas"]] for deployment in deployments.values()]
            running.extend(state.count("RUNNING") for state in states)  # none are listed while Ray Serve takes it in
            statuses.append(httpx.post(models.replace("models", "generate"), json=text, timeout=60).status_code)
            return statuses[-1] != 200

        eventually(replaced, "the changed limit holds")
        assert statuses[0] == 200
        assert statuses[-1] == 400  # refused by the new settings
        assert min(running) == 1  # and until then the old ones were there; the new ones may be there beside them

        without = shell(f"unset RAY_AUTH_MODE; {deploy} {address}")
        assert "AuthenticationError" in without.stdout + without.stderr  # as the documentation says
    finally:
        head.terminate()
        head.wait(60)
        shutil.rmtree(folder, ignore_errors=True)
