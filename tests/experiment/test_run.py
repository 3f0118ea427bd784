"""Whole runs of language models on Ray: what they leave behind, and that workers do not change how they end."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front
from cosdpo.experiment.results.run_result import RunResult
from cosdpo.experiment.run import run
from cosdpo.training.tracking import read_metrics
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
def plain(make) -> RunResult:
    """The run that the others are compared with: one worker."""
    (result,) = run(make("plain", evaluation__scorers={"kind": "brevity", "short": "dialogue"}))
    return result


def trained(result: RunResult) -> dict[str, Tensor]:
    checkpoint = result.config.output / "checkpoint"
    return load_file(checkpoint / "adapters.safetensors") | load_file(checkpoint / "conditioning.safetensors")


class TestRunFolder:
    def test_what_it_holds(self, plain, make):
        output = plain.config.output
        assert output == make("plain").output
        assert {path.name for path in output.iterdir()} == {
            "checkpoint", "config.yaml", "data.json", "done.json", "front.json", "metrics.jsonl", "samples.json",
            "tensorboard",
        }  # fmt: skip
        lines = read_metrics(output)
        assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
        assert {"step", "seconds", "loss", "loss/kind", "loss/short", "learning_rate"} <= lines[-1].keys()

    def test_front_json(self, plain):
        front = json.loads((plain.config.output / "front.json").read_text())
        assert front.keys() == {
            "method", "task", "objectives", "seed", "trained_temperature", "train_seconds", "train_seconds_total",
            "trained_parameters", "metrics", "points", "main", "curve",
        }  # fmt: skip
        assert Front.load(plain.config.output / "front.json") == plain.front
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
        metrics = plain.front.metrics
        # The base's implicit rewards are 0: a coin on every pair, and a loss of ln 2.
        assert metrics["accuracy"].base == metrics["accuracy"].reference_point == [0.5, 0.5]
        assert metrics["loss"].base == pytest.approx([math.log(2)] * 2, abs=1e-4)
        assert metrics["loss"].reference_point == metrics["loss"].base
        assert metrics["reward"].reference_point == metrics["reward"].base

    def test_the_weights_steer(self, plain):
        first, last = plain.front.points[0].values, plain.front.points[-1].values  # (0, 1) and (1, 0)
        assert last["accuracy"][0] > first["accuracy"][0] + 0.1
        assert first["accuracy"][1] > last["accuracy"][1] + 0.1
        assert last["accuracy"][0] > 0.75
        assert first["accuracy"][1] > 0.75

    def test_samples_and_facts(self, plain):
        assert [sample.model_dump() for sample in plain.samples] == json.loads(
            (plain.config.output / "samples.json").read_text()
        )
        assert len(plain.samples) > 0
        assert plain.samples[0].answers[0].weights == [1, 0]
        base = sum(p.numel() for p in torch.nn.ParameterList(load_file_of_base(plain.config)).parameters())
        assert (plain.facts["base_parameters"], plain.facts["workers"]) == (base, 1)

    def test_the_checkpoint_is_standard_and_not_pickled(self, plain):
        checkpoint = plain.config.output / "checkpoint"
        assert {path.suffix for path in checkpoint.iterdir()} == {".safetensors", ".json", ".md"}
        adapter = json.loads((checkpoint / "adapters.json").read_text())
        assert (adapter["peft_type"], adapter["r"]) == ("LORA", 4)

    def test_the_reference_was_cached(self, plain, folder):
        # Training and held-out contexts; nothing else was left behind.
        assert len(list((folder / "cache").rglob("*.parquet"))) == 2
        assert all(path.suffix == ".parquet" for path in (folder / "cache").rglob("*") if path.is_file())


def load_file_of_base(config: Config) -> list[Tensor]:
    return list(load_file(Path(config.model.base) / "model.safetensors").values())


@pytest.mark.slow
def test_rankings_from_the_rows_to_the_front(make):
    (result,) = run(make("rankings", data__comparisons="rankings", training__steps=60, grid__partitions=2))
    front = result.front
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
        list(run(config))
    assert not config.output.exists()


@pytest.mark.slow
def test_two_workers_end_like_one(plain, make, monkeypatch, tmp_path):
    monkeypatch.setenv("COSDPO_CACHE", str(tmp_path))  # they compute the reference together as well
    (two,) = run(make("two", scaling__workers=2, training__micro_batch=2))
    ours, right = trained(two), trained(plain)
    assert ours.keys() == right.keys()
    for name, tensor in right.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-5, atol=1e-5, msg=name)
    for name in ("accuracy", "loss"):
        for mine, expected in zip(two.front.points, plain.front.points, strict=True):
            assert mine.values[name] == pytest.approx(expected.values[name], abs=1e-3)
