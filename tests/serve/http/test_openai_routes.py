"""OpenAI's own client against the service: it must not notice a difference, and extra_body must reach the engine."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from serve.engine.requests import SamplingParams
from tests.serve.conftest import Serve, Served

pytestmark = pytest.mark.anyio


def client_of(served: Served) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url="http://127.0.0.1:8000/v1", api_key="none", http_client=served.client, max_retries=0
    )


EXTRA: dict[str, Any] = {"weights": {"kind": 1, "short": 3}, "beta": 1.0, "top_k": 5}


async def test_completions(serve: Serve) -> None:
    async with serve() as served:
        client = client_of(served)
        made = await client.completions.create(
            model="tiny-run",
            prompt="cat",
            max_tokens=3,
            temperature=0.7,
            logprobs=2,
            seed=5,
            stop=["x"],
            extra_body=EXTRA,
        )
        sent = served.engine.streams[0].request
        extra = made.model_extra
    assert (sent.weights, sent.temperature, sent.max_new_tokens) == ((0.25, 0.75), (1.0, 1.0), 3)
    assert sent.sampling == SamplingParams(temperature=0.7, top_k=5, stop=("x",), seed=5, logprobs=2)
    assert made.object == "text_completion"
    assert extra is not None
    assert (extra["weights"], extra["beta"], extra["checkpoint"]) == ([0.25, 0.75], [1.0, 1.0], made.model)
    (choice,) = made.choices
    assert (choice.index, choice.finish_reason, len(choice.text)) == (0, "length", 7)
    assert choice.logprobs is not None
    assert choice.logprobs.token_logprobs == [-0.25, -0.5, -0.75]
    assert choice.logprobs.tokens is not None
    assert "".join(choice.logprobs.tokens) == choice.text
    assert choice.logprobs.text_offset == [0, len("<bos>"), len("<bos>q")]
    assert choice.logprobs.top_logprobs == [{"t0": -(k + 1) / 4, "t1": -(k + 2) / 4} for k in range(3)]
    assert made.usage is not None
    assert (made.usage.prompt_tokens, made.usage.completion_tokens, made.usage.total_tokens) == (8, 3, 11)
    assert made.usage.prompt_tokens_details is not None
    assert made.usage.prompt_tokens_details.cached_tokens == 1


async def test_several_prompts_and_texts(serve: Serve) -> None:
    """Texts of prompt p are choices 2 p and 2 p + 1; a prompt counts once in the usage."""
    async with serve() as served:
        made = await client_of(served).completions.create(
            model="tiny-run", prompt=["cat", "dogs"], n=2, max_tokens=20, seed=3
        )
        seeds = [stream.request.sampling.seed for stream in served.engine.streams]
        assert all(stream.ended for stream in served.engine.streams)
    assert [choice.index for choice in made.choices] == [0, 1, 2, 3]
    assert ["dogs" in choice.text for choice in made.choices] == [False, False, True, True]
    assert seeds == [3, 4, 3, 4]
    assert made.usage is not None
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (8 + 9, 4 * 20)


async def test_completions_stream(serve: Serve) -> None:
    async with serve() as served:
        client = client_of(served)
        whole = await client.completions.create(model="tiny-run", prompt="cat", max_tokens=8, logprobs=1)
        stream = await client.completions.create(
            model="tiny-run",
            prompt="cat",
            max_tokens=8,
            n=2,
            logprobs=1,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
    usage = chunks.pop().usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (8, 16)
    for index in (0, 1):
        pieces = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
        assert "".join(piece.text for piece in pieces) == whole.choices[0].text
        assert [piece.finish_reason for piece in pieces] == [None] * (len(pieces) - 1) + ["length"]
        offsets = [offset for piece in pieces if piece.logprobs for offset in piece.logprobs.text_offset or []]
        assert whole.choices[0].logprobs is not None
        assert offsets == whole.choices[0].logprobs.text_offset
    assert len({chunk.id for chunk in chunks}) == 1


async def test_completions_default_to_16_tokens(serve: Serve) -> None:
    async with serve() as served:
        made = await client_of(served).completions.create(model="tiny-run", prompt="cat")
    assert made.usage is not None
    assert made.usage.completion_tokens == 16


async def test_chat(serve: Serve) -> None:
    """Without a chat template the messages are paragraphs."""
    async with serve() as served:
        made = await client_of(served).chat.completions.create(
            model="tiny-run",
            messages=[
                {"role": "developer", "content": "be kind"},
                {"role": "user", "content": [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]},
            ],
            max_completion_tokens=16,
            logprobs=True,
            top_logprobs=1,
            user="me",
            metadata={"a": "b"},
            extra_body=EXTRA,
        )
        sent = served.engine.streams[0].request
        prompt = served.backend.tokenizer.decode(sent.prompt)
    assert prompt.replace("<bos>", "") == "q: be kind\n\nhi\n"
    assert sent.weights == (0.25, 0.75)
    (choice,) = made.choices
    assert choice.message.role == "assistant"
    assert choice.message.content is not None
    assert choice.message.content.startswith("<bos>q: be kind")
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    first = choice.logprobs.content[0]
    assert (first.token, first.logprob, first.top_logprobs[0].token) == ("<bos>", -0.25, "t0")
    assert bytes(first.bytes or []) == b"<bos>"
    assert made.object == "chat.completion"


async def test_a_chat_template_renders_the_messages(serve: Serve) -> None:
    template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{{ m.role[0] }}.{{ m.content }} {% endfor %}a."
    )
    async with serve() as served:
        served.backend.tokenizer = type(served.backend.tokenizer).from_pretrained(served.backend.card.base)
        served.backend.tokenizer.chat_template = template
        answer = await served.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]})
        sent = served.engine.streams[0].request.prompt
        refused = await served.post("/v1/chat/completions", {"messages": [{"role": "system", "content": "hi"}]})
        text = served.backend.tokenizer.decode(sent, skip_special_tokens=True)
    assert answer.status_code == 200
    assert text == "q: u.hi a.\n"
    assert refused.status_code == 400
    assert "no system" in refused.json()["error"]["message"]


async def test_chat_stream(serve: Serve) -> None:
    async with serve() as served:
        client = client_of(served)
        stream = await client.chat.completions.create(
            model="tiny-run", messages=[{"role": "user", "content": "hi"}], max_tokens=6, logprobs=True, stream=True
        )
        chunks = [chunk async for chunk in stream]
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert [delta.role for delta in deltas] == ["assistant"] + [None] * (len(deltas) - 1)
    assert "".join(delta.content or "" for delta in deltas) == "<bos>q: hi"
    assert chunks[-1].choices[0].finish_reason == "length"
    assert sum(len(chunk.choices[0].logprobs.content or []) for chunk in chunks if chunk.choices[0].logprobs) == 6


async def test_models_and_errors_as_the_client_knows_them(serve: Serve) -> None:
    async with serve() as served:
        client = client_of(served)
        (model,) = (await client.models.list()).data
        made = await client.completions.create(model=model.id, prompt="a")
        assert made.model == model.id
        with pytest.raises(openai.NotFoundError, match="no such model"):
            await client.completions.create(model="gpt-4", prompt="a")
        with pytest.raises(openai.BadRequestError, match="n:"):
            await client.completions.create(model=model.id, prompt="a", n=9)
        with pytest.raises(openai.BadRequestError, match="give at least") as caught:
            await client.completions.create(model=model.id, prompt="a", extra_body={"beta": 0.001})
        assert caught.value.param == "beta"
        served.engine.full = True
        with pytest.raises(openai.RateLimitError):
            await client.completions.create(model=model.id, prompt="a")


UNSUPPORTED: list[tuple[str, dict[str, Any], str]] = [
    ("chat/completions", {"tools": []}, "tools"),
    ("chat/completions", {"response_format": {"type": "json_object"}}, "response_format"),
    ("chat/completions", {"frequency_penalty": 0.5}, "frequency_penalty"),
    ("chat/completions", {"top_logprobs": 2}, "top_logprobs"),
    ("chat/completions", {"temperature": 2.5}, "temperature"),
    ("chat/completions", {"messages": []}, "messages"),
    ("chat/completions", {"messages": [{"role": "tool", "content": "a"}]}, "messages"),
    ("chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
    ("completions", {"logit_bias": {"1": 2}}, "logit_bias"),
    ("completions", {"echo": True}, "echo"),
    ("completions", {"suffix": "a"}, "suffix"),
    ("completions", {"best_of": 2}, "best_of"),
    ("completions", {"prompt": [1, 2]}, "prompt"),
    ("completions", {"prompt": ["a"] * 9}, "prompt"),
    ("completions", {"prompt_embeds": "x"}, "prompt_embeds"),
]


@pytest.mark.parametrize(("path", "change", "param"), UNSUPPORTED, ids=[f"{p}-{c}"[:50] for p, c, _ in UNSUPPORTED])
async def test_what_is_not_supported_is_refused_by_name(
    serve: Serve, path: str, change: dict[str, Any], param: str
) -> None:
    plain = {"prompt": "a"} if path == "completions" else {"messages": [{"role": "user", "content": "a"}]}
    harmless = {"frequency_penalty": 0, "user": "me", "model": None, "store": False, "logit_bias": {}}
    async with serve() as served:
        assert (await served.post(f"/v1/{path}", plain | harmless)).status_code == 200
        answer = await served.post(f"/v1/{path}", plain | change)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
