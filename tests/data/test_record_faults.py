"""Preference files with faults of every kind: read whole, or refused in one line; never in part."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosdpo.config import DataConfig
from cosdpo.data.preferences import Preferences
from cosdpo.data.sources import load
from cosdpo.errors import InputError

TEXTS = st.sampled_from(["yes", "no", "no", "  ", "", "\u2028", "\x85é", '"{', "\0"])
NUMBERS = st.one_of(st.integers(-3, 3), st.floats(-3, 3, width=16))
STRANGE = st.sampled_from([None, True, math.nan, math.inf, 10**400, "1", [], {}, "good", 2**70])
SCORES = st.lists(st.one_of(NUMBERS, NUMBERS, NUMBERS, STRANGE), max_size=3)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "prompt": st.one_of(st.sampled_from(["p", "q"]), TEXTS, STRANGE),
    "responses": st.one_of(
        st.lists(TEXTS, min_size=2, max_size=3), st.lists(st.one_of(TEXTS, STRANGE), max_size=3), STRANGE
    ),
    "scores": st.one_of(
        st.fixed_dictionaries({"good": st.lists(NUMBERS, min_size=2, max_size=2)}),
        st.dictionaries(st.sampled_from(["good", "good", "short", "a.b"]), st.one_of(SCORES, STRANGE)),
        STRANGE,
    ),
}
RIGHT = st.fixed_dictionaries(
    {
        "prompt": st.sampled_from(["p", "q "]),
        "responses": st.lists(st.sampled_from(["a", "b", "c "]), min_size=2, max_size=2),
        "scores": st.fixed_dictionaries({"good": st.lists(NUMBERS, min_size=2, max_size=2)}),
    }
)
ROWS = st.one_of(RIGHT, RIGHT, RIGHT, st.fixed_dictionaries({}, optional=FIELDS))
LINES = st.one_of(
    ROWS.map(lambda row: json.dumps(row, ensure_ascii=False)),
    ROWS.map(lambda row: json.dumps(row, ensure_ascii=True)),
    ROWS.map(lambda row: json.dumps(row)[:-1]),
    st.sampled_from(
        [
            "",
            " ",
            "\r",
            "\ufeff",
            "[]",
            "3",
            "null",
            "{}",
            "{}{}",
            "[" * 100_000,
            "1" * 5_000,
            '{"prompt": "\\ud800"}',
            "\x1a",
        ]
    ),
)


def usable(rows: list[Any]) -> list[tuple[str, list[str], list[float]]]:
    """Prompt, responses and labels of every row that can teach something, read as plainly as can be."""
    kept = []
    for row in rows:
        labels = row["scores"].get("good")
        pairs: dict[str, list[Fraction]] = {}
        for text, label in zip(row["responses"], labels or [], strict=labels is not None):
            pairs.setdefault(text, []).append(Fraction(label))
        means = [float(sum(labels) / len(labels)) for labels in pairs.values()]
        if len(set(means)) > 1:
            kept.append((row["prompt"], list(pairs), means))
    return kept


def read_or_refused(path: Path) -> Preferences | None:
    """What is read, or None where the file is refused as it should be."""
    try:
        return load(str(path), ["good"], DataConfig(), None)
    except InputError as error:
        refusal = str(error)
    assert str(path) in refusal
    assert len(refusal.splitlines()) == 1
    assert len(refusal) < 1000
    return None


def assert_whole(preferences: Preferences, rows: list[Any]) -> None:
    kept = usable(rows)
    assert [
        (preferences.context(i), preferences.candidates(i), preferences.scores(i)[0]) for i in range(len(preferences))
    ] == kept
    assert len(kept) + sum(preferences.dropped.values()) == len(rows)


@given(
    st.lists(LINES, max_size=5),
    st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "utf-16"]),
    st.sampled_from(["\n", "\r\n"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_json_lines_are_read_whole_or_refused_in_one_line(tmp_path: Path, lines: list[str], encoding: str, end: str):
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(end.join(lines).encode(encoding, errors="replace"))
    preferences = read_or_refused(path)
    if preferences is not None:
        text = path.read_bytes().decode("utf-8-sig")
        assert_whole(preferences, [json.loads(line) for line in text.split("\n") if line.strip()])


@given(st.lists(ROWS, max_size=4), st.integers(-40, 0))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_json_is_read_whole_or_refused_in_one_line(tmp_path: Path, rows: list[Any], cut: int):
    path, text = tmp_path / "pairs.json", json.dumps(rows, indent=1)
    path.write_text(text[: cut or None])
    preferences = read_or_refused(path)
    if preferences is not None:
        assert_whole(preferences, json.loads(path.read_text()))


@given(st.lists(ROWS, max_size=4), st.integers(0, 3), st.sampled_from([None, pa.large_string(), pa.binary()]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_parquet_is_read_whole_or_refused_in_one_line(
    tmp_path: Path, rows: list[Any], cut: int, texts: pa.DataType | None
):
    path = tmp_path / "pairs.parquet"
    try:
        table = pa.Table.from_pylist(rows)
        if texts is not None and "prompt" in table.column_names:
            table = table.set_column(table.column_names.index("prompt"), "prompt", table["prompt"].cast(texts))
        pq.write_table(table, path)
    except (pa.ArrowException, OverflowError):  # no such table can be
        return
    if cut:
        path.write_bytes(path.read_bytes()[:-cut])
    preferences = read_or_refused(path)
    if preferences is not None:
        assert not cut
        assert_whole(preferences, pq.read_table(path).to_pylist())


def test_most_files_would_be_read(tmp_path: Path):
    """The tests above would hold where everything was refused."""
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "p", "responses": ["a", "b", "a"], "scores": {"good": [1, 2, 9]}}\r\n\n')
    preferences = read_or_refused(path)
    assert preferences is not None
    assert_whole(preferences, [json.loads(path.read_text())])
    assert usable([json.loads(path.read_text())]) == [("p", ["a", "b"], [5.0, 2.0])]


@pytest.mark.parametrize(
    ("line", "refusal"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' * 100_000, "nested too deeply"),
        ("1" * 5_000, "a number of thousands of digits"),
        (
            '{"prompt": "p", "responses": ["a", "b"], "scores": {"good": [1, 1' + "0" * 400 + "]}}",
            "label 2 of good is '1000",
        ),
    ],
)
def test_what_json_reads_and_python_cannot_hold(tmp_path: Path, line: str, refusal: str):
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n" + line)
    with pytest.raises(InputError, match=refusal) as caught:
        load(str(path), ["good"], DataConfig(), None)
    assert f"{path}:" in str(caught.value)
