"""Schemas: how the rows of known preference data read as contexts, candidates and labels.

    scored  {"prompt", "responses": [n texts], "scores": {OBJECTIVE: [n numbers] or null}}
    pku     PKU-SafeRLHF (Ji et al. 2023): prompt, response_0, response_1, and better_response_id, safer_response_id in
            {0, 1}, as numbers or strings: objectives `better` and `safer`
    hh      Anthropic HH (Bai et al. 2022): {"chosen", "rejected"}, or {"text": [chosen, rejected], "score": [1, 0]},
            whole conversations that differ in the last assistant turn; one preference, which the user names

A prompt is a text, or a list of chat messages {"role", "content"} that the tokenizer's chat template renders.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from jinja2 import TemplateError

from cosdpo.data.preferences import RawContext
from cosdpo.data.records import Records
from cosdpo.errors import InputError

Render = Callable[[list[dict[str, str]]], str]
T = TypeVar("T")
Format = Literal["scored", "pku", "hh"]

TURN = "\n\nAssistant:"
DIFFERENT_PROMPTS = "conversations that differ before the last assistant turn"
NO_TURN = "conversations without an assistant turn"

PKU_LABELS = {"better": "better_response_id", "safer": "safer_response_id"}
REQUIRED: dict[Format, tuple[tuple[str, ...], ...]] = {
    "scored": (("prompt", "responses", "scores"),),
    "pku": tuple(("prompt", "response_0", "response_1", label) for label in PKU_LABELS.values()),
    "hh": (("chosen", "rejected"), ("text", "score")),
}
"""Column sets of each format, one of which a source must have."""
COLUMNS = frozenset(column for variants in REQUIRED.values() for columns in variants for column in columns)

KINDS: dict[type, str] = {str: "a text", list: "a list", dict: "an object with a list of numbers per objective"}


@dataclass
class Source:
    """A source whose schema is known. Iterating gives its rows and counts in `dropped` those not worth comparing."""

    records: Records
    format: Format
    objective: str
    """Name of the one preference of the hh format."""
    render: Render | None
    """Chat template; None where the tokenizer has none."""
    dropped: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[RawContext]:
        read = {"scored": self._scored, "pku": self._pku, "hh": self._hh}[self.format]
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
        return RawContext(index, self._prompt(index, record), responses, scores)

    def _pku(self, index: int, record: dict[str, Any]) -> RawContext:
        responses = [self._column(index, record, name, str) for name in ("response_0", "response_1")]
        scores: dict[str, list[float] | None] = {}
        for name, column in PKU_LABELS.items():
            if column in self.records.columns:
                label = record.get(column)
                if label is not None and str(label) not in ("0", "1", "0.0", "1.0"):
                    raise self._wrong(index, column, label, "0 or 1, or null")
                scores[name] = None if label is None else [1.0 - float(label), float(label)]
        return RawContext(index, self._prompt(index, record), responses, scores)

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
        return RawContext(
            index, "".join(prompts) + TURN, [response for _, _, response in parts], {self.objective: scores}
        )

    def _prompt(self, index: int, record: dict[str, Any]) -> str:
        prompt = record.get("prompt")
        if isinstance(prompt, str):
            return prompt
        kind = "a text, or a list of chat messages with role and content"
        if not isinstance(prompt, list) or not prompt:
            raise self._wrong(index, "prompt", prompt, kind)
        for message in prompt:
            fields = [message.get(key) for key in ("role", "content")] if isinstance(message, dict) else [None]
            if not all(isinstance(text, str) for text in fields):
                raise self._wrong(index, "prompt", message, kind)
        if self.render is None:
            raise InputError(
                f"{self.records.where(index)}: the prompt is a list of chat messages but the tokenizer has no chat "
                "template; take a model.base that has one, or give prompts as text"
            )
        try:
            return self.render(prompt)
        except (TemplateError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"{self.records.where(index)}: the chat template refuses the prompt ({reason}); mend the messages"
            ) from None

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
        shown = "missing" if value is None else repr(value)[:40]
        return InputError(f"{self.records.where(index)}: {column} is {shown}; give {expected}")
