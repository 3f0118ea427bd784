"""Our own routes: text, scores and rankings at the trade-off that each request picks; the front; the models."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from dataclasses import asdict
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from serve.engine.requests import SamplingParams, Usage
from serve.http.answering import AnswerStream, GeneratedText, answering, service_of
from serve.http.backend import TextRequest
from serve.http.limits import check_candidates, check_features
from serve.http.logprobs import of_generation
from serve.http.response_format import schema_of
from serve.http.schema import (
    FrontSent,
    GenerateBody,
    GenerateSent,
    ModelSent,
    ModelsSent,
    RankBody,
    RankSent,
    ScoreBody,
    ScoreSent,
)
from serve.http.service_errors import Failure, ServiceError, no_such_model
from serve.http.streaming import DESCRIBED, begun
from serve.http.strict_json import JsonRoute
from serve.http.trade_off import EffectivePolicy

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Failure, "description": "The request is wrong; `param` names the field"},
    401: {"model": Failure, "description": "No valid API key"},
    408: {"model": Failure, "description": "No answer in time"},
    413: {"model": Failure, "description": "The body is too large"},
    415: {"model": Failure, "description": "The body is not JSON"},
    429: {"model": Failure, "description": "All queues are full; `Retry-After` says when to come back"},
    500: {"model": Failure, "description": "A defect of the service"},
    503: {"model": Failure, "description": "The model is loading, or stopped"},
}
UNDOCUMENTED_422: dict[int | str, dict[str, Any]] = {"4XX": {"model": Failure, "description": "The request is refused"}}
"""FastAPI would else promise a 422 with a body of its own."""

router = APIRouter(route_class=JsonRoute, responses=REFUSALS | UNDOCUMENTED_422)


@router.post(
    "/v1/generate",
    response_model=GenerateSent,
    response_model_exclude_unset=True,
    tags=["policies"],
    responses={200: {"content": DESCRIBED}},
)
async def generate(body: GenerateBody, request: Request) -> Any:
    """Generate text at one trade-off. With `stream`, server-sent events: `data: {...}` per piece, then `[DONE]`."""
    wanted = TextRequest(
        trade_off=body.trade_off(),
        prompts=(body.prompt,),
        asked=True,
        max_new_tokens=body.max_new_tokens,
        sampling=SamplingParams(
            temperature=body.sampling_temperature,
            top_p=body.top_p,
            top_k=body.top_k,
            min_p=body.min_p,
            ignore_eos=body.ignore_eos,
            stop=stops(body.stop),
            seed=body.seed,
            logprobs=body.logprobs,
            json_schema=schema_of(body.response_format),
        ),
        stream=body.stream,
    )
    answer = await answering(request, wanted, "gen")
    if body.stream:
        return await begun(_pieces(answer), request.state.deadline, service_of(request).timeout_s)
    (text,) = await answer.whole()
    return {
        **_head(answer.id, answer.policy),
        **_tail(answer, text),
        "text": text.text,
        "logprobs": _told(text) if body.logprobs is not None else None,
    }


@router.post("/v1/score", response_model=ScoreSent, response_model_exclude_unset=True, tags=["policies"])
async def score(body: ScoreBody, request: Request) -> Any:
    """Score given responses to a prompt: log-probabilities at one trade-off and under the base."""
    service = service_of(request)
    check_candidates(service.limits, body.prompt, body.candidates)
    scored = await service.backend.score(body.trade_off(), body.prompt, body.candidates)
    return {
        **_head(f"score-{uuid.uuid4().hex}", scored.policy),
        "scores": scored.scores,
        "reference": scored.reference,
        "rewards": [tuned - base for tuned, base in zip(scored.scores, scored.reference, strict=True)],
        "tokens": scored.tokens,
    }


@router.post("/v1/rank", response_model=RankSent, response_model_exclude_unset=True, tags=["policies"])
async def rank(body: RankBody, request: Request) -> Any:
    """Rank the documents of a query at one trade-off."""
    service = service_of(request)
    check_features(service.limits, body.features)
    ranked = await service.backend.rank(body.trade_off(), body.features)
    order, base_order = (np.argsort(-np.array(x), kind="stable").tolist() for x in (ranked.scores, ranked.base_scores))
    head = _head(f"rank-{uuid.uuid4().hex}", ranked.policy)
    return {**head, "scores": ranked.scores, "order": order, "base_order": base_order}


@router.get("/v1/front", response_model=FrontSent, tags=["model"], responses={404: {"model": Failure}})
async def front(request: Request) -> Any:
    """The front that the run measured (its front.json), with an example to try it on."""
    measured = await service_of(request).backend.front()
    if measured is None:
        raise ServiceError(404, "the run of this checkpoint measured no front", code="no_front")
    return measured


@router.get("/v1/models", response_model=ModelsSent, tags=["model"])
async def models(request: Request) -> Any:
    """The checkpoint that is served."""
    return {"data": [await service_of(request).backend.describe()]}


@router.get("/v1/models/{model:path}", response_model=ModelSent, tags=["model"], responses={404: {"model": Failure}})
async def model(model: str, request: Request) -> ModelSent:
    """The checkpoint that is served, by its id or its name."""
    served = await service_of(request).backend.describe()
    if not served.is_called(model):
        raise no_such_model(served.id)
    return served


@router.get("/metrics", tags=["service"], response_class=Response)
async def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    service = service_of(request)
    page = service.metrics.show(await service.backend.stats())
    return Response(page, media_type="text/plain; version=1.0.0; charset=utf-8")


def stops(stop: str | list[str] | None) -> tuple[str, ...]:
    """Stop texts as a tuple."""
    return () if stop is None else (stop,) if isinstance(stop, str) else tuple(stop)


async def _pieces(answer: AnswerStream) -> AsyncGenerator[dict[str, Any], None]:
    async for part in answer.parts:
        chunk = part.chunk
        piece: dict[str, Any] = {"id": answer.id, "checkpoint": answer.policy.checkpoint, "text": chunk.text}
        text = GeneratedText(chunk.text, list(chunk.logprobs), chunk.finish_reason)
        if answer.wanted.sampling.logprobs is not None:
            piece["logprobs"] = _told(text)
        piece["finish_reason"] = chunk.finish_reason
        if chunk.finish_reason is not None:
            piece |= {**_head(answer.id, answer.policy), **_tail(answer, text)}
        yield piece


def _head(identity: str, policy: EffectivePolicy) -> dict[str, Any]:
    return {"id": identity, **policy.model_dump(exclude_none=True)}


def _tail(answer: AnswerStream, text: GeneratedText) -> dict[str, Any]:
    used: Usage = answer.usage
    total = used.prompt_tokens + used.completion_tokens
    return {"finish_reason": text.finish_reason, "usage": {**asdict(used), "total_tokens": total}}


def _told(text: GeneratedText) -> list[dict[str, Any]]:
    return [of_generation(token) for token in text.logprobs]
