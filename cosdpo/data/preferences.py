"""Preferences: the one Arrow table that every source of data becomes.

One row per context (a prompt, or a query) with its n candidates and, for each objective, n scores or null:

    context: string | candidates: list<string> | chat: bool | question: string | finished: list<bool>
    score:NAME: list<double>, null where NAME says nothing

In a row with `chat` the tokenizer's chat template has written context and candidates, and every token that is in them.
Scores are compared within a row, and across rows only where training.compare_across says that they can be. n may
differ between rows. A row in the table is usable: its candidates differ, and at least one objective tells two of them
apart.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from cosdpo.data.duplicates import Scores, distinct, tells_apart
from cosdpo.errors import InputError

TOO_FEW = "fewer than two candidates"
IDENTICAL = "identical candidates"
NO_PREFERENCE = "no preference"


@dataclass(frozen=True, slots=True)
class RawContext:
    """One context as a source gives it, not yet checked."""

    where: int
    """Index of the row in its source, from 0."""
    context: str
    candidates: list[str]
    scores: Mapping[str, Sequence[Any] | None]
    """Labels by objective, parallel to candidates; None where the objective is unlabelled."""
    chat: bool = False
    """Whether the tokenizer's chat template has written context and candidates."""
    question: str | None = None
    """Of a chat, what its last user says, for people and scorers to read; None is `context`."""
    unfinished: frozenset[str] = frozenset()
    """Candidates that were cut off as they were written, which no end token follows."""


@dataclass(frozen=True)
class Preferences:
    """The table, the names of its m objectives in order, and how many rows its sources lost for which reason."""

    table: pa.Table
    objectives: tuple[str, ...]
    dropped: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expected = schema(self.objectives)
        if not self.table.schema.equals(expected):
            raise ValueError(f"table has the schema {self.table.schema}, expected {expected}")

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def context(self, row: int) -> str:
        """The prompt or query of a row."""
        return str(self.table.column("context")[row].as_py())

    @property
    def is_chat(self) -> bool:
        """Whether all rows are chats."""
        return all(self.table.column("chat").to_pylist())

    def question(self, row: int) -> str:
        """What a row asks, as people and scorers read it: the prompt, or of a chat what its last user says."""
        asked = self.table.column("question")[row].as_py()
        return self.context(row) if asked is None else str(asked)

    def candidates(self, row: int) -> list[str]:
        """The n candidates of a row."""
        return list(self.table.column("candidates")[row].as_py())

    def scores(self, row: int) -> Scores:
        """The n scores of a row for each of the m objectives, None where an objective is unlabelled."""
        return [self.table.column(f"score:{name}")[row].as_py() for name in self.objectives]

    def head(self, n: int) -> Preferences:
        """The first n rows."""
        return Preferences(self.table.slice(0, n), self.objectives, self.dropped)

    def split(self, share: float, seed: int) -> tuple[Preferences, Preferences]:
        """(rest, held out): about `share` of the contexts, drawn at random, are held out with all their rows.

        A prompt that occurs in several rows goes to one side as a whole, so that nothing held out was trained on.

        Raises:
            InputError: share is not inside (0, 1), or all rows have the same context.
        """
        if not 0 < share < 1:
            raise InputError(f"data.validation_share is {share}; give a number between 0 and 1, or set data.validation")
        codes = np.unique(np.asarray(self.table.column("context").to_pylist(), dtype=object), return_inverse=True)[1]
        contexts = int(codes.max(initial=-1)) + 1
        if contexts < 2:
            raise InputError(f"cannot hold out a share of {contexts} context; set data.validation, or give more data")
        count = min(max(1, round(share * contexts)), contexts - 1)
        held = np.zeros(contexts, dtype=bool)
        held[np.random.default_rng(seed).permutation(contexts)[:count]] = True
        rest, out = (self.table.filter(pa.array(mask)).combine_chunks() for mask in (~held[codes], held[codes]))
        return Preferences(rest, self.objectives, self.dropped), Preferences(out, self.objectives)

    @staticmethod
    def concat(parts: Sequence[Preferences]) -> Preferences:
        """All rows of all parts; an objective that a part does not have is null in its rows."""
        objectives = tuple(dict.fromkeys(name for part in parts for name in part.objectives))
        tables = pa.concat_tables([part.table for part in parts], promote_options="default")
        dropped: Counter[str] = Counter()
        for part in parts:
            dropped.update(part.dropped)
        columns = tables.select(schema(objectives).names).combine_chunks()
        return Preferences(columns, objectives, dict(dropped))

    @staticmethod
    def from_rows(
        rows: Iterable[RawContext],
        objectives: Sequence[str],
        source: str,
        where: Callable[[int], str] | None = None,
        dropped: Mapping[str, int] | None = None,
        silent: bool = False,
    ) -> Preferences:
        """Checks rows and gathers the usable ones.

        A row that cannot teach anything (fewer than two candidates, all of them identical, or no preference) is dropped
        and counted. Candidates of a row that are the same become one with the mean of their labels.

        Args:
            objectives: names to keep, in order; others in the rows are ignored.
            source: what messages call the data.
            where: name of a row by its index, for messages; the default is "SOURCE row N", N from 1.
            dropped: rows that the source has dropped already, by reason.
            silent: accept responses of white space alone, as when an assistant's turn says nothing.

        Raises:
            InputError: an objective that no row names, an empty prompt or response, labels that are not one finite
                number per candidate, or no usable row.
        """
        place = where or (lambda index: f"{source} row {index + 1}")
        lost = Counter(dropped or {})
        named: dict[str, None] = {}
        contexts: list[str] = []
        candidates: list[list[str]] = []
        chats: list[bool] = []
        questions: list[str | None] = []
        finished: list[list[bool]] = []
        scores: dict[str, list[list[float] | None]] = {name: [] for name in objectives}
        for row in rows:
            named.update(dict.fromkeys(row.scores))
            checked = _check(row, objectives, place, silent)
            if isinstance(checked, str):
                lost[checked] += 1
                continue
            contexts.append(row.context)
            candidates.append(checked[0])
            chats.append(row.chat)
            questions.append(row.question)
            finished.append([text not in row.unfinished for text in checked[0]])
            for name, values in zip(objectives, checked[1], strict=True):
                scores[name].append(values)
        if named and not objectives:
            raise InputError(f"objectives is not set; {source} has {', '.join(named)}: name those to train")
        unknown = [name for name in objectives if name not in named]
        if unknown and named:
            raise InputError(f"{source} has no objective {unknown[0]!r}; it has {', '.join(named)}: mend objectives")
        if not contexts:
            reasons = ", ".join(f"{count} {reason}" for reason, count in lost.items()) or "it is empty"
            raise InputError(
                f"{source} has no usable row ({reasons}); give rows with two or more different responses that differ "
                "in an objective's label"
            )
        columns = [contexts, candidates, chats, questions, finished, *scores.values()]
        try:
            arrays = [
                pa.array(column, type=kind.type) for column, kind in zip(columns, schema(objectives), strict=True)
            ]
        except UnicodeEncodeError as error:
            text = ascii(error.object[error.start : error.start + 20])
            raise InputError(f"{source} holds half a character before {text}; save it as valid UTF-8") from None
        return Preferences(pa.table(arrays, schema=schema(objectives)), tuple(objectives), dict(lost))


def schema(objectives: Sequence[str]) -> pa.Schema:
    """The table's columns."""
    texts = [
        ("context", pa.string()),
        ("candidates", pa.list_(pa.string())),
        ("chat", pa.bool_()),
        ("question", pa.string()),
        ("finished", pa.list_(pa.bool_())),
    ]
    return pa.schema(texts + [(f"score:{name}", pa.list_(pa.float64())) for name in objectives])


def _check(
    row: RawContext, objectives: Sequence[str], place: Callable[[int], str], silent: bool
) -> tuple[list[str], Scores] | str:
    """The different candidates of a row and their scores per objective, or the reason why it is dropped."""
    n = len(row.candidates)
    if not row.context.strip():
        raise InputError(f"{place(row.where)}: the prompt is empty; give its text or remove the row")
    for i, text in enumerate(row.candidates):
        if not (text if silent else text.strip()):
            raise InputError(
                f"{place(row.where)}: response {i + 1} of {n} is empty; give its text or remove it and its labels"
            )
    scores: Scores = [_numbers(row, name, place) for name in objectives]
    if n < 2:
        return TOO_FEW
    texts, scores = distinct(row.candidates, scores)
    if len(texts) < 2:
        return IDENTICAL
    return (texts, scores) if tells_apart(scores) else NO_PREFERENCE


def _number(label: object) -> float:
    """The label, or nan where it is no number that a double holds."""
    try:
        return float(label) if isinstance(label, (int, float)) else math.nan
    except OverflowError:
        return math.nan


def _numbers(row: RawContext, name: str, place: Callable[[int], str]) -> list[float] | None:
    """The labels of one objective as floats."""
    labels = row.scores.get(name)
    if labels is None:
        return None
    if len(labels) != len(row.candidates):
        raise InputError(
            f"{place(row.where)}: {name} has {len(labels)} labels for {len(row.candidates)} responses; give one number "
            "per response, or null for none"
        )
    numbers = [_number(label) for label in labels]
    for i, number in enumerate(numbers):
        if not math.isfinite(number):
            raise InputError(
                f"{place(row.where)}: label {i + 1} of {name} is {str(labels[i])[:40]!r}; give a finite number, or "
                "null for the whole list"
            )
    return numbers
