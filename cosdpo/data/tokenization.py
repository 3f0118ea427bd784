"""Preferences as token ids: prompt and response are tokenised apart, so that a response has the same tokens whatever
stands before it, and every candidate of a context shares one prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cosdpo.config import DataConfig
from cosdpo.errors import InputError

if TYPE_CHECKING:  # the models read TokenizedContext and shall not bring Arrow along, nor rankers transformers
    from transformers import PreTrainedTokenizerBase

    from cosdpo.data.preferences import Preferences


@dataclass(frozen=True)
class TokenizedContext:
    """A prompt and its candidate responses as token ids; every list has at least one token."""

    prompt: list[int]
    candidates: list[list[int]]

    @property
    def tokens(self) -> int:
        """Tokens that one scoring pass processes."""
        return len(self.prompt) + sum(map(len, self.candidates))


@dataclass(frozen=True)
class Tokenized:
    """All contexts that fit, with the row each came from and counts of what was cut or dropped."""

    contexts: list[TokenizedContext]
    rows: list[int]
    notes: dict[str, int]


def tokenize_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[list[int]]:
    """Prompt ids, with the tokenizer's own beginning-of-sequence token; never empty."""
    ids: list[list[int]] = tokenizer(list(prompts), return_attention_mask=False)["input_ids"]
    # A chat template writes the beginning-of-sequence token itself; twice is once too many.
    start = tokenizer.bos_token_id
    ids = [row[1:] if start is not None and row[:2] == [start, start] else row for row in ids]
    if not all(ids):
        raise InputError(f"prompt {ids.index([])} has no tokens: drop it or give it text")
    return ids


def tokenize(preferences: Preferences, tokenizer: PreTrainedTokenizerBase, data: DataConfig, room: int) -> Tokenized:
    """Tokenises every context of `preferences`.

    Args:
        room: positions for prompt plus response: data.max_length or the model's context, less the soft tokens.

    Raises:
        InputError: a prompt that leaves no room for a response while data.prompt_too_long is `error`, or no context
            left.
    """
    if room < 2:
        raise InputError(f"room for {room} tokens cannot hold a prompt and a response; raise data.max_length")
    prompts = tokenize_prompts(tokenizer, preferences.table["context"].to_pylist())
    lists: list[list[str]] = preferences.table["candidates"].to_pylist()
    flat = tokenizer([y for ys in lists for y in ys], add_special_tokens=False, return_attention_mask=False)[
        "input_ids"
    ]
    end = [tokenizer.eos_token_id] if data.append_eos else []
    if end == [None]:
        raise InputError("the tokenizer has no end-of-sequence token: set --data.append_eos false")
    notes = {"responses cut at the end": 0, "prompts cut at the start": 0, "contexts dropped: prompt too long": 0}
    contexts, rows, at = [], [], 0
    for row, (prompt, candidates) in enumerate(zip(prompts, lists, strict=True)):
        responses = [ids + end for ids in flat[at : at + len(candidates)]]
        at += len(candidates)
        if not all(responses):
            raise InputError(f"row {row}: a response has no tokens in this tokenizer: drop the row")
        if len(prompt) >= room:
            if data.prompt_too_long == "error":
                raise InputError(
                    f"row {row}: its prompt has {len(prompt)} tokens and leaves no room for a response in {room}; "
                    "set data.prompt_too_long to truncate or drop"
                )
            if data.prompt_too_long == "drop":
                notes["contexts dropped: prompt too long"] += 1
                continue
            notes["prompts cut at the start"] += 1
            prompt = prompt[-(room - min(room // 2, max(map(len, responses)))) :]
        longest = room - len(prompt)
        notes["responses cut at the end"] += sum(len(y) > longest for y in responses)
        contexts.append(TokenizedContext(prompt, [y[:longest] for y in responses]))
        rows.append(row)
    if not contexts:
        raise InputError(f"no context fits into {room} tokens; raise data.max_length")
    return Tokenized(contexts, rows, {reason: count for reason, count in notes.items() if count})
