"""Server-sent events: the pieces of an answer, each sent as soon as it is there.

Nothing is sent before the first piece, so that whatever is wrong until then still has its own status. What goes wrong
afterwards is an event with an error, and no [DONE] comes behind it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from serve.http.service_errors import ServiceError, internal, timed_out

log = logging.getLogger("ray.serve.cosdpo")

DONE = b"data: [DONE]\n\n"
DESCRIBED = {"text/event-stream": {"schema": {"type": "object", "properties": {"data": {"type": "string"}}}}}
"""A stream in the documentation: the schema is that of one event, whose data is JSON but for the last one's."""


class EventStream(StreamingResponse):
    """Sends events, and closes their source however it ends. The gate watches whether the client is still there."""

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        """Sends `events`."""
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self.events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends all events."""
        async with aclosing(self.events):
            await self.stream_response(send)


def event(data: dict[str, Any]) -> bytes:
    """One event."""
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n\n"


async def begun(pieces: AsyncGenerator[dict[str, Any], None], deadline: float, seconds: float) -> EventStream:
    """The stream of `pieces`, once the first is there.

    Args:
        deadline: when to give up, in the event loop's time.
        seconds: how long that was at first, for the message.
    """
    first = await anext(pieces)

    async def events() -> AsyncGenerator[bytes, None]:
        async with aclosing(pieces):
            yield event(first)
            try:
                async for piece in _until(deadline, pieces):
                    yield event(piece)
            except TimeoutError:
                yield event(timed_out(seconds).body())
            except ServiceError as error:
                yield event(error.body())
            except Exception:
                log.exception("stream failed")
                yield event(internal().body())
            else:
                yield DONE

    return EventStream(events())


async def _until(deadline: float, pieces: AsyncIterator[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    """The pieces, each awaited until `deadline` at most."""
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        yield piece
