"""What a loaded checkpoint of either task is to the service: it tells what it is, whose policy answers, and refuses
what its task does not do.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from functools import cached_property
from pathlib import Path
from typing import Any

from cosdpo.evaluation.choosing import ChosenPoint, choose
from cosdpo.evaluation.front import Front
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.models.ranking_scorer import RankingScorer
from cosdpo.models.temperature import ratio, temperatures
from cosdpo.simplex import normalise
from serve import checkpoint
from serve.http.backend import Part, Ranked, Scored, TextRequest
from serve.http.schema import ModelSent
from serve.http.service_errors import ServiceError, blaming, no_such_model
from serve.http.trade_off import Choose, ChosenSent, EffectivePolicy, TradeOff


class ServedCheckpoint(ABC):
    """One checkpoint, loaded; it never changes. A http.backend.Backend in this process."""

    def __init__(
        self,
        folder: Path,
        scorer: LanguageScorer | RankingScorer,
        name: str,
        smallest_ratio: float = 0.0,
        context: int | None = None,
    ) -> None:
        """Describes the checkpoint in `folder`.

        Args:
            scorer: loaded from it.
            name: what the checkpoint is called; the run folder's name by default.
            smallest_ratio: of the asked to the trained temperature; 0 takes any.
            context: tokens that the model reads; None for rankers.
        """
        self.folder = folder
        self.objectives = scorer.card.objectives
        self.trained_temperature = scorer.card.trained_temperature
        self.temperature_conditioned = scorer.card.temperature_conditioned
        self.smallest_ratio = smallest_ratio
        self.description = checkpoint.described(folder, scorer.card, name, smallest_ratio, context)

    async def describe(self) -> ModelSent:
        """What is served."""
        return self.description

    async def front(self) -> dict[str, Any] | None:
        """The run's front, and an example that the run held out."""
        front = await asyncio.to_thread(checkpoint.front, self.folder)
        return (
            None
            if front is None
            else {**front.model_dump(mode="json"), "checkpoint": self.description.id, **self.example()}
        )

    def generate(self, wanted: TextRequest) -> AsyncGenerator[EffectivePolicy | Part, None]:
        """The policy, then the parts of all texts; refused here."""
        raise self._other_task("text")

    async def score(self, trade_off: TradeOff, prompt: str, candidates: list[str]) -> Scored:
        """Scores of given responses; refused here."""
        raise self._other_task("text")

    async def rank(self, trade_off: TradeOff, features: list[list[float]]) -> Ranked:
        """Scores of the documents of one query; refused here."""
        raise self._other_task("ranking")

    def policy(self, trade_off: TradeOff) -> EffectivePolicy:
        """The policy that answers `trade_off`.

        Raises:
            ServiceError: another model than this one, or a weight or temperature that it cannot have.
        """
        if trade_off.model is not None and not self.description.is_called(trade_off.model):
            raise no_such_model(self.description.id)
        given = [1.0] * len(self.objectives) if trade_off.weights is None else trade_off.weights
        chosen = None if trade_off.choose is None else self._chosen(trade_off.choose)
        if chosen is not None:
            given = chosen.weights
        with blaming(trade_off.weighed_in):
            weights = normalise(given, self.objectives)
        with blaming(trade_off.beta, "temperature"):
            beta = temperatures(trade_off.temperature, self.trained_temperature, self.temperature_conditioned)
            ratio(beta, self.trained_temperature, self.smallest_ratio)
        return EffectivePolicy(
            checkpoint=self.description.id,
            objectives=self.objectives,
            weights=weights.tolist(),
            temperature=beta.tolist(),
            chosen=None if chosen is None else ChosenSent.model_validate(chosen, from_attributes=True),
        )

    @abstractmethod
    def example(self) -> dict[str, Any]:
        """Something of the run to try the front on."""

    @abstractmethod
    async def healthy(self) -> bool:
        """Whether answers come."""

    @abstractmethod
    async def stats(self) -> dict[str, dict[str, float]]:
        """State of whatever answers."""

    @abstractmethod
    async def warm_up(self) -> None:
        """Answers once, so that whoever is told that the service is ready need not pay for first times."""

    @abstractmethod
    async def retire(self) -> None:
        """Ends when all that was asked is answered."""

    def _chosen(self, wanted: Choose) -> ChosenPoint:
        """The point where what is wanted holds on the run's front."""
        if self.measured is None:
            raise ServiceError(400, "choose: the run left no front.json to choose by; give weights", param="choose")
        with blaming("choose"):
            return choose(self.measured, wanted.at_least, wanted.at_most, wanted.best, wanted.metric)

    @cached_property
    def measured(self) -> Front | None:
        """The run's front."""
        return checkpoint.front(self.folder)

    def _other_task(self, task: str) -> ServiceError:
        ranks = self.description.task == "ranking"
        kind, mend = ("ranker", "/v1/rank") if ranks else ("language model", "/v1/generate or /v1/score")
        message = f"the checkpoint served is a {kind}, which does no {task}; use POST {mend}"
        return ServiceError(400, message, code="wrong_task")
