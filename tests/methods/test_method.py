"""The ordinary DPO run that all baselines are made of, and that they share what they have in common."""

from __future__ import annotations

import numpy as np
import pytest

from cosdpo.methods import METHODS, method_of
from cosdpo.methods.method import Policy, label, single, vertex
from cosdpo.simplex import das_dennis
from tests.tiny_models import settings

GRIDS = [(2, 10), (3, 3), (3, 4)]
NAMES = ["kind", "short", "true"]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [([1, 0], 0), ([0, 1], 1), ([0, 0, 1], 2), ([1 - 1e-12, 1e-12], 0), ([0.9, 0.1], None), ([0.5, 0.5], None)],
)
def test_vertex(weights, expected):
    assert vertex(weights) == expected


def test_label():
    assert label([0.3, 0.7]) == "0.3_0.7"
    assert label([1.0, 0.0]) == "1_0"
    assert label([1 / 3, 2 / 3]) == "0.3333_0.6667"


@pytest.mark.parametrize("partitions", [10, 69])
def test_no_two_weights_of_a_grid_have_the_same_label(partitions):
    grid = das_dennis(2, partitions)
    assert len({label(w) for w in grid}) == partitions + 1


class TestSingle:
    def test_it_trains_plain_lora_at_the_weights(self):
        config = settings("", training__penalty=0.5, model__temperature_conditioned=True)
        run = single(config, np.array([0.3, 0.7]))
        assert run.name == "single_0.3_0.7"
        assert run.margins == {}
        assert run.config.training.weights == [0.3, 0.7]
        assert run.config.conditioning == "none"
        assert run.config.training.penalty == 0
        assert not run.config.model.temperature_conditioned
        # The configuration that it was made from is as before.
        assert config.training.weights == []
        assert (config.conditioning, config.training.penalty) == ("gated_lora", 0.5)

    def test_all_else_is_that_of_the_conditioned_run(self):
        config = settings("base", seed=3, temperature=[0.1, 0.2], training__steps=7, training__weight_decay=0.3)
        run = single(config, [1.0, 0.0]).config
        undone = run.model_copy(
            update={
                "conditioning": config.conditioning,
                "training": run.training.model_copy(update={"weights": []}),
            }
        )
        assert undone == config

    def test_baseline_settings_take_the_place_of_the_conditioned_runs(self):
        config = settings(
            "",
            training__weight_decay=0.3,
            baseline={"steps": 7, "learning_rate": 0.5, "weight_decay": 0.1, "lora_rank": 6},
        )
        run = single(config, [1.0, 0.0]).config
        training, model = run.training, run.model
        assert (training.steps, training.learning_rate, training.weight_decay) == (7, 0.5, 0.1)
        # alpha 8 at rank 4 is a scaling of 2, which stays.
        assert (model.lora_rank, model.lora_alpha) == (6, 12.0)

    @pytest.mark.parametrize(("given", "expected"), [(-1, 0.3), (0, 0.0), (0.2, 0.2)])
    def test_a_weight_decay_of_zero_is_a_setting_of_its_own(self, given, expected):
        config = settings("", training__weight_decay=0.3, baseline={"weight_decay": given})
        assert single(config, [1.0, 0.0]).config.training.weight_decay == expected

    def test_the_configuration_survives_the_way_to_a_worker(self):
        config = single(settings("base", temperature=[0.1, 0.2]), [1 / 3, 2 / 3]).config
        assert type(config).model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(("m", "partitions"), GRIDS)
class TestEqualTerms:
    def test_single_objective_runs_are_the_same_trainings(self, m, partitions):
        config, grid = settings("", objectives=NAMES[:m]), das_dennis(m, partitions)
        linear, soup, modpo = (
            {run.name: run.config for run in method_of(name, config).runs(grid)}
            for name in ("linear_scalarization", "soup", "modpo")
        )
        corners = {f"single_{label(corner)}" for corner in np.eye(m)}
        assert soup.keys() == corners
        assert linear.keys() & modpo.keys() == corners
        for name in corners:
            assert linear[name] == soup[name] == modpo[name]

    @pytest.mark.parametrize("name", METHODS)
    def test_every_policy_is_made_of_the_methods_own_runs(self, m, partitions, name):
        method, grid = method_of(name, settings("", objectives=NAMES[:m])), das_dennis(m, partitions)
        runs = [run.name for run in method.runs(grid)]
        assert len(set(runs)) == len(runs)
        used: set[str] = set()
        for weights in grid:
            shares = method.at(weights).shares
            assert sum(shares.values()) == pytest.approx(1)
            assert all(share > 0 for share in shares.values())
            used |= shares.keys()
        assert used == set(runs)

    @pytest.mark.parametrize("name", ["linear_scalarization", "soup", "modpo"])
    def test_at_a_vertex_the_policy_is_the_single_objective_run(self, m, partitions, name):
        method = method_of(name, settings("", objectives=NAMES[:m]))
        for corner in np.eye(m):
            assert method.at(corner) == Policy({f"single_{label(corner)}": 1.0})
