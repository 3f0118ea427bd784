"""What all tests share: a quiet machine, and the real data that cannot be part of the repository."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.2"
os.environ.pop("RAY_ADDRESS", None)
# Ray starts a process for every few tests: each would compile all of the repository again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from xdist.remote import Producer

    from tests.refusals import Jobs
    from tests.scheduling import WholeFiles

settings.register_profile("busy machine", deadline=None)
settings.load_profile("busy machine")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data and models; tests that need it are skipped where it is absent."""
    root = Path(__file__).parents[1]
    folder = root / os.environ.get("COSDPO_TEST_DATA", "../shared")
    if not (folder / "data").is_dir():
        pytest.skip(f"no test data in {folder}: set COSDPO_TEST_DATA")
    return folder.resolve()


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny language model."""
    from tests.tiny_models import write_model

    return write_model(tmp_path_factory.mktemp("base") / "gpt2", "gpt2-tied")


@pytest.fixture
def jobs(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Jobs:
    """Jobs on what is in `tmp_path`, up to where they would start Ray."""
    from tests.refusals import Jobs

    monkeypatch.setenv("COSDPO_CACHE", str(tmp_path_factory.mktemp("cache")))
    return Jobs(tmp_path, monkeypatch, capsys)


@pytest.fixture(scope="module")
def ray_of_two_cores() -> None:
    """One Ray of two cores, whose workers have one thread each: for all tests of a process but those that need another,
    which shut it down.
    """
    import ray  # here, so that tests without Ray do not wait for its import

    from cosdpo.experiment.cluster import start_here

    if not ray.is_initialized():
        start_here(num_cpus=2, log_to_driver=False)


WHOLE = {"ray_of_two_cores", "tab"}
"""Fixtures of tests that take a Ray or a browser: with them goes the mark `whole`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what `make test` leaves to `make test-whole`."""
    for item in items:
        if WHOLE & set(getattr(item, "fixturenames", ())):
            item.add_marker("whole")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> WholeFiles:
    """Each file's tests in one process, and those on Ray together."""
    from tests.scheduling import WholeFiles

    return WholeFiles(config, log)
