"""An answer while it is generated: the policy that gives it, its pieces, or the whole of it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import cast

from fastapi import Request

from serve.engine.requests import FinishReason, TokenLogprob, Usage
from serve.http.backend import Ask, Backend, EffectivePolicy, Part
from serve.http.limits import Limits, check_ask
from serve.http.metrics import Metrics, Stopwatch
from serve.http.service_errors import unavailable


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
class Text:
    """One generated text."""

    text: str = ""
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: FinishReason | None = None


@dataclass
class Answer:
    """An answer: its policy, and where its parts come from."""

    id: str
    policy: EffectivePolicy
    parts: AsyncGenerator[Part, None]
    ask: Ask
    usage: Usage = field(default_factory=lambda: Usage(0, 0, 0, 0))
    """Of all texts that have ended; a prompt counts once, however many texts it has."""

    async def whole(self) -> list[Text]:
        """All texts, when they have ended."""
        texts = [Text() for _ in range(len(self.ask.prompts) * self.ask.n)]
        async with aclosing(self.parts):
            async for part in self.parts:
                text = texts[part.index]
                text.text += part.chunk.text
                text.logprobs.extend(part.chunk.logprobs)
                text.finish_reason = part.chunk.finish_reason or text.finish_reason
        return texts


async def answering(request: Request, ask: Ask, prefix: str) -> Answer:
    """Begins the answer to `ask`; the policy is known when this returns.

    Args:
        prefix: of the answer's id.
    """
    service = service_of(request)
    check_ask(service.limits, ask)
    watch = Stopwatch(service.metrics, request.scope["route"].path)
    source = cast(AsyncGenerator[EffectivePolicy | Part, None], service.backend.generate(ask))
    policy = await anext(source)
    assert isinstance(policy, EffectivePolicy)
    answer = Answer(f"{prefix}-{uuid.uuid4().hex}", policy, _none(), ask)
    answer.parts = _counted(source, answer, watch)
    return answer


async def _counted(
    source: AsyncIterator[EffectivePolicy | Part], answer: Answer, watch: Stopwatch
) -> AsyncGenerator[Part, None]:
    """The parts of `source`; adds up the usage, and tells the metrics."""
    ended = 0
    async with aclosing(cast(AsyncGenerator[Part, None], source)) as parts:
        async for part in parts:
            if answer.ask.stream:
                watch.token()
            if part.chunk.usage is not None:
                ended += 1
                answer.usage = _added(answer.usage, part.chunk.usage, part.index % answer.ask.n == 0)
            yield part
    if ended < len(answer.ask.prompts) * answer.ask.n:
        raise unavailable("the model broke off the answer; send the request again")
    used = answer.usage
    watch.end(used.prompt_tokens, used.cached_tokens, used.completion_tokens, used.base_tokens, answer.ask.stream)


def _added(sum_: Usage, one: Usage, first: bool) -> Usage:
    return Usage(
        sum_.prompt_tokens + one.prompt_tokens * first,
        sum_.cached_tokens + one.cached_tokens * first,
        sum_.completion_tokens + one.completion_tokens,
        sum_.base_tokens + one.base_tokens,
    )


async def _none() -> AsyncGenerator[Part, None]:
    return
    yield
