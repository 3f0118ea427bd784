"""Whole comparisons on Ray: equal terms for all methods, both budgets, folds, and workers that share a training."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front
from cosdpo.experiment.compare import check
from cosdpo.models.ranking_scorer import RankingScorer
from tests.experiment.compared import Compared, compared
from tests.tiny_models import settings

on_ray = pytest.mark.usefixtures("ray_of_two_cores")


class TestEqualTerms:
    def test_every_training_once(self, baselines):
        assert baselines.runs.keys() == {"single_0_1@6", "single_1_0@6", "single_0.5_0.5@6", "modpo_0.5_0.5@6"}
        assert baselines.counts == {
            ("linear_scalarization", "steps"): 3, ("soup", "steps"): 2, ("modpo", "steps"): 3,
        }  # fmt: skip

    def test_at_the_vertices_all_are_the_same_policy(self, baselines):
        linear = baselines.front("linear_scalarization")
        assert [point.weights for point in linear.points] == [[0, 1], [0.5, 0.5], [1, 0]]
        for method in ("soup", "modpo"):
            other = baselines.front(method)
            values = [[point.values for point in front.points] for front in (linear, other)]
            assert [a == b for a, b in zip(*values, strict=True)] == [True, False, True]
            for name, metric in linear.metrics.items():
                assert other.metrics[name].base == metric.base
                assert other.metrics[name].reference_point == metric.reference_point

    def test_training_is_charged_to_every_method_that_needs_it(self, baselines):
        trained = baselines.trained
        vertices = trained["single_0_1@6"], trained["single_1_0@6"]
        seconds = sum(run.seconds for run in vertices)
        (parameters,) = {run.parameters for run in trained.values()}
        for method, expected, count in (
            ("soup", seconds, 2),
            ("linear_scalarization", seconds + trained["single_0.5_0.5@6"].seconds, 3),
            # MO-DPO also pays for its margins.
            ("modpo", sum(run.seconds + run.reward_seconds for run in (*vertices, trained["modpo_0.5_0.5@6"])), 3),
        ):
            front = baselines.front(method)
            assert front.train_seconds_total == pytest.approx(expected)
            assert front.trained_parameters == count * parameters
        peaks = [run.peak_memory for name, run in trained.items() if not name.startswith("modpo")]
        assert baselines.result.results[0].peak_memory == max(peaks) > 0

    def test_only_margins_of_others_are_scored(self, baselines):
        # The middle's chosen objective is the first.
        scored = {name for name, path in baselines.runs.items() if (path / "rewards.parquet").exists()}
        assert scored == {"single_0_1@6"}
        assert {name for name, run in baselines.trained.items() if run.reward_seconds} == scored

    def test_the_middle_of_modpo_is_a_policy_of_its_own(self, baselines):
        modpo = RankingScorer.load(baselines.runs["modpo_0.5_0.5@6"] / "checkpoint")
        single = RankingScorer.load(baselines.runs["single_1_0@6"] / "checkpoint")
        assert modpo.card.trained_temperature == [1.0, 1.0]  # 0.5 / w_j
        assert not torch.equal(modpo.network.head.weight, single.network.head.weight)

    def test_what_is_written(self, baselines):
        output = baselines.config.output
        written = json.loads((output / "comparison.json").read_text())
        assert written["methods"].keys() >= {"linear_scalarization", "soup", "modpo"}
        assert pq.read_table(output / "points.parquet").num_rows == 3 * 3
        assert baselines.result.facts["cases"] == 1


@on_ray
@pytest.mark.slow
def test_by_time_the_trainings_are_shorter_and_the_conditioned_run_the_same(lists):
    both = compared(lists("budgets", "cos", "soup", comparison__budgets=["steps", "time"]))
    # By time, 6 // 2 = 3 steps for each of the soup's.
    singles = {f"{name}@{steps}" for name in ("single_0_1", "single_1_0") for steps in (3, 6)}
    assert both.runs.keys() == singles | {"cos@6"}
    assert all(run.steps == int(name.partition("@")[2]) for name, run in both.trained.items())
    assert both.counts == {(name, b): n for b in ("steps", "time") for name, n in (("cos", 1), ("soup", 2))}
    assert both.front("cos", "steps") == both.front("cos", "time")
    assert both.front("soup", "steps").metrics != both.front("soup", "time").metrics


@on_ray
@pytest.mark.slow
def test_folds_are_averaged_and_seeds_are_not(lists):
    config = lists("folds", "cos", data__folds=2, comparison__seeds=[0, 3])
    results = compared(config).result.results
    assert [result.front.seed for result in results] == [0, 3]
    for result in results:
        case = config.output / f"seed-{result.front.seed}"
        fronts = [Front.load(case / f"fold-{k}" / "cos-steps.json") for k in (1, 2)]
        found = [front.values("ndcg@10") for front in fronts]
        assert not np.allclose(*found)
        np.testing.assert_allclose(result.front.values("ndcg@10"), np.mean(found, 0))
        assert result.front.metrics["ndcg@10"].hypervolume_folds == [f.metrics["ndcg@10"].hypervolume for f in fronts]
    assert results[0].front.metrics != results[1].front.metrics


def assert_same(ours: Compared, right: Compared, tensors: float, rewards: float, values: float) -> None:
    """Trainings and fronts of two comparisons; each argument is a tolerance."""
    assert ours.runs.keys() == right.runs.keys()
    for name, path in right.runs.items():
        for expected in path.rglob("*.safetensors"):
            found = load_file(ours.runs[name] / expected.relative_to(path))
            for key, tensor in load_file(expected).items():
                # AdamW moves these along rounding errors alone.
                if not key.endswith(("qkv.bias", "network.norm.bias")):
                    torch.testing.assert_close(found[key], tensor, rtol=tensors, atol=tensors, msg=f"{name} {key}")
        if (path / "rewards.parquet").exists():
            columns = [pq.read_table(p / "rewards.parquet")["rewards"].to_pylist() for p in (ours.runs[name], path)]
            for row, other in zip(*columns, strict=True):
                difference = np.subtract(row, other)  # up to a number per context, which no loss sees
                np.testing.assert_allclose(difference, difference.mean(), atol=rewards)
        assert ours.trained[name].workers == 2 * right.trained[name].workers
    for mine, expected in zip(ours.result.results, right.result.results, strict=True):
        assert mine.front.metrics.keys() == expected.front.metrics.keys()
        for metric in expected.front.metrics:
            np.testing.assert_allclose(mine.front.values(metric), expected.front.values(metric), atol=values)
        assert mine.front.trained_parameters == expected.front.trained_parameters


@pytest.mark.slow
def test_two_workers_each_end_like_one(baselines, lists):
    ours = compared(lists("two", "linear_scalarization", "soup", "modpo", scaling__workers=2))
    assert_same(ours, baselines, tensors=1e-5, rewards=1e-5, values=1e-6)


@on_ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_on_a_sharded_base_all_methods_end_like_those_of_one_worker(words):
    methods = ("cos", "linear_scalarization", "soup", "modpo")
    written: dict[str, object] = {
        "evaluation__scorers": {"kind": "brevity", "short": "dialogue"},
        "evaluation__max_new_tokens": 8,
        "evaluation__prompts": 4,
    }
    ours = compared(words("sharded", *methods, scaling__strategy="fsdp", scaling__workers=2, **written))
    right = compared(words("one", *methods, **written))
    # One pair of the held-out that is turned over is a 24th.
    assert_same(ours, right, tensors=1e-4, rewards=1e-3, values=1e-3)
    assert ours.result.results[0].front.metrics.keys() == {"accuracy", "loss", "reward"}
    names = {path.name for path in (ours.config.output / "seed-0").iterdir()}
    assert names == {"runs", *(f"{name}-steps.json" for name in methods)}


@pytest.mark.parametrize(
    ("comparison", "message"),
    [
        ({"methods": []}, r"comparison\.methods is empty; name at least one"),
        ({"seeds": [1, 2, 1]}, r"comparison\.seeds names one twice; name each once"),
        ({"budgets": ["time", "time"]}, r"comparison\.budgets names one twice"),
        ({"cpus_per_run": 0.5}, r"comparison\.cpus_per_run 0\.5 is for runs of one worker"),
        ({"conditionings": ["gates"]}, r"comparison\.conditionings names 'gates'; a language model knows"),
    ],
)
def test_what_is_refused_before_any_data_is_read(tmp_path, comparison, message):
    config = settings("", output=tmp_path / "run", comparison=comparison, scaling__workers=2)
    with pytest.raises(InputError, match=f"^{message}"):
        check(config)
