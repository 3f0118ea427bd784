"""Small comparisons of language models and of rankers over three weights, six steps each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cosdpo.config import Config
from cosdpo.experiment.compare import located
from tests import tiny_rankers
from tests.experiment.compared import Compared, compared
from tests.tiny_models import rows, settings, write_model, write_rows
from tests.tiny_rankers import query_lists, write_letor

Make = Callable[..., Config]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bases and data."""
    path = tmp_path_factory.mktemp("compare")
    write_model(path / "model", "gpt2-tied")
    write_rows(path / "train.jsonl", rows(16, 0))
    write_rows(path / "validation.jsonl", rows(8, 1))
    lists = query_lists(*[6] * 20, seed=0)
    write_letor(path / "data" / "train.txt", lists)
    write_letor(path / "data" / "test.txt", query_lists(*[6] * 8, seed=1))
    tiny_rankers.base_ranker(tiny_rankers.settings(), lists).save(path / "ranker")
    return path


@pytest.fixture(scope="module")
def folder(files: Path) -> Iterator[Path]:
    """The same, with an own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSDPO_CACHE", str(files / "cache"))
        yield files


RUN: dict[str, object] = {"training__steps": 6, "training__checkpoint_every": 2, "grid__partitions": 2}


@pytest.fixture(scope="module")
def words(folder) -> Make:
    """A comparison of language models over three weights."""

    def configure(name: str, *methods: str, **changes: object) -> Config:
        defaults = {
            "output": folder / name,
            "data__train": str(folder / "train.jsonl"),
            "data__validation": str(folder / "validation.jsonl"),
            "training__learning_rate": 0.01,
            "comparison": {"methods": list(methods), "seeds": [0]},
            "temperature": [0.5, 0.7],
        }
        return settings(folder / "model", **{**RUN, **defaults, **changes})

    return configure


@pytest.fixture(scope="module")
def lists(folder) -> Make:
    """A comparison of rankers over three weights."""

    def configure(name: str, *methods: str, **changes: object) -> Config:
        defaults: dict[str, object] = {
            "output": folder / name,
            "data__train": str(folder / "data"),
            "model__base": str(folder / "ranker"),
            "comparison__methods": list(methods) or ["cos"],
            "comparison__seeds": [0],
        }
        return located(tiny_rankers.settings(**RUN | defaults | changes))

    return configure


@pytest.fixture(scope="session")
def kept() -> list[Compared]:
    """What `baselines` has compared, for the next module."""
    return []


@pytest.fixture(scope="module")
def baselines(ray_of_two_cores: None, lists: Make, kept: list[Compared]) -> Compared:
    """The comparison of all methods but the conditioned run, made once; its folder is for reading alone."""
    if not kept:
        kept.append(compared(lists("lists", "linear_scalarization", "soup", "modpo")))
    return kept[0]
