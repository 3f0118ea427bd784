"""Labels, targets and batches of query lists, by hand and against the target distributions of single lists."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cosdpo.arrays import Singles
from cosdpo.config import DataConfig
from cosdpo.data.comparisons import target_distribution
from cosdpo.data.query_lists import QueryLists
from cosdpo.data.ranking_data import RankingData, graded_labels, list_targets
from cosdpo.errors import InputError

KINDS = ["argmax", "proportional", "gains", "softmax"]
E = math.e
PROPORTIONAL = DataConfig(comparisons="listwise", targets="proportional")


def lists(lengths: list[int], auxiliary: list[list[float]], relevance: list[float] | None = None) -> QueryLists:
    """Document i has the features (i, 10 i)."""
    rows = np.arange(sum(lengths), dtype=np.float32)
    return QueryLists(
        features=np.stack([rows, 10 * rows], 1),
        auxiliary=np.array(auxiliary, np.float32),
        relevance=rows if relevance is None else np.array(relevance, np.float32),
        offsets=np.array([0, *np.cumsum(lengths)], np.int64),
        queries=tuple(f"q{i}" for i in range(len(lengths))),
        numbers=(1, 2),
    )


class TestGrades:
    def test_by_hand(self):
        """log(1 + x) of 0, e - 1 and e^2 - 1 is 0, 1, 2, and of the second list 1 and 4: each from 0 to 4."""
        data = lists([3, 2], [[0], [E - 1], [E**2 - 1], [E - 1], [E**4 - 1]])
        np.testing.assert_allclose(graded_labels(data)[:, 0], [0, 2, 4, 0, 4], atol=1e-5)

    def test_negative_features_are_mirrored(self):
        """-log(1 + 1.7...) = -1, 0, 1 and 3: steps of 1, 1 and 2 over a span of 4."""
        data = lists([4], [[-(E - 1)], [0], [E - 1], [E**3 - 1]])
        np.testing.assert_allclose(graded_labels(data)[:, 0], [0, 1, 2, 4], atol=1e-5)

    def test_a_constant_list_has_grade_0(self):
        data = lists([2, 2, 1], [[7], [7], [0], [1], [3]])
        assert graded_labels(data)[:, 0].tolist() == [0, 0, 0, 4, 0]

    def test_objectives_are_graded_apart(self):
        data = lists([2], [[0, 5], [1, -5]])
        assert graded_labels(data).tolist() == [[0, 4], [4, 0]]

    @given(st.lists(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=1, max_size=5), min_size=1, max_size=4))
    def test_grades_keep_the_order_within_each_list(self, values: list[list[float]]):
        flat = [[x] for row in values for x in row]
        data = lists([len(row) for row in values], flat)
        grades = graded_labels(data)[:, 0]
        assert grades.dtype == np.float32
        for row, part in zip(values, np.split(grades, data.offsets[1:-1]), strict=True):
            assert part.min() == 0
            assert part.max() in (0, pytest.approx(4))
            ordered = part[np.argsort(row, kind="stable")]
            assert (np.diff(ordered) >= 0).all()


class TestTargets:
    labels = st.sampled_from([0.0, 1.0, 2.0, 3.5, 4.0, 0.125])

    @given(
        st.lists(st.lists(st.tuples(labels, labels), min_size=1, max_size=6), min_size=1, max_size=5),
        st.sampled_from(KINDS),
    )
    def test_equal_those_of_single_lists(self, rows: list[list[tuple[float, float]]], kind: str):
        flat = np.array([pair for row in rows for pair in row], np.float32)
        offsets = np.array([0, *np.cumsum([len(row) for row in rows])])
        targets = list_targets(flat, offsets, kind)
        assert targets.dtype == np.float32
        for row, part in zip(rows, np.split(targets, offsets[1:-1]), strict=True):
            expected = target_distribution([list(column) for column in zip(*row, strict=True)], kind)  # type: ignore[arg-type]
            np.testing.assert_allclose(part.T, expected, atol=1e-6)

    @pytest.mark.parametrize("kind", KINDS)
    def test_large_labels_stay_finite(self, kind: str):
        labels = np.array([[0], [1500], [2000], [3], [2]], np.float32)
        targets = list_targets(labels, np.array([0, 3, 5]), kind)
        for part, row in ((targets[:3], [0.0, 1500.0, 2000.0]), (targets[3:], [3.0, 2.0])):
            np.testing.assert_allclose(part.T, target_distribution([row], kind), atol=1e-6)  # type: ignore[arg-type]

    def test_gains_by_hand(self):
        """2^l - 1 of 0, 1 and 3 is 0, 1 and 7; a constant list has none."""
        labels = np.array([[0], [1], [3], [2], [2]], np.float32)
        assert list_targets(labels, np.array([0, 3, 5]), "gains")[:, 0].tolist() == [0, 0.125, 0.875, 0, 0]


AUXILIARY = [[0, 5], [9, 5], [3, 3], [1, 0], [1, 0], [1, 2]]
"""Lists of 2, 1 and 3: the first objective tells documents of the first list apart, the second those of the last."""


@pytest.fixture
def data() -> RankingData:
    made = lists([2, 1, 3], AUXILIARY)
    ranking = RankingData(made, graded_labels(made), PROPORTIONAL)
    ranking.reference = np.arange(6, dtype=np.float32) - 2
    return ranking


class TestData:
    def test_a_fingerprint_knows_features_labels_and_lists(self, data):
        def of(lengths: list[int], auxiliary: list[list[float]]) -> str:
            made = lists(lengths, auxiliary)
            return RankingData(made, graded_labels(made), PROPORTIONAL).fingerprint()

        changed = [[5.0, 0.0], *AUXILIARY[1:]]
        assert of([2, 1, 3], AUXILIARY) == data.fingerprint()
        assert len({data.fingerprint(), of([1, 2, 3], AUXILIARY), of([2, 1, 3], changed)}) == 3

    def test_counts_lists_with_a_preference(self, data):
        assert data.comparisons(["a", "b"]).tolist() == [1, 1]
        made = lists([2, 2, 2], [[0, 1], [1, 1], [0, 0], [2, 3], [4, 1], [5, 2]])
        assert RankingData(made, graded_labels(made), PROPORTIONAL).comparisons(["a", "b"]).tolist() == [3, 2]

    def test_a_long_list_counts_once(self):
        values: Singles = np.tile(np.arange(4, dtype=np.float32), 300)[:, None]
        made = lists([1200], values.tolist())
        for kind in KINDS:
            settings = DataConfig(comparisons="listwise", targets=kind)
            assert RankingData(made, values, settings).comparisons(["a"]).tolist() == [1]

    def test_rankings_count_documents_with_others_below_them(self):
        made = lists([2, 1, 3], AUXILIARY)
        labels = np.array([[0, 2], [4, 2], [3, 3], [1, 4], [1, 0], [2, 3]], np.float32)
        data = RankingData(made, labels, DataConfig(comparisons="rankings"))
        assert data.comparisons(["a", "b"]).tolist() == [2, 2]
        # As many as the loss sums over: ln 2 for a choice out of two, ln 3 for one out of three.
        batch = data.batch([0, 1, 2])
        losses = batch.losses(torch.zeros(3, 3), torch.ones(3, 2))
        ln = math.log
        np.testing.assert_allclose(losses, [[ln(2), 0], [0, 0], [ln(3), ln(3) + ln(2)]], rtol=1e-6)

    def test_an_objective_without_information_is_refused(self):
        made = lists([2, 1], [[0, 1], [1, 1], [5, 9]])
        with pytest.raises(InputError, match=r"^objective b has no list in which its labels differ; choose another"):
            RankingData(made, graded_labels(made), PROPORTIONAL).comparisons(["a", "b"])

    def test_kind_of_targets(self):
        labels = np.array([[1.0], [3.0]], np.float32)
        made = lists([2], [[0], [0]])
        assert RankingData(made, labels, PROPORTIONAL).targets[:, 0].tolist() == [0.25, 0.75]
        gains = DataConfig(comparisons="listwise", targets="gains")
        assert RankingData(made, labels, gains).targets[:, 0].tolist() == [0.125, 0.875]

    def test_a_batch_by_hand(self, data):
        batch = data.batch([2, 0])
        assert len(data) == 3
        assert batch.items == 5
        assert batch.contexts.lengths == (3, 2)
        assert batch.contexts.features[:, 0].tolist() == [3, 4, 5, 0, 1]
        assert batch.contexts.reference.tolist() == [1, 2, 3, -2, -1]
        assert batch.reference.tolist() == [[1, 2, 3], [-2, -1, 0]]
        assert batch.mask.tolist() == [[True] * 3, [True, True, False]]
        # One document has all of the label in both lists; the other objective has none there.
        assert batch.targets.tolist() == [[[0, 0, 0], [0, 0, 1]], [[0, 1, 0], [0, 0, 0]]]
        scores = [[[0, 0, 0], [0, 0, 4]], [[0, 4, math.nan], [0, 0, math.nan]]]
        np.testing.assert_array_equal(batch.scores, scores)  # takes NaN for equal

    def test_padded_and_packed_parts_agree(self, data):
        batch = data.batch([0, 1, 2])
        packed = batch.contexts
        assert torch.equal(packed.unpad(batch.reference), packed.reference)
        assert packed.unpad(batch.mask).all()
        assert batch.mask.sum() == len(packed.features) == 6
        assert (batch.targets * ~batch.mask[:, None]).sum() == 0
        np.testing.assert_array_equal(packed.unpad(batch.targets.transpose(1, 2)).numpy(), data.targets)

    def test_the_reference_may_come_later(self):
        made = lists([2], [[0], [1]])
        assert RankingData(made, graded_labels(made), PROPORTIONAL).batch([0]).reference.tolist() == [[0, 0]]

    def test_in_order_of_length(self, data):
        assert list(data.in_order_of_length(3)) == [[1, 0], [2]]
        assert list(data.in_order_of_length(100)) == [[1, 0, 2]]
        assert list(data.in_order_of_length(1)) == [[1], [0], [2]]
