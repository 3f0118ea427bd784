"""A run per objective, averaged."""

from __future__ import annotations

import pytest

from cosdpo.methods.method import Policy
from cosdpo.methods.soup import Soup
from cosdpo.simplex import das_dennis
from tests.tiny_models import settings


def test_two_runs_whatever_the_grid():
    runs = Soup(settings("")).runs(das_dennis(2, 10))
    assert [(run.name, run.config.training.weights) for run in runs] == [
        ("single_1_0", [1.0, 0.0]),
        ("single_0_1", [0.0, 1.0]),
    ]


def test_the_shares_are_the_weights():
    soup = Soup(settings(""))
    assert soup.at([0.3, 0.7]) == Policy({"single_1_0": 0.3, "single_0_1": 0.7})
    assert soup.at([0.0, 1.0]) == Policy({"single_0_1": 1.0})


@pytest.mark.parametrize("partitions", [3, 4])
def test_three_objectives(partitions):
    soup = Soup(settings("", objectives=["a", "b", "c"]))
    corners = ["single_1_0_0", "single_0_1_0", "single_0_0_1"]
    assert [run.name for run in soup.runs(das_dennis(3, partitions))] == corners
    for weights in das_dennis(3, partitions):
        expected = {name: w for name, w in zip(corners, weights.tolist(), strict=True) if w > 1e-9}
        assert soup.at(weights).shares == pytest.approx(expected)
