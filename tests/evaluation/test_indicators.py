"""Indicators against values by hand and against definitions spelled out by brute force."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cosdpo.arrays import Floats
from cosdpo.errors import InputError
from cosdpo.evaluation import indicators

# Whole numbers, so that ties and duplicates occur and volumes are exact in floating point.
FRONTS = hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=st.integers(-3, 5).map(float))


def volume_by_inclusion_exclusion(points: Floats, reference: Floats) -> float:
    """Sum over all subsets of (-1)^(size + 1) times the volume of the boxes' intersection."""
    total = 0.0
    for size in range(1, len(points) + 1):
        for subset in combinations(points, size):
            sides = np.maximum(np.min(subset, axis=0) - reference, 0.0)
            total += (-1) ** (size + 1) * float(np.prod(sides))
    return total


def dominates(a: Floats, b: Floats) -> bool:
    return bool((a >= b).all() and (a > b).any())


class TestNonDominated:
    def test_by_hand(self) -> None:
        # (2, 2) is dominated by (2, 3); (1, 5) and (4, 1) are the ends; (0, 0) is worst.
        points = [[2, 2], [2, 3], [1, 5], [4, 1], [0, 0]]
        assert indicators.non_dominated(points).tolist() == [False, True, True, True, False]

    def test_copies_are_all_kept(self) -> None:
        assert indicators.non_dominated([[1, 2], [1, 2], [2, 1], [1, 1]]).tolist() == [True, True, True, False]

    def test_no_points(self) -> None:
        assert indicators.non_dominated(np.zeros((0, 3))).shape == (0,)

    @given(FRONTS)
    @settings(max_examples=60)
    def test_is_the_definition(self, points: Floats) -> None:
        expected = [not any(dominates(q, p) for q in points) for p in points]
        assert indicators.non_dominated(points).tolist() == expected


class TestHypervolume:
    def test_staircase_by_hand(self) -> None:
        # Steps of (1, 3), (2, 2), (3, 1) above the origin: columns of heights 3, 2 and 1.
        assert indicators.hypervolume([[1, 3], [2, 2], [3, 1]], [0, 0]) == 6

    def test_three_objectives_by_hand(self) -> None:
        # Boxes 2x1x1 and 1x2x3 overlap in 1x1x1: 2 + 6 - 1.
        assert indicators.hypervolume([[2, 1, 1], [1, 2, 3]], [0, 0, 0]) == 7

    def test_points_beyond_the_reference_add_nothing(self) -> None:
        # (9, -1) misses the reference in one objective, (1, 0) lies on its edge, (2, 3) spans 2 x 3.
        assert indicators.hypervolume([[9, -1], [1, 0], [2, 3]], [0, 0]) == 6
        assert indicators.hypervolume([[-1, -1]], [0, 0]) == 0
        assert indicators.hypervolume(np.zeros((0, 2)), [0, 0]) == 0

    @given(FRONTS)
    @settings(max_examples=60)
    def test_is_inclusion_exclusion(self, points: Floats) -> None:
        reference = np.zeros(points.shape[1])
        expected = volume_by_inclusion_exclusion(points, reference)
        assert indicators.hypervolume(points, reference) == pytest.approx(expected, abs=1e-9)

    def test_is_the_share_of_random_darts(self) -> None:
        rng = np.random.default_rng(0)
        points, reference = rng.random((40, 3)), np.full(3, 0.2)
        darts = 0.2 + 0.8 * rng.random((40_000, 3))
        share = np.mean([(dart <= points).all(axis=1).any() for dart in darts])
        # standard deviation of the estimate: 0.512 * sqrt(p (1 - p) / 40,000) < 0.0013
        assert indicators.hypervolume(points, reference) == pytest.approx(0.8**3 * share, abs=0.005)

    def test_many_points_of_many_objectives(self) -> None:
        """Box j holds the points of the unit cube with x_j <= 1/2: together all but those with every x_j above it.
        The other boxes lie within the first.
        """
        boxes = np.ones((7, 7)) - 0.5 * np.eye(7)
        inner = boxes[:1] * np.linspace(0.1, 0.99, 200)[:, None]
        volume = indicators.hypervolume(np.concatenate([boxes, inner]), np.zeros(7))
        assert volume == pytest.approx(1 - 0.5**7, rel=0.02)

    @given(FRONTS, st.integers(-5, 5))
    @settings(max_examples=40)
    def test_shift_order_and_dominated_points_do_not_matter(self, points: Floats, shift: int) -> None:
        reference = np.full(points.shape[1], -1.0)
        volume = indicators.hypervolume(points, reference)
        assert indicators.hypervolume(points[::-1] + shift, reference + shift) == pytest.approx(volume)
        best = points[indicators.non_dominated(points)]
        assert indicators.hypervolume(best, reference) == pytest.approx(volume)

    @given(FRONTS)
    @settings(max_examples=40)
    def test_more_points_never_shrink_it(self, points: Floats) -> None:
        reference = np.full(points.shape[1], -1.0)
        assert indicators.hypervolume(points[:-1], reference) <= indicators.hypervolume(points, reference) + 1e-9


class TestIgdPlus:
    def test_by_hand(self) -> None:
        # From (0, 4): (3, 3) falls short by (0, 1). From (4, 4): (3, 3) falls short by (1, 1), (5, 0) by (0, 4).
        points, target = [[3, 3], [5, 0]], [[0, 4], [4, 4]]
        assert indicators.igd_plus(points, target) == pytest.approx((1 + math.sqrt(2)) / 2)

    @given(FRONTS)
    @settings(max_examples=30)
    def test_better_everywhere_misses_nothing(self, points: Floats) -> None:
        assert indicators.igd_plus(points + 1, points) == 0
        assert indicators.igd_plus(points, points) == 0

    def test_worse_everywhere_misses_the_distance(self) -> None:
        assert indicators.igd_plus([[0, 0]], [[3, 4]]) == 5


class TestSpread:
    def test_by_hand(self) -> None:
        # Ends (0, 4) and (3, 0): a box of 3 x 4. (-9, -9) is dominated and does not widen it.
        assert indicators.spread([[0, 4], [2, 3], [3, 0], [-9, -9]]) == 5

    def test_one_point_has_none(self) -> None:
        assert indicators.spread([[1, 2]]) == 0
        assert indicators.spread([[1, 2], [1, 2], [0, 0]]) == 0
        assert indicators.spread(np.zeros((0, 2))) == 0


class TestControllability:
    def test_by_hand(self) -> None:
        # Three points: rho = 1 - 6 sum d^2 / (n (n^2 - 1)) with rank differences (0, 1, 1) and (2, 0, 2).
        weights = [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]
        values = [[0.1, 0.2], [0.9, 0.5], [0.8, 0.8]]
        assert indicators.controllability(weights, values).tolist() == pytest.approx([0.5, -1.0])

    def test_ties_share_their_rank(self) -> None:
        # Ranks (1.5, 1.5, 3) and (1, 2, 3): covariance 1.5, variances 1.5 and 2 (times n), so 1.5 / sqrt(3).
        weights, values = [[0.0], [0.0], [1.0]], [[1.0], [2.0], [3.0]]
        assert indicators.controllability(weights, values)[0] == pytest.approx(1.5 / math.sqrt(3))

    def test_what_does_not_move_is_not_controlled(self) -> None:
        values = [[0.5, 1.0, 0.0], [0.5, 2.0, 1.0]]
        assert indicators.controllability([[0, 1, 0], [1, 1, 0]], values).tolist() == [0.0, 0.0, 0.0]
        assert indicators.controllability([[0.5, 0.5]], [[1.0, 2.0]]).tolist() == [0.0, 0.0]

    @given(hnp.arrays(np.float64, st.tuples(st.integers(2, 9), st.integers(1, 3)), elements=st.floats(0, 1, width=16)))
    @settings(max_examples=40)
    def test_only_the_order_counts(self, weights: Floats) -> None:
        rho = indicators.controllability(weights, np.exp(3 * weights) - 5)
        moving = np.ptp(weights, axis=0) > 0
        np.testing.assert_allclose(rho, np.where(moving, 1.0, 0.0), atol=1e-12)
        np.testing.assert_allclose(indicators.controllability(weights, -weights), -rho, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: indicators.non_dominated([1.0, 2.0]), "points has shape (2,)"),
        (lambda: indicators.spread([[1.0, math.nan]]), "row 0"),
        (lambda: indicators.hypervolume([[1.0, 2.0]], [0.0]), "2 objectives"),
        (lambda: indicators.hypervolume([[1.0]], [math.inf]), "finite"),
        (lambda: indicators.igd_plus(np.zeros((0, 2)), [[1.0, 2.0]]), "empty"),
        (lambda: indicators.igd_plus([[1.0, 2.0]], [[1.0]]), "both need the same"),
        (lambda: indicators.controllability([[1.0, 0.0]], [[1.0]]), "(1, 2)"),
    ],
)
def test_wrong_shapes_are_refused_in_one_line(call: Callable[[], object], says: str) -> None:
    with pytest.raises(InputError) as error:
        call()
    assert says in str(error.value)
    assert "\n" not in str(error.value)
