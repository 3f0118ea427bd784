"""A loaded language checkpoint that answers: what lies between the routes and the engine.

Texts become tokens as they did in training, weights and temperatures become effective ones, and the streams of one
request (its n texts, its prompts) become one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from cosdpo.data.tokenization import tokenize_chat, tokenize_prompts, tokenize_responses
from cosdpo.data.turns import chat_template
from cosdpo.errors import InputError
from cosdpo.models.base import context_length, load_tokenizer
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.models.temperature import SMALLEST_RATIO
from cosdpo.training.devices import dtype_of
from serve import checkpoint
from serve.chat_template import rendered
from serve.engine import Engine, Stream
from serve.engine.requests import EngineStopped, Generation, QueueFull, UnusableSchemaError
from serve.http.backend import Part, Scored, TextRequest
from serve.http.service_errors import ServiceError, blaming, busy, unavailable
from serve.http.trade_off import EffectivePolicy, TradeOff
from serve.merging import Pace, joined, merged
from serve.served_checkpoint import ServedCheckpoint
from serve.service_settings import ServiceSettings

CHAT_GROWTH = 2
"""How much longer a chat may be in its template than all that it says may be."""


class LanguageService(ServedCheckpoint):
    """One language checkpoint, loaded and running."""

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
        self.pace = Pace()
        self.largest = CHAT_GROWTH * settings.limits.prompt_chars
        positions, soft = context_length(self.scorer.body.config), self.card.soft_tokens
        # The last token need not be read. Scores are computed beside the engine's memory.
        self.scored = positions - soft + 1
        context = min(positions, settings.engine.kv_tokens) - soft
        self.room = context + 1
        super().__init__(folder, self.scorer, name, SMALLEST_RATIO, context)

    async def generate(self, wanted: TextRequest) -> AsyncGenerator[EffectivePolicy | Part, None]:
        """The policy, then the parts of all texts."""
        policy = self.policy(wanted.trade_off)
        requests = [
            request for index in range(len(wanted.prompts)) for request in self._generations(wanted, index, policy)
        ]
        with blaming("response_format"):
            if wanted.sampling.json_schema is not None:
                await self.engine.compile(wanted.sampling.json_schema)
            streams = self._submit(wanted, requests)
        try:
            yield policy
            parts = merged(streams, self.pace) if wanted.stream else joined(streams)
            async with aclosing(parts):
                async for part in parts:
                    yield part
        except EngineStopped:
            raise unavailable("the model stopped while it answered; send the request again") from None
        except UnusableSchemaError as error:
            raise ServiceError(400, str(error), param="response_format") from None
        finally:
            for stream in streams:
                stream.cancel()

    async def score(self, trade_off: TradeOff, prompt: str, candidates: list[str]) -> Scored:
        """Scores of given responses."""
        policy = self.policy(trade_off)
        context, rows = self._asked_and_answered(prompt, candidates)
        for i, row in enumerate(rows):
            if not row:
                raise ServiceError(400, f"candidates[{i}] is empty; give it text", param="candidates")
            if len(context) + len(row) > self.scored:
                raise _too_long(
                    "candidates" if len(context) < self.scored else "prompt",
                    f"prompt and candidates[{i}] have {len(context) + len(row)}",
                    self.scored - 1,
                )
        try:
            scores = await self.engine.score(
                tuple(context), list(map(tuple, rows)), tuple(policy.weights), tuple(policy.temperature)
            )
        except QueueFull as full:
            raise busy(full.retry_after) from None
        except EngineStopped:
            raise unavailable("the model stopped while it answered; send the request again") from None
        return Scored(policy, list(scores.tuned), list(scores.base), [len(row) for row in rows])

    def example(self) -> dict[str, Any]:
        """A prompt of the run's report."""
        return {"example_prompt": checkpoint.example_prompt(self.folder, self.card.prompt_template)}

    async def healthy(self) -> bool:
        """Whether the engine's steps go on."""
        return self.engine.healthy()

    async def stats(self) -> dict[str, dict[str, float]]:
        """State of the engine."""
        stats = self.engine.stats()
        return {"local": {name: getattr(stats, name) for name in stats.__slots__}}

    async def warm_up(self) -> None:
        """Writes a token."""
        hello = TextRequest(trade_off=TradeOff(), prompts=("Hello",), max_new_tokens=1)
        async with aclosing(self.generate(hello)) as parts:
            async for _ in parts:
                pass

    async def retire(self) -> None:
        """Ends when all streams have ended; the engine is gone then."""
        await self.engine.drain()
        self.engine.stop()

    def _generations(self, wanted: TextRequest, index: int, policy: EffectivePolicy) -> list[Generation]:
        """What the engine is asked for: the continuations of prompt `index`."""
        ids, place = self._prompt(wanted, index), wanted.place(index)
        room = self.room - len(ids)
        if room < 1:
            raise _too_long(wanted.prompt_field, f"{place} has {len(ids)}; shorten it", self.room - 1)
        if room < (wanted.max_new_tokens or 1):
            asked = f"{wanted.length_field} asks for {wanted.max_new_tokens}; lower it"
            raise _too_long(wanted.length_field, f"{place} has {len(ids)} and {asked}", self.room - 1)
        most = min(wanted.default_new_tokens, room) if wanted.max_new_tokens is None else wanted.max_new_tokens
        seed = wanted.sampling.seed
        return [
            Generation(
                prompt=tuple(ids),
                weights=tuple(policy.weights),
                temperature=tuple(policy.temperature),
                max_new_tokens=most,
                echo=wanted.echo,
                sampling=replace(wanted.sampling, seed=None if seed is None else (seed + i) % 2**63),
            )
            for i in range(wanted.n)
        ]

    def _submit(self, wanted: TextRequest, requests: Sequence[Generation]) -> list[Stream]:
        """Streams of all requests, which are for `wanted`; or of none."""
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
            if isinstance(error, InputError) and not isinstance(error, UnusableSchemaError):
                param = wanted.length_field if "max_new_tokens" in str(error) else wanted.prompt_field
                message = str(error).replace("max_new_tokens", wanted.length_field)
                message = f"prompt and answer exceed context limits: {message}"
                raise ServiceError(400, message, param=param, code="context_length_exceeded") from None
            raise
        return streams

    def _prompt(self, wanted: TextRequest, index: int) -> list[int]:
        """Prompt `index` as token ids."""
        prompt, place = wanted.prompts[index], wanted.place(index)
        if isinstance(prompt, list):
            size = int(self.scorer.embed.weight.shape[0])
            if max(prompt) >= size:
                message = f"{place}: {max(prompt)} is no token of this model, whose tokens are 0 to {size - 1}"
                raise ServiceError(400, message, param=wanted.prompt_field)
            return prompt
        template = self.card.prompt_template
        if wanted.echo and template != "{prompt}":
            message = f"echo: this model reads prompts within {template!r}; send token ids, which are taken as they are"
            raise ServiceError(400, message, param="echo")
        if isinstance(prompt, str) and not (wanted.asked and self.card.chat):
            return self._tokens(prompt, place, wanted.prompt_field)
        messages = self._said(prompt, place) if isinstance(prompt, str) else prompt
        text = rendered(self.tokenizer, messages, self.largest)
        return self._tokens(text, place, wanted.prompt_field, chat=bool(self.tokenizer.chat_template))

    def _asked_and_answered(self, prompt: str, candidates: list[str]) -> tuple[list[int], list[list[int]]]:
        """A prompt as a person writes it, and responses to it, as token ids."""
        template, append_eos = chat_template(self.tokenizer), self.card.append_eos
        if not self.card.chat or template is None:
            responses = [self.card.response_template.replace("{response}", text) for text in candidates]
            context = self._tokens(prompt, "prompt", "prompt")
            return context, tokenize_responses(self.tokenizer, responses, append_eos)
        messages = self._said(prompt, "prompt")
        text = rendered(self.tokenizer, messages, self.largest)
        answers = [template.response(text, messages, answer) if answer.strip() else "" for answer in candidates]
        return tokenize_chat(self.tokenizer, text, answers, append_eos)

    def _said(self, prompt: str, place: str) -> list[dict[str, str]]:
        """A prompt as what a user says, to a model that was trained on chats."""
        if not prompt.strip():
            raise ServiceError(400, f"{place} is empty; give it text", param="prompt")
        return [{"role": "user", "content": prompt}]

    def _tokens(self, prompt: str, place: str, param: str, chat: bool = False) -> list[int]:
        """A prompt as token ids: in the checkpoint's template, or as the chat template wrote it.

        `place` is what messages call it.
        """
        text = prompt if chat else self.card.prompt_template.replace("{prompt}", prompt)
        try:
            (ids,) = tokenize_prompts(self.tokenizer, [text], chat)
        except InputError:
            raise ServiceError(400, f"{place} is empty; give it text", param=param) from None
        return ids


def _too_long(param: str, what: str, longest: int) -> ServiceError:
    """400 in the words by which OpenAI's clients know that they shall send less."""
    message = f"this model's maximum context length is {longest} tokens: {what}"
    return ServiceError(400, message, param=param, code="context_length_exceeded")


def _engine(settings: ServiceSettings) -> Callable[[LanguageScorer, PreTrainedTokenizerBase], Engine]:
    def start(scorer: LanguageScorer, tokenizer: PreTrainedTokenizerBase) -> Engine:
        engine = Engine(scorer, tokenizer, settings.engine)
        engine.batching.grammars.load()
        engine.start()
        return engine

    return start
