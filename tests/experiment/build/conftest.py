"""Prompts, and a configuration whose base is a tiny model of letters."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from cosdpo.config import Config
from tests.tiny_models import settings, write_model

PROMPTS = ["abc", "de", "f ghi", "jkl", "mno p"]


@pytest.fixture(scope="module")
def letters_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base") / "gpt2", "gpt2-tied")


@pytest.fixture
def asking(letters_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """A configuration that has these prompts answered."""
    monkeypatch.setenv("COSDPO_CACHE", str(tmp_path / "cache"))

    def asked(prompts: Sequence[Any] = PROMPTS, **changes: Any) -> Config:
        path = tmp_path / "prompts.jsonl"
        path.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
        usual = {
            "output": tmp_path / "out",
            "objectives": ["shortness", "brevity"],
            "evaluation__scorers": {"shortness": "shortness", "brevity": "brevity"},
            "evaluation__max_new_tokens": 6,
            "build__prompts": str(path),
            "build__samples": 3,
        }
        return settings(letters_base, **{**usual, **changes})

    return asked
