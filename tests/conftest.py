"""What all tests share: a quiet machine, and the real data that cannot be part of the repository."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

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


@pytest.fixture(scope="module")
def ray_of_two_cores() -> Iterator[None]:
    """One Ray of two cores for all tests of a module; with it every worker has one thread."""
    import ray  # here, so that tests without Ray do not wait for its import

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        patch.delenv("RAY_ADDRESS", raising=False)
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()
