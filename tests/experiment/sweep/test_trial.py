"""One trial without Tune: what it leaves, and that one broken off goes on as if nothing had been."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cosdpo.config import Config
from cosdpo.evaluation.front import Front
from cosdpo.experiment.sweep.record import Record
from cosdpo.experiment.sweep.trial import reference_points, train_trial
from cosdpo.models.base import load_base
from cosdpo.models.frozen_scorer import FrozenScorer
from cosdpo.tasks import language
from cosdpo.tasks.language import LanguageTask
from cosdpo.tasks.task import Measure
from tests.tiny_models import rows, settings, write_model, write_rows

STEPS, EVERY = 12, 4


class BrokenOffError(Exception):
    """The machine went away."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trial")
    write_model(folder / "model", "gpt2-tied")
    write_rows(folder / "train.jsonl", rows(16, 0))
    write_rows(folder / "validation.jsonl", rows(6, 1))
    return folder


@pytest.fixture
def make(base, tmp_path):
    """The configuration of a trial of twelve steps with fronts at 4, 8 and 12."""

    def configure(name: str, **changes: object) -> Config:
        defaults: dict[str, object] = {
            "output": tmp_path / name,
            "data__train": str(base / "train.jsonl"),
            "data__validation": str(base / "validation.jsonl"),
            "training__steps": STEPS,
            "training__learning_rate": 0.01,
            "training__log_every": 1,
            "training__checkpoint_every": EVERY,
            "evaluation__front_every": EVERY,
            "evaluation__max_new_tokens": 4,
            "grid__partitions": 2,
        }
        return settings(base / "model", **{**defaults, **changes})

    return configure


@pytest.fixture
def prepared(make, monkeypatch) -> tuple[LanguageTask, Measure]:
    """Data with reference scores, and their measurement in this process."""
    monkeypatch.setattr(language.ray, "get", lambda held: held)
    task = LanguageTask.prepare(make("shared"))
    frozen = FrozenScorer.of(load_base(task.config.model.base, torch.float32))
    for side in (task.train, task.held_out):
        side.reference = [np.array(row) for row in frozen.all_references(side.contexts, 4096)]
    return task, partial(language._measure, data=task.held_out, prompts=task.prompts)


def fresh(config: Config) -> Record:
    return Record(name=config.output.name, started=0.0, settings={"temperature": 0.5}, steps=config.training.steps)


class Reports:
    """Keeps what a trial reports, and breaks it off after `most` of them."""

    def __init__(self, folder: Path, most: int = 99) -> None:
        self.folder = folder
        self.most = most
        self.lines: list[dict[str, float]] = []

    def __call__(self, line: dict[str, float], state: Path | None) -> None:
        self.lines.append(line)
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(state, self.folder)
        if len(self.lines) == self.most:
            raise BrokenOffError


def untimed(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in line.items() if name != "seconds"} for line in history]


def logged(config: Config) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (config.output / "metrics.jsonl").read_text().splitlines()]
    return [(int(line["step"]), line["loss"]) for line in lines]


def run_to_end(prepared, config: Config, tmp_path: Path) -> tuple[Record, Reports]:
    task, measure = prepared
    reports = Reports(tmp_path / f"state-{config.output.name}")
    return train_trial(task, config, measure, reference_points(task, measure), fresh(config), None, reports), reports


def test_leaves_the_usual_run_folder(prepared, make, tmp_path):
    config = make("plain")
    record, reports = run_to_end(prepared, config, tmp_path)
    names = {path.name for path in config.output.iterdir()}
    assert names >= {
        "config.yaml",
        "metrics.jsonl",
        "checkpoint",
        "front.json",
        "front.png",
        "report.html",
        "trial.json",
    }
    assert record.state == "finished"
    assert Record.load(config.output) == record
    assert [line["step"] for line in record.history] == [4, 8, 12]
    assert reports.lines == record.history
    front = Front.load(config.output / "front.json")
    assert record.last["hypervolume/loss"] == front.metrics["loss"].hypervolume
    assert record.last["parameters"] == front.trained_parameters


def test_broken_off_it_goes_on_to_the_same_end(prepared, make, tmp_path):
    task, measure = prepared
    plain, broken = make("plain"), make("broken")
    whole, _ = run_to_end(prepared, plain, tmp_path)
    reference = reference_points(task, measure)
    first = Reports(tmp_path / "state", most=2)
    with pytest.raises(BrokenOffError):
        train_trial(task, broken, measure, reference, fresh(broken), None, first)
    kept = Record.load(broken.output)
    assert kept is not None
    assert (kept.state, len(kept.history)) == ("running", 2)
    second = Reports(tmp_path / "state")
    record = train_trial(task, broken, measure, reference, fresh(broken), tmp_path / "state", second)
    assert [line["step"] for line in second.lines] == [12]
    assert record.state == "finished"
    assert untimed(record.history) == untimed(whole.history)
    assert logged(broken) == logged(plain)
    ours, right = (load_file(c.output / "checkpoint" / "adapter_model.safetensors") for c in (broken, plain))
    assert all(torch.equal(ours[name], right[name]) for name in right)


def test_fronts_along_the_way_do_not_change_the_training(prepared, make, tmp_path):
    with_fronts, without = make("with"), make("without", evaluation__front_every=0)
    often, _ = run_to_end(prepared, with_fronts, tmp_path)
    once, reports = run_to_end(prepared, without, tmp_path)
    assert [line.keys() == {"step"} for line in reports.lines] == [True, True, False]  # checkpoints, then the front
    assert untimed([often.last]) == untimed(once.history)
    assert logged(with_fronts) == logged(without)


def test_time_of_measuring_is_no_training_time(prepared, make, tmp_path):
    task, measure = prepared

    def slow(*arguments: object, **named: object) -> object:
        import time

        time.sleep(1.0)
        return measure(*arguments, **named)  # type: ignore[arg-type]

    config = make("slow")
    reports = Reports(tmp_path / "state")
    record = train_trial(task, config, slow, reference_points(task, measure), fresh(config), None, reports)
    quick, _ = run_to_end(prepared, make("quick"), tmp_path)
    assert record.last["seconds"] < quick.last["seconds"] + 1.5  # three fronts took three seconds and more


def test_the_reference_point_is_the_bases_own(prepared):
    points = reference_points(*prepared)
    assert points["accuracy"] == [0.5, 0.5]
    assert points["loss"] == pytest.approx([0.6931472, 0.6931472])  # log 2: the base prefers nothing over itself


def test_a_loss_that_is_not_finite_is_a_failed_trial(prepared, make, tmp_path):
    config = make("wild", training__learning_rate=1e30)
    record, _ = run_to_end(prepared, config, tmp_path)
    assert record.state == "failed"
    assert "the loss is not finite" in record.reason
    assert Record.load(config.output) == record
