"""Margin runs, and a run of the heaviest objective per weight between them."""

from __future__ import annotations

import numpy as np
import pytest

from cosdpo.methods.method import Policy
from cosdpo.methods.modpo import Modpo
from cosdpo.simplex import das_dennis
from tests.tiny_models import settings


def test_two_margin_runs_and_one_for_each_of_nine_weights_between():
    runs = Modpo(settings("")).runs(das_dennis(2, 10))
    assert [run.name for run in runs] == [
        "single_1_0", "single_0_1", "modpo_0.1_0.9", "modpo_0.2_0.8", "modpo_0.3_0.7", "modpo_0.4_0.6",
        "modpo_0.5_0.5", "modpo_0.6_0.4", "modpo_0.7_0.3", "modpo_0.8_0.2", "modpo_0.9_0.1",
    ]  # fmt: skip
    assert all(run.margins == {} for run in runs[:2])


@pytest.mark.parametrize(
    ("weights", "chosen", "margins", "temperatures"),
    [
        # The heaviest objective j is trained at beta / w_j; the others are its margins.
        ([0.2, 0.8], [0.0, 1.0], {"single_1_0": 0.2}, [0.1 / 0.8, 0.4 / 0.8]),
        ([0.6, 0.4], [1.0, 0.0], {"single_0_1": 0.4}, [0.1 / 0.6, 0.4 / 0.6]),
        ([0.5, 0.5], [1.0, 0.0], {"single_0_1": 0.5}, [0.2, 0.8]),
    ],
)
def test_two_objectives(weights, chosen, margins, temperatures):
    method = Modpo(settings("", temperature=[0.1, 0.4]))
    (run,) = [run for run in method.runs(np.array([weights])) if run.margins]
    assert run.margins == pytest.approx(margins)
    assert run.config.training.weights == chosen
    assert run.config.temperatures == pytest.approx(temperatures)
    assert run.config.conditioning == "none"
    assert method.at(weights) == Policy({run.name: 1.0})


class TestThreeObjectives:
    @pytest.mark.parametrize(("partitions", "between"), [(3, 7), (4, 12)])
    def test_number_of_runs(self, partitions, between):
        runs = Modpo(settings("", objectives=["a", "b", "c"])).runs(das_dennis(3, partitions))
        assert [run.name for run in runs[:3]] == ["single_1_0_0", "single_0_1_0", "single_0_0_1"]
        assert len(runs) == 3 + between
        assert all(run.margins for run in runs[3:])

    @pytest.mark.parametrize(
        ("weights", "chosen", "margins"),
        [
            ([0.25, 0.5, 0.25], 1, {"single_1_0_0": 0.25, "single_0_0_1": 0.25}),
            ([0.75, 0.0, 0.25], 0, {"single_0_0_1": 0.25}),
            ([0.0, 0.25, 0.75], 2, {"single_0_1_0": 0.25}),
        ],
    )
    def test_an_objective_without_weight_has_no_margin(self, weights, chosen, margins):
        config = settings("", objectives=["a", "b", "c"], temperature=[0.1, 0.2, 0.3])
        run = Modpo(config).runs(np.array([weights]))[-1]
        assert run.margins == margins
        assert run.config.training.weights == np.eye(3)[chosen].tolist()
        assert run.config.temperatures == pytest.approx([beta / weights[chosen] for beta in (0.1, 0.2, 0.3)])

    def test_margins_and_the_chosen_weight_sum_to_one(self):
        method, grid = Modpo(settings("", objectives=["a", "b", "c"])), das_dennis(3, 4)
        runs = {run.name: run for run in method.runs(grid)}
        for weights in grid:
            (name,) = method.at(weights).shares
            assert sum(runs[name].margins.values()) + max(weights) == pytest.approx(1)
