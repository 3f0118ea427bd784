"""A run per weight."""

from __future__ import annotations

import numpy as np
import pytest

from cosdpo.methods.linear_scalarization import LinearScalarization
from cosdpo.methods.method import Policy
from cosdpo.simplex import das_dennis
from tests.tiny_models import settings


def test_eleven_weights_are_eleven_runs():
    runs = LinearScalarization(settings("")).runs(das_dennis(2, 10))
    assert [run.name for run in runs] == [
        "single_0_1", "single_0.1_0.9", "single_0.2_0.8", "single_0.3_0.7", "single_0.4_0.6", "single_0.5_0.5",
        "single_0.6_0.4", "single_0.7_0.3", "single_0.8_0.2", "single_0.9_0.1", "single_1_0",
    ]  # fmt: skip
    np.testing.assert_allclose([run.config.training.weights for run in runs], das_dennis(2, 10))


@pytest.mark.parametrize(("partitions", "count"), [(3, 10), (4, 15)])
def test_three_objectives(partitions, count):
    method, grid = LinearScalarization(settings("", objectives=["a", "b", "c"])), das_dennis(3, partitions)
    runs = method.runs(grid)
    assert len({run.name for run in runs}) == count
    for run, weights in zip(runs, grid, strict=True):
        assert run.config.training.weights == weights.tolist()
        assert run.margins == {}
        assert method.at(weights) == Policy({run.name: 1.0})
