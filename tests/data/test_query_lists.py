"""Packed lists by hand: whose documents are whose, what a subset, a join and folds hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosdpo.data.query_lists import QueryLists
from cosdpo.errors import InputError


def lists(*lengths: int, prefix: str = "q", numbers: tuple[int, ...] = (1, 3)) -> QueryLists:
    """Document i has the features (i, 10 i), the auxiliary 100 i and the relevance i."""
    rows = np.arange(sum(lengths), dtype=np.float32)
    return QueryLists(
        features=np.stack([rows, 10 * rows], axis=1),
        auxiliary=100 * rows[:, None],
        relevance=rows,
        offsets=np.array([0, *np.cumsum(lengths)], np.int64),
        queries=tuple(f"{prefix}{i}" for i in range(len(lengths))),
        numbers=numbers,
    )


def test_lengths():
    data = lists(2, 1, 3)
    assert len(data) == 3
    assert data.lengths.tolist() == [2, 1, 3]


def test_documents_by_hand():
    """Lists of 2, 1 and 3: documents 0-1, 2 and 3-5."""
    data = lists(2, 1, 3)
    assert data.documents([2, 0]).tolist() == [3, 4, 5, 0, 1]
    assert data.documents(np.array([1, 1])).tolist() == [2, 2]
    assert data.documents([]).tolist() == []


@given(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.data())
def test_documents_equal_a_loop(lengths: list[int], data: st.DataObject):
    chosen = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=6))
    packed = lists(*lengths)
    expected = [row for q in chosen for row in range(packed.offsets[q], packed.offsets[q + 1])]
    assert packed.documents(chosen).tolist() == expected


def test_a_subset_by_hand():
    part = lists(2, 1, 3).subset([2, 1])
    assert part.queries == ("q2", "q1")
    assert part.offsets.tolist() == [0, 3, 4]
    assert part.relevance.tolist() == [3, 4, 5, 2]
    assert part.features.tolist() == [[3, 30], [4, 40], [5, 50], [2, 20]]
    assert part.auxiliary.tolist() == [[300], [400], [500], [200]]
    assert part.numbers == (1, 3)


def test_a_subset_is_a_copy():
    data = lists(2, 1)
    data.subset([0]).features[:] = -1
    assert data.features.min() == 0


def test_joining_by_hand():
    joined = QueryLists.concat([lists(2, 1), lists(1, 2, prefix="p")])
    assert joined.queries == ("q0", "q1", "p0", "p1")
    assert joined.offsets.tolist() == [0, 2, 3, 4, 6]
    assert joined.offsets.dtype == np.int64
    assert joined.relevance.tolist() == [0, 1, 2, 0, 1, 2]
    assert joined.features[3:].tolist() == [[0, 0], [1, 10], [2, 20]]


def test_joining_the_parts_of_a_cut_gives_the_whole():
    whole = lists(2, 1, 3, 4)
    joined = QueryLists.concat([whole.subset([0, 1]), whole.subset([2, 3])])
    assert joined.queries == whole.queries
    for name in ("features", "auxiliary", "relevance", "offsets"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))


def test_different_features_are_not_joined():
    with pytest.raises(InputError, match="different features; give files of one data set"):
        QueryLists.concat([lists(2), lists(2, numbers=(1, 2))])


def test_folds_hold_every_query_once_and_are_a_function_of_the_seed():
    data = lists(*[1] * 11)
    folds = data.folds(3, seed=0)
    assert sorted(len(fold) for fold in folds) == [3, 4, 4]
    assert sorted(np.concatenate(folds).tolist()) == list(range(11))
    assert all(fold.tolist() == sorted(fold.tolist()) for fold in folds)
    assert [f.tolist() for f in data.folds(3, seed=0)] == [f.tolist() for f in folds]
    assert [f.tolist() for f in data.folds(3, seed=1)] != [f.tolist() for f in folds]


def test_more_folds_than_queries_are_refused():
    with pytest.raises(InputError, match=r"data\.folds 3 needs as many queries, the data has 2; lower it"):
        lists(1, 1).folds(3, seed=0)


def test_arrays_that_disagree_are_a_defect():
    whole = lists(2, 1)
    with pytest.raises(ValueError, match="number of documents"):
        QueryLists(whole.features, whole.auxiliary, whole.relevance[:2], whole.offsets, whole.queries, whole.numbers)
    with pytest.raises(ValueError, match="a query each"):
        QueryLists(whole.features, whole.auxiliary, whole.relevance, whole.offsets, ("q0",), whole.numbers)
