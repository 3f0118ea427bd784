"""The front between the weights of its grid: smooth scores are met, and points are chosen among what they come to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cosdpo.evaluation.between import curve_weights, interpolation
from cosdpo.evaluation.choosing import choose
from cosdpo.evaluation.front import Front, mean_over_folds
from cosdpo.simplex import das_dennis
from tests.drawn_fronts import bent


@pytest.mark.parametrize(
    ("m", "partitions", "count", "points"),
    [
        (2, 10, 101, 101),  # multiples of 1/10 are some of 1/100
        (2, 8, 101, 105),  # of the 9 of the grid, the odd eighths are no hundredths
        (3, 5, 101, 109),  # 21 and 91 (of 12 partitions), of which the three corners are the same
        (3, 10, 101, 151),  # 66 and 91, of which the corners and the middles of the edges are the same
        (2, 3, 101, None),  # too coarse to say what lies between
        (2, 100, 101, None),  # as fine already
        (2, 10, 0, None),
        (1, 10, 101, None),
    ],
)
def test_the_weights_of_a_curve(m: int, partitions: int, count: int, points: int | None) -> None:
    grid = das_dennis(m, partitions)
    weights = curve_weights(grid, partitions, count)
    if points is None:
        assert weights is None
        return
    assert weights is not None
    assert len(weights) == points
    assert weights.sum(1) == pytest.approx(1)
    for own in grid:
        assert (np.abs(weights - own).max(1) < 1e-8).sum() == 1
    assert weights.round(9).tolist() == sorted(weights.round(9).tolist()), "neighbours can be joined"


@pytest.mark.parametrize(("m", "partitions", "most"), [(2, 10, 1e-3), (3, 10, 5e-3), (3, 5, 0.05), (4, 5, 0.05)])
def test_smooth_scores_are_met_between_and_hit_at_the_grid(m: int, partitions: int, most: float) -> None:
    grid = das_dennis(m, partitions)
    weights = curve_weights(grid, partitions, 101)
    assert weights is not None
    directions = np.random.default_rng(0).normal(size=(m, 50))

    def scores(at: np.ndarray) -> np.ndarray:
        return np.tanh(at @ directions) + 0.3 * (at @ directions) ** 2

    shares = interpolation(grid, weights)
    assert shares.sum(1) == pytest.approx(1), "what does not depend on the weights stays as it is"
    assert np.abs(shares @ scores(grid) - scores(weights)).max() < most * np.ptp(scores(grid))
    assert interpolation(grid, grid) == pytest.approx(np.eye(len(grid)), abs=1e-9)


def test_the_curve_has_more_volume_than_its_points_and_survives_the_file(tmp_path: Path) -> None:
    front = bent()
    assert front.curve is not None
    steps = front.metrics["accuracy"].hypervolume
    assert steps < front.curve.metrics["accuracy"].hypervolume < np.pi / 4
    assert front.curve.metrics["accuracy"].hypervolume == pytest.approx(np.pi / 4, abs=0.01)
    front.save(tmp_path / "front.json")
    assert Front.load(tmp_path / "front.json") == front
    assert front.at(1).curve == front.curve


def test_points_are_chosen_along_the_curve() -> None:
    # sin(pi/2 w) is 0.5 at w = 1/3, where the chord from w = 0.25 to 0.5 is at w = 0.2905.
    choice = choose(bent(), at_least={"a": 0.5}, best="b", metric="accuracy")
    assert choice.weights[0] == pytest.approx(0.34), "the first hundredth at which it holds"
    assert choice.values["b"] == pytest.approx(np.cos(np.pi / 2 * 0.34))
    assert choice.values["KL"] == pytest.approx(0.34**2)
    assert not choice.measured
    # The curve says nothing of rewards: they are of the points, and of the chords between them.
    chord = choose(bent(), at_least={"a": 0.5}, best="b", metric="reward")
    left, right = np.sin(np.pi / 8), np.sin(np.pi / 4)
    assert chord.weights[0] == pytest.approx(np.ceil(100 * (0.25 + 0.25 * (0.5 - left) / (right - left))) / 100)


def test_folds_have_a_mean_curve() -> None:
    mean, plain = mean_over_folds([bent(), bent(0.2)]).curve, bent().curve
    assert mean is not None
    assert plain is not None
    assert np.array(mean.values["accuracy"]) == pytest.approx(np.array(plain.values["accuracy"]) + 0.1)
    without = bent().model_copy(update={"curve": None})
    assert mean_over_folds([bent(), without]).curve is None
