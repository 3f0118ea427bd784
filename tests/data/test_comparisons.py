"""Comparisons against values by hand and the invariants of orders and distributions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosdpo.data.comparisons import pairwise_preferences, target_distribution
from cosdpo.errors import InputError

scores = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=6)


def test_pairs_by_hand() -> None:
    """Objective 0: 2 > 1 = 1, so only candidate 1 beats the two others; objective 1 is unlabelled."""
    preferred = pairwise_preferences([[1.0, 2.0, 1.0], None])
    assert preferred.shape == (2, 3, 3)
    assert preferred[0].tolist() == [[False] * 3, [True, False, True], [False] * 3]
    assert not preferred[1].any()


@given(scores)
def test_pairs_are_a_strict_order(values: list[float]) -> None:
    preferred = pairwise_preferences([values])[0]
    assert not (preferred & preferred.T).any()
    ties = sum(values[i] == values[k] for i in range(len(values)) for k in range(i))
    assert preferred.sum() == math.comb(len(values), 2) - ties


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
    for i, k in zip(*np.nonzero(pairwise_preferences([values])[0]), strict=True):
        assert target[i] >= target[k]


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
        pairwise_preferences([[1.0, 2.0], [1.0]])
    with pytest.raises(ValueError, match="lengths"):
        target_distribution([None], "argmax")
