"""OpenAI's own client against the service: it must not notice a difference, and extra_body must reach the engine."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from cosdpo.errors import InputError
from serve.engine.requests import SamplingParams
from tests.serve.conftest import Serve, Served
from tests.tiny_models import letters

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
    assert choice.logprobs.top_logprobs == [
        {token: -(k + 1) / 4, "t1": -(k + 2) / 4} for k, token in enumerate(["<bos>", "q", ":"])
    ]
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


async def test_token_ids_are_taken_as_they_are(serve: Serve) -> None:
    async with serve() as served:
        for prompt in ([5, 6], [[5, 6], [7]]):
            assert (await served.post("/v1/completions", {"prompt": prompt, "echo": True})).status_code == 200
        sent = [stream.request for stream in served.engine.streams]
        refused = await served.post("/v1/completions", {"prompt": "a", "echo": True})
    assert [request.prompt for request in sent] == [(5, 6), (5, 6), (7,)]
    assert all(request.echo for request in sent)
    # This checkpoint has a template, so that the text would not be the one that an evaluator counts tokens of.
    assert refused.json()["error"]["message"] == (
        "echo: this model reads prompts within 'q: {prompt}\\n'; send token ids, which are taken as they are"
    )


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
    assert (first.token, first.logprob, first.top_logprobs[0].token) == ("<bos>", -0.25, "<bos>")
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
    assert text == "u.hi a."  # the template of the data is for texts
    assert refused.status_code == 400
    assert "no system" in refused.json()["error"]["message"]


async def test_our_own_routes_take_what_a_person_writes_as_a_users_message(serve: Serve) -> None:
    """To a model that was trained on chats; /v1/completions goes on with the text as it is."""
    template = "{% for m in messages %}{{ m.role[0] }}.{{ m.content }} {% endfor %}{{ 'a.' if add_generation_prompt }}"
    async with serve() as served:
        backend = served.backend
        backend.tokenizer = type(backend.tokenizer).from_pretrained(backend.card.base)
        backend.tokenizer.chat_template = template
        backend.card = backend.card.model_copy(update={"chat": True})
        ours = await served.post("/v1/generate", {"prompt": "hi", "max_new_tokens": 3})
        theirs = await served.post("/v1/completions", {"prompt": "hi", "max_tokens": 3})
        scored = await served.post("/v1/score", {"prompt": "hi", "candidates": ["yes", "no"]})
        empty = await served.post("/v1/generate", {"prompt": " "})
        sent = [backend.tokenizer.decode(stream.request.prompt) for stream in served.engine.streams]
        decoded = backend.tokenizer.decode
        context, rows = backend._asked_and_answered("hi", ["yes", ""])
    assert [answer.status_code for answer in (ours, theirs, scored, empty)] == [200, 200, 200, 400]
    assert sent == ["u.hi a.", "<bos>q: hi\n"]
    assert decoded(context) == "u.hi a."
    assert [decoded(row) for row in rows] == ["yes<eos>", "<eos>"]
    assert "prompt is empty" in empty.json()["error"]["message"]


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


async def test_a_models_name_carries_the_weights(serve: Serve) -> None:
    """An objective that it leaves out weighs 0; weights are scaled to sum 1."""
    async with serve() as served:
        client = client_of(served)
        (model,) = (await client.models.list()).data
        kind, short = (model.model_extra or {})["objectives"]
        for name, weights in (
            (f"tiny-run@{kind}=0.7,{short}=2.1", [0.25, 0.75]),
            (f"{model.id}@{short}=1", [0, 1]),
            (f"@{kind}=1e-3", [1, 0]),
        ):
            made = await client.completions.create(model=name, prompt="a")
            assert (made.model_extra or {})["weights"] == pytest.approx(weights)
            assert made.model == model.id
            asked: Any = {"role": "user", "content": "hi"}
            chat = await client.chat.completions.create(model=name, messages=[asked])
            assert (chat.model_extra or {})["weights"] == pytest.approx(weights)
        with pytest.raises(openai.NotFoundError):
            await client.completions.create(model=f"gpt-4@{kind}=1", prompt="a")


@pytest.mark.parametrize(
    ("model", "body", "param", "message"),
    [
        ("tiny-run@kind=1", {"weights": [1, 0]}, "weights", "weights: model 'tiny-run@kind=1' has them too"),
        ("tiny-run@", {}, "model", "model: '' is no list of weights"),
        ("tiny-run@kind", {}, "model", "model: 'kind' is no list of weights"),
        ("tiny-run@kind=1,kind=2", {}, "model", "is no list of weights"),
        ("tiny-run@kind=-1", {}, "model", "is no list of weights"),
        ("tiny-run@kind=nan", {}, "model", "is no list of weights"),
        ("tiny-run@kind=inf", {}, "model", "is no list of weights"),
        ("tiny-run@kind=0", {}, "model", "weights must not all be zero"),
        ("tiny-run@nice=1", {}, "model", "weights name unknown objectives ['nice']"),
    ],
)
async def test_wrong_weights_in_a_models_name(
    serve: Serve, model: str, body: dict[str, Any], param: str, message: str
) -> None:
    async with serve() as served:
        with pytest.raises(openai.BadRequestError) as caught:
            await client_of(served).completions.create(model=model, prompt="a", extra_body=body)
    assert caught.value.param == param
    assert message in caught.value.message


async def test_a_chats_own_answer_can_be_sent_back(serve: Serve) -> None:
    """As the object that the client made of it, and with what other servers and frameworks add to one."""
    asked: Any = {"role": "user", "content": "hi"}
    async with serve() as served:
        client = client_of(served)
        first = await client.chat.completions.create(model="tiny-run", messages=[asked], max_tokens=4)
        own = first.choices[0].message
        added = {
            "role": "assistant", "content": None, "annotations": [], "reasoning_content": None, "id": "m1",
            "tool_calls": [], "function_call": None, "made_up": None,
        }  # fmt: skip
        part = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
        await client.chat.completions.create(
            model="tiny-run", messages=[asked, own, added, {"role": "user", "content": [part]}], max_tokens=4
        )
        prompt = served.backend.tokenizer.decode(served.engine.streams[1].request.prompt)
    assert prompt.removeprefix("<bos>") == f"q: hi\n\n{own.content}\n\n\n\na\n"


NEUTRAL: list[tuple[str, dict[str, Any]]] = [
    ("chat/completions", {"tools": None, "tool_choice": "none", "parallel_tool_calls": True}),
    ("chat/completions", {"tools": [], "functions": [], "function_call": "auto", "response_format": {"type": "text"}}),
    ("chat/completions", {"logprobs": False, "top_logprobs": 0, "modalities": ["text"], "verbosity": "medium"}),
    ("chat/completions", {"reasoning_effort": "none", "chat_template_kwargs": {}, "prediction": None, "audio": None}),
    ("completions", {"n": 2, "best_of": 2, "echo": False, "suffix": "", "logprobs": None}),
    *(
        (path, fields)
        for path in ("completions", "chat/completions")
        for fields in (
            {"repetition_penalty": 1.0, "length_penalty": 1, "frequency_penalty": 0.0, "presence_penalty": 0},
            {"top_k": -1, "min_p": 0, "top_p": 1.0, "ignore_eos": False, "logit_bias": {}, "stop": []},
            {"stream_options": {"include_usage": True, "continuous_usage_stats": False, "made_up": None}},
            {"n": 1.0, "max_tokens": 4.0, "seed": 7.0, "top_k": 2.0},
            {"user": "me", "metadata": {}, "model": "", "store": False, "service_tier": "auto", "made_up": None},
            {"min_tokens": 0, "skip_special_tokens": True, "stop_token_ids": [], "use_beam_search": False},
        )
    ),
]


@pytest.mark.parametrize(("path", "fields"), NEUTRAL, ids=[f"{path}-{fields}"[:60] for path, fields in NEUTRAL])
async def test_what_is_neutral_changes_nothing(serve: Serve, path: str, fields: dict[str, Any]) -> None:
    plain = {"prompt": "a"} if path == "completions" else {"messages": [{"role": "user", "content": "a"}]}
    async with serve() as served:
        answer = await served.post(f"/v1/{path}", {"max_tokens": 4, **plain, **fields})
        stated = await served.post(f"/v1/{path}", {"max_tokens": 4, **plain})
        sent, expected = (s.request for s in (served.engine.streams[0], served.engine.streams[-1]))
    assert answer.status_code == stated.status_code == 200, answer.text
    assert (sent.prompt, sent.max_new_tokens, sent.weights) == (expected.prompt, expected.max_new_tokens, (0.5, 0.5))
    if "seed" not in fields:
        assert sent.sampling == expected.sampling


async def test_the_documentation_lists_what_is_neutral(serve: Serve) -> None:
    async with serve() as served:
        schemas = (await served.client.get("/openapi.json")).json()["components"]["schemas"]
    chat = schemas["ChatBody"]
    assert chat["properties"]["tool_choice"]["enum"] == [None, "none", "auto"]
    assert chat["additionalProperties"] == {"type": "null"}
    assert schemas["GenerateBody"]["additionalProperties"] is False


async def test_load_generators_get_texts_of_a_known_length_and_counts_in_every_chunk(serve: Serve) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    async with serve() as served:
        stream = await client_of(served).completions.create(
            model="tiny-run", prompt=["cat", "dogs"], max_tokens=4, stream=True,
            extra_body={"stream_options": options, "ignore_eos": True, "min_p": 0.1},
        )  # fmt: skip
        used = [chunk.usage async for chunk in stream]
        sampling = served.engine.streams[0].request.sampling
    assert sampling == SamplingParams(ignore_eos=True, min_p=0.1)
    counts = [one.completion_tokens for one in used if one]
    assert len(counts) == len(used)
    assert counts[0] == 1
    assert counts == sorted(counts)
    assert used[-1]
    assert (used[-1].prompt_tokens, used[-1].completion_tokens) == (8 + 9, 8)


MESSAGES: list[tuple[str, dict[str, Any], str]] = [
    ("completions", {"prompt": "a" * 60},
     "this model's maximum context length is 48 tokens: prompt has 65; shorten it"),
    ("completions", {"prompt": "a", "max_tokens": 44},
     "this model's maximum context length is 48 tokens: prompt has 6 and max_tokens asks for 44; lower it"),
    ("completions", {"prompt": ["hi", "a" * 60]},
     "this model's maximum context length is 48 tokens: prompt[1] has 65; shorten it"),
    ("completions", {"prompt": ["a", "b" * 100_001]},
     "prompt[1]: 100001 characters exceed context limits, this service takes at most 100000"),
    ("completions", {"prompt": ["a", 5]}, "prompt[1]: Input should be a valid string"),
    ("completions", {"prompt": "a", "beta": 0.001}, "beta 0.001 is 0.002 of the trained 0.5; give at least 0.05"),
    ("completions", {"prompt": "a", "beta": [1, 2, 3]}, "beta must be a number > 0, or 2 of them, one per objective"),
    ("completions", {"prompt": "a", "stop": 5}, "stop: Input should be a valid string or a valid list"),
    ("completions", {"prompt": "a", "weights": {"kind": -1}},
     "weights.kind: Input should be greater than or equal to 0"),
    ("completions", {"prompt": "a", "repetition_penalty": 1.2},
     "repetition_penalty: not supported; leave it out or give 1"),
    ("completions", {"prompt": "a", "made_up": 1}, "made_up is not a field of this request; leave it out"),
    ("completions", {}, "prompt is missing"),
    ("chat/completions", {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "x"}]}]},
     "messages[0].content[1].type: Input should be 'text'"),
    ("chat/completions", {"messages": [{"role": "user", "content": "a"}, {"content": "a"}]},
     "messages[1].role is missing"),
    ("chat/completions", {"messages": [{"role": "user", "content": "a", "made_up": 1}]},
     "messages[0].made_up is not a field of this request; leave it out"),
    ("chat/completions", {"messages": [{"role": "user"}]}, "messages[0]: content is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "message"), MESSAGES, ids=[message[:50] for _, _, message in MESSAGES])
async def test_messages_name_the_limit_the_item_and_the_cause(
    serve: Serve, path: str, body: dict[str, Any], message: str
) -> None:
    async with serve() as served:
        answer = await served.post(f"/v1/{path}", body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["message"] == message
    assert (error["code"] == "context_length_exceeded") == ("context l" in message)


async def test_what_memory_cannot_hold_is_named_as_the_route_calls_it(serve: Serve) -> None:
    async with serve() as served:
        served.engine.defect = InputError(
            "a prompt of 6 tokens with max_new_tokens 9 does not fit: lower max_new_tokens"
        )
        answer = await served.post("/v1/completions", {"prompt": "a", "max_tokens": 9})
    assert answer.json()["error"] == {
        "message": "prompt and answer exceed context limits: a prompt of 6 tokens with max_tokens 9 does not fit: "
        "lower max_tokens",
        "type": "invalid_request_error", "param": "max_tokens", "code": "context_length_exceeded",
    }  # fmt: skip


async def test_an_empty_prompt_is_named(serve: Serve) -> None:
    """A tokenizer without a beginning token, and a template that adds nothing."""
    async with serve() as served:
        served.backend.tokenizer = letters()
        served.backend.card = served.backend.card.model_copy(
            update={"prompt_template": "{prompt}", "append_eos": False}
        )
        answer = await served.post("/v1/completions", {"prompt": ["hello there", ""]})
        candidates = await served.post("/v1/score", {"prompt": "a", "candidates": ["b", ""]})
    assert answer.json()["error"] == {
        "message": "prompt[1] is empty; give it text", "type": "invalid_request_error", "param": "prompt", "code": None,
    }  # fmt: skip
    assert candidates.json()["error"]["message"] == "candidates[1] is empty; give it text"


async def test_twenty_prompts_are_one_request(serve: Serve) -> None:
    async with serve() as served:
        made = await client_of(served).completions.create(model="tiny-run", prompt=["a"] * 20, n=2, max_tokens=1)
    assert len(made.choices) == 40


async def test_a_model_by_its_id_and_its_name(serve: Serve) -> None:
    async with serve() as served:
        client = client_of(served)
        (listed,) = (await client.models.list()).data
        assert await client.models.retrieve(listed.id) == await client.models.retrieve("tiny-run") == listed
        with pytest.raises(openai.NotFoundError, match="no such model"):
            await client.models.retrieve("gpt-4")
    assert listed.model_extra is not None
    assert listed.model_extra["max_model_len"] == 48


UNSUPPORTED: list[tuple[str, dict[str, Any], str]] = [
    ("chat/completions", {"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    ("chat/completions", {"tool_choice": "required"}, "tool_choice"),
    ("chat/completions", {"reasoning_effort": "high"}, "reasoning_effort"),
    ("chat/completions", {"made_up": 0}, "made_up"),
    ("chat/completions", {"stream_options": {"made_up": False}}, "stream_options"),
    ("chat/completions", {"messages": [{"role": "user", "content": None}]}, "messages"),
    ("chat/completions", {"messages": [{"role": "assistant", "tool_calls": [{"id": "a"}]}]}, "messages"),
    ("chat/completions", {"messages": [{"role": "assistant", "refusal": "no"}]}, "messages"),
    ("chat/completions", {"response_format": {"type": "grammar"}}, "response_format"),
    ("chat/completions", {"response_format": {"type": "json_schema"}}, "response_format"),
    ("completions", {"response_format": {"type": "json_object", "json_schema": {"name": "a"}}}, "response_format"),
    ("completions", {"response_format": {"type": "json_object"}, "ignore_eos": True}, "ignore_eos"),
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
    ("completions", {"prompt": []}, "prompt"),
    ("completions", {"prompt": [[]]}, "prompt"),
    ("completions", {"prompt": [1, -2]}, "prompt"),
    ("completions", {"prompt": [1, 99]}, "prompt"),
    ("completions", {"max_tokens": 0}, "max_tokens"),
    ("completions", {"best_of": 1, "n": 2}, "best_of"),
    ("completions", {"repetition_penalty": 1.2}, "repetition_penalty"),
    ("completions", {"repetition_penalty": True}, "repetition_penalty"),
    ("completions", {"prompt": ["a"] * 65}, "prompt"),
    ("completions", {"prompt": ["a"] * 20, "n": 4}, "n"),
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
