"""What a ranker reaches over the weight grid: NDCG@10 per objective and of the main label, and lists that show it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
import torch

from cosdpo.activity import advance
from cosdpo.arrays import Floats, Singles
from cosdpo.config import Config
from cosdpo.data.query_lists import QueryLists
from cosdpo.data.ranking_data import RankingData
from cosdpo.evaluation.bootstrap import PerContext
from cosdpo.evaluation.ndcg import exponential_gains, informative, ndcg
from cosdpo.evaluation.samples import Order, Ranking
from cosdpo.losses import rescale
from cosdpo.models.ranking_scorer import RankingScorer
from cosdpo.simplex import das_dennis, showcase
from cosdpo.tasks.ranking.base_ranker import MAIN

SHOWN_QUERIES = 3
SHOWN_DOCUMENTS = 10


@dataclass
class RankingMeasurement:
    """What a scorer reached at some weights of the grid, by grid index."""

    ndcg: dict[int, PerContext] = field(default_factory=dict)
    """NDCG@10 per auxiliary objective, its mean [R, m], at each of the R temperatures."""
    main: dict[int, PerContext] = field(default_factory=dict)
    """NDCG@10 of the main label, its mean [R, 1]."""
    scores: dict[int, Singles] = field(default_factory=dict)
    """Scores of all documents at the trained temperature."""
    rankings: list[Ranking] = field(default_factory=list)


def measure(
    scorer: RankingScorer,
    config: Config,
    indices: Iterable[int],
    lead: bool,
    illustrate: bool = True,
    ratios: Sequence[float] = (1.0,),
    *,
    data: Any,
) -> RankingMeasurement:
    """Part of the grid; see task.Measure."""
    held_out: RankingData = ray.get(data)
    grid = das_dennis(len(config.objectives), config.partitions)
    chosen = list(indices)
    ranked = RankingMeasurement()
    scores = torch.from_numpy(score_all(scorer, held_out, grid[chosen], config))
    reference = torch.from_numpy(held_out.reference)
    for index, row in zip(chosen, scores, strict=True):
        ranked.scores[index] = row.numpy()
        along = [ndcg_of((row if c == 1 else rescale(row, reference, c)).numpy(), held_out) for c in ratios]
        ranked.ndcg[index], ranked.main[index] = map(PerContext.stacked, zip(*along, strict=True))
        advance()
    if lead and illustrate:
        ranked.rankings = _rankings(scorer, held_out, config)
    return ranked


@torch.no_grad()
def score_all(scorer: Any, data: RankingData, weights: Floats, config: Config) -> Singles:
    """Scores of all documents at several weights [W, m] and the scorer's own trained temperature, [W, N]."""
    scores = np.zeros((len(weights), len(data.reference)), dtype=np.float32)
    beta = torch.tensor(scorer.card.trained_temperature, dtype=torch.float32, device=scorer.device)
    w = torch.tensor(weights, dtype=torch.float32, device=scorer.device)
    for indices in data.in_order_of_length(config.evaluation.batch_tokens):
        lists = data.batch(indices).contexts.to(scorer.device)
        rows = data.lists.documents(indices)
        shape = (len(indices), w.shape[1])
        for i, at in enumerate(w):
            scores[i, rows] = lists.unpad(scorer(lists, at.expand(shape), beta.expand(shape))).float().cpu().numpy()
    return scores


def ndcg_of(scores: npt.NDArray[Any], data: RankingData) -> tuple[PerContext, PerContext]:
    """NDCG@10 per auxiliary objective, its mean [m], and of the main label, [1], over the lists that say anything."""
    offsets, columns = data.lists.offsets, [*data.labels.T, data.lists.relevance]
    tells = np.stack([informative(labels, offsets) for labels in columns], axis=1).astype(np.float64)
    of_lists = np.stack([ndcg(scores, exponential_gains(labels), offsets) for labels in columns], axis=1) * tells
    return PerContext(of_lists[:, :-1], tells[:, :-1]), PerContext(of_lists[:, -1:], tells[:, -1:])


def _names(lists: QueryLists) -> list[str]:
    """What a person calls the documents: by the source's names, where it has them."""
    docids = lists.docids if len(lists.docids) else [b""] * len(lists.relevance)
    return [docid.decode(errors="replace") or f"doc {place}" for place, docid in enumerate(docids, start=1)]


def _rankings(scorer: RankingScorer, data: RankingData, config: Config) -> list[Ranking]:
    """The first queries whose labels tell most about the trade-off, ranked along it."""
    told = np.add.reduceat(data.targets, data.lists.offsets[:-1]) > 0.5
    long_enough = data.lengths >= min(SHOWN_DOCUMENTS, data.lengths.max())
    order = np.argsort(-(told.sum(1) + 0.5 * long_enough), kind="stable")[:SHOWN_QUERIES]
    rankings = []
    weights = showcase(len(config.objectives), config.evaluation.samples)
    for query in order.tolist():
        rows = data.lists.documents([query])
        single = RankingData(data.lists.subset([query]), data.labels[rows], config.data)
        single.reference = data.reference[rows]
        scores = score_all(scorer, single, weights, config)
        labels = {name: single.labels[:, j].tolist() for j, name in enumerate(config.objectives)}
        rankings.append(
            Ranking(
                query=f"query {data.lists.queries[query]}",
                documents=_names(single.lists),
                labels={MAIN: single.lists.relevance.tolist(), **labels},
                orders=[
                    Order(weights=w.tolist(), order=np.argsort(-row, kind="stable")[:SHOWN_DOCUMENTS].tolist())
                    for w, row in zip(weights, scores, strict=True)
                ],
            )
        )
    return rankings
