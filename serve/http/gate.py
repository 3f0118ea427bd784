"""What every request passes before a route sees it: key, size, number, time. And what ends it when its client leaves.

Outermost stands the answer to errors: nothing that goes wrong behind the gate leaves as a stack trace.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.http.access import admits, is_local, presented
from serve.http.limits import Limits
from serve.http.metrics import Metrics
from serve.http.service_errors import ServiceError, busy, internal, timed_out, unavailable

OPEN = ("/health", "/healthz", "/readyz")
"""Routes that need no key and are never turned away: those who watch the service must reach it."""
UNCOUNTED = (*OPEN, "/metrics")
"""Routes that are no request to the model, and do not count as one."""
GUARDED = [(b"x-content-type-options", b"nosniff"), (b"content-security-policy", b"frame-ancestors 'none'")]
"""Headers of every answer: browsers take it for what it says it is, and show it in no other page."""
CLIENT_LEFT = 499
"""What the metrics call the status of an answer nobody waited for."""
SLACK_SECONDS = 2.0
"""A stream ends itself at the time limit and says so; if it does not, the gate ends it this much later."""

log = logging.getLogger("ray.serve.cosdpo")  # a replica's log; elsewhere a logger like any other


class Gate:
    """ASGI middleware.

    Routes find in `scope["state"]` the `deadline` of their answer, in the event loop's time, and whether the gate is
    `closed`: then those are served that are within, and nobody else.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hashes: Sequence[str],
        metrics: Metrics,
        limits: Limits,
        timeout_s: float,
    ) -> None:
        """Stands before `app`.

        Args:
            hashes: hashed API keys; none leaves the service open to this machine.
            limits: bytes and seconds of a body; requests at the same time, of which those that only look are not
                turned away.
            timeout_s: seconds until an answer is given up.
        """
        self.app, self.hashes, self.metrics = app, hashes, metrics
        self.limits, self.timeout_s = limits, timeout_s
        self.running = 0
        self.closed = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = _TrackedSend(send)
        start = time.perf_counter()
        counted = scope["path"] not in UNCOUNTED
        self.running += counted
        self.metrics.in_flight.set(self.running)
        try:
            await self._pass(scope, receive, answer)
        except ServiceError as error:
            await answer.fail(error, scope, receive)
        except asyncio.CancelledError:  # how Ray Serve tells that the client left
            self.metrics.disconnects.labels(_route(scope)).inc()
            raise
        except Exception:
            log.exception("request failed: %s %s", scope["method"], _route(scope))
            await answer.fail(internal(), scope, receive)
        finally:
            self.running -= counted
            self.metrics.in_flight.set(self.running)
            status = answer.status or CLIENT_LEFT
            self.metrics.requests.labels(_route(scope), status).inc()
            self.metrics.seconds.labels(_route(scope)).observe(time.perf_counter() - start)

    async def _pass(self, scope: Scope, receive: Receive, answer: _TrackedSend) -> None:
        headers = Headers(scope=scope)
        if scope["path"] not in OPEN:
            self._admit(scope, headers)
        deadline = asyncio.get_running_loop().time() + self.timeout_s
        scope.setdefault("state", {}).update(deadline=deadline, closed=self.closed)
        try:
            async with asyncio.timeout(self.timeout_s) as answer.limit:
                body = await self._body(scope, headers, receive)
                left = body is None or await _unless_left(self.app, scope, body, receive, answer)
        except TimeoutError:
            raise timed_out(self.timeout_s) from None
        finally:
            answer.limit = None
        if left:
            self.metrics.disconnects.labels(_route(scope)).inc()

    async def _body(self, scope: Scope, headers: Headers, receive: Receive) -> bytes | None:
        """The body, where a route could read one; None if the client left before its end."""
        if scope["method"] != "POST" or scope["path"] in UNCOUNTED:
            return b""
        seconds = self.limits.body_seconds
        try:
            async with asyncio.timeout(seconds):
                return await _read(headers, receive, self.limits.body_bytes)
        except TimeoutError:
            late = f"the body did not come within {seconds:g} s; send it faster"
            raise ServiceError(408, late, code="timeout") from None

    def _admit(self, scope: Scope, headers: Headers) -> None:
        if self.hashes:
            key = presented(headers.get("authorization", ""))
            if key is None or not admits(self.hashes, key):
                error = ServiceError(401, "give an API key: `Authorization: Bearer KEY`", code="invalid_api_key")
                error.headers = {"WWW-Authenticate": 'Bearer, Basic realm="cosdpo: any name, key as password"'}
                raise error
        elif not is_local(_host(headers)):
            # A page elsewhere can point its own name at this machine; a service without keys answers to its own alone.
            raise ServiceError(403, "without API keys the service answers to 127.0.0.1 and localhost only")
        if self.closed:
            raise unavailable("the service is stopping; send the request again in a moment")
        if self.running > self.limits.requests and scope["method"] == "POST":
            raise busy(1.0)
        media_type = headers.get("content-type", "").split(";")[0].strip().lower()
        if scope["method"] == "POST" and media_type != "application/json":
            raise ServiceError(415, "send JSON, with the header `Content-Type: application/json`")


class _TrackedSend:
    """The way back to the client, which remembers what has gone over it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.limit: asyncio.Timeout | None = None
        """The time limit; once the answer has begun, it keeps its own."""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *GUARDED]
            if self.limit is not None and (end := self.limit.when()) is not None:
                self.limit.reschedule(end + SLACK_SECONDS)
        await self._send(message)

    async def fail(self, error: ServiceError, scope: Scope, receive: Receive) -> None:
        """Answers with an error, unless an answer has begun: then breaking it off is all that can be done."""
        if not self.status:
            await error.response()(scope, receive, self)


async def _read(headers: Headers, receive: Receive, largest: int) -> bytes | None:
    """The whole body, however it is cut; None if the client left before its end."""
    too_large = ServiceError(413, f"the body is larger than {largest} bytes; send less", code="body_too_large")
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared[:20]) > largest:
        raise too_large
    parts: list[bytes] = []
    size = 0
    while True:
        try:
            message = await receive()
        except Exception as error:  # how Ray Serve tells, now and then, that the client left while it sent
            log.info("an upload broke off: %s", type(error).__name__)
            return None
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size > largest:
            raise too_large
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def _unless_left(app: ASGIApp, scope: Scope, body: bytes, receive: Receive, send: Send) -> bool:
    """Runs `app` with the body at hand, and cancels it when the client leaves; whether it left."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            await asyncio.Future()  # who waits for the client to leave is cancelled from here
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def leave() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    running, leaving = asyncio.ensure_future(app(scope, replay, send)), asyncio.ensure_future(leave())
    try:
        await asyncio.wait({running, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        return not running.done()
    finally:
        for task in (running, leaving):
            task.cancel()
        await asyncio.gather(running, leaving, return_exceptions=True)


def _route(scope: Scope) -> str:
    """The route's pattern; all that leads nowhere counts as one, or a caller could make series without end."""
    return getattr(scope.get("route"), "path", "none")


def _host(headers: Headers) -> str:
    """The name by which the client called us, without the port."""
    host = headers.get("host", "")
    return host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.rpartition(":")[0] or host
