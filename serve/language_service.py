"""A loaded language checkpoint that answers: what lies between the routes and the engine.

Texts become tokens as they did in training, weights and temperatures become effective ones, and the streams of one
request (its n texts, its prompts) become one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import jinja2
from transformers import PreTrainedTokenizerBase

from cosdpo.data.tokenization import tokenize_prompts
from cosdpo.errors import InputError
from cosdpo.models.base import load_tokenizer
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.models.temperature import SMALLEST_RATIO, ratio, temperatures
from cosdpo.simplex import normalise
from cosdpo.training.devices import dtype_of
from serve import checkpoint
from serve.engine import Engine
from serve.engine.requests import EngineStopped, Generation, QueueFull
from serve.http.backend import Ask, Description, EffectivePolicy, Message, Part, Ranked, Scored, TradeOff, only
from serve.http.service_errors import ServiceError, blaming, busy, unavailable
from serve.merging import Pace, Stream, joined, merged
from serve.service_settings import ServiceSettings


class LanguageService:
    """One language checkpoint, loaded and running; it never changes. See backend.Backend for its methods."""

    def __init__(
        self,
        folder: Path,
        settings: ServiceSettings,
        base: str = "",
        name: str = "",
        start: Callable[[LanguageScorer, PreTrainedTokenizerBase], Any] | None = None,
    ) -> None:
        """Loads the checkpoint and starts its engine.

        Args:
            folder: of the checkpoint.
            base: where the base is found, if not where the checkpoint says.
            name: what the checkpoint is called; the run folder's name by default.
            start: makes a running engine; tests put their own here.

        Raises:
            InputError: the checkpoint or its base cannot be loaded.
        """
        checkpoint.task_of(folder)
        device = "cuda" if settings.gpus else "cpu"
        dtype = dtype_of(settings.dtype, bool(settings.gpus))
        self.scorer = LanguageScorer.load(folder, dtype, device, base)
        self.card = self.scorer.card
        self.tokenizer = load_tokenizer(base or self.card.base)
        self.engine: Engine = (start or _engine(settings))(self.scorer, self.tokenizer)
        self.folder = folder
        self.pace = Pace()
        positions = int(self.scorer.body.config.max_position_embeddings)
        self.room = positions - self.card.soft_tokens + 1
        smallest = SMALLEST_RATIO * sum(self.card.trained_temperature) / len(self.card.trained_temperature)
        self.description = checkpoint.described(folder, self.card, name, float(f"{smallest:.12g}"))

    async def describe(self) -> Description:
        """What is served."""
        return self.description

    async def generate(self, ask: Ask) -> AsyncGenerator[EffectivePolicy | Part, None]:
        """The policy, then the parts of all texts."""
        policy = self._policy(ask.trade_off)
        streams = self._submit(
            [request for prompt in ask.prompts for request in self._generations(ask, prompt, policy)]
        )
        try:
            yield policy
            parts = merged(streams, self.pace) if ask.stream else joined(streams)
            async with aclosing(parts):
                async for part in parts:
                    yield part
        except EngineStopped:
            raise unavailable("the model stopped while it answered; send the request again") from None
        finally:
            for stream in streams:
                stream.cancel()

    async def score(self, trade_off: TradeOff, prompt: str, candidates: list[str]) -> Scored:
        """Scores of given responses."""
        policy = self._policy(trade_off)
        with blaming("prompt"):
            (context,) = tokenize_prompts(self.tokenizer, [self._in_template(prompt)])
        end = [self.tokenizer.eos_token_id] if self.card.append_eos else []
        responses = [self.card.response_template.replace("{response}", text) for text in candidates]
        rows = [tuple(ids + end) for ids in self.tokenizer(responses, add_special_tokens=False)["input_ids"]]
        for i, row in enumerate(rows):
            if not row:
                raise ServiceError(400, f"candidates[{i}] has no tokens; give it text", param="candidates")
            if len(context) + len(row) > self.room:
                raise ServiceError(
                    400,
                    f"prompt and candidates[{i}] have {len(context) + len(row)} tokens, the model reads {self.room}",
                    param="candidates" if len(context) < self.room else "prompt",
                    code="context_length_exceeded",
                )
        try:
            scores = await self.engine.score(tuple(context), rows, tuple(policy.weights), tuple(policy.temperature))
        except QueueFull as full:
            raise busy(full.retry_after) from None
        except EngineStopped:
            raise unavailable("the model stopped while it answered; send the request again") from None
        return Scored(policy, list(scores.tuned), list(scores.base), [len(row) for row in rows])

    async def rank(self, trade_off: TradeOff, features: list[list[float]]) -> Ranked:
        """A language model ranks nothing."""
        raise ServiceError(400, only("ranking", "language"), code="wrong_task")

    async def front(self) -> dict[str, Any] | None:
        """The run's front and a prompt of its report."""
        found = await asyncio.to_thread(checkpoint.front, self.folder)
        if found is None:
            return None
        example = checkpoint.example_prompt(self.folder, self.card.prompt_template)
        return {**found, "checkpoint": self.description.id, "example_prompt": example}

    async def healthy(self) -> bool:
        """Whether the engine's steps go on."""
        return self.engine.healthy()

    async def stats(self) -> dict[str, dict[str, float]]:
        """State of the engine."""
        stats = self.engine.stats()
        return {"local": {name: getattr(stats, name) for name in stats.__slots__}}

    async def warm_up(self) -> None:
        """Answers once, so that whoever is told that the service is ready need not pay for first times."""
        ask = Ask(trade_off=TradeOff(), prompts=("Hello",), max_new_tokens=1)
        async with aclosing(self.generate(ask)) as parts:
            async for _ in parts:
                pass

    async def retire(self) -> None:
        """Ends when all streams have ended; the engine is gone then."""
        await self.engine.drain()
        self.engine.stop()

    def _policy(self, asked: TradeOff) -> EffectivePolicy:
        check_model(asked.model, self.description.id)
        objectives = self.card.objectives
        with blaming("weights"):
            weights = normalise([1.0] * len(objectives) if asked.weights is None else asked.weights, objectives)
        with blaming(asked.beta):
            beta = temperatures(asked.temperature, self.card.trained_temperature, self.card.temperature_conditioned)
            ratio(beta, self.card.trained_temperature, SMALLEST_RATIO)
        return EffectivePolicy(self.description.id, objectives, weights.tolist(), beta.tolist())

    def _generations(self, ask: Ask, prompt: str | tuple[Message, ...], policy: EffectivePolicy) -> list[Generation]:
        text = prompt if isinstance(prompt, str) else self._chat(prompt)
        with blaming(ask.prompt_field):
            (ids,) = tokenize_prompts(self.tokenizer, [self._in_template(text)])
        room = self.room - len(ids)
        if room < (ask.max_new_tokens or 1):
            over = ask.prompt_field if room < 1 else ask.length_field
            raise ServiceError(
                400,
                f"{over}: the prompt has {len(ids)} tokens and leaves room for {max(0, room)} new ones",
                param=over,
                code="context_length_exceeded",
            )
        return [
            Generation(
                prompt=tuple(ids),
                weights=tuple(policy.weights),
                temperature=tuple(policy.temperature),
                max_new_tokens=ask.max_new_tokens or min(ask.default_new_tokens, room),
                sampling_temperature=ask.sampling_temperature,
                top_p=ask.top_p,
                top_k=ask.top_k,
                stop=ask.stop,
                seed=None if ask.seed is None else (ask.seed + i) % 2**63,
                logprobs=ask.logprobs,
            )
            for i in range(ask.n)
        ]

    def _submit(self, requests: Sequence[Generation]) -> list[Stream]:
        """Streams of all requests, or of none."""
        streams: list[Stream] = []
        try:
            streams.extend(map(self.engine.submit, requests))
        except BaseException as error:
            for stream in streams:
                stream.cancel()
            if isinstance(error, QueueFull):
                raise busy(error.retry_after) from None
            if isinstance(error, EngineStopped):
                raise unavailable("the model is stopping; send the request again") from None
            if isinstance(error, InputError):
                param = "max_new_tokens" if "max_new_tokens" in str(error) else "prompt"
                raise ServiceError(400, str(error), param=param, code="context_length_exceeded") from None
            raise
        return streams

    def _in_template(self, prompt: str) -> str:
        return self.card.prompt_template.replace("{prompt}", prompt)

    def _chat(self, messages: Sequence[Message]) -> str:
        """The chat as text: by the tokenizer's template, or one paragraph per message where it has none."""
        if not self.tokenizer.chat_template:
            return "\n\n".join(message["content"] for message in messages)
        try:
            text = self.tokenizer.apply_chat_template(
                [dict(message) for message in messages], tokenize=False, add_generation_prompt=True
            )
        except jinja2.TemplateError as error:
            raise ServiceError(
                400, f"messages: the model's chat template refuses them: {error.message}", param="messages"
            ) from None
        return str(text)


def check_model(asked: str | None, served: str) -> None:
    """Raises ServiceError (404) unless `asked` is the served checkpoint's id or its name."""
    if asked is not None and asked not in (served, served.rpartition("-")[0]):
        raise ServiceError(
            404, f"there is no such model here; /v1/models has {served}", param="model", code="model_not_found"
        )


def _engine(settings: ServiceSettings) -> Callable[[LanguageScorer, PreTrainedTokenizerBase], Engine]:
    def start(scorer: LanguageScorer, tokenizer: PreTrainedTokenizerBase) -> Engine:
        engine = Engine(scorer, tokenizer, settings.engine)
        engine.start()
        return engine

    return start
