"""Whole runs of rankers on Ray: what they leave behind, and that the front can be had again from the checkpoint."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from cosdpo.config import Config
from cosdpo.data import letor
from cosdpo.data.query_lists import QueryLists
from cosdpo.evaluation.front import Front
from cosdpo.experiment import execute
from cosdpo.experiment.results.run_result import RunResult
from cosdpo.experiment.run import run
from cosdpo.models.ranking_scorer import BaseRanker, RankingScorer
from tests.tiny_rankers import query_lists, settings, write_letor

QUERIES, DOCUMENTS = 40, 8
MAKE = Callable[..., Config]

pytestmark = pytest.mark.usefixtures("ray_of_two_cores")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Training and test lists, and an own cache."""
    path = tmp_path_factory.mktemp("run")
    write_letor(path / "data" / "train.txt", query_lists(*[DOCUMENTS] * QUERIES, seed=0))
    write_letor(path / "data" / "test.txt", query_lists(*[DOCUMENTS] * 12, 1, 3, seed=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSDPO_CACHE", str(path / "cache"))
        yield path


@pytest.fixture(scope="module")
def make(folder) -> MAKE:
    """The configuration of a short run into its own folder."""

    def configure(name: str, **changes: object) -> Config:
        defaults: dict[str, object] = {
            "output": folder / name,
            "data__train": str(folder / "data"),
            "ranker__base_steps": 40,
            "ranker__base_learning_rate": 0.01,
            "training__steps": 100,
            "training__learning_rate": 0.03,
            "training__log_every": 5,
            "training__checkpoint_every": 25,
            "grid__partitions": 4,
        }
        return settings(**defaults | changes)

    return configure


@pytest.fixture(scope="module")
def plain(make) -> RunResult:
    """The run that the others are compared with."""
    (result,) = run(make("plain"))
    return result


@pytest.fixture(scope="module")
def test_lists(folder, plain) -> QueryLists:
    (lists,) = letor.load([folder / "data" / "test.txt"], {"a": 11, "b": 12})
    return lists


def plain_ndcg(scores: list[float], labels: list[float]) -> float:
    """NDCG@10 with gains 2^label - 1 of one list without tied scores."""

    def dcg(order: list[float]) -> float:
        return sum((2**label - 1) / math.log2(rank + 1) for rank, label in enumerate(order[:10], start=1))

    ranked = [label for _, label in sorted(zip(scores, labels, strict=True), reverse=True)]
    return dcg(ranked) / dcg(sorted(labels, reverse=True))


def grades(values: list[float]) -> list[float]:
    compressed = [math.copysign(math.log1p(abs(value)), value) for value in values]
    span = max(compressed) - min(compressed)
    return [4 * (value - min(compressed)) / span if span else 0.0 for value in compressed]


def by_hand(lists: QueryLists, score: Callable[[np.ndarray], np.ndarray]) -> list[float]:
    """Mean NDCG@10 of a, b and the relevance, each over the lists that tell documents apart."""
    found: list[list[float]] = [[], [], []]
    for begin, end in zip(lists.offsets[:-1], lists.offsets[1:], strict=True):
        scores = score(lists.features[begin:end]).tolist()
        labels = [grades(lists.auxiliary[begin:end, j].tolist()) for j in (0, 1)] + [
            lists.relevance[begin:end].tolist()
        ]
        for values, column in zip(found, labels, strict=True):
            if min(column) < max(column):
                values.append(plain_ndcg(scores, column))
    return [float(np.mean(values)) for values in found]


class TestRunFolder:
    def test_what_it_holds(self, plain):
        output = plain.config.output
        assert {path.name for path in output.iterdir()} == {
            "base", "checkpoint", "config.yaml", "data.json", "done.json", "example.json", "front.json",
            "metrics.jsonl", "samples.json", "tensorboard",
        }  # fmt: skip
        for checkpoint in (output / "checkpoint", output / "base" / "checkpoint"):
            assert {path.name for path in checkpoint.iterdir()} == {"cosdpo.json", "model.safetensors"}
        for place, last, keys in (("", 100, {"loss/a", "loss/b"}), ("base", 40, {"loss/relevance"})):
            lines = [json.loads(line) for line in (output / place / "metrics.jsonl").read_text().splitlines()]
            assert [line["step"] for line in lines] == list(range(5, last + 1, 5))
            assert keys | {"loss", "seconds", "documents_per_second"} <= lines[-1].keys()

    def test_front_json(self, plain):
        front = json.loads((plain.config.output / "front.json").read_text())
        assert Front.load(plain.config.output / "front.json") == plain.front
        assert (front["method"], front["task"], front["objectives"]) == ("cos", "ranking", ["a", "b"])
        assert front["metrics"].keys() == {"ndcg@10"}
        metric = front["metrics"]["ndcg@10"]
        assert metric["higher_is_better"]
        assert metric["reference_point"] == metric["base"]
        assert (front["main"]["name"], front["main"]["metric"]) == ("relevance", "ndcg@10")
        assert len(front["main"]["values"]) == len(front["points"]) == 5
        assert [p["weights"] for p in front["points"]] == [[i / 4, 1 - i / 4] for i in range(5)]
        # Width 8, 2 layers: embedding 20 x 8 + 8 and 2 x 8, gate 2 x 8; in each layer norms of 16 + 16, qkv
        # 8 x 24 + 24, out 8 x 8 + 8, rise 8 x 32 + 32, gate 2 x 32, fall 32 x 8 + 8; norm 16 and head 8.
        assert front["trained_parameters"] == 168 + 16 + 16 + 2 * (32 + 216 + 72 + 288 + 64 + 264) + 16 + 8

    def test_the_weights_steer(self, plain):
        assert_steered(plain.front)

    @pytest.mark.slow
    def test_the_weights_steer_what_rankings_train(self, plain, make):
        base = plain.config.output / "base" / "checkpoint"
        (result,) = run(make("rankings", data__comparisons="rankings", model__base=str(base)))
        assert_steered(result.front)

    def test_the_base_has_learnt_the_main_label(self, plain):
        assert plain.front.main is not None
        # An order at random reaches about 0.72 here.
        assert plain.front.main.base > 0.85

    def test_rankings_along_the_trade_off(self, plain):
        shown = json.loads((plain.config.output / "samples.json").read_text())
        assert shown == [ranking.model_dump() for ranking in plain.rankings]
        assert len(shown) == 3
        for query in shown:
            assert query["labels"].keys() == {"relevance", "a", "b"}
            assert query["orders"][0]["weights"] == [1, 0]
            assert all(sorted(order["order"]) == list(range(DOCUMENTS)) for order in query["orders"])

    def test_the_example_is_a_held_out_query(self, plain, test_lists):
        rows = json.loads((plain.config.output / "example.json").read_text())["features"]
        np.testing.assert_allclose(rows, test_lists.features[:DOCUMENTS], rtol=1e-6)


def assert_steered(front: Front) -> None:
    values = front.values("ndcg@10")  # from (0, 1) to (1, 0)
    assert values[-1, 0] > values[0, 0] + 0.05
    assert values[0, 1] > values[-1, 1] + 0.1
    assert front.metrics["ndcg@10"].hypervolume > 0


class TestCheckpoint:
    def test_the_front_can_be_had_again(self, plain, test_lists):
        assert_had_again(plain, test_lists)

    def test_the_base_is_the_reference_point(self, plain, test_lists):
        output, front = plain.config.output, plain.front
        scorer = RankingScorer.load(output / "checkpoint")
        base = BaseRanker.load(output / "base" / "checkpoint")
        for name, tensor in base.state_dict().items():
            assert torch.equal(scorer.base.state_dict()[name], tensor)
        # At an enormous temperature the ranker is its base.
        a, b, relevance = by_hand(test_lists, lambda rows: scorer.score(rows, [0.5, 0.5], 1e9))
        assert front.metrics["ndcg@10"].base == pytest.approx([a, b], abs=1e-6)
        assert front.main.base == pytest.approx(relevance, abs=1e-6)


def assert_had_again(result: RunResult, lists: QueryLists) -> None:
    """Every point of the front, by the checkpoint alone."""
    scorer = RankingScorer.load(result.config.output / "checkpoint")
    for point, main in zip(result.front.points, result.front.main.values, strict=True):
        a, b, relevance = by_hand(lists, lambda rows, p=point: scorer.score(rows, p.weights, p.temperature))
        assert point.values["ndcg@10"] == pytest.approx([a, b], abs=1e-6)
        assert main == pytest.approx(relevance, abs=1e-6)


@pytest.mark.slow
def test_on_a_given_base_at_several_temperatures(plain, make, test_lists):
    given = plain.config.output / "base" / "checkpoint"
    before = (given / "model.safetensors").read_bytes()
    (result,) = run(make("given", model__base=str(given), grid__temperatures=[3.0, 0.5]))
    assert not (result.config.output / "base").exists()
    assert (given / "model.safetensors").read_bytes() == before
    # The same seed, the same base: the same run.
    front, expected = result.front, plain.front
    assert front.ratios == [0.5, 1.0, 3.0]
    assert (front.metrics, front.at(1).main, front.at(1).points) == (expected.metrics, expected.main, expected.points)
    assert_had_again(result, test_lists)


@pytest.mark.slow
def test_resumed_it_does_what_is_missing(plain, make, tmp_path):
    output = tmp_path / "copy"
    shutil.copytree(plain.config.output, output)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.safetensors")}
    # All of it, then all but the front, then the base only.
    for gone in ((), ("front.json",), ("front.json", "done.json", "checkpoint/model.safetensors")):
        for name in gone:
            (output / name).unlink()
        (again,) = run(make("plain", output=output, resume=True))
        changed = {path for path, at in before.items() if path.stat().st_mtime_ns != at}
        assert changed == {output / name for name in gone if name.endswith("safetensors")}
        assert (again.front.metrics, again.front.main) == (plain.front.metrics, plain.front.main)
        assert (again.rankings, again.facts) == (plain.rankings, plain.facts)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["soup", "modpo"])
def test_a_method_alone_has_the_usual_run_folder(plain, make, method):
    given = str(plain.config.output / "base" / "checkpoint")
    (result,) = run(make(method, model__base=given, method=method, training__steps=6, grid__partitions=2))
    output, front = result.config.output, result.front
    assert {path.name for path in output.iterdir()} == {"config.yaml", "front.json", "seed-0"}
    assert front == Front.load(output / "front.json")
    assert (front.method, front.task, len(front.points)) == (method, "ranking", 3)
    assert result.facts["trainings"] == {"soup": 2, "modpo": 3}[method]


@pytest.mark.slow
def test_folds_and_their_mean(make, monkeypatch):
    short: dict[str, object] = {"data__folds": 2, "training__steps": 20, "ranker__base_steps": 20}
    *folds, mean = run(make("folds", **short))
    output = mean.config.output
    assert [fold.config.output for fold in folds] == [output / f"fold-{k}" for k in (1, 2)]
    assert [Front.load(fold.config.output / "front.json") for fold in folds] == [fold.front for fold in folds]
    assert Front.load(output / "front.json") == mean.front
    values = [fold.front.values("ndcg@10") for fold in folds]
    assert not np.allclose(*values)
    np.testing.assert_allclose(mean.front.values("ndcg@10"), (values[0] + values[1]) / 2)
    metric, parts = mean.front.metrics["ndcg@10"], [fold.front.metrics["ndcg@10"] for fold in folds]
    np.testing.assert_allclose(metric.base, np.mean([part.base for part in parts], 0))
    np.testing.assert_allclose(metric.reference_point, metric.base)
    assert metric.hypervolume_folds == [part.hypervolume for part in parts]
    np.testing.assert_allclose(mean.front.main.values, np.mean([fold.front.main.values for fold in folds], 0))
    assert mean.front.main.base == pytest.approx(np.mean([fold.front.main.base for fold in folds]))
    # Each fold has a base of its own, trained on its own lists.
    one, two = ((output / f"fold-{k}" / "base" / "checkpoint" / "model.safetensors").read_bytes() for k in (1, 2))
    assert one != two

    # Finished folds are not run again.
    monkeypatch.setattr(execute, "start_training", None)
    *_, again = run(make("folds", resume=True, **short))
    assert again.front == mean.front
