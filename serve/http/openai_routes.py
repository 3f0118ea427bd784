"""The routes that OpenAI's clients drive unchanged; `extra_body` carries weights, beta and top_k.

client = OpenAI(base_url="http://127.0.0.1:8000/v1", api_key=KEY)
client.completions.create(model="stories", prompt="Once", extra_body={"weights": {"brevity": 1}, "beta": 0.2})
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request

from serve.engine.requests import FinishReason, SamplingParams, TokenLogprob
from serve.http import logprobs
from serve.http.answering import AnswerStream, answering, service_of
from serve.http.backend import TextRequest
from serve.http.openai_schema import ChatBody, ChatSent, CompletionBody, CompletionSent, OpenAIBody, StreamOptions
from serve.http.response_format import schema_of
from serve.http.routes import REFUSALS, UNDOCUMENTED_422, stops
from serve.http.service_errors import Failure, ServiceError
from serve.http.streaming import DESCRIBED, begun
from serve.http.strict_json import JsonRoute

COMPLETION_TOKENS = 16
"""max_tokens of /v1/completions by default, as at OpenAI."""

router = APIRouter(
    route_class=JsonRoute,
    tags=["OpenAI-compatible"],
    responses=REFUSALS
    | UNDOCUMENTED_422
    | {
        404: {"model": Failure, "description": "Another model than the one served"},
        200: {"content": DESCRIBED},
    },
)
Choice = Callable[[int, str, Sequence[TokenLogprob], FinishReason | None], dict[str, Any]]


@router.post("/v1/completions", response_model=CompletionSent, response_model_exclude_unset=True)
async def completions(body: CompletionBody, request: Request) -> Any:
    """Complete prompts at one trade-off."""
    if body.max_tokens == 0 and not body.echo:
        raise ServiceError(400, "max_tokens: 0 needs echo true, or ask for at least 1", param="max_tokens")
    wanted = replace(
        _wanted(body, body.logprobs),
        prompts=_prompts(body.prompt),
        echo=bool(body.echo),
        max_new_tokens=body.max_tokens,
        default_new_tokens=COMPLETION_TOKENS,
    )
    answer = await answering(request, wanted, "cmpl")
    offsets = [0] * (len(wanted.prompts) * wanted.n)

    def choice(
        index: int, text: str, told: Sequence[TokenLogprob], finish_reason: FinishReason | None
    ) -> dict[str, Any]:
        likely: dict[str, Any] | None = None
        if body.logprobs is not None:
            likely = logprobs.of_completion(told, offsets[index], body.logprobs)
            offsets[index] += sum(len(token.text) for token in told)
        return {"index": index, "text": text, "logprobs": likely, "finish_reason": finish_reason}

    return await _answered(body, request, answer, choice, "text_completion", "text_completion")


@router.post("/v1/chat/completions", response_model=ChatSent, response_model_exclude_unset=True)
async def chat(body: ChatBody, request: Request) -> Any:
    """Answer a chat at one trade-off."""
    if body.top_logprobs and not body.logprobs:
        raise ServiceError(400, "top_logprobs needs logprobs true", param="top_logprobs")
    newer = body.max_completion_tokens is not None
    wanted = replace(
        _wanted(body, (body.top_logprobs or 0) if body.logprobs else None),
        prompts=(tuple(message.plain() for message in body.messages),),
        prompt_field="messages",
        length_field="max_completion_tokens" if newer else "max_tokens",
        max_new_tokens=body.max_completion_tokens if newer else body.max_tokens,
    )
    answer = await answering(request, wanted, "chatcmpl")
    opened = [False] * wanted.n

    def choice(
        index: int, text: str, told: Sequence[TokenLogprob], finish_reason: FinishReason | None
    ) -> dict[str, Any]:
        opening = {} if wanted.stream and opened[index] else {"role": "assistant"}
        opened[index] = True
        message = {**opening, "content": text} if wanted.stream else {**opening, "content": text, "refusal": None}
        content = [logprobs.of_chat(token) for token in told]
        likely = {"content": content, "refusal": None} if body.logprobs else None
        body_key = "delta" if wanted.stream else "message"
        return {"index": index, body_key: message, "logprobs": likely, "finish_reason": finish_reason}

    return await _answered(body, request, answer, choice, "chat.completion", "chat.completion.chunk")


def _prompts(prompt: str | list[str] | list[list[int]] | list[int]) -> tuple[str | list[int], ...]:
    """All prompts, whether one or several came."""
    if isinstance(prompt, str):
        return (prompt,)
    several = [each for each in prompt if not isinstance(each, int)]
    return tuple(several) if several else ([each for each in prompt if isinstance(each, int)],)


def _wanted(body: OpenAIBody, logprobs: int | None) -> TextRequest:
    """What both routes understand alike; the prompts are still missing."""
    return TextRequest(
        trade_off=body.trade_off(),
        prompts=(),
        length_field="max_tokens",
        n=body.n or 1,
        sampling=SamplingParams(
            temperature=1.0 if body.temperature is None else body.temperature,
            top_p=1.0 if body.top_p is None else body.top_p,
            top_k=body.top_k or 0,
            min_p=body.min_p or 0.0,
            ignore_eos=bool(body.ignore_eos),
            stop=stops(body.stop),
            seed=body.seed,
            logprobs=logprobs,
            json_schema=schema_of(body.response_format),
        ),
        stream=bool(body.stream),
    )


async def _answered(
    body: OpenAIBody, request: Request, answer: AnswerStream, choice: Choice, whole: str, chunk: str
) -> Any:
    """The answer, whole or as a stream.

    Args:
        whole: what OpenAI calls the object of a whole answer.
        chunk: and that of a chunk.
    """
    policy = answer.policy
    head = {
        "id": answer.id,
        "object": chunk if answer.wanted.stream else whole,
        "created": int(time.time()),
        "model": policy.checkpoint,
        "checkpoint": policy.checkpoint,
        "objectives": policy.objectives,
        "weights": policy.weights,
        "beta": policy.temperature,
    }
    if not answer.wanted.stream:
        texts = await answer.whole()
        choices = [choice(i, text.text, text.logprobs, text.finish_reason) for i, text in enumerate(texts)]
        return {**head, "choices": choices, "usage": _usage(answer)}
    options = body.stream_options or StreamOptions()
    counts = bool(options.include_usage)

    async def pieces() -> AsyncGenerator[dict[str, Any], None]:
        async for part in answer.parts:
            piece = part.chunk
            usage = {"usage": _usage(answer) if options.continuous_usage_stats else None} if counts else {}
            yield {**head, "choices": [choice(part.index, piece.text, piece.logprobs, piece.finish_reason)], **usage}
        if counts:
            yield {**head, "choices": [], "usage": _usage(answer)}

    return await begun(pieces(), request.state.deadline, service_of(request).timeout_s)


def _usage(answer: AnswerStream) -> dict[str, Any]:
    used = answer.usage
    return {
        "prompt_tokens": used.prompt_tokens,
        "completion_tokens": used.completion_tokens,
        "total_tokens": used.prompt_tokens + used.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": used.cached_tokens},
    }
