"""Tiny models on disk and conditioned scorers on top of them, with every trained tensor away from its start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cosdpo.models.language_scorer import LanguageScorer
from tests.models.slow_twin import SlowTwin
from tests.tiny_models import base, settings, write_model

MakeTwins = Callable[..., tuple[LanguageScorer, SlowTwin]]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a model by kind (tests/tiny_models.py), written when first asked for."""
    root = tmp_path_factory.mktemp("models")

    def folder(kind: str) -> Path:
        path = root / kind
        return path if path.exists() else write_model(path, kind)

    return folder


def disturb(scorer: LanguageScorer, seed: int = 0) -> None:
    """Moves all that is trained away from its start, so that no part of the policy is 0 or equal to another."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in scorer.named_parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(noise, alpha=0.15 if "lora_B" in name else 0.3)


@pytest.fixture
def make_scorer(model_folder) -> Callable[..., LanguageScorer]:
    """A fresh scorer by kind and settings; by default the weights enter by hyper prompt and gates."""

    def make(kind: str, **form: object) -> LanguageScorer:
        torch.manual_seed(1)
        config = settings(model_folder(kind), **{"conditioning": "both", **form})
        return LanguageScorer.create(config, base(config.model.base))

    return make


@pytest.fixture
def make_twins(make_scorer, model_folder) -> MakeTwins:
    """A scorer that has left its start, and its slow twin."""

    def make(kind: str, **form: object) -> tuple[LanguageScorer, SlowTwin]:
        scorer = make_scorer(kind, **form)
        disturb(scorer)
        return scorer, SlowTwin(scorer, model_folder(kind))

    return make
