"""Heads without end against a uvicorn of this process: what is refused when, and what is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from serve.http import bounded_head
from serve.http.bounded_head import HEAD_BYTES, BoundedHead, install, unsent

pytestmark = pytest.mark.anyio
HOST = b"Host: localhost\r\n"
PIECE = 1 << 14
HOSTILE = {
    "header": b"GET / HTTP/1.1\r\n" + HOST + b"X: ",
    "name": b"GET / HTTP/1.1\r\n" + HOST,
    "url": b"GET /",
    "trailer": b"POST /read HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: ",
    "after the answer": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ",
    "second request": b"GET / HTTP/1.1\r\n" + HOST + b"\r\nGET / HTTP/1.1\r\n" + HOST + b"X: ",
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Says how many bytes it read: of the body at /read, of nothing elsewhere; at /wait only after a while."""
    size = 0
    while scope["path"] == "/read":
        message = await receive()
        size += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message["more_body"]:
            break
    if scope["path"] == "/wait":
        await asyncio.sleep(0.3)
    body = str(size).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """Of a server that takes the protocol as Ray's proxy does."""
    monkeypatch.setitem(uvicorn.config.HTTP_PROTOCOLS, "auto", "")
    assert install() == []
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_level="critical"))
    running = asyncio.ensure_future(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await running


async def told(port: int, request: bytes) -> bytes:
    """All that the server says to a request that closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


async def sent_in_vain(port: int, head: bytes) -> int:
    """Bytes that an endless head brings to the server until that closes the connection."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    sent = 0
    try:
        while sent < 100 * PIECE:
            writer.write(b"a" * PIECE)
            await writer.drain()
            sent += PIECE
            await asyncio.sleep(0.002)  # both ends are in this loop
    except ConnectionError:
        pass
    writer.close()
    return sent


@pytest.mark.parametrize("kind", HOSTILE)
async def test_what_does_not_end_is_cut(port: int, kind: str) -> None:
    assert await sent_in_vain(port, HOSTILE[kind]) < 100 * PIECE
    assert (await told(port, b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")).endswith(b"\r\n0")


async def test_ten_at_a_time(port: int) -> None:
    sent = await asyncio.gather(*(sent_in_vain(port, HOSTILE["header"]) for _ in range(10)))
    assert max(sent) < 100 * PIECE
    assert not BoundedHead.alive


async def test_the_refusal_has_a_status(port: int) -> None:
    answer = await told(port, HOSTILE["header"] + b"a" * (HEAD_BYTES + 1))
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_large_heads_and_small_pieces_pass(port: int) -> None:
    """A cookie of nearly all that is allowed; a chunked body whose framing is many times its bytes."""
    close = b"Connection: close\r\n"
    head = b"GET / HTTP/1.1\r\n" + HOST + close + b"Cookie: " + b"a" * (HEAD_BYTES - 200) + b"\r\n\r\n"
    assert (await told(port, head)).startswith(b"HTTP/1.1 200 ")
    chunked = b"POST /read HTTP/1.1\r\n" + HOST + close + b"Transfer-Encoding: chunked\r\n\r\n"
    body = b"1;name=value\r\na\r\n" * 20_000 + b"0\r\n\r\n"
    assert (await told(port, chunked + body)).endswith(b"\r\n20000")


async def test_slow_heads_end(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first and a later request; an idle connection between two requests is kept."""
    monkeypatch.setattr(bounded_head, "HEAD_SECONDS", 0.1)
    assert await told(port, b"GET / HTTP/1.1\r\nX: a") == b""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(2):
        writer.write(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        assert b"200" in await reader.readuntil(b"\r\n\r\n0")
        await asyncio.sleep(0.2)
    writer.write(b"GET")
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


async def test_a_body_that_nobody_reads_may_end_but_not_stay(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_head, "HEAD_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    post = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 300000\r\n\r\n"
    for _ in range(2):
        writer.write(post)
        assert b"200" in await reader.readuntil(b"\r\n\r\n0")
        writer.write(b"a" * 300_000)
        await writer.drain()
    writer.write(post + b"a")
    assert b"200" in await reader.readuntil(b"\r\n\r\n0")
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


async def test_unsent_answers_are_counted(port: int) -> None:
    asked = asyncio.ensure_future(told(port, b"GET /wait HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"))
    await asyncio.sleep(0.1)
    assert unsent(None) == 1
    await asked
    assert unsent(None) == 0
