"""Comparisons against values by hand and the invariants of orders and distributions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cosdpo.data.comparisons import comparison_counts, label_matrix, target_distribution
from cosdpo.errors import InputError
from cosdpo.losses import preferences_across

scores = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=6)


def test_counts_by_hand() -> None:
    """Of 2, 1, 1 and 3, five pairs are ordered, two candidates have others below them; ties and gaps are in none."""
    labels = label_matrix([[2.0, 1.0, 1.0, 3.0], None, [4.0] * 4])
    labels[2, 0] = np.nan
    assert comparison_counts(labels, "pairwise").tolist() == [5, 0, 0]
    assert comparison_counts(labels, "rankings").tolist() == [2, 0, 0]
    assert comparison_counts(labels, "listwise").tolist() == [1, 0, 0]


@given(st.lists(st.lists(st.integers(0, 3) | st.just(math.nan), min_size=3, max_size=3), min_size=1, max_size=4))
def test_counts_are_those_of_the_pairs_that_losses_compare(rows: list[list[float]]) -> None:
    preferred = preferences_across(torch.tensor([rows], dtype=torch.float64), 1)[0]
    labels = np.array(rows, dtype=np.float64)
    assert comparison_counts(labels, "pairwise").tolist() == preferred.sum((1, 2)).tolist()
    assert comparison_counts(labels, "rankings").tolist() == preferred.any(2).sum(1).tolist()
    assert comparison_counts(labels, "listwise").tolist() == preferred.any(2).any(1).tolist()


def test_targets_by_hand() -> None:
    """argmax halves the mass of a tie; proportional divides by 6; 2^s - 1 is 1, 3, 7; the deviation is sqrt(2/3)."""
    np.testing.assert_allclose(target_distribution([[1.0, 3.0, 3.0], None], "argmax"), [[0, 0.5, 0.5], [0, 0, 0]])
    np.testing.assert_allclose(target_distribution([[1.0, 2.0, 3.0]], "proportional"), [[1 / 6, 2 / 6, 3 / 6]])
    np.testing.assert_allclose(target_distribution([[1.0, 2.0, 3.0]], "gains"), [[1 / 11, 3 / 11, 7 / 11]])
    np.testing.assert_allclose(target_distribution([[0.0, 4.0], [2.0, 2.0]], "gains"), [[0, 1], [0, 0]])
    z = [math.exp(-math.sqrt(1.5)), 1.0, math.exp(math.sqrt(1.5))]
    np.testing.assert_allclose(target_distribution([[1.0, 2.0, 3.0]], "softmax"), [[x / sum(z) for x in z]])


@given(scores, st.sampled_from(["argmax", "proportional", "gains", "softmax"]))
def test_targets_are_distributions_in_the_order_of_the_scores(values: list[float], kind: str) -> None:
    if kind in ("proportional", "gains"):
        values = [abs(value) for value in values]
    target = target_distribution([values], kind)[0]  # type: ignore[arg-type]
    if min(values) == max(values):
        assert (target == 0).all()
        return
    assert target.sum() == pytest.approx(1)
    assert (target >= 0).all()
    best = int(np.argmax(values))
    assert target[best] == target.max()
    assert (np.diff(target[np.argsort(values)]) >= 0).all()


@given(scores, st.floats(0.01, 100), st.floats(-100, 100))
def test_softmax_targets_ignore_scale_and_origin(values: list[float], scale: float, origin: float) -> None:
    values = [round(value) for value in values]  # so that moving the origin loses no digits
    moved = [value * scale + origin for value in values]
    np.testing.assert_allclose(
        target_distribution([moved], "softmax"), target_distribution([values], "softmax"), atol=1e-6
    )


@pytest.mark.parametrize("kind", ["argmax", "proportional", "gains", "softmax"])
def test_extreme_scores_stay_finite(kind: str) -> None:
    for values in ([0.0, 5e-324], [1.0, 1.0 + 2**-52], [0.0, 1e308]):
        target = target_distribution([values], kind)[0]  # type: ignore[arg-type]
        assert target.sum() == pytest.approx(1)
        assert target[1] > target[0]


@pytest.mark.parametrize("kind", ["proportional", "gains"])
def test_negative_scores_are_refused(kind: str) -> None:
    with pytest.raises(InputError, match=rf"data\.targets is {kind} but a score is -1; set data\.targets to softmax"):
        target_distribution([[-1.0, 2.0]], kind)  # type: ignore[arg-type]


def test_lists_of_different_lengths_are_a_defect() -> None:
    with pytest.raises(ValueError, match="lengths"):
        label_matrix([[1.0, 2.0], [1.0]])
    with pytest.raises(ValueError, match="lengths"):
        target_distribution([None], "argmax")
