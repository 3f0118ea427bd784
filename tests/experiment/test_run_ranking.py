"""Whole runs of rankers on Ray: what they leave behind, and that the front can be had again from the checkpoint."""

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

from cosdpo import cross_validation
from cosdpo.config import Config
from cosdpo.data import letor
from cosdpo.data.query_lists import QueryLists
from cosdpo.evaluation.front import Front
from cosdpo.models.ranking_scorer import BaseRanker, RankingScorer
from cosdpo.tasks import ranking
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
def plain(make) -> tuple[Config, Front]:
    """The run that the others are compared with."""
    config = make("plain")
    return config, cross_validation.run(config)


@pytest.fixture(scope="module")
def test_lists(folder, plain) -> QueryLists:
    return letor.load(folder / "data" / "test.txt", {"a": 11, "b": 12})


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
    def test_it_holds_what_design_names(self, plain):
        config, _ = plain
        names = {path.name for path in config.output.iterdir()}
        assert names >= {
            "base", "config.yaml", "metrics.jsonl", "checkpoint", "front.json", "front.png", "report.html",
        }  # fmt: skip
        for checkpoint in (config.output / "checkpoint", config.output / "base" / "checkpoint"):
            assert {path.name for path in checkpoint.iterdir()} == {"cosdpo.json", "model.safetensors"}
        for place, last, keys in (("", 100, {"loss/a", "loss/b"}), ("base", 40, {"loss/relevance"})):
            lines = [json.loads(line) for line in (config.output / place / "metrics.jsonl").read_text().splitlines()]
            assert [line["step"] for line in lines] == list(range(5, last + 1, 5))
            assert keys | {"loss", "seconds", "documents_per_second"} <= lines[-1].keys()

    def test_front_json(self, plain):
        config, returned = plain
        front = json.loads((config.output / "front.json").read_text())
        assert Front.load(config.output / "front.json") == returned
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
        values = plain[1].values("ndcg@10")  # from (0, 1) to (1, 0)
        assert values[-1, 0] > values[0, 0] + 0.05
        assert values[0, 1] > values[-1, 1] + 0.1
        assert plain[1].metrics["ndcg@10"].hypervolume > 0

    def test_the_weights_steer_what_rankings_train(self, plain, make):
        base = plain[0].output / "base" / "checkpoint"
        front = cross_validation.run(make("rankings", data__comparisons="rankings", model__base=str(base)))
        values = front.values("ndcg@10")
        assert values[-1, 0] > values[0, 0] + 0.05
        assert values[0, 1] > values[-1, 1] + 0.1
        assert front.metrics["ndcg@10"].hypervolume > 0

    def test_the_base_has_learnt_the_main_label(self, plain):
        _, front = plain
        assert front.main is not None
        # An order at random reaches about 0.72 here.
        assert front.main.base > 0.85

    def test_the_report_shows_rankings(self, plain):
        config, _ = plain
        report = (config.output / "report.html").read_text()
        for word in ("ndcg@10", "relevance", "query q"):
            assert word in report.lower()
        assert 'src="http' not in report
        shown = json.loads((config.output / "samples.json").read_text())
        assert len(shown) == 3
        for query in shown:
            assert query["labels"].keys() == {"relevance", "a", "b"}
            assert query["orders"][0]["weights"] == [1, 0]
            assert all(sorted(order["order"]) == list(range(DOCUMENTS)) for order in query["orders"])

    def test_the_example_is_a_held_out_query(self, plain, test_lists):
        config, _ = plain
        rows = json.loads((config.output / "example.json").read_text())["features"]
        np.testing.assert_allclose(rows, test_lists.features[:DOCUMENTS], rtol=1e-6)


class TestCheckpoint:
    def test_the_front_can_be_had_again(self, plain, test_lists):
        config, front = plain
        scorer = RankingScorer.load(config.output / "checkpoint")
        for point, main in zip(front.points, front.main.values, strict=True):
            a, b, relevance = by_hand(test_lists, lambda rows, w=point.weights: scorer.score(rows, w))
            assert point.values["ndcg@10"] == pytest.approx([a, b], abs=1e-6)
            assert main == pytest.approx(relevance, abs=1e-6)

    def test_the_base_is_the_reference_point(self, plain, test_lists):
        config, front = plain
        scorer = RankingScorer.load(config.output / "checkpoint")
        base = BaseRanker.load(config.output / "base" / "checkpoint")
        for name, tensor in base.state_dict().items():
            assert torch.equal(scorer.base.state_dict()[name], tensor)
        # At an enormous temperature the ranker is its base.
        a, b, relevance = by_hand(test_lists, lambda rows: scorer.score(rows, [0.5, 0.5], 1e9))
        assert front.metrics["ndcg@10"].base == pytest.approx([a, b], abs=1e-6)
        assert front.main.base == pytest.approx(relevance, abs=1e-6)


@pytest.mark.slow
def test_a_given_base_is_not_trained_again(plain, make, monkeypatch):
    config, front = plain
    monkeypatch.setattr(ranking, "train_base", None)
    given = config.output / "base" / "checkpoint"
    before = (given / "model.safetensors").read_bytes()
    again = run(make("given", model__base=str(given)))
    assert not (make("given").output / "base").exists()
    assert (given / "model.safetensors").read_bytes() == before
    # The same seed, the same base: the same run.
    assert again.metrics == front.metrics
    assert again.main == front.main


@pytest.mark.slow
def test_a_front_at_several_temperatures(plain, make, test_lists):
    plain_config, expected = plain
    given = str(plain_config.output / "base" / "checkpoint")
    config = make("temperatures", model__base=given, grid__temperatures=[3.0, 0.5])
    front = run(config)
    assert front.ratios == [0.5, 1.0, 3.0]
    assert (front.metrics, front.at(1).main, front.at(1).points) == (expected.metrics, expected.main, expected.points)
    scorer = RankingScorer.load(config.output / "checkpoint")
    for point, main in zip(front.points, front.main.values, strict=True):
        a, b, relevance = by_hand(test_lists, lambda rows, p=point: scorer.score(rows, p.weights, p.temperature))
        assert point.values["ndcg@10"] == pytest.approx([a, b], abs=1e-6)
        assert main == pytest.approx(relevance, abs=1e-6)
    assert (config.output / "front-temperature.png").stat().st_size > 10_000
    assert not (plain_config.output / "front-temperature.png").exists()


@pytest.mark.slow
def test_a_finished_run_is_measured_again(plain, make, monkeypatch):
    config, front = plain
    before = load_file(config.output / "checkpoint" / "model.safetensors")
    again = cross_validation.run(make("plain", resume=True))
    for name, tensor in load_file(config.output / "checkpoint" / "model.safetensors").items():
        assert torch.equal(tensor, before[name])
    assert again.metrics == front.metrics


@pytest.mark.slow
def test_a_run_that_was_cut_short_is_gone_on_with(plain, make, monkeypatch):
    _, front = plain
    config = make("cut")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("cosdpo.run.train", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    base = (config.output / "base" / "checkpoint" / "model.safetensors").read_bytes()
    assert not (config.output / "front.json").exists()
    again = run(make("cut", resume=True))
    assert (config.output / "base" / "checkpoint" / "model.safetensors").read_bytes() == base
    assert again.metrics == front.metrics


@pytest.mark.slow
def test_two_workers_end_like_one(plain, make):
    config, front = plain
    given = str(config.output / "base" / "checkpoint")
    two = run(make("two", scaling__workers=2, training__micro_batch=2, model__base=given))
    np.testing.assert_allclose(two.values("ndcg@10"), front.values("ndcg@10"), atol=0.01)


@pytest.mark.slow
def test_folds_and_their_mean(make, monkeypatch):
    config = make("folds", data__folds=2, training__steps=20, ranker__base_steps=20)
    mean = cross_validation.run(config)
    fronts = [Front.load(config.output / f"fold-{k}" / "front.json") for k in (1, 2)]
    assert Front.load(config.output / "front.json") == mean
    values = [front.values("ndcg@10") for front in fronts]
    assert not np.allclose(*values)
    np.testing.assert_allclose(mean.values("ndcg@10"), (values[0] + values[1]) / 2)
    metric, parts = mean.metrics["ndcg@10"], [front.metrics["ndcg@10"] for front in fronts]
    np.testing.assert_allclose(metric.base, np.mean([part.base for part in parts], 0))
    np.testing.assert_allclose(metric.reference_point, metric.base)
    assert metric.hypervolume_folds == [part.hypervolume for part in parts]
    np.testing.assert_allclose(mean.main.values, np.mean([front.main.values for front in fronts], 0))
    assert mean.main.base == pytest.approx(np.mean([front.main.base for front in fronts]))
    assert "fold" in (config.output / "report.html").read_text()
    # Each fold has a base of its own, trained on its own lists.
    weights = [(config.output / f"fold-{k}" / "base" / "checkpoint" / "model.safetensors").read_bytes() for k in (1, 2)]
    assert weights[0] != weights[1]

    # Finished folds are not run again.
    monkeypatch.setattr("cosdpo.run.train", None)
    resumed = make("folds", data__folds=2, training__steps=20, ranker__base_steps=20, resume=True)
    assert cross_validation.run(resumed).metrics == mean.metrics
