"""Mean, deviation and differences of small numbers, by hand."""

from __future__ import annotations

import pytest

from cosdpo.experiment.results.statistics import Statistic, Statistics, difference, over_seeds, pooled, written


def test_mean_and_sample_deviation() -> None:
    # deviations from 3 are -2, 0, 2: variance (4 + 0 + 4) / 2 = 4
    assert Statistic.of([1.0, 3.0, 5.0]) == Statistic(mean=3, std=2, seeds=[1, 3, 5])
    assert Statistic.of([7.0]) == Statistic(mean=7, std=0, seeds=[7])
    both = Statistics.of([[1.0, 0.0], [3.0, 0.0], [5.0, 0.0]])
    assert (both.mean, both.std) == ([3, 0], [2, 0])
    assert Statistics.of([[1.0, 2.0]]).std == [0, 0]


def test_pooled_deviation() -> None:
    # variances 4 and 1 (of 1, 3, 5 and of 1, 2, 3)
    assert pooled([1, 3, 5], [1, 2, 3]) == pytest.approx(2.5**0.5)


def test_difference_is_within_up_to_the_pooled_deviation() -> None:
    own = {0: 9.0, 1: 10.0, 2: 11.0}  # deviation 1, and so are the others'
    for shift, standing in ((0.0, "within"), (1.0, "within"), (1.01, "below"), (-1.0, "within"), (-1.01, "above")):
        found = difference(own, {seed: value + shift for seed, value in own.items()})
        assert (found.standing, found.seeds) == (standing, 3)
        assert found.ratio == pytest.approx(10 / (10 + shift))
    assert difference({0: 0.1 + 0.2, 1: 0.3}, {0: 0.3, 1: 0.3}).standing == "within"


def test_difference_over_shared_seeds() -> None:
    found = difference({0: 1.0, 1: 2.0, 2: 100.0}, {0: 1.0, 1: 1.0, 3: 100.0})
    assert (found.ratio, found.seeds) == (1.5, 2)
    assert difference({0: 2.0}, {0: 1.0, 1: 1.0}).standing == "unknown"
    assert difference({0: 2.0}, {1: 1.0}).ratio is None
    assert difference({0: 2.0, 1: 2.0}, {0: 0.0, 1: 0.0}).ratio is None


@pytest.mark.parametrize(
    ("mean", "std", "text"),
    [
        (0.0473, 0.00251, "0.0473 ± 0.0025"),
        (0.064, 0.00012, "0.0640 ± 0.0001"),
        (0.8031, 0.00312, "0.803 ± 0.003"),
        (-0.05, 0.01, "\u22120.0500 ± 0.0100"),
        (0.0473, None, "0.0473"),
        (2.039e-6, 1e-7, "2.04e\u221206 ± 1e\u221207"),
        (1234.0, 5.0, "1,234 ± 5"),
    ],
)
def test_deviation_has_the_decimals_of_the_mean(mean: float, std: float | None, text: str) -> None:
    assert written(mean, std) == text


def test_one_seed_has_no_deviation_to_write() -> None:
    assert over_seeds(Statistic.of([0.05])) == "0.0500"
    assert over_seeds(Statistic.of([0.04, 0.06])) == "0.0500 ± 0.0141"
