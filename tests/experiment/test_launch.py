"""Trainings and measurements where they belong: by one worker as a task of Ray, by several on Ray Train."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
import torch

from cosdpo.activity import FOLDER as ACTIVITY
from cosdpo.config import Config
from cosdpo.experiment.launch import Measuring, measure_policies, start_measuring, start_training
from cosdpo.training import margins
from cosdpo.training.unit import Unit
from cosdpo.training.world import Part, World
from tests.tiny_rankers import ranking_data, scorer
from tests.training import faulty
from tests.training.runs import whole_run

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Apart(World):
    """One of several workers, without the others."""

    def gathered(self, part: Part) -> list[Part]:
        return [part]


@dataclass(frozen=True)
class Call:
    """What a measurement was asked for."""

    scorer: str
    indices: list[int]
    lead: bool
    illustrate: bool
    ratios: tuple[float, ...]
    process: int


def average(shares: Mapping[Path, float], config: Config, device: torch.device) -> str:
    """In the place of a scorer, what it would be made of; it may be loaded once only."""
    name = "+".join(f"{share:g} {path.name}" for path, share in shares.items())
    with (config.output / f"loaded {name}").open("x"):
        return name


def measure(
    scorer: str, config: Config, indices: Iterable[int], lead: bool, illustrate: bool, ratios: Sequence[float]
) -> Call:
    return Call(scorer, list(indices), lead, illustrate, tuple(ratios), os.getpid())


@pytest.fixture
def wanted(tmp_path) -> Callable[..., Measuring]:
    """The measurement of policies, each given by its checkpoints and shares."""

    def make(*policies: Mapping[str, float], illustrate: bool = True, **changes: object) -> Measuring:
        config = faulty.settings(tmp_path, grid__temperatures=[2.0], **changes)
        placed = [(i, {tmp_path / name: share for name, share in shares.items()}) for i, shares in enumerate(policies)]
        return Measuring("measuring-x", config, placed, average, measure, illustrate)

    return make


ONE, TWO, MIDDLE = {"one": 1.0}, {"two": 1.0}, {"one": 0.3, "two": 0.7}


class TestMeasurePolicies:
    def measured(self, wanted: Measuring, world: World | None = None) -> list[tuple[str, list[int], bool, bool]]:
        calls = measure_policies(wanted, CPU, world)
        assert {call.ratios for call in calls} == {(1.0, 2.0)}
        return [(call.scorer, call.indices, call.lead, call.illustrate) for call in calls]

    def test_a_conditioned_run_is_loaded_once(self, wanted):
        assert self.measured(wanted(ONE, ONE, ONE)) == [("1 one", [0, 1, 2], True, True)]

    def test_equal_policies_share_their_loading_and_the_first_leads(self, wanted):
        assert self.measured(wanted(ONE, MIDDLE, TWO, ONE)) == [
            ("1 one", [0, 3], True, True),
            ("0.3 one+0.7 two", [1], False, False),
            ("1 two", [2], False, False),
        ]

    def test_shares_tell_policies_apart(self, wanted):
        other = {"one": 0.7, "two": 0.3}
        found = self.measured(wanted(MIDDLE, other, illustrate=False))
        assert found == [("0.3 one+0.7 two", [0], True, False), ("0.7 one+0.3 two", [1], False, False)]

    def test_workers_divide_the_grid_among_them(self, wanted):
        policies = (ONE, TWO, ONE, TWO, ONE)
        assert self.measured(wanted(*policies), Apart(0, 2)) == [("1 one", [0, 2, 4], True, True)]
        assert self.measured(wanted(*policies), Apart(1, 2)) == [("1 two", [1, 3], False, False)]
        assert measure_policies(wanted(ONE), CPU, Apart(1, 2)) == []


def create(config: Config, device: torch.device) -> Any:
    (config.output / "process").write_text(str(os.getpid()))
    return scorer(config)


@pytest.mark.usefixtures("ray_of_two_cores")
class TestOnRay:
    @pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
    def test_a_training_ends_like_the_loop(self, tmp_path, workers):
        config = faulty.settings(tmp_path / "run", scaling__workers=workers, training__weights=[0.0, 1.0])
        data = ranking_data(config)
        trained = ray.get(start_training(Unit(config, create, keep_rewards=True), ray.put(data), one_of_many=False))
        assert (trained.steps, trained.workers) == (faulty.STEPS, workers)
        assert trained.peak_memory > 10_000_000
        faulty.assert_same(config)
        assert {path.name for path in config.output.iterdir()} == {
            "checkpoint", "done.json", "metrics.jsonl", "process", "rewards.parquet", "tensorboard",
        }  # fmt: skip
        module = scorer(config)
        module.load_state_dict(whole_run(config)[0], strict=False)
        expected, _ = margins.rewards(module.eval(), config, data, CPU, World())
        for index, row in enumerate(pq.read_table(config.output / "rewards.parquet")["rewards"].to_pylist()):
            difference = np.subtract(row, expected[index])  # up to a number per list, which no loss sees
            np.testing.assert_allclose(difference, difference.mean(), atol=1e-4)

    @pytest.mark.slow
    def test_one_of_many_has_a_process_of_its_own(self, tmp_path):
        processes = set()
        for name in ("one", "two"):
            config = faulty.settings(tmp_path / name, training__steps=1)
            ray.get(start_training(Unit(config, create), ray.put(ranking_data(config)), one_of_many=True))
            processes.add((config.output / "process").read_text())
        assert len(processes) == 2

    @pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
    def test_measurements(self, wanted, tmp_path, workers):
        calls = ray.get(start_measuring(wanted(ONE, TWO, ONE, TWO, scaling__workers=workers)))
        assert [(call.scorer, call.indices, call.lead) for call in calls] == [
            ("1 one", [0, 2], True),
            ("1 two", [1, 3], False),
        ]
        assert len({call.process for call in calls} - {os.getpid()}) == workers
        assert {path.name for path in tmp_path.iterdir()} - {ACTIVITY} == {"loaded 1 one", "loaded 1 two"}
