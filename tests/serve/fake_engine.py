"""An engine without a model: it repeats the prompt's tokens, with figures that tests can foresee.

Text i of a request is the prompt, token by token, over and over. The log-probability of the k-th new token is
-(k + 1) / 4. Scores of a candidate are minus its length; those of the base one less.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

from transformers import PreTrainedTokenizerBase

from serve.engine.requests import (
    Chunk,
    EngineStats,
    EngineStopped,
    Generation,
    QueueFull,
    Scores,
    TokenLogprob,
    UnusableSchemaError,
    Usage,
)


class FakeStream:
    def __init__(self, engine: FakeEngine, request: Generation) -> None:
        self.engine, self.request = engine, request
        self.cancelled = False
        self.ended = False

    async def __aiter__(self) -> AsyncIterator[Chunk]:
        request, engine = self.request, self.engine
        for k in range(request.max_new_tokens):
            await asyncio.sleep(engine.step_seconds)
            if engine.breaks_after == k:
                self.ended = True
                raise EngineStopped
            if self.cancelled:
                return
            token = request.prompt[k % len(request.prompt)]
            text = engine.tokenizer.decode([token])
            logprobs: tuple[TokenLogprob, ...] = ()
            if request.sampling.logprobs is not None:
                top = tuple((token + j, f"t{j}".encode(), -(k + 1 + j) / 4) for j in range(request.sampling.logprobs))
                logprobs = (TokenLogprob(token, text, text.encode(), -(k + 1) / 4, top),)
            last = k + 1 == request.max_new_tokens
            usage = Usage(len(request.prompt), 1, k + 1, 0)
            engine.tokens += 1
            self.ended = self.ended or last
            yield Chunk(text, logprobs, "length" if last else None, usage)

    def cancel(self) -> None:
        if not self.ended:
            self.cancelled = True


class FakeEngine:
    def __init__(self, tokenizer: PreTrainedTokenizerBase, step_seconds: float = 0.0) -> None:
        self.tokenizer, self.step_seconds = tokenizer, step_seconds
        self.breaks_after: int | None = None
        self.full = False
        self.well = True
        self.stopped = False
        self.defect: Exception | None = None
        self.streams: list[FakeStream] = []
        self.tokens = 0

    async def compile(self, schema: str) -> None:
        if "not" in json.loads(schema):
            raise UnusableSchemaError("the schema cannot be followed: not")

    def submit(self, request: Generation) -> FakeStream:
        if self.defect:
            raise self.defect
        if self.full or self.running() >= 10_000:
            raise QueueFull(2.5)
        self.streams.append(FakeStream(self, request))
        return self.streams[-1]

    def running(self) -> int:
        return sum(not (stream.ended or stream.cancelled) for stream in self.streams)

    async def score(
        self,
        prompt: tuple[int, ...],
        candidates: Sequence[tuple[int, ...]],
        weights: Sequence[float],
        temperature: Sequence[float],
    ) -> Scores:
        if self.full:
            raise QueueFull(2.5)
        return Scores(tuple(-float(len(y)) for y in candidates), tuple(-float(len(y)) - 1 for y in candidates))

    def stats(self) -> EngineStats:
        return EngineStats(running=self.running(), tokens=self.tokens)

    def healthy(self) -> bool:
        return self.well

    async def drain(self) -> None:
        while self.running():
            await asyncio.sleep(0.001)

    def stop(self) -> None:
        self.stopped = True
