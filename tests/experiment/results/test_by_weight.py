"""Where the conditioned run is beaten: in every objective at once and by more than the deviation, or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from cosdpo.experiment.results.by_weight import mean_over_seeds, table
from cosdpo.experiment.results.result import Result
from tests.fake_results import result


def rows_of(cos: list[object], soup: list[object], metric: str = "accuracy") -> list[list[str]]:
    """Who beats cos at weights (0, 1) and (1, 0)."""
    results = [
        result(method, seed, values=values, partitions=1, loss=True)
        for method, per_seed in (("cos", cos), ("soup", soup))
        for seed, values in enumerate(per_seed)
    ]
    return [list(row.beaten_by) for row in table(results, metric, "cos", ["soup"])]


def test_beaten_in_every_objective_beyond_deviation() -> None:
    # at (0, 1) cos has .4 and .5 +- sqrt(.5) * .02 and soup .1 more in both; at (1, 0) soup is better in one only
    cos: list[object] = [[[0.39, 0.49], [0.8, 0.4]], [[0.41, 0.51], [0.8, 0.4]]]
    soup: list[object] = [[[0.49, 0.59], [0.9, 0.4]], [[0.51, 0.61], [0.9, 0.4]]]
    assert rows_of(cos, soup) == [["soup"], []]
    assert rows_of(cos, soup, "loss") == [["soup"], []]  # 1 - accuracy, of which less is better
    assert rows_of(soup, cos) == [[], []]


def test_not_beaten_within_deviation() -> None:
    # a gap of .01 in both, where each has a deviation of sqrt(.5) * .02 = .0141
    cos: list[object] = [[[0.39, 0.49], [0.8, 0.4]], [[0.41, 0.51], [0.8, 0.4]]]
    soup: list[object] = [[[0.40, 0.50], [0.8, 0.4]], [[0.42, 0.52], [0.8, 0.4]]]
    assert rows_of(cos, soup) == [[], []]
    assert rows_of(cos[:1], soup[:1]) == [["soup"], []]  # one seed knows no deviation


def test_cells_are_means_over_seeds() -> None:
    results = [result("cos", 0, 1.0), result("cos", 1, 2.0), result("soup", 0, 1.0, partitions=2)]
    rows = {row.weights: row.methods for row in table(results, "accuracy", "cos", ["soup"])}
    np.testing.assert_allclose(rows[0.25, 0.75]["cos"].mean, [0.375, 1.125])
    np.testing.assert_allclose(rows[0.25, 0.75]["cos"].std, np.array([0.25, 0.75]) / 2**0.5)
    assert "soup" not in rows[0.25, 0.75]  # its grid is coarser
    assert rows[0.5, 0.5]["soup"].seeds == 1


@pytest.mark.parametrize("order", [1, -1])
def test_mean_front_is_sorted_by_weight(order: int) -> None:
    results: list[Result] = [result("cos", seed) for seed in (0, 1)][::order]
    assert [key[0] for key, _ in mean_over_seeds(results, "cos", "accuracy")] == [0, 0.25, 0.5, 0.75, 1]
