"""Several streams of one request become one; the texts of a request that does not stream become whole first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace

from serve.engine import Stream
from serve.engine.requests import Chunk
from serve.http.backend import Part

SHORTEST, LONGEST = 0.01, 0.05
"""Bounds of the time between two parts of a text, in seconds: nobody reads a hundred parts a second, and twenty still
look like writing."""
SECONDS_PER_PART = 0.00125
"""Each part goes through two more processes. So much time for it keeps them from taking longer than the model."""


@dataclass
class Pace:
    """How often the texts of one replica send parts: the more there are, the more tokens each part joins."""

    texts: int = 0
    """Texts being streamed."""

    @property
    def seconds(self) -> float:
        """Shortest time between two parts of a text after its first."""
        return min(max(SHORTEST, SECONDS_PER_PART * self.texts), LONGEST)


async def merged(streams: Sequence[Stream], pace: Pace) -> AsyncGenerator[Part, None]:
    """The parts of all streams as they come."""
    parts: asyncio.Queue[Part | BaseException | None] = asyncio.Queue(maxsize=1)  # a slow reader lets chunks be joined

    async def pump(index: int, stream: Stream) -> None:
        try:
            async for chunk in stream:
                await parts.put(Part(index, chunk))
                if chunk.finish_reason is None:
                    await asyncio.sleep(pace.seconds)
        except Exception as error:
            await parts.put(error)
        else:
            await parts.put(None)

    pace.texts += len(streams)
    pumps = [asyncio.ensure_future(pump(index, stream)) for index, stream in enumerate(streams)]
    try:
        running = len(pumps)
        while running:
            part = await parts.get()
            if isinstance(part, BaseException):
                raise part
            if part is None:
                running -= 1
            else:
                yield part
    finally:
        pace.texts -= len(streams)
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def joined(streams: Sequence[Stream]) -> AsyncGenerator[Part, None]:
    """Every stream as a single part, in their order, when it has ended."""
    for index, stream in enumerate(streams):
        whole: Chunk | None = None
        texts: list[str] = []
        async for chunk in stream:
            texts.append(chunk.text)
            whole = replace(chunk, logprobs=(*(whole.logprobs if whole else ()), *chunk.logprobs))
        if whole is not None:
            yield Part(index, replace(whole, text="".join(texts)))
