"""A real tokenizer and a real model behind the routes: the tokens of an answer and of an echoed prompt."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from cosdpo.data.tokenization import TokenizedContext
from serve.http.api import build
from serve.language_service import LanguageService
from serve.service_settings import ServiceSettings
from tests import tiny_models
from tests.models.conftest import disturb

pytestmark = pytest.mark.anyio
PROMPT = "Once upon a time, there was a café"


@pytest.fixture(scope="module")
def stories(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LanguageService]:
    """stories260K with adapters that two weights turn to different sides."""
    folder = tmp_path_factory.mktemp("stories") / "stories" / "checkpoint"
    scorer = tiny_models.scorer(tiny_models.settings(shared / "models" / "stories260K", scope="response"))
    disturb(scorer)
    scorer.save(folder)
    service = LanguageService(folder, ServiceSettings(checkpoint=folder))
    yield service
    service.engine.stop()


@pytest.fixture
async def client(stories: LanguageService) -> AsyncIterator[httpx.AsyncClient]:
    settings = ServiceSettings(checkpoint=stories.folder)
    _, gate = build(stories, [], settings.limits, settings.request_timeout_s)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(gate), base_url="http://127.0.0.1:8000", timeout=60
    ) as client:
        yield client


async def asked(client: httpx.AsyncClient, path: str, **body: Any) -> Any:
    answer = await client.post(path, json={"seed": 3} | body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_tokens_are_the_text(client):
    for seed in range(5):
        made = await asked(
            client, "/v1/completions", prompt=PROMPT, logprobs=5, n=2, seed=seed, temperature=1.5, max_tokens=40
        )
        for choice in made["choices"]:
            text, told = choice["text"], choice["logprobs"]
            assert "".join(told["tokens"]) == text
            ends = [*told["text_offset"][1:], len(text)]
            assert [text[a:b] for a, b in zip(told["text_offset"], ends, strict=True)] == told["tokens"]
            for token, logprob, top in zip(told["tokens"], told["token_logprobs"], told["top_logprobs"], strict=True):
                assert len(top) in (5, 6)
                assert not token or top[token] == logprob
        made = await asked(
            client,
            "/v1/chat/completions",
            messages=[{"role": "user", "content": PROMPT}],
            logprobs=True,
            top_logprobs=3,
            seed=seed,
        )
        (choice,) = made["choices"]
        text, content = choice["message"]["content"], choice["logprobs"]["content"]
        assert "".join(each["token"] for each in content) == text
        assert "�" in text or bytes(byte for each in content for byte in each["bytes"]).decode() == text
        assert all(len(each["top_logprobs"]) == 3 for each in content)
        made = await asked(client, "/v1/generate", prompt=PROMPT, logprobs=0, seed=seed)
        assert "".join(each["text"] for each in made["logprobs"]) == made["text"]


async def test_an_echoed_prompt(client, stories):
    """The numbers are LanguageScorer's, whichever way the prompt is sent."""
    ids = stories.tokenizer(PROMPT)["input_ids"]
    context = TokenizedContext([ids[0]], [ids[1:]])
    sums = {}
    for weights in ([1.0, 0.0], [0.0, 1.0]):
        extra = {"weights": weights, "beta": 1.0, "echo": True, "logprobs": 1, "temperature": 0}
        made = await asked(client, "/v1/completions", prompt=[PROMPT, PROMPT + "s"], max_tokens=0, **extra)
        by_ids = await asked(client, "/v1/completions", prompt=ids, max_tokens=0, **extra)
        longer = await asked(client, "/v1/completions", prompt=[ids], max_tokens=8, **extra)
        told = made["choices"][0]["logprobs"]
        assert [choice["text"] for choice in made["choices"]] == [PROMPT, PROMPT + "s"]
        alone = by_ids["choices"][0]["logprobs"]
        assert (alone["tokens"], alone["text_offset"]) == (told["tokens"], told["text_offset"])
        assert alone["token_logprobs"] == pytest.approx(told["token_logprobs"], abs=1e-4)
        assert "".join(told["tokens"]) == PROMPT
        assert (told["token_logprobs"][0], told["top_logprobs"][0], told["text_offset"][:2]) == (None, None, [0, 0])
        with torch.inference_mode():
            score = stories.scorer.rescaled([context], torch.tensor([weights]), torch.tensor([[1.0, 1.0]]), 2.0)
        sums[tuple(weights)] = sum(told["token_logprobs"][1:])
        assert sums[tuple(weights)] == pytest.approx(float(score), abs=1e-3)
        (choice,) = longer["choices"]
        assert choice["logprobs"]["token_logprobs"][: len(ids)] == pytest.approx(told["token_logprobs"], abs=1e-4)
        assert "".join(choice["logprobs"]["tokens"]) == choice["text"]
        assert choice["text"].startswith(PROMPT)
        assert longer["usage"]["completion_tokens"] == 8
    assert sums[1.0, 0.0] != pytest.approx(sums[0.0, 1.0], abs=0.1)


async def test_echo_in_a_stream(client):
    whole = await asked(client, "/v1/completions", prompt=PROMPT, echo=True, logprobs=0, max_tokens=40)
    answer = await client.post(
        "/v1/completions",
        json={"prompt": PROMPT, "echo": True, "logprobs": 0, "stream": True, "max_tokens": 40, "seed": 3},
    )
    events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert events.pop() == "[DONE]"
    choices = [httpx.Response(200, text=event).json()["choices"][0] for event in events]
    assert "".join(choice["text"] for choice in choices) == whole["choices"][0]["text"]
    assert all("".join(choice["logprobs"]["tokens"]) == choice["text"] for choice in choices)
    offsets = [offset for choice in choices for offset in choice["logprobs"]["text_offset"]]
    assert offsets == whole["choices"][0]["logprobs"]["text_offset"]


async def test_refusals(client, stories):
    answer = await client.post("/v1/completions", json={"prompt": [[5, 512]], "max_tokens": 1})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "prompt: 512 is no token of this model, whose tokens are 0 to 511"
    answer = await client.post("/v1/completions", json={"prompt": list(range(3, 259)) * 3, "max_tokens": 1})
    assert answer.json()["error"]["code"] == "context_length_exceeded"
