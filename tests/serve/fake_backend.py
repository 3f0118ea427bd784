"""A model that is no model: what it writes and how it ranks are plain functions of the weights that tests can tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from cosdpo.evaluation.front import Measured, build
from cosdpo.simplex import das_dennis
from serve.engine.requests import Chunk, Usage
from serve.http.backend import Part, Ranked, Scored, TextRequest
from serve.http.schema import ModelSent
from serve.http.service_errors import ServiceError
from serve.http.trade_off import EffectivePolicy, TradeOff

NAMES = ("positivity", "brevity", "dialogue", "formality", "factuality")
HAPPY = ("smiled", "laughed", "danced", "sang", "hugged her friend")
PLAIN = ("sat", "looked", "walked home", "waited", "slept")
DOCUMENTS, FEATURES = 12, 8


class FakeBackend:
    """Serves m objectives. The prompts "fail", "break" and "slow" do what they say."""

    def __init__(
        self,
        m: int = 2,
        task: str = "language",
        *,
        measured: bool = True,
        pause: float = 0.0,
        ratios: tuple[float, ...] = (1.0,),
    ) -> None:
        self.objectives = list(NAMES[:m]) if task == "language" else ["quality", "clicks", "freshness"][:m]
        self.task, self.measured, self.pause, self.ratios = task, measured, pause, ratios
        self.wanted: list[TextRequest] = []
        self.closed = 0
        """Answers that were broken off by the caller."""
        self.documents = np.random.default_rng(3).normal(size=(DOCUMENTS, FEATURES)).round(2)

    async def describe(self) -> ModelSent:
        return ModelSent(
            id="stories-1f3a9c04d2e1" if self.task == "language" else "mslr-77ab10e3c950",
            created=1_790_000_000,
            task=self.task,  # type: ignore[arg-type]
            objectives=self.objectives,
            trained_temperature=[0.1] * len(self.objectives),
            temperature_conditioned=False,
            scope="response" if self.task == "language" else None,
            smallest_temperature=0.01,
        )

    def policy(self, trade_off: TradeOff) -> EffectivePolicy:
        m = len(self.objectives)
        given = trade_off.weights or [1.0] * m
        raw = [given.get(name, 0.0) for name in self.objectives] if isinstance(given, dict) else given
        if len(raw) != m:
            raise ServiceError(400, f"weights has {len(raw)} numbers for {m} objectives", param="weights")
        beta = trade_off.temperature or 0.1
        temperature = beta if isinstance(beta, list) else [beta] * m
        if sum(temperature) / m < 0.01:
            raise ServiceError(400, "temperature is below 0.01; raise it", param="temperature")
        return EffectivePolicy(
            checkpoint="stories-1f3a9c04d2e1",
            objectives=self.objectives,
            weights=[w / sum(raw) for w in raw],
            temperature=temperature,
        )

    def words(self, policy: EffectivePolicy, seed: int | None) -> list[str]:
        """Happier with the first weight, shorter with the second, and never the same at two trade-offs."""
        happy, sentences = policy.weights[0], 2 + round(5 * (1 - policy.weights[1]))
        start = seed or 0
        text = ["Tom", "ran", "to", "the", "park."]
        for k in range(sentences):
            mood = HAPPY if (k * 0.37 + 0.2) % 1 < happy else PLAIN
            text += ["Then", ("he", "Lily", "the", "dog", "she")[k % 5], *mood[(k + start) % 5].split()]
            text[-1] += "."
        weights = " ".join(f"{weight:.2f}" for weight in policy.weights)
        return [*text, f"({weights}", f"at {policy.temperature[0]:.3g})"]

    async def generate(self, wanted: TextRequest) -> AsyncIterator[EffectivePolicy | Part]:
        self.wanted.append(wanted)
        prompt = str(wanted.prompts[0])
        if prompt == "fail":
            raise ServiceError(400, "prompt is too long: it has 600 tokens of at most 512", param="prompt")
        policy = self.policy(wanted.trade_off)
        yield policy
        words = self.words(policy, wanted.sampling.seed) * (50 if prompt == "slow" else 1)
        ended = False
        try:
            for k, word in enumerate(words[: wanted.max_new_tokens]):
                await asyncio.sleep(0.02 if prompt == "slow" else self.pause)
                if prompt == "break" and k == 3:
                    raise ServiceError(500, "the engine stopped")
                yield Part(0, Chunk(word + " ", (), None, Usage(9, 8, k + 1, 0)))
            yield Part(0, Chunk("", (), "stop", Usage(9, 8, len(words), 0)))
            ended = True
        finally:
            self.closed += not ended

    async def score(self, trade_off: TradeOff, prompt: str, candidates: list[str]) -> Scored:
        raise ServiceError(400, "no scores here")

    async def rank(self, trade_off: TradeOff, features: list[list[float]]) -> Ranked:
        documents = np.array(features)
        policy = self.policy(trade_off)
        base = documents[:, 0]
        tuned = base + 2 * documents[:, 1 : 1 + len(self.objectives)] @ np.array(policy.weights)
        return Ranked(policy, tuned.tolist(), base.tolist())

    async def front(self) -> dict[str, Any] | None:
        if not self.measured:
            return None
        m = len(self.objectives)
        weights = das_dennis(m, 10 if m == 2 else 5 if m == 3 else 3)
        name = "accuracy" if self.task == "language" else "ndcg@10"
        ratios = np.repeat(self.ratios, len(weights))[:, None]
        weights = np.tile(weights, (len(self.ratios), 1))
        gains = 0.5 + 0.25 * np.sqrt(weights) / ratios
        losses = 0.7 - 0.3 * weights**0.7 / ratios
        metrics = {
            name: Measured(values=gains, base=[0.5] * m, reference_point=[0.5] * m),
            "loss": Measured(values=losses, base=[0.69] * m, reference_point=[0.69] * m, higher_is_better=False),
        }
        front = build(
            method="cos",
            task=self.task,  # type: ignore[arg-type]
            objectives=self.objectives,
            seed=0,
            trained_temperature=0.1,
            train_seconds=160.0,
            trained_parameters=98_304,
            weights=weights,
            temperatures=0.1 * np.broadcast_to(ratios, weights.shape),
            metrics=metrics,
        ).model_dump(mode="json")
        if self.task == "language":
            return front | {"example_prompt": "Once upon a time, there was a boy named Tom."}
        names = ["match", "authority", "freshness", "popularity", "quality", "length", "links", "depth"]
        return front | {"example_features": self.documents.tolist(), "feature_names": names}

    async def healthy(self) -> bool:
        return True

    async def stats(self) -> dict[str, dict[str, float]]:
        return {}
