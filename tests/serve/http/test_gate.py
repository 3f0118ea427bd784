"""Keys, sizes, origins, and clients that leave."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from serve.http.access import hashed
from tests.serve.conftest import Serve, Served

pytestmark = pytest.mark.anyio
KEY = "cosdpo-right"
BODY = {"prompt": "a", "max_new_tokens": 2}
ROUTES = ("/", "/docs", "/openapi.json", "/metrics", "/v1/models", "/v1/front", "/playground/app.js", "/nowhere")


async def test_every_route_but_health_needs_a_key(serve: Serve) -> None:
    async with serve(hashes=[hashed("other"), hashed(KEY)]) as served:
        for path in ROUTES:
            answer = await served.client.get(path)
            assert answer.status_code == 401, path
            assert answer.json()["error"]["type"] == "authentication_error"
        for path in ("/v1/generate", "/v1/score", "/v1/rank", "/v1/completions", "/v1/chat/completions"):
            assert (await served.post(path, BODY)).status_code == 401, path
        for path in ("/health", "/healthz", "/readyz"):
            assert (await served.client.get(path)).status_code == 200
        assert not served.engine.streams


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"Bearer {KEY}", 200),
        (f"bearer {KEY}", 200),
        ("Basic " + base64.b64encode(f"me:{KEY}".encode()).decode(), 200),
        (f"Bearer {KEY}x", 401),
        (f"Bearer {KEY[:-1]}", 401),
        (f"Bearer {hashed(KEY)}", 401),
        (KEY, 401),
        ("Bearer", 401),
        ("", 401),
        ("Basic !", 401),
        ("Basic " + base64.b64encode(f"{KEY}:".encode()).decode(), 401),
        ("Basic " + base64.b64encode(b"\xff\xfe").decode(), 401),
    ],
)
async def test_keys(serve: Serve, header: str, status: int) -> None:
    async with serve(hashes=[hashed(KEY)]) as served:
        answer = await served.post("/v1/generate", BODY, headers={"Authorization": header})
    assert answer.status_code == status
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert KEY not in answer.text


async def test_without_keys_only_this_machine_is_answered(serve: Serve) -> None:
    async with serve() as served:
        for host, status in (("localhost:8000", 200), ("[::1]:8000", 200), ("evil.example", 403), ("10.0.0.7:80", 403)):
            answer = await served.client.get("/v1/models", headers={"Host": host})
            assert answer.status_code == status, host
    async with serve(hashes=[hashed(KEY)]) as served:
        headers = {"Host": "models.example", "Authorization": f"Bearer {KEY}"}
        assert (await served.client.get("/v1/models", headers=headers)).status_code == 200


async def test_bodies_are_bounded_however_they_come(serve: Serve) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"prompt": "'
        for _ in range(100):
            yield b"a" * 100

    async with serve(limits={"body_bytes": 1000}) as served:
        json = {"Content-Type": "application/json"}
        declared = await served.client.post("/v1/generate", content=b"a" * 1001, headers=json)
        chunked = await served.client.post("/v1/generate", content=pieces(), headers=json)
        lying = await served.client.post("/v1/generate", content=pieces(), headers=json | {"Content-Length": "5"})
        fits = await served.post("/v1/generate", BODY)
    for answer in (declared, chunked, lying):
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "body_too_large"
    assert fits.status_code == 200


async def test_a_body_must_be_json(serve: Serve) -> None:
    """A form or a text is what pages of other origins can send without asking."""
    async with serve() as served:
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            headers = {"Content-Type": kind} if kind else {}
            answer = await served.client.post("/v1/generate", content=b'{"prompt": "a"}', headers=headers)
            assert answer.status_code == 415
        for kind in ("application/json; charset=utf-8", "Application/JSON", "APPLICATION/JSON;charset=UTF-8"):
            answer = await served.client.post(
                "/v1/generate", content=b'{"prompt": "a"}', headers={"Content-Type": kind}
            )
            assert answer.status_code == 200


async def test_other_origins_are_off_unless_configured(serve: Serve) -> None:
    ask = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}
    async with serve() as served:
        answer = await served.client.options("/v1/generate", headers=ask)
        assert "access-control-allow-origin" not in answer.headers
    async with serve(cors_origins=["https://page.example"], hashes=[hashed(KEY)]) as served:
        answer = await served.client.options("/v1/generate", headers=ask)
        assert answer.headers["access-control-allow-origin"] == "https://page.example"
        # As OpenAI's JavaScript client asks from a browser.
        stainless = "authorization,content-type,x-stainless-arch,x-stainless-lang,x-stainless-retry-count"
        answer = await served.client.options("/v1/models", headers=ask | {"Access-Control-Request-Headers": stainless})
        assert set(stainless.split(",")) <= set(answer.headers["access-control-allow-headers"].split(","))
        health = await served.client.get("/health", headers={"Origin": "https://page.example"})
        assert "X-Request-ID" in health.headers["access-control-expose-headers"]
        other = await served.client.options("/v1/generate", headers=ask | {"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        refused = await served.post("/v1/generate", BODY, headers={"Origin": "https://page.example"})
        assert refused.status_code == 401


async def call(served: Served, body: bytes, leave_after: int | None) -> list[dict[str, Any]]:
    """Speaks ASGI to the service; the client leaves after so many messages, or before the first."""
    sent: list[dict[str, Any]] = []
    leave = asyncio.Event()
    given = False

    async def receive() -> dict[str, Any]:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        await leave.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) == leave_after:
            leave.set()

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {
        "type": "http", "method": "POST", "path": "/v1/generate", "raw_path": b"/v1/generate", "query_string": b"",
        "headers": headers, "http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", 80), "root_path": "",
        "client": ("127.0.0.1", 1), "asgi": {"version": "3.0", "spec_version": "2.4"},
    }  # fmt: skip
    if leave_after is None:
        asyncio.get_running_loop().call_later(0.05, leave.set)
    await asyncio.wait_for(served.asgi(scope, receive, send), 5)
    return sent


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_frees_its_slot_at_once(serve: Serve, stream: bool) -> None:
    body = b'{"prompt": "a", "max_new_tokens": 40, "stream": %s}' % (b"true" if stream else b"false")
    async with serve(step_seconds=0.02) as served:
        sent = await call(served, body, leave_after=3 if stream else None)
        assert [s.cancelled for s in served.engine.streams] == [True]
        assert served.engine.running() == served.gate.running == 0
        assert served.engine.tokens < 10
        page = (await served.client.get("/metrics")).text
    assert len(sent) == (3 if stream else 0)
    assert 'cosdpo_disconnects_total{route="/v1/generate"} 1.0' in page


async def half_sent(served: Served, method: str, path: str, then: Any = None) -> list[dict[str, Any]]:
    """What is said to half a body, after which nothing comes, or `then`."""
    messages: list[Any] = [
        {"type": "http.request", "body": b'{"prompt": ', "more_body": True},
        *([then] if then else []),
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        message = messages.pop(0) if messages else await asyncio.Future()
        if isinstance(message, Exception):
            raise message
        return message

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"), (b"content-length", b"30")]
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": headers, "http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", 80), "root_path": "",
        "client": ("127.0.0.1", 1), "asgi": {"version": "3.0", "spec_version": "2.4"},
    }  # fmt: skip
    await asyncio.wait_for(served.gate(scope, receive, send), 5)
    assert served.gate.running == 0
    return sent


@pytest.mark.parametrize("left", [{"type": "http.disconnect"}, RuntimeError("cancelled")])
async def test_a_client_that_leaves_while_it_sends(serve: Serve, left: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Ray tells of it by a message, or by an exception where it has ended the call that fetches the body."""
    async with serve() as served:
        assert await half_sent(served, "POST", "/v1/generate", left) == []
        page = (await served.client.get("/metrics")).text
    assert 'cosdpo_requests_total{route="none",status="499"} 1.0' in page
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("POST", "/healthz", 405), ("GET", "/healthz", 200), ("GET", "/v1/models", 200)]
)
async def test_no_body_is_read_where_no_route_wants_one(serve: Serve, method: str, path: str, status: int) -> None:
    async with serve() as served:
        start, *_ = await half_sent(served, method, path)
    assert start["status"] == status


async def test_a_body_has_seconds_of_its_own(serve: Serve) -> None:
    async with serve(limits={"body_seconds": 0.05}) as served:
        start, body = await half_sent(served, "POST", "/v1/generate")
        slow = await served.post("/v1/generate", {"prompt": "a", "max_new_tokens": 5})
    assert (start["status"], slow.status_code) == (408, 200)
    assert b"the body did not come within 0.05 s" in body["body"]


async def test_no_answer_is_framed_guessed_or_redirected_to_a_host_of_the_caller(serve: Serve) -> None:
    async with serve(hashes=[hashed(KEY)]) as served:
        headers = {"Host": "evil.example", "Authorization": f"Bearer {KEY}"}
        for path in ("/", "/docs", "/v1/models", "/v1/models/", "/playground", "/playground/app.js", "/healthz/"):
            answer = await served.client.get(path, headers=headers)
            assert answer.status_code in (200, 404), path
            assert "location" not in answer.headers
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert (await served.client.get("/")).headers["x-content-type-options"] == "nosniff"


async def test_a_closed_gate_lets_those_within_finish(serve: Serve) -> None:
    async with serve(step_seconds=0.01) as served:
        within = asyncio.ensure_future(served.post("/v1/generate", {"prompt": "a", "max_new_tokens": 20}))
        await asyncio.sleep(0.05)
        served.gate.closed = True
        late = await served.post("/v1/generate", BODY)
        ready, health = await served.client.get("/readyz"), await served.client.get("/healthz")
        assert (await within).status_code == 200
    assert (late.status_code, late.headers["retry-after"]) == (503, "1")
    assert (ready.status_code, health.status_code) == (503, 200)


async def test_metrics(serve: Serve) -> None:
    async with serve(step_seconds=0.002) as served:
        await served.post("/v1/generate", {"prompt": "cat", "max_new_tokens": 5, "weights": [0.123, 0.877]})
        await served.post("/v1/generate", {"prompt": "cat", "max_new_tokens": 5, "stream": True})
        await served.post("/v1/completions", {"prompt": "cat", "n": 2, "max_tokens": 5})
        await served.post("/v1/generate", {"prompt": "cat", "weights": []})
        await served.client.get("/made/up/by/a/caller")
        page = (await served.client.get("/metrics")).text
    for line in (
        'cosdpo_requests_total{route="/v1/generate",status="200"} 2.0',
        'cosdpo_requests_total{route="/v1/generate",status="400"} 1.0',
        'cosdpo_requests_total{route="none",status="404"} 1.0',
        'cosdpo_completion_tokens_total{route="/v1/generate"} 10.0',
        'cosdpo_prompt_tokens_total{route="/v1/generate"} 16.0',
        'cosdpo_completion_tokens_total{route="/v1/completions"} 10.0',
        'cosdpo_prompt_tokens_total{route="/v1/completions"} 8.0',
        'cosdpo_time_to_first_token_seconds_count{route="/v1/generate"} 1.0',
        'cosdpo_time_per_token_seconds_count{route="/v1/generate"} 1.0',
        'cosdpo_engine_tokens{replica="local"} 20.0',
        "cosdpo_requests_in_flight 0.0",
    ):
        assert line in page, line
    assert "0.123" not in page
    assert "caller" not in page
