"""The wheel by itself: installed without the sources beside it, it does from another folder all that needs no jobs/."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.tiny_models import scorer, settings, write_model

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PACKAGES = ("cosdpo", "serve")
WAIT = 500
"""Seconds that a busy machine may take for a step."""

Python = Callable[..., str]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of a copy, since a build leaves folders in the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "dist", "."]
    subprocess.run(build, cwd=folder, check=True)
    (path,) = (folder / "dist").iterdir()
    return path


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel and, by a path, all that is installed here but our own sources."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    venv.create(folder)
    python = folder / "bin" / "python"
    (own,) = folder.glob("lib/python*/site-packages")
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")  # whose own .pth files are not read
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True)
    return python


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a checkpoint that can be exported."""
    folder = tmp_path_factory.mktemp("elsewhere")
    config = settings(write_model(folder / "base", "llama-tied"), scope="sequence")
    scorer(config).eval().save(folder / "run" / "checkpoint")
    return folder / "run"


def environment(run_folder: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return kept | {"HOME": str(run_folder.parent), "COSDPO_CACHE": str(run_folder.parent / "cache")}


@pytest.fixture
def python(bare: Path, run_folder: Path) -> Python:
    """Runs the environment's Python beside the run folder, and returns what it prints."""

    def call(*words: str) -> str:
        done = subprocess.run(
            [str(bare), *words], cwd=run_folder.parent, env=environment(run_folder), capture_output=True, text=True,
            timeout=WAIT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return call


def test_all_files_of_the_packages_are_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    sources = {
        str(path.relative_to(ROOT))
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == sources
    assert {"cosdpo/reports/run.html.j2", "serve/config.yaml", "cosdpo/py.typed"} < packed


def test_a_checkpoint_is_loaded(python: Python, bare: Path) -> None:
    place, texts = python(
        "-c",
        "import cosdpo; print(cosdpo.__file__); print(cosdpo.load('run').at(kind=1).generate(['abc'], 4))",
    ).splitlines()
    assert place.startswith(str(bare.parents[1]))
    assert len(eval(texts)) == 1


def test_a_point_is_exported(python: Python, run_folder: Path) -> None:
    for name, more in (("adapter", ()), ("merged", ("--merge",))):
        python("-m", "cosdpo.export", "--checkpoint", "run/checkpoint", "--weights", "kind=1", "--to", name, *more)
    assert (run_folder.parent / "adapter" / "adapter_config.json").exists()
    assert (run_folder.parent / "merged" / "config.json").exists()


def test_a_run_is_written_for_the_hub(python: Python, run_folder: Path) -> None:
    python("-m", "cosdpo.hub", "push", "run", "alice/front", "--dry-run", "pushed")
    assert "# front" in (run_folder.parent / "pushed" / "README.md").read_text()


def test_other_commands(python: Python) -> None:
    assert python("-m", "serve.keys", "alice").endswith(" alice\n")
    assert python("-m", "cosdpo.cli.reference_page") == (ROOT / "docs" / "configuration.md").read_text()


def test_a_service_answers(bare: Path, run_folder: Path) -> None:
    log = run_folder.parent / "serve.log"
    with log.open("w") as out:
        service = subprocess.Popen(
            [str(bare), "-m", "serve", "--checkpoint", "run/checkpoint", "--port", "0"],
            cwd=run_folder.parent, env=environment(run_folder), stdout=out, stderr=subprocess.STDOUT, bufsize=0,
        )  # fmt: skip
    try:
        address = _address(service, log)
        body = {"prompt": "abc", "weights": {"kind": 1}, "max_new_tokens": 4}
        answer = httpx.post(f"{address}/v1/generate", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        assert answer.json()["weights"] == [1.0, 0.0]
        page = httpx.get(address)
        for script in re.findall(r'(?:src|href)="([^":#]+)"', page.text):
            assert httpx.get(f"{address}/{script}").status_code == 200, script
    finally:
        service.send_signal(signal.SIGTERM)
        status = service.wait(60)
    assert status == 0


def _address(service: subprocess.Popen[bytes], log: Path) -> str:
    """Where it says that it serves."""
    for _ in range(WAIT):
        if found := re.search(r"at (http://127\.0\.0\.1:\d+)", log.read_text()):
            return found[1]
        try:
            service.wait(1)
        except subprocess.TimeoutExpired:
            continue
        break
    raise AssertionError(log.read_text())
