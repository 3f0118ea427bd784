"""Whole sweeps on Ray: what they leave behind, early stopping, and going on after a SIGKILL. Tiny models, few steps."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import optuna
import pyarrow.parquet as pq
import pytest
import yaml

from cosdpo.cli.command_line import read_config
from cosdpo.config import Config
from cosdpo.evaluation.front import Front
from cosdpo.experiment.run import run
from cosdpo.experiment.sweep.record import records
from cosdpo.experiment.sweep.sweep import sweep
from cosdpo.experiment.sweep.sweep_result import SweepResult
from tests import tiny_rankers
from tests.tiny_models import rows, settings, write_model, write_rows
from tests.tiny_rankers import query_lists, write_letor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.usefixtures("ray_of_two_cores")]
ROOT = Path(__file__).parents[3]
USUAL = {"config.yaml", "metrics.jsonl", "checkpoint", "front.json", "trial.json"}
Make = Callable[..., Config]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Bases, data, and an own cache."""
    path = tmp_path_factory.mktemp("sweep")
    write_model(path / "model", "gpt2-tied")
    write_rows(path / "train.jsonl", rows(24, 0))
    write_letor(path / "data" / "train.txt", query_lists(*[6] * 20, seed=0))
    write_letor(path / "data" / "vali.txt", query_lists(*[6] * 8, seed=1))
    write_letor(path / "data" / "test.txt", query_lists(*[6] * 8, seed=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSDPO_CACHE", str(path / "cache"))
        yield path


@pytest.fixture(scope="module")
def make(folder) -> Make:
    """A sweep over temperature and learning rate of a tiny language model."""

    def configure(name: str, **changes: object) -> Config:
        defaults: dict[str, object] = {
            "output": folder / name,
            "data__train": str(folder / "train.jsonl"),
            # Judged on what it is trained on, where even a tiny model beats its base.
            "data__validation": str(folder / "train.jsonl"),
            "training__steps": 24,
            "grid__partitions": 4,
            "evaluation__max_new_tokens": 4,
            "sweep__space": {
                "temperature": "loguniform(0.1, 1)",
                "training.learning_rate": "loguniform(1e-4, 5e-2)",
                "conditioning": "choice(gated_lora, both)",
            },
            "sweep__samples": 4,
            # The front of a tiny model is hardly above its base, but the weights steer it.
            "sweep__metrics": ["controllability/loss"],
        }
        return settings(folder / "model", **{**defaults, **changes})

    return configure


@pytest.fixture(scope="module")
def swept(make) -> SweepResult:
    """Six trials with early stopping, three of which learn nothing."""
    rates = {"training.learning_rate": "grid(0.01, 0.02, 0.03, 1e-12, 2e-12, 3e-12)"}
    asha = {"sweep__scheduler": "asha", "sweep__reduction_factor": 2, "evaluation__front_every": 6}
    return sweep(make("asha", sweep__space=rates, sweep__search="grid", **asha))


def values(front: Front) -> dict[str, object]:
    return {name: front.values(name).tolist() for name in front.metrics}


def rerun(swept: SweepResult) -> dict[str, object]:
    """What best.yaml gives."""
    (again,) = run(read_config(["--config", str(swept.config.output / "best.yaml")]))
    return values(again.front)


def test_every_trial_is_a_run_folder_of_the_usual_form(swept):
    folders = sorted((swept.config.output / "trials").iterdir())
    assert len(folders) == 6
    for folder in folders:
        names = {path.name for path in folder.iterdir()}
        assert names >= USUAL
        assert "training" not in names  # states are of no use any more
    assert [run.config.output for run in swept.runs()] == [
        swept.config.output / "trials" / trial.name for trial in swept.trials
    ]


def test_asha_stops_trials_before_their_last_step(swept):
    stopped = [trial for trial in swept.trials if trial.state == "stopped"]
    assert stopped
    assert all(trial.settings["training.learning_rate"] < 1e-11 for trial in stopped)
    assert all(6 <= trial.last["step"] < 24 for trial in stopped)
    assert all(len(trial.history) == trial.last["step"] / 6 for trial in swept.trials)
    assert swept.count("finished") + len(stopped) == 6


def test_the_reference_point_is_the_same_for_all(swept):
    points = [front.metrics["loss"].reference_point for front in swept.fronts.values()]
    assert points == [points[0]] * 6


def test_best_yaml_run_again_gives_the_same_front(swept):
    assert rerun(swept) == values(swept.fronts[swept.best.name])


def test_the_table_holds_every_front(swept):
    table = pq.read_table(swept.config.output / "trials.parquet")
    assert table.num_rows == sum(len(trial.history) for trial in swept.trials)
    assert {"trial", "state", "training.learning_rate", "step", "hypervolume/accuracy"} <= set(table.column_names)


def study_in(output: Path) -> optuna.Study:
    return optuna.load_study(study_name="asha", storage=f"sqlite:///{output / 'optuna.db'}")


def test_optuna_keeps_the_study(swept):
    known = {trial.last["controllability/loss"] for trial in swept.trials}
    assert {trial.value for trial in study_in(swept.config.output).trials} == known


def test_a_finished_sweep_resumed_changes_nothing(swept):
    before = {path: path.read_bytes() for path in (swept.config.output / "trials").rglob("trial.json")}
    again = sweep(swept.config.changed({"resume": True}))
    assert [trial.model_dump() for trial in again.trials] == [trial.model_dump() for trial in swept.trials]
    assert {path: path.read_bytes() for path in (swept.config.output / "trials").rglob("trial.json")} == before


def test_rankers_share_one_base_and_are_tuned_on_validation(folder):
    config = tiny_rankers.settings(
        output=folder / "lists",
        data__train=str(folder / "data"),
        training__steps=4,
        ranker__base_steps=4,
        grid__partitions=2,
        sweep__space={"training.alpha": "grid(0.5, 1)", "ranker.conditioning": "choice(gates, both)"},
        sweep__search="grid",
        sweep__metrics=["hypervolume", "parameters"],
    )
    result = sweep(config)
    assert len({tuple(trial.settings.values()) for trial in result.trials}) == 4
    for trial in result.trials:
        tree = yaml.safe_load((folder / "lists" / "trials" / trial.name / "config.yaml").read_text())
        assert tree["model"]["base"] == str(folder / "lists" / "base" / "checkpoint")
        assert tree["evaluation"]["split"] == "validation"
    assert rerun(result) == values(result.fronts[result.best.name])


def test_a_sweep_whose_snapshot_cannot_be_read_goes_on_from_its_records(swept, folder):
    """A version before pickled classes that are gone; of its trials one had not ended."""
    output = folder / "older" / "asha"
    shutil.copytree(swept.config.output, output)
    (output / "tune" / "tuner.pkl").write_bytes(b"ccosdpo.gone\nProgress\n.")
    lost = swept.best
    lost.model_copy(update={"state": "running", "history": lost.history[:1]}).save(output / "trials" / lost.name)
    (known,) = (trial for trial in study_in(output).trials if trial.params == lost.settings)
    with closing(sqlite3.connect(output / "optuna.db")) as database, database:
        database.execute("UPDATE trials SET state = 'RUNNING' WHERE number = ?", [known.number])
    result = sweep(swept.config.changed({"resume": True, "output": output}))
    before = {trial.name: trial for trial in swept.trials if trial != lost}
    assert {trial.name: trial for trial in result.trials if trial.name in before} == before
    (new,) = (trial for trial in result.trials if trial.name not in before)
    assert new.settings == lost.settings
    measured = [line["hypervolume/loss"] for line in new.history]
    assert measured  # ASHA, which knows the others, may stop it
    assert measured == [line["hypervolume/loss"] for line in lost.history][: len(measured)]


def test_a_killed_sweep_goes_on_without_losing_a_finished_trial(make, folder):
    config = make("killed", training__steps=40, training__checkpoint_every=10, evaluation__front_every=10)
    script = folder / "killed.py"
    script.write_text(
        "import sys\n"
        "from cosdpo.config import Config\n"
        "from cosdpo.experiment.sweep.sweep import sweep\n"
        "sweep(Config.model_validate_json(sys.argv[1]))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), config.model_dump_json()]
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        while not any(record.state == "finished" for record in records(config.output)):
            assert process.poll() is None
            time.sleep(0.1)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = {record.name: record for record in records(config.output) if record.state == "finished"}
    result = sweep(config.changed({"resume": True}))
    after = {trial.name: trial for trial in result.trials}
    assert result.count("finished") == 4
    assert before
    assert {name: after[name] for name in before} == before
    assert all([line["step"] for line in trial.history] == [10, 20, 30, 40] for trial in result.trials)
