"""An answer while it is generated: the policy that gives it, its pieces, or the whole of it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import cast

from fastapi import Request

from serve.engine.requests import FinishReason, TokenLogprob, Usage
from serve.http.backend import Backend, Part, TextRequest
from serve.http.limits import Limits, check_texts
from serve.http.metrics import Metrics, Stopwatch
from serve.http.service_errors import unavailable
from serve.http.trade_off import EffectivePolicy


@dataclass(frozen=True)
class Service:
    """What the routes work with; `request.app.state.service`."""

    backend: Backend
    limits: Limits
    metrics: Metrics
    timeout_s: float


def service_of(request: Request) -> Service:
    """The service that answers `request`."""
    service: Service = request.app.state.service
    return service


@dataclass(slots=True)
class GeneratedText:
    """One generated text."""

    text: str = ""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: FinishReason | None = None


@dataclass
class AnswerStream:
    """An answer: its policy, and where its parts come from."""

    id: str
    policy: EffectivePolicy
    parts: AsyncGenerator[Part, None]
    wanted: TextRequest
    usages: dict[int, Usage] = field(default_factory=dict)
    """Of each text by its number, up to its latest part."""

    @property
    def usage(self) -> Usage:
        """Of all texts up to here; a prompt counts once, however many texts it has."""
        texts = self.usages.values()
        prompts = {i // self.wanted.n: self.usages[i] for i in sorted(self.usages, reverse=True)}.values()
        return Usage(
            sum(used.prompt_tokens for used in prompts),
            sum(used.cached_tokens for used in prompts),
            sum(used.completion_tokens for used in texts),
            sum(used.base_tokens for used in texts),
        )

    async def whole(self) -> list[GeneratedText]:
        """All texts, when they have ended."""
        texts = [GeneratedText() for _ in range(len(self.wanted.prompts) * self.wanted.n)]
        async with aclosing(self.parts):
            async for part in self.parts:
                text = texts[part.index]
                text.text += part.chunk.text
                text.logprobs.extend(part.chunk.logprobs)
                text.finish_reason = part.chunk.finish_reason or text.finish_reason
        return texts


async def answering(request: Request, wanted: TextRequest, prefix: str) -> AnswerStream:
    """Begins the answer to `wanted`; the policy is known when this returns.

    Args:
        prefix: of the answer's id.
    """
    service = service_of(request)
    check_texts(service.limits, wanted)
    watch = Stopwatch(service.metrics, request.scope["route"].path)
    source = cast(AsyncGenerator[EffectivePolicy | Part, None], service.backend.generate(wanted))
    policy = await anext(source)
    assert isinstance(policy, EffectivePolicy)
    answer = AnswerStream(f"{prefix}-{uuid.uuid4().hex}", policy, _none(), wanted)
    answer.parts = _counted(source, answer, watch)
    return answer


async def _counted(
    source: AsyncIterator[EffectivePolicy | Part], answer: AnswerStream, watch: Stopwatch
) -> AsyncGenerator[Part, None]:
    """The parts of `source`; adds up the usage, and tells the metrics."""
    ended = 0
    async with aclosing(cast(AsyncGenerator[Part, None], source)) as parts:
        async for part in parts:
            if answer.wanted.stream:
                watch.token()
            ended += part.chunk.finish_reason is not None
            answer.usages[part.index] = part.chunk.usage
            yield part
    if ended < len(answer.wanted.prompts) * answer.wanted.n:
        raise unavailable("the model broke off the answer; send the request again")
    used = answer.usage
    watch.end(used.prompt_tokens, used.cached_tokens, used.completion_tokens, used.base_tokens, answer.wanted.stream)


async def _none() -> AsyncGenerator[Part, None]:
    return
    yield
