"""Conversations as data sets write them: checked messages and tools, and pairs parted into a prompt and two responses.

What is wrong is a ValueError that says what to give; the caller knows the file and the row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile
from typing import Any

from jinja2 import TemplateError

from cosdpo.data.turns import ChatTemplate, Message

Answer = str | list[Message]
"""A response: its text, or messages that end with the assistant's."""

DIFFERENT_PROMPTS = "conversations that differ before the last assistant turn"
NO_TURN = "conversations without an assistant turn"


class DifferentPrompts(Exception):  # noqa: N818  # what is found, not a mistake
    """Two conversations that do not answer the same; its text is the reason to drop them."""


def shown(column: str, value: object, expected: str) -> str:
    """What is wrong with a value, and what to give instead."""
    return f"{column} is {'missing' if value is None else repr(value)[:40]}; give {expected}"


def chat(value: object, column: str, expected: str = "a list of chat messages with role and content") -> list[Message]:
    """The value as messages; one that calls tools needs no content."""
    if not isinstance(value, list) or not value:
        raise ValueError(shown(column, value, expected))
    for message in value:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise ValueError(shown(column, message, expected))
        if not isinstance(message.get("content"), str) and not message.get("tool_calls"):
            raise ValueError(shown(column, message, expected))
    return [{"content": None, **message} for message in value]


def question(messages: Sequence[Message]) -> str | None:
    """What the last user says; None where none says anything."""
    said = (message["content"] for message in reversed(messages) if message["role"] == "user" and message["content"])
    return next(said, None)


def functions(value: object) -> list[Any] | None:
    """The tools of a row: a list of JSON schemas, or its JSON."""
    if isinstance(value, str):
        with suppress(ValueError, RecursionError):
            value = json.loads(value) or None
    if not (value is None or (isinstance(value, list) and all(isinstance(tool, dict) for tool in value))):
        raise ValueError(shown("tools", value, "a list of functions as JSON schemas, or null"))
    return value


def parted(prompt: Any, chosen: Any, rejected: Any, repeats: bool) -> tuple[Any, list[Answer]]:
    """Prompt and responses of a pair, whose prompt may be missing, and may be text where the responses are chats.

    Args:
        repeats: texts begin with their prompt once more.

    Raises:
        DifferentPrompts: chats that part before the assistant's last turns.
        ValueError: something is no text and no chat, or the prompt is not theirs.
    """
    pair = [chosen, rejected]
    texts = [isinstance(value, str) for value in pair]
    if all(texts):
        if prompt is None:
            prompt = _common_beginning(chosen, rejected)
            repeats = True
        return prompt, [text[len(prompt) :] for text in pair] if repeats else pair
    if any(texts):
        name, value = ("rejected", rejected) if texts[0] else ("chosen", chosen)
        raise ValueError(shown(name, value, "a text as the other is, or both as lists of chat messages"))
    chats = [
        chat(value, name, "a text, or a list of chat messages with role and content")
        for name, value in zip(("chosen", "rejected"), pair, strict=True)
    ]
    if isinstance(prompt, list):
        before = chat(prompt, "prompt")
        if all(messages[: len(before)] == before for messages in chats):
            chats = [messages[len(before) :] for messages in chats]
    else:
        before = _common_messages(*chats)
        chats = [messages[len(before) :] for messages in chats]
        if prompt is None and not before:
            raise ValueError("chosen and rejected begin with different messages; give a prompt")
        if not (prompt is None or isinstance(prompt, str)):
            raise ValueError(shown("prompt", prompt, "a text, or a list of chat messages with role and content"))
        if prompt is not None and before and all(message["content"] != prompt for message in before):
            raise ValueError(shown("prompt", prompt, "a message that both chosen and rejected hold, or no prompt"))
        before = before or [{"role": "user", "content": prompt}]
    if any(not messages or messages[-1]["role"] != "assistant" for messages in chats):
        raise DifferentPrompts(NO_TURN)
    if any(message["role"] in ("user", "system", "developer") for messages in chats for message in messages):
        raise DifferentPrompts(DIFFERENT_PROMPTS)
    return before, list(chats)


def _common_messages(first: list[Message], second: list[Message]) -> list[Message]:
    """What two chats begin with, less the last message of either."""
    pairs = zip(first[:-1], second[:-1], strict=False)
    return [one for one, other in takewhile(lambda pair: pair[0] == pair[1], pairs)]


def _common_beginning(first: str, second: str) -> str:
    """What two texts have in common, up to the end of a word; the space behind it belongs to the responses."""
    equal = takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
    common = "".join(letter for letter, _ in equal)
    rest = [text[len(common) :] for text in (first, second)]
    if any(not text or re.match(r"\w", text) for text in rest):
        common = re.sub(r"\w+\Z", "", common) or common
    common = common.removesuffix(" ")
    if not common.strip():
        raise ValueError("chosen and rejected begin with different words; give a prompt")
    return common


def rendered(
    template: ChatTemplate, messages: list[Message], answers: Sequence[Answer], tools: list[Any] | None
) -> tuple[str, list[str]]:
    """Prompt and responses as the chat template writes them; a response that says nothing stays empty."""
    try:
        prompt = template.prompt(messages, tools)
        return prompt, [
            template.response(prompt, messages, answer, tools) if _says_something(answer) else "" for answer in answers
        ]
    except (TemplateError, ValueError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"the chat template refuses the prompt ({reason}); mend the messages") from None


def _says_something(answer: Answer) -> bool:
    if isinstance(answer, str):
        return bool(answer.strip())
    return any(message.get("tool_calls") or message["content"].strip() for message in answer)
