"""Libraries that people chat with, each with its defaults: what they send is taken, what they read is there."""

from __future__ import annotations

import pytest

from tests.clients.conftest import CONTEXT, Drive

pytestmark = pytest.mark.slow


def test_openai_sends_its_own_answer_back(drive: Drive) -> None:
    turns, request_id = drive(
        "openai",
        """
        import openai
        client = openai.OpenAI(base_url=URL + "/v1")
        model = client.models.list().data[0].id
        assert client.models.retrieve(model).id == model
        messages = []
        for turn in range(3):
            messages.append({"role": "user", "content": f"turn {turn}"})
            answer = client.chat.completions.create(model=model, messages=messages, max_tokens=8)
            messages.append(answer.choices[0].message)
        raw = client.completions.with_raw_response.create(model=model, prompt=["a"] * 20, max_tokens=2)
        assert len(raw.parse().choices) == 20
        print(json.dumps([answer.usage.prompt_tokens, raw.parse().id]))
        """,
    )
    assert turns > len("turn 0turn 1turn 2")
    assert request_id


def test_litellm_falls_back_when_the_context_is_too_short(drive: Drive) -> None:
    """Its ContextWindowExceededError is told from other errors by our words alone."""
    error, answered, fields = drive(
        "litellm",
        """
        import litellm
        where = {"api_base": URL + "/v1", "api_key": "none"}
        long = [{"role": "user", "content": "a" * 4000}]
        try:
            litellm.completion(model="openai/tiny", messages=long, max_tokens=8, **where)
        except litellm.ContextWindowExceededError as caught:
            error = str(caught)
        router = litellm.Router(
            model_list=[
                {"model_name": "short", "litellm_params": {"model": "openai/tiny", **where}},
                {"model_name": "long", "litellm_params": {"model": "openai/x", "mock_response": "from the long one"}},
            ],
            context_window_fallbacks=[{"short": ["long"]}],
        )
        answered = [
            router.completion(model="short", messages=messages, max_tokens=8).choices[0].message.content
            for messages in (long, [{"role": "user", "content": "hi"}])
        ]
        asked = {"role": "user", "content": "hi"}
        own = litellm.completion(model="openai/tiny", messages=[asked], max_tokens=4, **where).choices[0].message
        for back in (own, own.model_dump()):
            litellm.completion(model="openai/tiny", messages=[asked, back, asked], max_tokens=4, **where)
        print(json.dumps([error, answered, sorted(own.model_dump())]))
        """,
    )
    assert f"this model's maximum context length is {CONTEXT} tokens: messages has" in error
    assert answered[0] == "from the long one"
    assert answered[1] not in ("", "from the long one")
    assert "tool_calls" in fields


def test_langchain(drive: Drive) -> None:
    whole, pieces, batch, overflow, usage = drive(
        "langchain_openai",
        """
        from langchain_core.messages import HumanMessage, SystemMessage
        from langchain_openai import ChatOpenAI, OpenAI
        steered = {"weights": [1, 0]}
        chat = ChatOpenAI(model="tiny", base_url=URL + "/v1", max_tokens=8, temperature=0, extra_body=steered)
        history = [SystemMessage("be kind"), HumanMessage("hi")]
        whole = chat.invoke(history)
        history += [whole, HumanMessage("and")]
        chat.invoke(history)
        pieces = [chunk.content for chunk in chat.stream("hi")]
        batch = OpenAI(model="tiny", base_url=URL + "/v1", max_tokens=4).batch([f"prompt {i}" for i in range(20)])
        generated = OpenAI(model="tiny", base_url=URL + "/v1", max_tokens=4).generate(["one", "two"])
        assert len(generated.generations) == 2
        try:
            chat.invoke("a" * 4000)
        except Exception as error:
            overflow = [kind.__name__ for kind in type(error).__mro__]
        print(json.dumps([whole.content, pieces, batch, overflow, whole.usage_metadata]))
        """,
    )
    assert whole
    assert "".join(pieces)
    assert len(batch) == 20
    assert "ContextOverflowError" in overflow
    assert usage["output_tokens"] == 8


def test_llama_index(drive: Drive) -> None:
    texts = drive(
        "llama_index.llms.openai_like",
        """
        from llama_index.core.llms import ChatMessage
        from llama_index.llms.openai_like import OpenAILike
        texts = []
        for chats in (True, False):
            model = OpenAILike(
                model="tiny", api_base=URL + "/v1", api_key="none", max_tokens=8, is_chat_model=chats
            )
            asked = ChatMessage(role="user", content="hi")
            answer = model.chat([asked])
            again = model.chat([asked, answer.message, asked])
            streamed = list(model.stream_complete("once"))[-1].text
            texts += [model.complete("once").text, str(answer.message.content), str(again.message.content), streamed]
        print(json.dumps(texts))
        """,
    )
    assert len(texts) == 8
    assert all(texts)


def test_llm(drive: Drive) -> None:
    """By the file in which it keeps models that speak OpenAI's protocol; the second prompt continues the first."""
    texts = drive(
        "llm",
        """
        import os, pathlib
        os.environ["LLM_USER_PATH"] = str(pathlib.Path("llm").absolute())
        pathlib.Path("llm").mkdir()
        model = {"model_id": "here", "model_name": "tiny", "api_base": URL + "/v1"}
        pathlib.Path("llm/extra-openai-models.yaml").write_text(json.dumps([model]))
        import llm
        chat = llm.get_model("here")
        chat.key = "none"
        conversation = chat.conversation()
        texts = [conversation.prompt(text, max_tokens=8).text() for text in ("hi", "and")]
        texts.append("".join(chat.prompt("hi", max_tokens=8, stream=True)))
        print(json.dumps(texts))
        """,
    )
    assert len(texts) == 3
    assert all(texts)
