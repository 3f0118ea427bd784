"""Answers in a given form, from a client's request to the text: over the fake engine, and over a real one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel, Field

from serve.http.api import build
from serve.http.limits import Limits
from serve.language_service import LanguageService
from serve.service_settings import ServiceSettings
from tests import tiny_models
from tests.serve.conftest import Serve

pytestmark = pytest.mark.anyio

ORDERED = {"type": "object", "properties": {"b": {"const": "\u00e9"}, "a": {"const": 1}}, "required": ["b", "a"]}
NAMED = {"type": "json_schema", "json_schema": {"name": "pair", "schema": ORDERED, "strict": True}}
ROUTES: list[tuple[str, dict[str, Any]]] = [
    ("generate", {"prompt": "a", "max_new_tokens": 1}),
    ("completions", {"prompt": "a", "max_tokens": 1}),
    ("chat/completions", {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1}),
]
of_every_route = pytest.mark.parametrize(("path", "plain"), ROUTES, ids=[path for path, _ in ROUTES])


@of_every_route
async def test_the_engine_is_told_the_schema(serve: Serve, path: str, plain: dict[str, Any]) -> None:
    """As text whose members are in the caller's order, which is the order of the answer's."""
    async with serve() as served:
        for form in (None, {"type": "text"}, {"type": "json_object"}, NAMED):
            assert (await served.post(f"/v1/{path}", plain | {"response_format": form})).status_code == 200
        told = [stream.request.sampling.json_schema for stream in served.engine.streams]
    assert told == [None, None, '{"type": "object"}', json.dumps(ORDERED, ensure_ascii=False, separators=(",", ":"))]


def named(schema: object) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}


@pytest.mark.parametrize(
    ("form", "told"),
    [
        (named({"not": {}}), "response_format: the schema cannot be followed: not"),
        (named({"title": "a" * 990}), "response_format: 1002 characters, this service takes at most 1000"),
        ({"type": "json_schema"}, "response_format: json_schema goes with the type json_schema"),
        ({"type": "text"} | {"json_schema": {"name": "a", "schema": {}}}, "response_format: json_schema goes with"),
        (named([1]), "response_format"),
        ({"type": "json_schema", "json_schema": {"name": "a"}}, "response_format"),
        ({"type": "grammar"}, "response_format"),
        ("json", "response_format"),
    ],
)
@of_every_route
async def test_refusals_name_the_field(serve: Serve, path: str, plain: dict[str, Any], form: object, told: str) -> None:
    async with serve(limits={"schema_chars": 1000}) as served:
        answer = await served.post(f"/v1/{path}", plain | {"response_format": form})
        assert not served.engine.streams
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "response_format"
    assert answer.json()["error"]["message"].startswith(told)


@pytest.fixture(scope="module", params=["byte_level", "letters"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LanguageService]:
    """A tiny random model with a real engine."""
    root: Path = tmp_path_factory.mktemp("structured")
    base = tiny_models.write_model(root / "base", "gpt2-tied", vocabulary=260)
    getattr(tiny_models, request.param)().save_pretrained(base)
    folder = root / "run" / "checkpoint"
    tiny_models.scorer(tiny_models.settings(base)).save(folder)
    service = LanguageService(folder, ServiceSettings(checkpoint=folder))
    yield service
    service.engine.stop()


@pytest.fixture
async def client(running: LanguageService) -> AsyncIterator[openai.AsyncOpenAI]:
    _, gate = build(running, [], Limits(), 60.0)
    transport = httpx.ASGITransport(gate)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
        yield openai.AsyncOpenAI(base_url="http://127.0.0.1:8000/v1", api_key="none", http_client=http, max_retries=0)


class Pair(BaseModel):
    a: int = Field(ge=0, le=99)
    b: bool


@pytest.mark.parametrize("running", ["byte_level"], indirect=True)
async def test_openais_client_parses_what_it_asked_for(client: openai.AsyncOpenAI) -> None:
    """Several texts, at a weight and temperature of their own; `parse` sends the class's schema."""
    made = await client.chat.completions.parse(
        model="",
        messages=[{"role": "user", "content": "hi"}],
        response_format=Pair,
        n=4,
        seed=3,
        top_p=0.9,
        max_tokens=40,
        extra_body={"weights": [1, 0], "beta": 1.0},
    )
    ended = [choice for choice in made.choices if choice.finish_reason == "stop"]
    assert len(ended) >= 2
    assert all(isinstance(choice.message.parsed, Pair) for choice in ended)


@pytest.mark.parametrize("running", ["byte_level"], indirect=True)
async def test_streams_follow_the_schema(client: openai.AsyncOpenAI) -> None:
    """Bytes of an unfinished character are held back as always, and the end comes where nothing else may follow."""
    stream = await client.chat.completions.create(
        model="",
        messages=[{"role": "user", "content": "hi"}],
        response_format=named({"const": "l\u00e9on"}),
        stream=True,
        max_tokens=40,
    )
    pieces = [(chunk.choices[0].delta.content, chunk.choices[0].finish_reason) async for chunk in stream]
    assert "".join(piece for piece, _ in pieces) == '"l\u00e9on"'
    assert pieces[-1][1] == "stop"


@pytest.mark.parametrize("running", ["letters"], indirect=True)
async def test_a_model_that_cannot_write_json_says_so(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="the model's tokenizer cannot write all of JSON") as caught:
        await client.completions.create(model="", prompt="a", extra_body={"response_format": {"type": "json_object"}})
    assert caught.value.param == "response_format"
