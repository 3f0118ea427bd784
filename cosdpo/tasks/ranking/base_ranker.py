"""The base ranker, whose scores are the reference: trained on the main label where none is given, and scored once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from cosdpo.activity import advance, counting
from cosdpo.arrays import Floats
from cosdpo.config import Config, DataConfig
from cosdpo.data.query_lists import QueryLists
from cosdpo.data.ranking_data import RankingData
from cosdpo.models.cards import CARD
from cosdpo.models.ranking_scorer import WEIGHTS, BaseRanker
from cosdpo.models.standardiser import Standardiser
from cosdpo.training import storage
from cosdpo.training.devices import worker_device
from cosdpo.training.reference import REFERENCE
from cosdpo.training.unit import Unit

MAIN = "relevance"
"""The main label."""


def base_unit(config: Config, lists: QueryLists) -> Unit:
    """The training of the base ranker: the main label alone, by ListNet.

    The loss of the conditioned run with one objective, temperature 1 and reference scores 0 is ListNet's: the base
    goes through the same loop.
    """
    own = storage.below(config, "base").changed(
        {
            "output": config.output / "base",
            "objectives": [MAIN],
            "temperature": 1.0,
            "training.steps": config.ranker.base_steps,
            "training.learning_rate": config.ranker.base_learning_rate,
            "training.penalty": 0.0,
        }
    )
    standardiser = Standardiser(len(lists.numbers), config.ranker.log1p, config.ranker.list_features)
    standardiser.fit(lists.features)
    return Unit(own, partial(_create_base, numbers=lists.numbers, standardiser=standardiser))


def base_data(lists: QueryLists, data: DataConfig) -> RankingData:
    """What the base ranker is trained on."""
    listnet = data.changed({"comparisons": "listwise", "targets": "gains"})
    return RankingData(lists, lists.relevance[:, None], listnet)


def _create_base(
    config: Config, device: torch.device, numbers: Sequence[int], standardiser: Standardiser
) -> BaseRanker:
    return BaseRanker.create(config, numbers, standardiser).to(device)


def reference_key(base: Path, data: RankingData) -> str:
    """sha256 over the base's weights and every feature, in order."""
    digest = hashlib.sha256()
    for name in (CARD, WEIGHTS):
        digest.update((base / name).read_bytes())
    for array in (data.lists.features, data.lists.offsets):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@torch.no_grad()
def reference_scores(config: Config, data: RankingData) -> list[Floats]:
    """s_ref of every document, per query."""
    device = worker_device(config.scaling.use_gpu)
    torch.set_num_threads(config.scaling.worker_threads)
    base = BaseRanker.load(Path(config.model.base)).to(device)
    scores = np.zeros(len(data.reference))
    with counting(config.output, REFERENCE, len(data)):
        for indices in data.in_order_of_length(config.evaluation.batch_tokens):
            lists = data.batch(indices).contexts.to(device)
            scores[data.lists.documents(indices)] = base.scores(lists).double().cpu().numpy()
            advance(len(indices))
    return np.split(scores, data.lists.offsets[1:-1])
