"""Prompts to answer, from any file or dataset that has some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from cosdpo.config import Config
from cosdpo.data.containers import read
from cosdpo.data.conversations import chat, functions, question
from cosdpo.data.schemas import COLUMNS, Source
from cosdpo.data.sources import recognise
from cosdpo.data.tokenization import tokenize_prompts
from cosdpo.data.turns import ChatTemplate, chat_template
from cosdpo.errors import InputError

TOO_LONG, REPEATED = "prompts dropped: too long", "prompts dropped: asked before"


@dataclass(frozen=True)
class Prompt:
    """A prompt to answer."""

    given: Mapping[str, Any]
    """The columns `prompt` and `tools` as its source has them, a text or chat messages."""
    text: str
    """As scorers and reports read it: in data.prompt_template, or of a chat what its last user says."""
    ids: list[int]
    """[P] tokens, as in training."""


def read_prompts(config: Config, tokenizer: PreTrainedTokenizerBase, room: int) -> tuple[list[Prompt], dict[str, int]]:
    """The different prompts of build.prompts in their order, and how many were dropped for which reason.

    Args:
        room: tokens of the longest prompt.

    Raises:
        InputError: no prompts, some that are texts and some that are chats, or one that is longer than `room` while
            data.prompt_too_long is `error`.
    """
    location, template = config.build.prompts, chat_template(tokenizer)
    if not location:
        raise InputError("build.prompts is not set: give a hub dataset or a file whose rows have a prompt")
    records = read(location, COLUMNS)
    if "prompt" in records.columns:
        rows = [{name: row.get(name) for name in ("prompt", "tools") if row.get(name)} for row in records.rows]
    else:
        form = recognise(records, config.data.format)
        rows = [{"prompt": row.context} for row in Source(records, form, "", template)]
    kinds = {isinstance(row.get("prompt"), str) for row in rows}
    if len(kinds) > 1:
        raise InputError(f"{location} has prompts that are texts and some that are chats; give them in two files")
    try:
        read_rows = [_read(row, template, config.data.prompt_template) for row in rows]
    except ValueError as wrong:
        raise InputError(f"{location}: {wrong}") from None
    lost: Counter[str] = Counter()
    prompts: dict[str, Prompt] = {}
    ids = tokenize_prompts(tokenizer, [text for text, _ in read_rows], chat=kinds == {False}) if rows else []
    for index, (row, (text, asked), tokens) in enumerate(zip(rows, read_rows, ids, strict=True)):
        if text in prompts:
            lost[REPEATED] += 1
        elif len(tokens) <= room:
            prompts[text] = Prompt(row, asked, tokens)
        elif config.data.prompt_too_long == "error":
            raise InputError(
                f"{records.where(index)}: the prompt has {len(tokens)} tokens and leaves no room for an answer of "
                f"evaluation.max_new_tokens {config.evaluation.max_new_tokens}; lower that, or set "
                "data.prompt_too_long to drop"
            )
        else:
            lost[TOO_LONG] += 1
    if not prompts:
        raise InputError(f"{location} has no prompt that can be answered; give rows with a prompt")
    most = config.data.max_rows or len(prompts)
    return list(prompts.values())[:most], dict(lost)


def _read(row: Mapping[str, Any], template: ChatTemplate | None, around: str) -> tuple[str, str]:
    """The text of a prompt, and what of it people read."""
    prompt = row.get("prompt")
    if isinstance(prompt, str):
        text = around.replace("{prompt}", prompt)
        return text, text
    messages = chat(prompt, "prompt", "a text, or a list of chat messages with role and content")
    if template is None:
        raise ValueError(
            "the prompts are chat messages but the tokenizer has no chat template; take a model.base that has one, or "
            "give prompts as text"
        )
    text = template.prompt(messages, functions(row.get("tools")))
    return text, question(messages) or text
