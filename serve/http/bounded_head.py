"""What Ray Serve's proxy takes of a request before it knows what is asked: so many bytes, so many seconds.

The proxy is uvicorn with httptools, whose parser copies a header anew for every piece that comes and keeps it until its
end: one endless header, URL or trailer, without a key, would hold all requests for minutes. Neither uvicorn nor Ray has
a setting for it. Ray's HAProxy has one, but opens two more ports on all interfaces, and the replicas behind it listen
with the same parser.

RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=serve.http.bounded_head:install     in the environment that starts Ray
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from uvicorn import config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
"""Ray's variable for a function that its proxies call before they listen."""
INSTALL = "serve.http.bounded_head:install"
HEAD_BYTES = 1 << 16
"""Most bytes in which nothing ends: not the headers, not the body's next piece, not the trailers."""
HEAD_SECONDS = 10.0
"""How long headers may take, the first from the connection on, later ones from their first byte; and how long a body
that nobody reads may go on after its answer."""
TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n"
    b"X-Content-Type-Options: nosniff\r\n\r\n"
)


def install() -> list[Any]:
    """Has the servers that this process starts take BoundedHead; no middlewares."""
    config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{BoundedHead.__name__}"
    return []


def unsent(proxy: object) -> int:
    """How many connections of this process have answers under way; `proxy` is Ray's actor in it."""
    return sum(connection.sending() for connection in BoundedHead.alive)


class BoundedHead(HttpToolsProtocol):
    """uvicorn's protocol, with an end to all that comes before the body and after it."""

    alive: ClassVar[set[BoundedHead]] = set()

    def sending(self) -> bool:
        """Whether an answer is not made, or not sent as yet."""
        answering = self.cycle is not None and not self.cycle.response_complete
        return answering or self.transport.get_write_buffer_size() > 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The first request's headers are awaited."""
        super().connection_made(transport)
        self.alive.add(self)
        self._unended = 0
        self._patience = self.loop.call_later(HEAD_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more is awaited."""
        self.alive.discard(self)
        self._patience.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes a piece, unless too much came since the last that meant something."""
        self._unended += len(data)  # the parser's callbacks, within the next line, begin anew
        super().data_received(data)
        if self._unended > HEAD_BYTES and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """The headers are awaited."""
        super().on_message_begin()
        self._patience.cancel()
        self._patience = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def on_headers_complete(self) -> None:
        """The headers are there."""
        self._unended = 0
        self._patience.cancel()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body is there."""
        self._unended = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there."""
        self._unended = 0
        self._patience.cancel()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is sent. A body that nobody wanted may end, so that its sender reads the answer."""
        super().on_response_complete()
        if self.cycle.more_body:
            self._patience = self.loop.call_later(HEAD_SECONDS, self.transport.close)
