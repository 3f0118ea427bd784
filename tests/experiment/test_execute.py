"""Whole experiments on Ray: every training once, going on with what is missing, and steps that fail."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front
from cosdpo.evaluation.profile import profile
from cosdpo.experiment import compare, plan
from cosdpo.experiment.execute import Executed, execute
from cosdpo.experiment.run import run
from cosdpo.models.averaging import average
from cosdpo.models.ranking_scorer import RankingScorer
from cosdpo.tasks.language import LanguageTask
from cosdpo.tasks.ranking import ranking_task
from cosdpo.training import run_folder

pytestmark = pytest.mark.usefixtures("ray_of_two_cores")

VERTICES = {"single_0_1@6", "single_1_0@6"}


def executed(config: Config) -> Executed:
    return execute(config, plan.cases(config))


def fronts(done: Executed) -> dict[str, Front]:
    """Of all methods that were finished."""
    return {
        entry.name: front
        for of_case in done.prepared
        for entry in of_case.entries
        if (front := done.front(of_case.case, entry)) is not None
    }


@pytest.fixture
def copy(baselines, lists, tmp_path) -> Callable[..., Config]:
    """The configuration that goes on with the soup of a copy of the finished comparison."""
    folder = tmp_path / "copy"
    shutil.copytree(baselines.config.output, folder)
    return lambda **changes: lists("", "soup", **{"resume": True, "output": folder, **changes})


def files(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Content and time of all files but the configuration, which every start writes."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != "config.yaml"]
    return {path.relative_to(folder): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def test_what_is_left_of_the_trainings(copy):
    config = copy()
    before = files(config.output)
    done = executed(config)
    assert files(config.output) == before  # all of it was there
    case, (entry,) = done.prepared[0].case, done.prepared[0].entries
    assert done.schedule.failures == {}
    folder = config.output / "seed-0"
    methods = ("linear_scalarization", "soup", "modpo")
    assert {path.name for path in folder.iterdir()} == {
        "data.json", "runs", *(f"{method}-steps.json" for method in methods),
    }  # fmt: skip
    for path in (folder / "runs" / name for name in VERTICES):
        written = {file.name for file in path.iterdir()} - {"rewards.parquet"}  # of one, for MO-DPO
        assert written == {"checkpoint", "done.json", "metrics.jsonl", "tensorboard"}
    front, trained = done.front(case, entry), done.trained(case, entry)
    assert front == Front.load(folder / "soup-steps.json")
    assert front.train_seconds_total == pytest.approx(sum(run.seconds for run in trained))
    assert front.train_seconds == pytest.approx(front.train_seconds_total / 2)
    assert front.trained_parameters == sum(run.parameters for run in trained)


def test_resumed_it_does_what_is_missing_and_nothing_else(baselines, copy):
    config = copy()
    case = config.output / "seed-0"
    place = case / "runs" / "single_1_0@6"
    (case / "soup-steps.json").unlink()
    (place / "done.json").unlink()
    shutil.rmtree(place / "checkpoint")
    before = files(config.output)
    again = executed(config)
    after = files(config.output)
    for path, kept in before.items():
        if "single_1_0@6" not in path.parts:
            assert after[path] == kept, path
    # Trained again from the same seed, and measured again: the same front.
    assert (place / "done.json").exists()
    assert fronts(again)["soup"].metrics == baselines.front("soup").metrics


def test_epochs_go_on_as_the_steps_that_they_are(copy):
    """20 lists in batches of 8 are 2 steps."""
    config = copy(training__steps=0, training__epochs=3)
    before = files(config.output)
    executed(config)
    assert files(config.output) == before  # nothing was missing
    training = run_folder.stored(config.output)["training"]
    assert (training["steps"], training["epochs"]) == (6, 0)
    with pytest.raises(InputError, match=r"started with training.steps 6, training.epochs 2 are 4"):
        executed(config.changed({"training.epochs": 2}))


def test_other_data_is_refused(copy, folder, tmp_path):
    config = copy()
    shutil.copytree(folder / "data", tmp_path / "data")
    path = tmp_path / "data" / "train.txt"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(InputError, match=r"^the training data is not what output \S+ was started with"):
        executed(config.changed({"data.train": str(tmp_path / "data")}))


@pytest.mark.slow
def test_resumed_with_another_evaluation_it_measures_again(baselines, copy):
    config = copy(evaluation__batch_tokens=7)
    before = files(config.output)
    again = executed(config)
    assert {path.name for path, kept in files(config.output).items() if before[path] != kept} == {"soup-steps.json"}
    expected = baselines.front("soup").values("ndcg@10")
    np.testing.assert_allclose(fronts(again)["soup"].values("ndcg@10"), expected)


@pytest.mark.slow
def test_resumed_with_another_grid_it_measures_again(baselines, copy):
    front = fronts(executed(copy(grid__partitions=4)))["soup"]
    assert len(front.points) == 5
    np.testing.assert_allclose(front.values("ndcg@10")[::2], baselines.front("soup").values("ndcg@10"))


def test_more_cpus_for_a_run_than_there_are(lists):
    config = lists("crowd", "soup", comparison__cpus_per_run=8)
    with pytest.raises(InputError, match=r"a run needs 8 CPUs and 0 GPUs, the cluster has 2 and 0: lower comparison"):
        executed(config)
    assert not config.output.exists()


@pytest.mark.slow
class TestFailure:
    @pytest.fixture
    def failing(self, monkeypatch) -> None:
        """No scorer can be made for the weights in the middle."""
        create = ranking_task._create

        def broken(config: Config, device: torch.device) -> RankingScorer:
            if config.training.weights == [0.5, 0.5]:
                raise ValueError("no such\nweights")
            return create(config, device)

        monkeypatch.setattr(ranking_task, "_create", broken)

    def test_the_other_methods_are_finished(self, lists, failing, monkeypatch, capsys):
        done = executed(lists("failing", "linear_scalarization", "soup"))
        assert done.schedule.failures == {
            "seed-0 single_0.5_0.5@6": "ValueError: no such",
            "seed-0 measure linear_scalarization (steps)": "needs seed-0 single_0.5_0.5@6, which failed",
        }
        assert "seed-0 single_0.5_0.5@6 failed: ValueError: no such" in capsys.readouterr().err
        results, failures = compare.gathered(done)
        assert [result.front.method for result in results] == ["soup"]
        assert failures == done.schedule.failures

        # Mended, it goes on with what failed.
        monkeypatch.undo()
        again = executed(lists("failing", "linear_scalarization", "soup", resume=True))
        assert again.schedule.failures == {}
        assert fronts(again).keys() == {"linear_scalarization", "soup"}
        assert fronts(again)["soup"] == results[0].front

    @pytest.mark.parametrize("alone", [False, True])
    def test_nothing_could_be_finished(self, lists, failing, alone):
        method = "linear_scalarization"
        config = lists(f"hopeless-{alone}", method, **({"method": method} if alone else {}))
        with pytest.raises(InputError, match=r"no method could be finished: ValueError: no such; mend it and --resume"):
            list(run(config)) if alone else compare.compare(config)

    def test_a_base_that_could_not_be_trained(self, lists):
        config = lists("no-base", "soup", model__base="", ranker__base_learning_rate=1e30, training__clip=1e30)
        with pytest.raises(InputError, match=r"^the loss is not finite at step .*lower training\.learning_rate"):
            executed(config)


@pytest.mark.slow
def test_a_base_is_trained_once_for_all_methods(lists):
    config = lists("with-base", "soup", model__base="", ranker__base_steps=3)
    done = executed(config)
    place = config.output / "seed-0" / "base"
    assert json.loads((place / "done.json").read_text())["steps"] == 3
    assert done.prepared[0].task.config.model.base == str(place / "checkpoint")
    base = load_file(place / "checkpoint" / "model.safetensors")
    for name in VERTICES:
        trained = RankingScorer.load(config.output / "seed-0" / "runs" / name / "checkpoint")
        assert all(torch.equal(trained.base.state_dict()[key], tensor) for key, tensor in base.items())


@pytest.mark.slow
def test_states_of_the_trainings_go_where_storage_says(lists, tmp_path):
    place = tmp_path / "elsewhere"
    config = lists("stored", "soup", scaling__storage=str(place), scaling__workers=2)
    executed(config)
    assert {path.name for path in (place / "seed-0" / "runs").iterdir()} == VERTICES
    assert not list(config.output.rglob("checkpoint_0*"))


@pytest.mark.slow
def test_the_middle_of_a_soup_is_the_average_of_its_ends(words):
    config = words("soup-words", "soup")
    done = executed(config)
    shares = {config.output / "seed-0" / "runs" / name / "checkpoint": 0.5 for name in VERTICES}
    scorer = average(shares, torch.float32, torch.device("cpu"))
    task = LanguageTask.prepare(config)
    task.add_reference()
    measured = profile(scorer, task.held_out, np.array([0.5, 0.5]), np.array([0.5, 0.7]), 1000)
    front = fronts(done)["soup"]
    point = front.points[1].values
    assert point["loss"] == pytest.approx(measured.loss.tolist(), abs=1e-5)
    assert point["accuracy"] == pytest.approx(measured.accuracy.tolist(), abs=1e-6)
    # GPT-2's four matrices per layer of 2, in + out of 16 + 48, 16 + 16, 16 + 64 and 64 + 16 at rank 4; two trainings.
    assert front.trained_parameters == 2 * 4 * 2 * (64 + 32 + 80 + 80)
