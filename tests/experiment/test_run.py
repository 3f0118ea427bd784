"""Whole runs on Ray: what they leave behind, and that interruptions and workers do not change how they end."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from cosdpo.run import run
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front
from tests.interruptions import killing_a_worker
from tests.tiny_models import rows, settings, write_model, write_rows

STEPS = 120

pytestmark = pytest.mark.usefixtures("ray_of_two_cores")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A base, preferences and an own cache."""
    path = tmp_path_factory.mktemp("run")
    write_model(path / "base", "llama-untied")
    write_rows(path / "train.jsonl", rows(60, 0))
    write_rows(path / "validation.jsonl", rows(20, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSDPO_CACHE", str(path / "cache"))
        yield path


@pytest.fixture(scope="module")
def make(folder) -> Callable[..., Config]:
    """The configuration of a run of 120 steps into its own folder."""

    def configure(name: str, **changes: object) -> Config:
        defaults: dict[str, object] = {
            "output": folder / name,
            "data__train": str(folder / "train.jsonl"),
            "data__validation": str(folder / "validation.jsonl"),
            "training__steps": STEPS,
            "training__batch_size": 8,
            "training__learning_rate": 0.005,
            "training__log_every": 1,
            "training__checkpoint_every": 25,
            "evaluation__max_new_tokens": 8,
            "evaluation__prompts": 4,
        }
        return settings(folder / "base", **{**defaults, **changes})

    return configure


@pytest.fixture(scope="module")
def plain(make) -> tuple[Config, Front]:
    """The run that the others are compared with: one worker, not interrupted."""
    config = make("plain", evaluation__scorers={"kind": "brevity", "short": "dialogue"})
    return config, run(config)


def trained(config: Config) -> dict[str, Tensor]:
    checkpoint = config.output / "checkpoint"
    return load_file(checkpoint / "adapter_model.safetensors") | load_file(checkpoint / "conditioning.safetensors")


def assert_ended_the_same(config: Config, expected: Config) -> None:
    """Trained tensors to 1e-5, and every step logged once."""
    ours, right = trained(config), trained(expected)
    assert ours.keys() == right.keys()
    for name, tensor in right.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-5, atol=1e-5, msg=name)
    assert steps(config) == list(range(1, expected.training.steps + 1))


def steps(config: Config) -> list[int]:
    lines = (config.output / "metrics.jsonl").read_text().splitlines(keepends=True)
    return [int(json.loads(line)["step"]) for line in lines if line.endswith("\n")]


class TestRunFolder:
    def test_it_holds_what_design_names(self, plain):
        config, _ = plain
        names = {path.name for path in config.output.iterdir()}
        assert names >= {"config.yaml", "metrics.jsonl", "checkpoint", "front.json", "front.png", "report.html"}
        assert (config.output / "front.png").read_bytes().startswith(b"\x89PNG")
        assert steps(config) == list(range(1, STEPS + 1))
        line = json.loads((config.output / "metrics.jsonl").read_text().splitlines()[-1])
        assert {"step", "seconds", "loss", "loss/kind", "loss/short", "learning_rate"} <= line.keys()

    def test_front_json(self, plain):
        config, returned = plain
        front = json.loads((config.output / "front.json").read_text())
        assert front.keys() == {
            "method", "task", "objectives", "seed", "trained_temperature", "train_seconds", "train_seconds_total",
            "trained_parameters", "metrics", "points", "main",
        }  # fmt: skip
        assert Front.load(config.output / "front.json") == returned
        assert (front["method"], front["task"], front["objectives"]) == ("cos", "language", ["kind", "short"])
        assert front["metrics"].keys() == {"accuracy", "loss", "reward"}
        for metric in front["metrics"].values():
            assert {"higher_is_better", "reference_point", "hypervolume", "base"} <= metric.keys()
        weights = [p["weights"] for p in front["points"]]
        assert weights == [[pytest.approx(i / 10), pytest.approx(1 - i / 10)] for i in range(11)]
        assert all(p["values"].keys() == front["metrics"].keys() for p in front["points"])
        # Rank 4 on q, k, v, o, gate, up and down of 2 layers, in + out of 32 + 24 + 24 + 32 + 40 + 40 + 40 = 232 each,
        # and on the ends, 48 + 16 and 16 + 16; gates of 2 slopes, one of the pair and an offset for each of these 16.
        assert front["trained_parameters"] == 4 * (2 * 232 + 64 + 32) + 16 * 4 * 4

    def test_the_base_is_the_natural_reference_point(self, plain):
        metrics = plain[1].metrics
        # The base's implicit rewards are 0: a coin on every pair, and a loss of ln 2.
        assert metrics["accuracy"].base == metrics["accuracy"].reference_point == [0.5, 0.5]
        assert metrics["loss"].base == pytest.approx([math.log(2)] * 2, abs=1e-4)
        assert metrics["loss"].reference_point == metrics["loss"].base
        assert metrics["reward"].reference_point == metrics["reward"].base

    def test_the_weights_steer(self, plain):
        first, last = plain[1].points[0].values, plain[1].points[-1].values  # (0, 1) and (1, 0)
        assert last["accuracy"][0] > first["accuracy"][0] + 0.1
        assert first["accuracy"][1] > last["accuracy"][1] + 0.1
        assert last["accuracy"][0] > 0.75
        assert first["accuracy"][1] > 0.75

    def test_the_report_is_self_contained(self, plain):
        config, _ = plain
        report = (config.output / "report.html").read_text()
        for word in ("kind", "short", "hypervolume"):
            assert word in report.lower()
        assert 'src="http' not in report
        assert '<link rel="stylesheet"' not in report

    def test_the_checkpoint_is_standard_and_not_pickled(self, plain):
        config, _ = plain
        files = list((config.output / "checkpoint").iterdir())
        assert {path.suffix for path in files} == {".safetensors", ".json"}
        adapter = json.loads((config.output / "checkpoint" / "adapter_config.json").read_text())
        assert (adapter["peft_type"], adapter["r"]) == ("LORA", 4)

    def test_the_reference_was_cached(self, plain, folder):
        # Training and held-out contexts; nothing else was left behind.
        assert len(list((folder / "cache").rglob("*.parquet"))) == 2
        assert all(path.suffix == ".parquet" for path in (folder / "cache").rglob("*") if path.is_file())

    def test_only_the_newest_checkpoints_are_kept(self, plain):
        config, _ = plain
        kept = sorted(path.name for path in config.output.rglob("checkpoint_0*"))
        assert kept == ["checkpoint_00000100", "checkpoint_00000120"]


def test_rankings_from_the_rows_to_the_front(make):
    front = run(make("rankings", data__comparisons="rankings", training__steps=60, grid__partitions=2))
    loss = front.metrics["loss"]
    for j, name in enumerate(front.objectives):
        # The base chooses each candidate at random out of itself and those strictly below it.
        found = [row["scores"][name] for row in rows(20, 1)]
        below = [sum(other < score for other in scores) for scores in found for score in scores]
        assert loss.base[j] == pytest.approx(np.mean([math.log(1 + count) for count in below if count]), abs=1e-6)
    assert loss.reference_point == loss.base
    first, last = (front.points[i].values["loss"] for i in (0, -1))  # (0, 1) and (1, 0)
    assert last[0] < loss.base[0] - 0.05
    assert first[1] < loss.base[1] - 0.05


def test_more_workers_than_the_cluster_has(make):
    config = make("crowd", scaling__workers=8)
    with pytest.raises(InputError, match=r"scaling\.workers 8 needs 8 CPUs, the cluster has 2"):
        run(config)
    assert not config.output.exists()


@pytest.mark.slow
def test_a_killed_worker_costs_the_steps_since_the_last_checkpoint(plain, make):
    # Context by context, so that a second passes between checkpoint 50 and the kill: Ray hears of a checkpoint when it
    # next asks its workers, every 0.2 seconds.
    config = make("killed", training__micro_batch=1)
    with killing_a_worker(config, 70) as killed:
        run(config)
    assert len(killed) == 1
    assert killed[0] < STEPS
    assert_ended_the_same(config, plain[0])
    # Every start of a worker opens an event file: the second one's first step tells where it went on.
    files = sorted((config.output / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime)
    assert len(files) == 2
    board = EventAccumulator(str(files[1]))
    board.Reload()
    assert board.Scalars("loss")[0].step == 1 + killed[0] // 25 * 25


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_gave_up_is_gone_on_with(plain, make, workers):
    config = make(f"gave_up_{workers}", scaling__max_failures=0, scaling__workers=workers)
    with killing_a_worker(config, 60) as killed, pytest.raises(InputError, match="run again with --resume") as error:
        run(config)
    assert killed
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="exists"):
        run(config)
    resumed = config.model_copy(update={"resume": True})
    run(resumed)
    assert_ended_the_same(resumed, plain[0])


@pytest.mark.slow
def test_resuming_a_finished_run_measures_it_again(plain, make):
    config, front = plain
    before = trained(config)
    again = run(config.model_copy(update={"resume": True}))
    for name, tensor in trained(config).items():
        assert torch.equal(tensor, before[name])
    assert again.metrics["loss"] == front.metrics["loss"]
    assert steps(config) == list(range(1, STEPS + 1))


@pytest.mark.slow
def test_two_workers_end_like_one(plain, make, monkeypatch, tmp_path):
    monkeypatch.setenv("COSDPO_CACHE", str(tmp_path))  # they compute the reference together as well
    config = make("two", scaling__workers=2, training__micro_batch=2)
    front = run(config)
    assert_ended_the_same(config, plain[0])
    for name in ("accuracy", "loss"):
        for ours, expected in zip(front.points, plain[1].points, strict=True):
            assert ours.values[name] == pytest.approx(expected.values[name], abs=1e-3)


@pytest.mark.slow
def test_a_run_that_diverges_ends_in_one_line(make):
    config = make("diverged", training__learning_rate=1e30, training__warmup=0, training__clip=1e30)
    with pytest.raises(InputError, match=r"not finite at step .*lower training\.learning_rate") as error:
        run(config)
    assert "\n" not in str(error.value)
