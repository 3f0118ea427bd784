"""The table: what is refused, what is dropped, and that cutting and joining keep every row whole."""

import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosdpo.data.preferences import Preferences, RawContext
from cosdpo.errors import InputError


def table(*rows: tuple[str, list[str], dict[str, object]], objectives: tuple[str, ...] = ("a",)) -> Preferences:
    return Preferences.from_rows(
        [RawContext(i, context, candidates, scores) for i, (context, candidates, scores) in enumerate(rows)],  # type: ignore[arg-type]
        objectives,
        "data.jsonl",
    )


GOOD = ("x", ["y", "z"], {"a": [1, 0]})


def test_rows_keep_their_texts_and_labels() -> None:
    preferences = table(
        GOOD, ("x2", ["p", "q", "r"], {"a": None, "b": [1, 2, 2], "c": [0, 0, 1]}), objectives=("b", "a")
    )
    # RawContext 1 lacks b, row 2 has a null; c was not asked for.
    assert [preferences.scores(i) for i in range(2)] == [[None, [1.0, 0.0]], [[1.0, 2.0, 2.0], None]]
    assert preferences.candidates(1) == ["p", "q", "r"]
    assert preferences.context(1) == "x2"
    assert preferences.objectives == ("b", "a")
    assert preferences.table.schema.names == [
        "context",
        "candidates",
        "chat",
        "question",
        "finished",
        "score:b",
        "score:a",
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((" ", ["y", "z"], {"a": [1, 0]}), "data.jsonl row 2: the prompt is empty; give its text or remove the row"),
        (("x", ["y", "", "z"], {"a": [1, 0, 2]}), "row 2: response 2 of 3 is empty; give its text or remove it"),
        (("x", ["y", " \n"], {"a": [1, 0]}), "row 2: response 2 of 2 is empty"),
        (("x", ["y", "z"], {"a": [1]}), "row 2: a has 1 labels for 2 responses; give one number per response, or null"),
        (("x", ["y", "z"], {"a": [1, math.nan]}), "row 2: label 2 of a is 'nan'; give a finite number"),
        (("x", ["y", "z"], {"a": [-math.inf, 1]}), "row 2: label 1 of a is '-inf'"),
        (("x", ["y", "z"], {"a": [1, None]}), "row 2: label 2 of a is 'None'"),
        (("x", ["y", "z"], {"a": ["1", "0"]}), "row 2: label 1 of a is '1'"),
    ],
)
def test_broken_rows_are_refused_in_one_line(row: tuple[str, list[str], dict[str, object]], message: str) -> None:
    with pytest.raises(InputError) as error:
        table(GOOD, row)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_labels_of_objectives_not_asked_for_may_be_broken() -> None:
    assert len(table(("x", ["y", "z"], {"a": [1, 0], "b": [math.nan]}))) == 1


def test_rows_that_teach_nothing_are_dropped_and_counted() -> None:
    preferences = table(
        GOOD,
        ("x", ["y"], {"a": [1]}),
        ("x", [], {"a": []}),
        ("x", ["y", "y"], {"a": [1, 0]}),
        ("x", ["y", "z"], {"a": [3, 3]}),
        ("x", ["y", "z"], {"a": None}),
        ("x", ["y", "z"], {}),
    )
    assert len(preferences) == 1
    assert preferences.dropped == {"fewer than two candidates": 2, "identical candidates": 1, "no preference": 3}


def test_a_row_stays_if_one_of_its_objectives_tells() -> None:
    preferences = table(("x", ["y", "z"], {"a": [1, 1], "b": [0, 1]}), objectives=("a", "b"))
    assert preferences.scores(0) == [[1.0, 1.0], [0.0, 1.0]]


def test_repeated_candidates_become_one_with_the_mean_of_their_labels() -> None:
    preferences = table(("x", ["y", "z", "y", "v"], {"a": [4, 3, 2, 1]}))
    assert preferences.candidates(0) == ["y", "z", "v"]
    assert preferences.scores(0) == [[3.0, 3.0, 1.0]]


def test_a_table_without_a_usable_row_stops_with_the_reasons() -> None:
    with pytest.raises(InputError, match=r"no usable row \(1 fewer than two candidates, 2 no preference\)"):
        table(("x", ["y"], {"a": [1]}), ("x", ["y", "z"], {"a": [1, 1]}), ("x", ["y", "z"], {"a": None}))


@pytest.mark.parametrize(("objectives", "message"), [(("a", "c"), "no objective 'c'; it has a, b"), ((), "has a, b")])
def test_unknown_objectives_list_the_known(objectives: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        table(("x", ["y", "z"], {"a": [1, 0], "b": [1, 0]}), objectives=objectives)


def test_half_a_character_is_refused() -> None:
    with pytest.raises(InputError, match="valid UTF-8"):
        table(("x", ["y", "\ud83d broken"], {"a": [1, 0]}))


def test_another_schema_is_a_defect_not_an_input_error() -> None:
    with pytest.raises(ValueError, match="schema") as error:
        Preferences(pa.table({"context": ["x"]}), ("a",))
    assert not isinstance(error.value, InputError)


def many(contexts: list[int]) -> Preferences:
    return table(*((f"x{c}", [f"y{i}", f"z{i}"], {"a": [i, i + 1]}) for i, c in enumerate(contexts)))


@given(st.lists(st.integers(0, 9), min_size=2, max_size=40), st.floats(0.01, 0.99), st.integers(0, 3))
def test_a_split_parts_the_rows_and_no_context_is_on_both_sides(contexts: list[int], share: float, seed: int) -> None:
    preferences = many(contexts)
    if len(set(contexts)) == 1:
        with pytest.raises(InputError, match=r"data\.validation"):
            preferences.split(share, seed)
        return
    rest, held = preferences.split(share, seed)
    sides = [{side.context(i) for i in range(len(side))} for side in (rest, held)]
    assert not sides[0] & sides[1]
    assert len(sides[1]) == min(max(1, round(share * len(set(contexts)))), len(set(contexts)) - 1)
    # Every candidate names its row, so that the union is the whole and labels moved with their texts.
    rows = {side.candidates(i)[0]: side.scores(i) for side in (rest, held) for i in range(len(side))}
    assert rows == {preferences.candidates(i)[0]: preferences.scores(i) for i in range(len(preferences))}


def test_a_split_depends_on_its_seed_alone() -> None:
    preferences = many(list(range(30)))
    first, again, other = (preferences.split(0.3, seed)[1].table for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_split_of_nothing_is_refused(share: float) -> None:
    with pytest.raises(InputError, match=r"data\.validation_share"):
        many([1, 2]).split(share, 0)


def test_concatenation_fills_absent_objectives_with_null_and_adds_drops() -> None:
    left = table(GOOD, ("x", ["y"], {"a": [1]}))
    right = table(("x", ["y", "z"], {"b": [0, 1]}), ("x", ["y"], {"b": [1]}), objectives=("b",))
    both = Preferences.concat([left, right])
    assert both.objectives == ("a", "b")
    assert [both.scores(i) for i in range(2)] == [[[1.0, 0.0], None], [None, [0.0, 1.0]]]
    assert both.dropped == {"fewer than two candidates": 2}


def test_head_keeps_the_first_rows() -> None:
    preferences = many([3, 1, 2])
    assert [preferences.head(2).context(i) for i in range(2)] == ["x3", "x1"]
    assert len(preferences.head(9)) == 3
