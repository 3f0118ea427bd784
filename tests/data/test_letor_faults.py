"""Ranking files with faults of every kind: read whole, or refused in one line; never in part."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosdpo.data import letor
from cosdpo.data.letor_parser import LARGEST, Notation
from cosdpo.errors import InputError

VALUES = st.one_of(
    st.floats(-100, 100, width=16).map(repr),
    st.sampled_from(["nan", "NA", "inf", "1e300", "1e400", "3.4028235e38", "", "x", "1:2", "0x1F", "1e-50"]),
)
CELLS = st.lists(st.tuples(st.integers(-1, 5), VALUES), max_size=4)
"""In any order, perhaps with a number twice."""
LINES = st.builds(
    lambda label, query, cells, space, comment: space.join([label, *query, *(f"{n}:{v}" for n, v in cells)]) + comment,
    st.sampled_from(["0", "1", "2.5", "+3", "-1", "nan", "good", "1e40"]),
    st.sampled_from([["qid:1"], ["qid:2"], ["qid:a"], ["qid:"], [], ["qid:1#2"]]),
    CELLS,
    st.sampled_from([" ", "  ", "\t"]),
    st.sampled_from(["", " # docid = D7 inc = 1", " # 3:9", "#x", "\r"]),
)
FILES = st.lists(st.one_of(LINES, st.sampled_from(["", "# head", "\0", "\xe9"])), max_size=6)


def documents(text: str, notation: Notation) -> list[tuple[str, float, dict[int, float]]]:
    """Query, label and values of each line, read as plainly as can be."""
    rows = []
    for line in text.split("\n"):
        label, query, *cells = line.partition("#")[0].split() or ["", ""]
        if label:
            pairs = [cell.split(":") for cell in cells]
            rows.append((query.removeprefix("qid:"), float(label), {int(n): _value(v, notation) for n, v in pairs}))
    return rows


def _value(text: str, notation: Notation) -> float:
    value = math.nan if text in ("", "NA") else float(text)
    if abs(value) <= LARGEST:
        return value
    assert notation.missing is not None
    return notation.missing


@given(FILES, st.sampled_from([0, 1]), st.sampled_from([None, -7.0]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_a_file_is_read_whole_or_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str], first: int, missing: float | None
):
    monkeypatch.setenv("COSDPO_CACHE", str(tmp_path / "cache"))
    path, notation, text = tmp_path / "train.txt", Notation(first, missing), "\n".join(lines)
    path.write_bytes(text.encode("latin-1"))
    try:
        (lists,) = letor.load([path], {}, notation)
    except InputError as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:
        assert str(path) in refusal
        assert "\n" not in refusal
        return
    rows = documents(text, notation)
    assert np.repeat(lists.queries, lists.lengths).tolist() == [query for query, _, _ in rows]
    assert lists.relevance.tolist() == [np.float32(label) for _, label, _ in rows]
    for read, (_, _, cells) in zip(lists.features, rows, strict=True):
        expected = np.zeros(len(lists.numbers), np.float32)
        for number, value in cells.items():
            expected[number - first] = value
        assert read.tolist() == expected.tolist()


def test_most_kinds_of_files_are_read():
    """The test above would hold where everything was refused."""
    kept = documents("2 qid:a 3:1 1:nan # docid = D7\n", Notation(missing=0.0))
    assert kept == [("a", 2.0, {3: 1.0, 1: 0.0})]
