"""Schemas: how the rows of known preference data read as contexts, candidates and labels.

    scored  {"prompt", "responses": [n texts], "scores": {OBJECTIVE: [n numbers] or null}}, and perhaps "finished": [n
            booleans], false for responses that were cut off and so have no end
    pku     PKU-SafeRLHF (Ji et al. 2023): prompt, response_0, response_1, and better_response_id, safer_response_id in
            {0, 1}, as numbers or strings: objectives `better` and `safer`
    hh      Anthropic HH (Bai et al. 2022): {"chosen", "rejected"}, or {"text": [chosen, rejected], "score": [1, 0]},
            whole conversations that differ in the last assistant turn; one preference, which the user names
    trl     TRL's {"prompt", "chosen", "rejected"}, texts or chats, or without the prompt, which is then what both have
            in common; one preference, which the user names

A prompt is a text, or a list of chat messages {"role", "content"} that the tokenizer's chat template renders, with the
functions of a column `tools`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypeVar

from cosdpo.data.conversations import (
    DIFFERENT_PROMPTS,
    NO_TURN,
    Answer,
    DifferentPrompts,
    chat,
    functions,
    parted,
    question,
    rendered,
    shown,
)
from cosdpo.data.preferences import RawContext
from cosdpo.data.records import Records
from cosdpo.data.turns import ChatTemplate
from cosdpo.errors import InputError

T = TypeVar("T")
Format = Literal["scored", "pku", "hh", "trl"]

TURN = "\n\nAssistant:"

PKU_LABELS = {"better": "better_response_id", "safer": "safer_response_id"}
REQUIRED: dict[Format, tuple[tuple[str, ...], ...]] = {
    "scored": (("prompt", "responses", "scores"),),
    "pku": tuple(("prompt", "response_0", "response_1", label) for label in PKU_LABELS.values()),
    "hh": (("chosen", "rejected"), ("text", "score")),
    "trl": (("prompt", "chosen", "rejected"), ("chosen", "rejected")),
}
"""Column sets of each format, one of which a source must have."""
COLUMNS = frozenset(column for variants in REQUIRED.values() for columns in variants for column in columns) | {
    "tools",
    "finished",
}
PAIRS: tuple[Format, ...] = ("hh", "trl")
"""Formats whose rows are one preference each, without a name."""

KINDS: dict[type, str] = {str: "a text", list: "a list", dict: "an object with a list of numbers per objective"}


@dataclass
class Source:
    """A source whose schema is known. Iterating gives its rows and counts in `dropped` those not worth comparing."""

    records: Records
    format: Format
    objective: str
    """Name of the one preference of the hh format."""
    template: ChatTemplate | None
    """None where the tokenizer has none."""
    dropped: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[RawContext]:
        read = {"scored": self._scored, "pku": self._pku, "hh": self._hh, "trl": self._trl}[self.format]
        for index, record in enumerate(self.records.rows):
            row = read(index, record)
            if row is not None:
                yield row

    def _scored(self, index: int, record: dict[str, Any]) -> RawContext:
        scores = self._column(index, record, "scores", dict)
        for name, labels in scores.items():
            if not (labels is None or isinstance(labels, list)):
                raise self._wrong(index, f"scores.{name}", labels, "a list of numbers, or null")
        responses = self._texts(index, record, "responses")
        row = self._row(index, record, record.get("prompt"), responses, scores)
        if (finished := record.get("finished")) is None:
            return row
        if not (isinstance(finished, list) and len(finished) == len(responses) == len(row.candidates)):
            raise self._wrong(index, "finished", finished, "true or false for each response, or leave it out")
        cut = frozenset(text for text, ended in zip(row.candidates, finished, strict=True) if not ended)
        return replace(row, unfinished=cut)

    def _pku(self, index: int, record: dict[str, Any]) -> RawContext:
        responses = [self._column(index, record, name, str) for name in ("response_0", "response_1")]
        scores: dict[str, list[float] | None] = {}
        for name, column in PKU_LABELS.items():
            if column in self.records.columns:
                label = record.get(column)
                if label is not None and str(label) not in ("0", "1", "0.0", "1.0"):
                    raise self._wrong(index, column, label, "0 or 1, or null")
                scores[name] = None if label is None else [1.0 - float(label), float(label)]
        return self._row(index, record, record.get("prompt"), responses, scores)

    def _hh(self, index: int, record: dict[str, Any]) -> RawContext | None:
        if "chosen" in self.records.columns:
            texts = [self._column(index, record, name, str) for name in ("chosen", "rejected")]
            scores = [1.0, 0.0]
        else:
            texts = self._texts(index, record, "text")
            scores = self._column(index, record, "score", list)
        parts = [text.rpartition(TURN) for text in texts]
        prompts = {prompt for prompt, _, _ in parts}
        if not all(turn for _, turn, _ in parts):
            self.dropped[NO_TURN] += 1
            return None
        if len(prompts) > 1:
            self.dropped[DIFFERENT_PROMPTS] += 1
            return None
        prompt, given = "".join(prompts) + TURN, record.get("prompt")
        if not (given is None or (isinstance(given, str) and prompt.startswith(given))):
            expected = "that with which the conversations begin, or set data.format to trl"
            raise self._wrong(index, "prompt", given, expected)
        return RawContext(index, prompt, [response for _, _, response in parts], {self.objective: scores})

    def _trl(self, index: int, record: dict[str, Any]) -> RawContext | None:
        if "prompt" in self.records.columns and record.get("prompt") is None:
            raise self._wrong(index, "prompt", None, "a text, or a list of chat messages with role and content")
        try:
            prompt, responses = parted(record.get("prompt"), record.get("chosen"), record.get("rejected"), self.repeats)
        except DifferentPrompts as reason:
            self.dropped[str(reason)] += 1
            return None
        except ValueError as wrong:
            raise InputError(f"{self.records.where(index)}: {wrong}") from None
        return self._row(index, record, prompt, responses, {self.objective: [1.0, 0.0]})

    @cached_property
    def repeats(self) -> bool:
        """Whether all texts of a trl source begin with their prompt once more."""
        names = ("prompt", "chosen", "rejected")
        rows = ([record.get(name) for name in names] for record in self.records.rows)
        return all(isinstance(row[0], str) and all(_begins(text, row[0]) for text in row[1:]) for row in rows)

    def _row(
        self, index: int, record: dict[str, Any], prompt: Any, responses: Sequence[Answer], scores: Mapping[str, Any]
    ) -> RawContext:
        """The row of a prompt that is a text or a chat."""
        tools = record.get("tools") or None
        if isinstance(prompt, str):
            if tools is not None:
                raise self._wrong(index, "tools", tools, "the prompt beside them as a list of chat messages")
            texts = [response for response in responses if isinstance(response, str)]  # to a text there are no others
            return RawContext(index, prompt, texts, scores)
        try:
            messages = chat(prompt, "prompt", "a text, or a list of chat messages with role and content")
            if self.template is None:
                raise ValueError(
                    "the prompt is a list of chat messages but the tokenizer has no chat template; take a model.base "
                    "that has one, or give prompts as text"
                )
            context, candidates = rendered(self.template, messages, responses, functions(tools))
        except ValueError as wrong:
            raise InputError(f"{self.records.where(index)}: {wrong}") from None
        return RawContext(index, context, candidates, scores, chat=True, question=question(messages))

    def _texts(self, index: int, record: dict[str, Any], column: str) -> list[str]:
        texts: list[str] = self._column(index, record, column, list)
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise self._wrong(index, f"{column}[{i}]", text, "a text")
        return texts

    def _column(self, index: int, record: dict[str, Any], column: str, kind: type[T]) -> T:
        value = record.get(column)
        if not isinstance(value, kind):
            raise self._wrong(index, column, value, KINDS[kind])
        return value

    def _wrong(self, index: int, column: str, value: object, expected: str) -> InputError:
        return InputError(f"{self.records.where(index)}: {shown(column, value, expected)}")


def _begins(text: object, beginning: str) -> bool:
    return isinstance(text, str) and text.startswith(beginning)
