"""What all tests share: a quiet machine, and the real data that cannot be part of the repository."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data and models; tests that need it are skipped where it is absent."""
    root = Path(__file__).parents[1]
    folder = root / os.environ.get("COSDPO_TEST_DATA", "../shared")
    if not (folder / "data").is_dir():
        pytest.skip(f"no test data in {folder}: set COSDPO_TEST_DATA")
    return folder.resolve()
