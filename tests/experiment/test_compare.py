"""Whole comparisons on Ray: equal terms, going on after a kill, and runs that fail. Tiny models, few steps."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front
from cosdpo.evaluation.profile import profile
from cosdpo.experiment.compare import Done, _kept_front, execute, print_results, run_method
from cosdpo.experiment.results.result import Result
from cosdpo.models.averaging import average
from cosdpo.models.ranking_scorer import RankingScorer
from cosdpo.simplex import das_dennis
from cosdpo.tasks import language, ranking
from tests.fake_results import result as fake_result

VERTICES = {"single_0_1@6", "single_1_0@6"}

pytestmark = pytest.mark.usefixtures("ray_of_two_cores")


@dataclass(frozen=True)
class Compared:
    """A finished comparison."""

    config: Config
    done: Done

    def front(self, method: str, seed: int = 0) -> Front:
        (found,) = [r.front for r in self.done.results if (r.front.method, r.front.seed) == (method, seed)]
        return found

    def runs(self, case: str = "seed-0") -> dict[str, Path]:
        return {path.name: path for path in (self.config.output / case / "runs").iterdir()}


def values(front: Front) -> dict[str, object]:
    return {name: front.values(name).tolist() for name in front.metrics}


METHODS = ("linear_scalarization", "soup")


@pytest.fixture(scope="module")
def compared_words(words) -> Compared:
    config = words("words", *METHODS)
    return Compared(config, execute(config))


@pytest.fixture(scope="module")
def compared_lists(lists) -> Compared:
    config = lists("lists", *METHODS)
    return Compared(config, execute(config))


@pytest.fixture(scope="module", params=["lists", pytest.param("words", marks=pytest.mark.slow)])
def compared(request) -> Compared:
    """Both baselines on rankers, and on language models."""
    return request.getfixturevalue(f"compared_{request.param}")


class TestEqualTerms:
    def test_single_objective_runs_are_trained_once_for_both(self, compared):
        assert compared.runs().keys() == VERTICES | {"single_0.5_0.5@6"}
        assert compared.done.failures == {}
        assert [(r.front.method, r.budget, r.runs) for r in compared.done.results] == [
            ("linear_scalarization", "steps", 3),
            ("soup", "steps", 2),
        ]

    def test_at_the_vertices_both_are_the_same_policy(self, compared):
        linear, soup = compared.front("linear_scalarization"), compared.front("soup")
        assert [point.weights for point in linear.points] == [[0, 1], [0.5, 0.5], [1, 0]]
        for one, other in zip(linear.points, soup.points, strict=True):
            if 0.5 not in one.weights:
                assert other.values == one.values
        assert values(linear) != values(soup)
        for name, metric in linear.metrics.items():
            assert soup.metrics[name].base == metric.base
            assert soup.metrics[name].reference_point == metric.reference_point

    def test_training_is_charged_to_every_method_that_needs_it(self, compared):
        done = {name: json.loads((path / "done.json").read_text()) for name, path in compared.runs().items()}
        linear, soup = compared.front("linear_scalarization"), compared.front("soup")
        assert linear.train_seconds_total == pytest.approx(sum(run["seconds"] for run in done.values()))
        assert soup.train_seconds_total == pytest.approx(sum(done[name]["seconds"] for name in VERTICES))
        (parameters,) = {run["parameters"] for run in done.values()}
        if compared.config.task == "language":
            # GPT-2's four matrices per layer of 2, in + out of 16 + 48, 16 + 16, 16 + 64 and 64 + 16 at rank 4.
            assert parameters == 4 * 2 * (64 + 32 + 80 + 80)
        assert (linear.trained_parameters, soup.trained_parameters) == (3 * parameters, 2 * parameters)
        peaks = [run["peak_memory"] for run in done.values()]
        assert compared.done.results[0].peak_memory == max(peaks) > 0

    def test_what_is_printed(self, compared, capsys):
        print_results(compared.config, compared.done.results)
        lines = capsys.readouterr().out.splitlines()
        soup = compared.front("soup")
        for name, metric in soup.metrics.items():
            assert (
                f"soup (steps) {name}: hypervolume {metric.hypervolume:.4g} ± 0 over 1 seeds, 2 runs, "
                f"{soup.train_seconds_total:.0f} s of training"
            ) in lines
        assert lines[-1] == f"report: {compared.config.output / 'report.html'}"


@pytest.mark.slow
def test_the_middle_of_the_soup_is_the_average_of_its_ends(compared_words):
    config = compared_words.config
    shares = {compared_words.runs()[name] / "checkpoint": 0.5 for name in VERTICES}
    scorer = average(shares, torch.float32, torch.device("cpu"))
    task = language.LanguageTask.prepare(config)
    task.add_reference()
    measured = profile(scorer, task.held_out, np.array([0.5, 0.5]), np.array([0.5, 0.7]), 1000)
    point = compared_words.front("soup").points[1].values
    assert point["loss"] == pytest.approx(measured.loss.tolist(), abs=1e-5)
    assert point["accuracy"] == pytest.approx(measured.accuracy.tolist(), abs=1e-6)


def test_resumed_it_does_what_is_missing_and_nothing_else(compared_lists, lists, tmp_path):
    compared, folder = compared_lists, tmp_path / "copy"
    shutil.copytree(compared.config.output, folder)
    case = folder / "seed-0"
    for path in (case / "runs" / "single_1_0@6" / "done.json", case / "soup-steps.json"):
        path.unlink()
    shutil.rmtree(case / "runs" / "single_1_0@6" / "checkpoint")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}

    config = lists("lists", *METHODS, resume=True, output=folder)
    again = Compared(config, execute(config))
    assert again.runs().keys() == compared.runs().keys()
    for path, (content, at) in before.items():
        if path.parent.name != "single_1_0@6" and path.name != "config.yaml":
            assert (path.read_bytes(), path.stat().st_mtime_ns) == (content, at), path
    # Trained again from the same seed, and measured again: the same front.
    assert (case / "runs" / "single_1_0@6" / "done.json").exists()
    assert values(again.front("soup")) == values(compared.front("soup"))
    assert again.front("linear_scalarization") == compared.front("linear_scalarization")


def test_resumed_with_another_evaluation_it_measures_again(compared_lists, lists, tmp_path):
    compared, folder = compared_lists, tmp_path / "copy"
    shutil.copytree(compared.config.output, folder)
    before = {path: path.stat().st_mtime_ns for path in (folder / "seed-0").rglob("*") if path.is_file()}
    config = lists("lists", *METHODS, resume=True, output=folder, evaluation__batch_tokens=7)
    again = Compared(config, execute(config))
    changed = {path.name for path, at in before.items() if path.stat().st_mtime_ns != at}
    assert changed == {"linear_scalarization-steps.json", "soup-steps.json"}
    np.testing.assert_allclose(again.front("soup").values("ndcg@10"), compared.front("soup").values("ndcg@10"))


@pytest.fixture
def failing(monkeypatch) -> None:
    """No scorer can be made for the weights in the middle."""
    create = ranking._create

    def broken(config: Config, device: torch.device) -> RankingScorer:
        if config.training.weights == [0.5, 0.5]:
            raise ValueError("no such\nweights")
        return create(config, device)

    monkeypatch.setattr(ranking, "_create", broken)


@pytest.mark.slow
class TestFailure:
    def test_the_other_methods_are_finished(self, lists, failing, monkeypatch, capsys):
        config = lists("failing", "linear_scalarization", "soup")
        done = execute(config)
        assert [result.front.method for result in done.results] == ["soup"]
        assert done.failures == {
            "seed-0 single_0.5_0.5@6": "ValueError: no such",
            "seed-0 measure linear_scalarization (steps)": "needs seed-0 single_0.5_0.5@6, which failed",
        }
        assert "seed-0 single_0.5_0.5@6 failed: ValueError: no such" in capsys.readouterr().err

        # Mended, it goes on with what failed.
        monkeypatch.undo()
        again = execute(lists("failing", "linear_scalarization", "soup", resume=True))
        assert again.failures == {}
        assert [result.front.method for result in again.results] == ["linear_scalarization", "soup"]
        assert again.results[1].front == done.results[0].front

    def test_nothing_could_be_finished(self, lists, failing):
        with pytest.raises(InputError, match=r"no method could be finished: ValueError: no such; mend it and --resume"):
            execute(lists("hopeless", "linear_scalarization"))

    def test_a_method_alone(self, lists, failing):
        with pytest.raises(InputError, match=r"single_0\.5_0\.5@6 failed|no method could be finished"):
            run_method(lists("alone", method="linear_scalarization"))


def test_more_cpus_for_a_run_than_there_are(lists, folder):
    with pytest.raises(InputError, match=r"a run needs 8 CPUs and 0 GPUs, the cluster has 2 and 0: lower comparison"):
        execute(lists("crowd", comparison__cpus_per_run=8))
    assert not (folder / "crowd").exists()


@pytest.fixture(scope="module")
def rankers(lists) -> Compared:
    config = lists("rankers", "cos", "soup", "modpo", comparison__budgets=["steps", "time"])
    return Compared(config, execute(config))


@pytest.mark.slow
class TestBudgets:
    def test_every_training_once(self, rankers):
        # By steps: cos, two single runs and MO-DPO's middle, 6 steps each; by time 6 // 3 = 2 steps for each of
        # MO-DPO's three, 6 // 2 = 3 for the soup.
        of_modpo = {"single_0_1", "single_1_0", "modpo_0.5_0.5"}
        expected = {f"{name}@{steps}" for name in of_modpo for steps in (6, 2)} | {
            "cos@6", "single_0_1@3", "single_1_0@3",
        }  # fmt: skip
        assert rankers.runs().keys() == expected
        for name, path in rankers.runs().items():
            assert json.loads((path / "done.json").read_text())["steps"] == int(name.partition("@")[2])

    def test_results(self, rankers):
        assert rankers.done.failures == {}
        runs = {(r.front.method, r.budget): r.runs for r in rankers.done.results}
        assert len(rankers.done.results) == len(runs)
        assert runs == {
            (name, budget): count
            for budget in ("steps", "time")
            for name, count in (("cos", 1), ("soup", 2), ("modpo", 3))
        }

    def results(self, rankers: Compared, budget: str) -> dict[str, Result]:
        return {r.front.method: r for r in rankers.done.results if r.budget == budget}

    def test_baselines_agree_at_the_vertices(self, rankers):
        found = {name: r.front for name, r in self.results(rankers, "steps").items()}
        soup, modpo = (found[name].values("ndcg@10") for name in ("soup", "modpo"))
        np.testing.assert_array_equal(modpo[[0, 2]], soup[[0, 2]])
        assert found["cos"].metrics["ndcg@10"].base == found["soup"].metrics["ndcg@10"].base

    def test_the_conditioned_run_is_the_same_under_both(self, rankers):
        by_steps, by_time = (self.results(rankers, budget)["cos"].front for budget in ("steps", "time"))
        assert by_steps == by_time

    def test_modpo_pays_for_its_margins(self, rankers):
        done = {name: json.loads((path / "done.json").read_text()) for name, path in rankers.runs().items()}
        found = self.results(rankers, "steps")
        names = ["single_0_1@6", "single_1_0@6", "modpo_0.5_0.5@6"]
        expected = sum(done[name]["seconds"] + done[name]["reward_seconds"] for name in names)
        assert found["modpo"].front.train_seconds_total == pytest.approx(expected)
        assert found["soup"].front.train_seconds_total == pytest.approx(sum(done[n]["seconds"] for n in names[:2]))
        # Only what is a margin of another run was scored: the middle's chosen objective is the first.
        scored = {name for name, path in rankers.runs().items() if (path / "rewards.parquet").exists()}
        assert scored == {"single_0_1@6", "single_0_1@2"}

    def test_the_middle_of_modpo_is_a_policy_of_its_own(self, rankers):
        checkpoints = rankers.runs()
        modpo = RankingScorer.load(checkpoints["modpo_0.5_0.5@6"] / "checkpoint")
        single = RankingScorer.load(checkpoints["single_1_0@6"] / "checkpoint")
        assert modpo.card.trained_temperature == [1.0, 1.0]  # 0.5 / w_j
        assert not torch.equal(modpo.network.head.weight, single.network.head.weight)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["soup", "modpo"])
def test_a_method_alone_writes_the_usual_run_folder(lists, words, method):
    configs = [lists(f"{method}-lists", method=method), words(f"{method}-words", method=method)]
    for config in configs[: 2 if method == "soup" else 1]:
        front = run_method(config)
        names = {path.name for path in config.output.iterdir()}
        assert names >= {"config.yaml", "front.json", "front.png", "report.html", "seed-0"}
        assert front == Front.load(config.output / "front.json")
        assert (front.method, front.task, len(front.points)) == (method, config.task, 3)
        report = (config.output / "report.html").read_text()
        assert method in report
        assert 'src="http' not in report


@pytest.mark.slow
def test_folds_are_averaged_and_seeds_are_not(lists):
    config = lists("folds", "cos", data__folds=2, comparison__seeds=[0, 3])
    done = execute(config)
    assert [result.front.seed for result in done.results] == [0, 3]
    for result in done.results:
        case = config.output / f"seed-{result.front.seed}"
        fronts = [Front.load(case / f"fold-{k}" / "cos-steps.json") for k in (1, 2)]
        found = [front.values("ndcg@10") for front in fronts]
        assert not np.allclose(*found)
        np.testing.assert_allclose(result.front.values("ndcg@10"), np.mean(found, 0))
        assert result.front.metrics["ndcg@10"].hypervolume_folds == [f.metrics["ndcg@10"].hypervolume for f in fronts]
    assert values(done.results[0].front) != values(done.results[1].front)


def test_a_front_that_was_measured_on_another_grid_is_not_kept(tmp_path):
    front = fake_result(partitions=4).front
    front.save(tmp_path / "front.json")
    assert _kept_front(tmp_path / "front.json", das_dennis(2, 4)) == front
    assert _kept_front(tmp_path / "front.json", das_dennis(2, 2)) is None
    assert _kept_front(tmp_path / "absent.json", das_dennis(2, 4)) is None
