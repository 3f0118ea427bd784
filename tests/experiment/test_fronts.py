"""The front of what was measured, and which fronts of an earlier measurement are kept."""

from __future__ import annotations

import numpy as np
import pytest

from cosdpo.evaluation.front import Front, Main, Measured
from cosdpo.evaluation.samples import Answer, Order, Ranking, Sample
from cosdpo.experiment.fronts import front_of, keep_samples, kept_front, kept_samples
from cosdpo.simplex import das_dennis
from cosdpo.tasks.task import Findings
from tests.fake_results import result
from tests.tiny_models import settings

GRID = das_dennis(2, 2)
CONFIG = settings("", grid__partitions=2, grid__temperatures=[2.0], temperature=[0.5, 0.25], seed=3)


def findings(ratios: int) -> Findings:
    """Accuracies 0.01, 0.02, ... of the points in their order."""
    count = ratios * len(GRID)
    values = np.arange(1, 1 + count)[:, None] * [0.01, 0.1]
    main = Main(name="KL to base", metric="nats/token", base=0.0, values=[1.0] * count)
    return Findings({"accuracy": Measured(values, [0.0, 0.0], [0.0, 0.0])}, main)


def measured(ratios: int, **changes: object) -> Front:
    return front_of(CONFIG, "soup", findings(ratios), **{"seconds": 2.0, "parameters": 7, **changes})


class TestFrontOf:
    def test_points_are_the_grid_at_one_temperature_after_the_other(self):
        assert CONFIG.ratios == [1.0, 2.0]
        front = measured(2, seconds_total=6.0)
        assert (front.method, front.seed, front.objectives) == ("soup", 3, ["kind", "short"])
        assert (front.train_seconds, front.train_seconds_total, front.trained_parameters) == (2.0, 6.0, 7)
        assert [p.weights for p in front.points] == 2 * [[0, 1], [0.5, 0.5], [1, 0]]
        assert [p.temperature for p in front.points] == 3 * [[0.5, 0.25]] + 3 * [[1.0, 0.5]]
        assert [p.values["accuracy"] for p in front.points] == [pytest.approx([0.01 * n, 0.1 * n]) for n in range(1, 7)]

    def test_at_the_trained_temperature_alone(self):
        front = measured(1)
        assert front.ratios == [1.0]
        assert front.train_seconds_total == front.train_seconds

    def test_hypervolume_above_a_given_reference_point(self):
        # Only (0.03, 0.3) is not dominated: 0.03 * 0.3 above the base, (0.03 - 0.01) * (0.3 - 0.2) above the given.
        metric = measured(1).metrics["accuracy"]
        assert metric.hypervolume == pytest.approx(0.009)
        given = measured(1, reference={"accuracy": [0.01, 0.2]}).metrics["accuracy"]
        assert given.hypervolume == pytest.approx(0.002)
        assert (given.base, given.reference_point) == ([0, 0], [0.01, 0.2])


class TestKept:
    def test_a_front_on_the_same_grid(self, tmp_path):
        front = result(partitions=4).front
        front.save(tmp_path / "front.json")
        assert kept_front(tmp_path / "front.json", das_dennis(2, 4)) == front
        assert kept_front(tmp_path / "front.json", GRID) is None
        assert kept_front(tmp_path / "absent.json", das_dennis(2, 4)) is None

    def test_a_front_at_the_same_temperatures(self, tmp_path):
        front = measured(2)
        front.save(tmp_path / "front.json")
        assert kept_front(tmp_path / "front.json", GRID, [2.0, 1.0]) == front
        assert kept_front(tmp_path / "front.json", GRID, [1.0, 3.0]) is None
        assert kept_front(tmp_path / "front.json", GRID) is None

    def test_samples_and_rankings_come_back(self, tmp_path):
        assert kept_samples(tmp_path) == ([], [])
        samples = [Sample(prompt="hé", answers=[Answer(weights=[0, 1], temperature=[1, 1], text="\n")])]
        order = Order(weights=[1, 0], order=[1, 0])
        rankings = [Ranking(query="q", documents=["x", "y"], labels={"a": [0, 1]}, orders=[order])]
        keep_samples(tmp_path, Findings({}, samples=samples, rankings=rankings))
        assert kept_samples(tmp_path) == (samples, rankings)
        assert [path.name for path in tmp_path.iterdir()] == ["samples.json"]
