"""Tiny rankers and query lists: a few features, hidden units and documents, so that a whole run takes a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from cosdpo.cli.command_line import read_config
from cosdpo.config import Config
from cosdpo.data.query_lists import QueryLists
from cosdpo.data.ranking_data import RankingData, graded_labels
from cosdpo.models.ranking_scorer import BaseRanker, RankingScorer
from cosdpo.models.standardiser import Standardiser

LENGTHS = (4, 1, 6, 3, 2, 5, 6, 4) * 3
"""Documents of the lists of `query_lists`; a list of one document is among them."""
DEFAULTS: dict[str, object] = {
    "task": "ranking",
    "objectives": ["a", "b"],
    "temperature": 0.5,
    "data.auxiliary": {"a": 11, "b": 12},
    "data.comparisons": "listwise",
    "data.targets": "proportional",
    "ranker.width": 8,
    "ranker.layers": 2,
    "ranker.heads": 2,
    "ranker.dropout": 0.0,
    "training.learning_rate": 0.01,
}


def settings(**changes: object) -> Config:
    """A configuration of a tiny run; `changes` by dotted key, with two underscores for the dot."""
    return read_config([], defaults=DEFAULTS | {key.replace("__", "."): value for key, value in changes.items()})


def query_lists(*lengths: int, seed: int = 0) -> QueryLists:
    """Random lists of ten inputs of several scales; two objectives, which pull apart, and the relevance hang on 3."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(sum(lengths), 10)) * np.exp(rng.normal(size=10))
    noise = 0.3 * rng.normal(size=(sum(lengths), 3))
    likes = features[:, [0, 1, 2]] / features[:, [0, 1, 2]].std(0) + noise
    return QueryLists(
        features=features.astype(np.float32),
        auxiliary=np.exp(likes[:, [1, 1]] + likes[:, [0, 0]] * [1, -1]).astype(np.float32),
        relevance=np.abs(np.clip(np.round(1.5 + likes[:, 0] + likes[:, 2]), 0, 4)).astype(np.float32),  # no -0
        offsets=np.array([0, *np.cumsum(lengths)], np.int64),
        queries=tuple(f"q{i}" for i in range(len(lengths))),
        numbers=tuple(range(1, 11)),
    )


def write_letor(path: Path, lists: QueryLists) -> Path:
    """The lists as a LETOR file, with the auxiliary objectives as the last features; query ids keep their names."""
    columns = np.concatenate([lists.features, lists.auxiliary], 1)
    owners = np.repeat(lists.queries, lists.lengths)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(
            f"{label:g} qid:{query} " + " ".join(f"{j}:{x!r}" for j, x in enumerate(row, start=1)) + "\n"
            for label, query, row in zip(lists.relevance.tolist(), owners, columns.tolist(), strict=True)
        )
    )
    return path


def base_ranker(config: Config, lists: QueryLists) -> BaseRanker:
    """A frozen base with the statistics of `lists`, whose scores are random."""
    standardiser = Standardiser(len(lists.numbers), config.ranker.log1p, config.ranker.list_features)
    standardiser.fit(lists.features)
    torch.manual_seed(7)
    base = BaseRanker.create(config, lists.numbers, standardiser)
    disturb(base)
    return base.eval().requires_grad_(False)


def scorer(config: Config, lists: QueryLists | None = None) -> RankingScorer:
    """A fresh scorer on such a base, initialised as a worker does it."""
    base = base_ranker(config, lists or query_lists(*LENGTHS))
    torch.manual_seed(config.seed)
    return RankingScorer.create(config, base)


def ranking_data(config: Config, lists: QueryLists | None = None) -> RankingData:
    """The training data of a run, with the base's reference scores."""
    lists = lists or query_lists(*LENGTHS)
    data = RankingData(lists, graded_labels(lists), config.data)
    batch = data.batch(range(len(data)))
    data.reference = base_ranker(config, lists).scores(batch.contexts).numpy()
    return data


def disturb(module: nn.Module, seed: int = 0) -> None:
    """Moves all that is trained away from its start, so that no part of the scores is 0 or equal to another."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
