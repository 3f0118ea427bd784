"""A loaded ranker that answers. Lists that wait while others are scored are scored together, each at its weights."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cosdpo.arrays import Singles
from cosdpo.data.packed_lists import PackedLists
from cosdpo.models.ranking_scorer import RankingScorer
from serve import checkpoint
from serve.http.backend import Ranked
from serve.http.service_errors import ServiceError, blaming, busy
from serve.http.trade_off import EffectivePolicy, TradeOff
from serve.served_checkpoint import ServedCheckpoint
from serve.service_settings import ServiceSettings

BATCH_DOCUMENTS = 8192
"""Documents scored together, unless one list alone has more."""
MOST_WAITING = 1024
"""Lists that may wait."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    rows: Singles
    policy: EffectivePolicy
    scores: asyncio.Future[tuple[list[float], list[float]]]


class RankingService(ServedCheckpoint):
    """One ranker, loaded."""

    def __init__(self, folder: Path, settings: ServiceSettings, base: str = "", name: str = "") -> None:
        """Loads the checkpoint; `base` is part of it and not read.

        Raises:
            InputError: the checkpoint cannot be loaded.
        """
        checkpoint.task_of(folder)
        self.scorer = RankingScorer.load(folder, "cuda" if settings.gpus else "cpu")
        self.card = self.scorer.card
        super().__init__(folder, self.scorer, name)
        self.waiting: list[_Waiting] = []
        self.scoring: asyncio.Task[None] | None = None
        self.lists = self.batches = 0

    async def rank(self, trade_off: TradeOff, features: list[list[float]]) -> Ranked:
        """Scores of the documents of one query."""
        policy = self.policy(trade_off)
        with blaming("features"):
            rows = self.scorer.inputs(features)
        if len(self.waiting) >= MOST_WAITING:
            raise busy(1.0)
        waiting = _Waiting(rows, policy, asyncio.get_running_loop().create_future())
        self.waiting.append(waiting)
        if self.scoring is None or self.scoring.done():
            self.scoring = asyncio.create_task(self._score_waiting())
        scores, base = await waiting.scores
        if not np.isfinite([scores, base]).all():
            raise ServiceError(
                400,
                "the scores are not finite; give features of the data's size, or a larger temperature",
                param="features",
            )
        return Ranked(policy, scores, base)

    def example(self) -> dict[str, Any]:
        """A query that the run held out."""
        numbers = self.card.base.numbers
        return {
            "example_features": checkpoint.example_features(self.folder, len(numbers)),
            "feature_names": [f"feature {number}" for number in numbers],
        }

    async def healthy(self) -> bool:
        """A ranker has no step loop that could stand still."""
        return True

    async def stats(self) -> dict[str, dict[str, float]]:
        """Lists waiting and scored."""
        return {"local": {"waiting": len(self.waiting), "lists": self.lists, "batches": self.batches}}

    async def warm_up(self) -> None:
        """Scores a list."""
        await self.rank(TradeOff(), [[0.0] * len(self.card.base.numbers)])

    async def retire(self) -> None:
        """Ends when nobody waits."""
        if self.scoring is not None:
            await self.scoring

    async def _score_waiting(self) -> None:
        while self.waiting:
            batch, documents = 0, 0
            for waiting in self.waiting:
                documents += len(waiting.rows)
                if batch and documents > BATCH_DOCUMENTS:
                    break
                batch += 1
            lists, self.waiting = self.waiting[:batch], self.waiting[batch:]
            lists = [waiting for waiting in lists if not waiting.scores.cancelled()]
            if not lists:
                continue
            self.lists, self.batches = self.lists + len(lists), self.batches + 1
            try:
                scores_of_lists = await asyncio.to_thread(self._scores, lists)
            except Exception as error:
                for waiting in lists:
                    if not waiting.scores.done():
                        waiting.scores.set_exception(error)
                continue
            for waiting, pair in zip(lists, scores_of_lists, strict=True):
                if not waiting.scores.done():
                    waiting.scores.set_result(pair)

    @torch.no_grad()
    def _scores(self, lists: list[_Waiting]) -> list[tuple[list[float], list[float]]]:
        """Scores under each list's policy and under the base."""
        lengths = [len(waiting.rows) for waiting in lists]
        packed = PackedLists.of(np.concatenate([waiting.rows for waiting in lists]), lengths).to(self.scorer.device)
        weights, beta = (
            torch.tensor(rows, dtype=torch.float32, device=self.scorer.device)
            for rows in ([w.policy.weights for w in lists], [w.policy.temperature for w in lists])
        )
        tuned, base = self.scorer(packed, weights, beta), self.scorer.base(packed)
        return [(tuned[i, :n].double().tolist(), base[i, :n].double().tolist()) for i, n in enumerate(lengths)]
