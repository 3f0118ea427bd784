"""Comparisons whose trainings have two workers each end like those of one, whatever the workers share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.experiment.compare import Done, compare, execute
from cosdpo.experiment.resources import Resources, at_once, of_run, of_worker
from tests.interruptions import killing_a_worker
from tests.tiny_models import settings

pytestmark = pytest.mark.usefixtures("ray_of_two_cores")


SHARED: dict[str, object] = {"scaling__workers": 2, "training__log_every": 1}


def runs_of(*configs: Config) -> list[Path]:
    """Folders of their trainings, which have the same names."""
    folders = [config.output / "seed-0" / "runs" for config in configs]
    names, *others = ({path.name for path in folder.iterdir()} for folder in folders)
    assert all(other == names for other in others)
    return folders


def assert_same_rewards(ours: Config, right: Config, tolerance: float) -> None:
    """What others take as margins, up to a number per context, which no loss sees."""
    mine, theirs = runs_of(ours, right)
    stored = list(theirs.rglob("rewards.parquet"))
    assert stored
    for expected in stored:
        found = pq.read_table(mine / expected.relative_to(theirs))["rewards"].to_pylist()
        for row, other in zip(found, pq.read_table(expected)["rewards"].to_pylist(), strict=True):
            difference = np.subtract(row, other)
            np.testing.assert_allclose(difference, difference.mean(), atol=tolerance)


def assert_same_tensors(ours: Config, right: Config, tolerance: float) -> None:
    mine, theirs = runs_of(ours, right)
    for expected in theirs.rglob("*.safetensors"):
        tensors = load_file(mine / expected.relative_to(theirs))
        for name, tensor in load_file(expected).items():
            torch.testing.assert_close(tensors[name], tensor, rtol=tolerance, atol=tolerance, msg=name)


def assert_same_fronts(ours: Done, right: Done, tolerance: float) -> None:
    assert ours.failures == right.failures == {}
    for mine, expected in zip(ours.results, right.results, strict=True):
        assert mine.front.method == expected.front.method
        assert mine.front.metrics.keys() == expected.front.metrics.keys()
        for name in expected.front.metrics:
            np.testing.assert_allclose(mine.front.values(name), expected.front.values(name), atol=tolerance)
        assert mine.front.trained_parameters == expected.front.trained_parameters
        assert mine.peak_memory > 10_000_000
        assert mine.front.train_seconds_total > 0


def test_a_conditioned_ranker_of_two_workers_ends_like_that_of_one(lists):
    ours, right = lists("two", "cos", **SHARED), lists("one", "cos")
    assert_same_fronts(execute(ours), execute(right), 1e-6)
    (run,) = (ours.output / "seed-0" / "runs").iterdir()
    assert {path.name for path in run.iterdir()} == {"checkpoint", "done.json", "metrics.jsonl", "tensorboard"}
    # What is done is not done again.
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    execute(lists("two", "cos", resume=True, **SHARED))
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


@pytest.mark.slow
def test_margins_of_rankers_come_from_all_workers(lists):
    ours, right = lists("two-margins", "modpo", **SHARED), lists("one-margins", "modpo")
    assert_same_fronts(execute(ours), execute(right), 1e-6)
    assert_same_rewards(ours, right, 1e-5)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_on_a_sharded_base_all_methods_end_like_those_of_one_worker(words):
    methods = ("cos", "linear_scalarization", "soup", "modpo")
    written: dict[str, object] = {
        "evaluation__scorers": {"kind": "brevity", "short": "dialogue"},
        "evaluation__max_new_tokens": 8,
        "evaluation__prompts": 4,
    }
    ours = words("two", *methods, scaling__strategy="fsdp", **written, **SHARED)
    right = words("one", *methods, **written)
    done, expected = execute(ours), execute(right)
    # One pair of the held-out that is turned over is a 24th.
    assert_same_fronts(done, expected, 1e-3)
    assert_same_tensors(ours, right, 1e-4)
    assert_same_rewards(ours, right, 1e-3)
    assert {"accuracy", "loss", "reward"} == done.results[0].front.metrics.keys()
    assert {path.name for path in (ours.output / "seed-0").iterdir()} == {
        "runs", *(f"{name}-steps.json" for name in methods),
    }  # fmt: skip


@pytest.mark.slow
def test_checkpoints_of_the_trainings_go_where_storage_says(lists, tmp_path):
    place = tmp_path / "elsewhere"
    config = lists("stored", "soup", scaling__storage=str(place), **SHARED)
    execute(config)
    assert {path.name for path in (place / "seed-0" / "runs").iterdir()} == {"single_0_1@6", "single_1_0@6"}
    assert not list((config.output / "seed-0").rglob("checkpoint_0*"))


@pytest.mark.slow
def test_a_training_whose_worker_is_killed_ends_the_same(lists):
    slow: dict[str, object] = {"training__micro_batch": 1, "training__steps": 30, **SHARED}
    right, ours = lists("undisturbed", "soup", **slow), lists("disturbed", "soup", **slow)
    run = ours.model_copy(update={"output": ours.output / "seed-0" / "runs" / "single_0_1@30"})
    expected = execute(right)
    with killing_a_worker(run, 8) as killed:
        done = execute(ours)
    assert killed
    assert_same_fronts(done, expected, 1e-6)


class TestResources:
    """Of a cluster of two cores."""

    def of(self, **changes: object) -> Config:
        return settings("", **changes)

    def test_of_one_worker(self):
        assert of_worker(self.of()) == Resources(1, 0)
        assert of_worker(self.of(scaling__cpus_per_worker=4, scaling__use_gpu=True)) == Resources(4, 1)
        shares = self.of(comparison__cpus_per_run=0.5, comparison__gpus_per_run=0.25, scaling__use_gpu=True)
        assert of_worker(shares) == Resources(0.5, 0.25)
        assert of_run(shares) == of_worker(shares)
        assert at_once(self.of(comparison__cpus_per_run=0.5)) == 4

    def test_of_several(self):
        config = self.of(scaling__workers=8, scaling__use_gpu=True, scaling__cpus_per_worker=2)
        assert of_run(config) == Resources(16, 8)
        assert at_once(self.of(scaling__workers=2)) == 1
        assert at_once(self.of(scaling__workers=2, scaling__cpus_per_worker=0.5)) == 2

    def test_an_elastic_run_takes_what_there_is(self):
        assert at_once(self.of(scaling__workers=8, scaling__min_workers=2)) == 1
        assert at_once(self.of(scaling__workers=2, scaling__min_workers=1, scaling__cpus_per_worker=0.5)) == 2

    def test_a_share_of_a_gpu_is_one_for_the_references_too(self, lists):
        assert lists("x", "soup", comparison__gpus_per_run=0.5).scaling.use_gpu
        assert not lists("x", "soup").scaling.use_gpu

    @pytest.mark.parametrize(("key", "value"), [("min_workers", 1), ("storage", "file:///x")])
    def test_what_one_worker_does_not_follow(self, lists, key, value):
        config = lists("one-worker", "soup", **{f"scaling__{key}": value})
        with pytest.raises(InputError, match=rf"^scaling\.{key} {value} is for .* train in one process each"):
            compare(config)
        assert not config.output.exists()

    def test_shares_of_a_run_of_several_workers(self, lists):
        config = lists("shares", "soup", comparison__cpus_per_run=0.5, **SHARED)
        with pytest.raises(InputError, match=r"^comparison\.cpus_per_run 0\.5 is for runs of one worker: leave it out"):
            compare(config)
        assert not config.output.exists()
