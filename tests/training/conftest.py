"""A tiny base on disk for the training tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_models import write_model


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base") / "gpt2", "gpt2-tied")
