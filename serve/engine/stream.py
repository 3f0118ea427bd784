"""An answer as an asyncio task sees it: an asynchronous iterator of chunks.

The step thread never waits for a reader, and wakes each event loop once per step however many streams are read there. A
slow reader finds the tokens it missed joined in one chunk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from serve.engine.requests import Chunk

Item = Chunk | Exception


class Stream:
    """Chunks of one answer. Belongs to the event loop it was made in."""

    def __init__(self, cancel: Callable[[], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self._cancel = cancel
        self._items: list[Item] = []
        self._arrived = asyncio.Event()
        self._ended = False

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Chunk:
        while not self._items:
            if self._ended:
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        items, self._items = self._items, []
        chunks = [item for item in items if isinstance(item, Chunk)]
        error = items[-1] if isinstance(items[-1], Exception) else None
        if error is not None:
            self._ended = True
            if not chunks:
                raise error
            self._items = [error]  # after what had come before it
            self._ended = False
            return _joined(chunks)
        joined = _joined(chunks)
        self._ended = joined.finish_reason is not None
        return joined

    def cancel(self) -> None:
        """Frees what the request holds before the next step; the iterator ends."""
        if not self._ended:
            self._ended = True
            self._items.clear()
            self._arrived.set()
            self._cancel()

    async def aclose(self) -> None:
        """Cancels."""
        self.cancel()

    def take(self, item: Item) -> None:
        """Called in the loop with what the step thread gave out."""
        if not self._ended:
            self._items.append(item)
            self._arrived.set()


def deliver(items: Iterable[tuple[Stream, Item]]) -> None:
    """Hands out what one step gave to the streams of one loop."""
    for stream, item in items:
        stream.take(item)


def _joined(chunks: list[Chunk]) -> Chunk:
    if len(chunks) == 1:
        return chunks[0]
    return Chunk(
        text="".join(chunk.text for chunk in chunks),
        logprobs=tuple(token for chunk in chunks for token in chunk.logprobs),
        finish_reason=chunks[-1].finish_reason,
        usage=chunks[-1].usage,
    )
