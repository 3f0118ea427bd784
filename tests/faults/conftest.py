"""What the faults strike, and how hard: by default tiny models for some minutes.

pytest tests/faults -s                                                              prints every figure
pytest tests/faults/test_serving_load.py -s --checkpoint DIR --soak-minutes 20
pytest tests/faults/test_kills.py -s --kills 50
"""

from __future__ import annotations

from pathlib import Path

import pytest
import ray

from tests import tiny_models


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--checkpoint", type=Path, help="a language model of two objectives instead of a tiny one")
    parser.addoption("--soak-minutes", type=float, default=0.5, help="of load")
    parser.addoption("--seconds", type=float, default=12.0, help="of overload, and of load around the kill")
    parser.addoption("--all-signals", action="store_true", help="every signal in every phase of every job")
    parser.addoption("--kills", type=int, default=3, help="of training, in three kinds that take turns")


@pytest.fixture(scope="package", autouse=True)
def no_ray() -> None:
    """They start their own; that of two cores, which tests before them had, is shut down."""
    ray.shutdown()


@pytest.fixture(scope="session")
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a model whose context holds long streams."""
    given: Path | None = request.config.getoption("--checkpoint")
    if given is not None:
        return given
    root = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_models, "CONTEXT", 512)
        config = tiny_models.settings(tiny_models.write_model(root / "base", "llama-tied"), scope="response")
        tiny_models.scorer(config).save(root / "run" / "checkpoint")
    return root / "run" / "checkpoint"
