"""Preferences as token ids: all candidates of a context share one prompt.

Responses to a text are tokenised apart from it, so that a response has the same tokens whatever stands before it. In a
chat they are cut out of the whole conversation (data/turns.py), whose tokens are those that transformers gives it;
where a token would span the end of the prompt and the beginning of its response, the response is tokenised apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cosdpo.config import DataConfig
from cosdpo.data.duplicates import Scores, distinct, tells_apart
from cosdpo.data.turns import end_tokens
from cosdpo.errors import InputError

if TYPE_CHECKING:  # the models read TokenizedContext and shall not bring Arrow along, nor rankers transformers
    from hashlib import _Hash as Digest

    from transformers import PreTrainedTokenizerBase

    from cosdpo.data.preferences import Preferences

ROWS = 1024
"""Rows that are tokenised together: enough to be fast, and no second copy of all text."""


@dataclass(frozen=True)
class TokenizedContext:
    """A prompt and its candidate responses as token ids; every list has at least one token."""

    prompt: list[int]
    candidates: list[list[int]]

    @property
    def tokens(self) -> int:
        """Tokens that one scoring pass processes."""
        return len(self.prompt) + sum(map(len, self.candidates))

    def add_to(self, digest: Digest) -> None:
        """Adds every token id, in order, to a hash."""
        for ids in (self.prompt, *self.candidates):
            digest.update(len(ids).to_bytes(8, "little"))
            digest.update(np.asarray(ids, dtype=np.int64).tobytes())
        digest.update(b"\xff" * 8)


@dataclass(frozen=True)
class Tokenized:
    """All contexts that fit, with the row each came from and counts of what was cut or dropped."""

    contexts: list[TokenizedContext]
    rows: list[int]
    scores: list[Scores]
    """Of each context, parallel to its candidates."""
    notes: dict[str, int]


def tokenize_prompts(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], chat: bool = False) -> list[list[int]]:
    """Prompt ids; never empty.

    Args:
        chat: the prompts are written by the tokenizer's chat template, and all tokens in them. Otherwise what the
            tokenizer puts before a text (its beginning-of-sequence token) stands before each, but what it puts behind
            a text does not.
    """
    ids = _ids(tokenizer, prompts)
    if not chat:
        before = _beginning(tokenizer)
        # A prompt may have been written by a template before it came here; the beginning twice is once too many.
        ids = [row if row[: len(before)] == before else before + row for row in ids]
    if not all(ids):
        raise InputError(f"prompt {ids.index([])} has no tokens: drop it or give it text")
    return ids


def tokenize_responses(
    tokenizer: PreTrainedTokenizerBase, responses: Sequence[str], append_eos: bool
) -> list[list[int]]:
    """Ids of responses to a text; with `append_eos` they end with a token that ends answers, by default the
    end-of-sequence token.

    Raises:
        InputError: the tokenizer has no end-of-sequence token.
    """
    return _ended(tokenizer, _ids(tokenizer, responses), [append_eos] * len(responses))


def tokenize_chat(
    tokenizer: PreTrainedTokenizerBase, prompt: str, responses: Sequence[str], append_eos: bool
) -> tuple[list[int], list[list[int]]]:
    """Ids of a prompt and of responses that the chat template has written (data/turns.py)."""
    (ids,) = tokenize_prompts(tokenizer, [prompt], chat=True)
    pairs = [(prompt, ids, response) for response in responses]
    return ids, _chat_responses(tokenizer, pairs, [append_eos] * len(responses))


def tokenize(preferences: Preferences, tokenizer: PreTrainedTokenizerBase, data: DataConfig, room: int) -> Tokenized:
    """Tokenises every context of `preferences`; candidates whose tokens are the same, perhaps because they were cut,
    become one with the mean of their scores.

    Args:
        room: positions for prompt plus response: data.max_length or the model's context, less the soft tokens.

    Raises:
        InputError: a prompt that leaves no room for a response while data.prompt_too_long is `error`, or no context
            left.
    """
    if room < 2:
        raise InputError(f"room for {room} tokens cannot hold a prompt and a response; raise data.max_length")
    start = tokenizer.bos_token_id
    result = Tokenized([], [], [], {})
    notes: Counter[str] = Counter()
    for row, (prompt, responses) in enumerate(_tokens(preferences, tokenizer, data.append_eos)):
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
            kept = room - min(room // 2, max(map(len, responses)))
            begun = prompt[:1] if prompt[0] == start and kept > 1 else []
            prompt = begun + prompt[-(kept - len(begun)) :]
        longest = room - len(prompt)
        notes["responses cut at the end"] += sum(len(y) > longest for y in responses)
        texts, scores = distinct([tuple(y[:longest]) for y in responses], preferences.scores(row))
        notes["responses dropped: the same tokens as another"] += len(responses) - len(texts)
        if len(texts) < 2 or not tells_apart(scores):
            notes[f"contexts dropped: no {'other response' if len(texts) < 2 else 'preference'} left"] += 1
            continue
        result.contexts.append(TokenizedContext(prompt, [list(y) for y in texts]))
        result.rows.append(row)
        result.scores.append(scores)
    result.notes.update({reason: count for reason, count in notes.items() if count})
    if not result.contexts:
        reasons = ", ".join(f"{count} {reason}" for reason, count in result.notes.items())
        raise InputError(f"no context can be used within {room} tokens ({reasons}); raise data.max_length")
    return result


def _tokens(
    preferences: Preferences, tokenizer: PreTrainedTokenizerBase, append_eos: bool
) -> Iterator[tuple[list[int], list[list[int]]]]:
    """Prompt and responses of each row."""
    for first in range(0, len(preferences), ROWS):
        rows = preferences.table.slice(first, ROWS).to_pylist()
        prompts: dict[int, list[int]] = {}
        responses: dict[int, list[list[int]]] = {}
        for chat in (False, True):
            these = [i for i, row in enumerate(rows) if row["chat"] is chat]
            if not these:
                continue
            ids = tokenize_prompts(tokenizer, [rows[i]["context"] for i in these], chat)
            prompts |= dict(zip(these, ids, strict=True))
            texts = [(i, text) for i in these for text in rows[i]["candidates"]]
            ends = [append_eos and finished for i in these for finished in rows[i]["finished"]]
            if chat:
                pairs = [(rows[i]["context"], prompts[i], text) for i, text in texts]
                flat = _chat_responses(tokenizer, pairs, ends)
            else:
                flat = _ended(tokenizer, _ids(tokenizer, [text for _, text in texts]), ends)
            for (i, _), response in zip(texts, flat, strict=True):
                responses.setdefault(i, []).append(response)
        yield from ((prompts[i], responses[i]) for i in range(len(rows)))


def _chat_responses(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, list[int], str]], wanted: Sequence[bool]
) -> list[list[int]]:
    """Responses behind a prompt that is given as text and as tokens; those whose end is not wanted lose it."""
    wholes = _ids(tokenizer, [text + response for text, _, response in pairs])
    rows = [
        whole[len(prompt) :] if whole[: len(prompt)] == prompt else _within(tokenizer, response)
        for (_, prompt, response), whole in zip(pairs, wholes, strict=True)
    ]
    ends = end_tokens(tokenizer)
    open_rows = [
        row[:-1] if not end and row[-1:] and row[-1] in ends else row for row, end in zip(rows, wanted, strict=True)
    ]
    return _ended(tokenizer, open_rows, wanted)


def _ended(tokenizer: PreTrainedTokenizerBase, rows: Sequence[list[int]], wanted: Sequence[bool]) -> list[list[int]]:
    """The rows, with an end where it is wanted and they have none."""
    if not any(wanted):
        return list(rows)
    ends = end_tokens(tokenizer)
    lacking = [end and not (row and row[-1] in ends) for row, end in zip(rows, wanted, strict=True)]
    if any(lacking) and tokenizer.eos_token_id is None:
        raise InputError("the tokenizer has no end-of-sequence token: set --data.append_eos false")
    return [row + [tokenizer.eos_token_id] * lacks for row, lacks in zip(rows, lacking, strict=True)]


def _beginning(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What the tokenizer puts before a text."""
    (plain,) = _ids(tokenizer, ["a"])
    marked: list[int] = tokenizer("a", return_attention_mask=False)["input_ids"]
    return next((marked[:at] for at in range(len(marked)) if marked[at : at + len(plain)] == plain), [])


def _within(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Tokens of a text that others come before: some tokenizers begin a text of its own with a space."""
    line, whole, apart = _ids(tokenizer, ["\n", f"\n{text}", text])
    return whole[len(line) :] if whole[: len(line)] == line else apart


def _ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Tokens of the texts alone."""
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False)["input_ids"]
    return ids
