"""One trial without Tune: what it leaves, and that one broken off goes on as if nothing had been."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cosdpo.config import Config
from cosdpo.evaluation.front import Front
from cosdpo.experiment.sweep import tuning
from cosdpo.experiment.sweep.record import Record
from cosdpo.experiment.sweep.trial import reference_points, train_trial
from cosdpo.models.base import load_base
from cosdpo.models.frozen_scorer import FrozenScorer
from cosdpo.tasks.language import LanguageTask, language_measurement
from cosdpo.tasks.task import Measure
from cosdpo.training import loop
from tests.tiny_models import rows, settings, write_model, write_rows

STEPS, EVERY = 12, 4
Make = Callable[..., Config]
Prepared = tuple[LanguageTask, Measure]
Lines = list[dict[str, float]]


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
def make(base, tmp_path) -> Make:
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
def prepared(make, monkeypatch) -> Prepared:
    """Data with reference scores, and their measurement in this process."""
    monkeypatch.setattr(language_measurement.ray, "get", lambda held: held)
    task = LanguageTask.prepare(make("shared"))
    frozen = FrozenScorer.of(load_base(task.config.model.base, torch.float32))
    for side in (task.train, task.held_out):
        side.reference = [np.array(row) for row in frozen.all_references(side.contexts, 4096)]
    return task, partial(language_measurement.measure_share, data=task.held_out, prompts=task.prompts)


def run(prepared: Prepared, config: Config, most: int = 99) -> tuple[Record, Lines]:
    """Starts a trial, or goes on with it, and breaks it off in its report number `most`."""
    task, measure = prepared
    lines: Lines = []

    def report(line: dict[str, float]) -> None:
        lines.append(line)
        if len(lines) == most:
            raise BrokenOffError

    record = Record.load(config.output) or Record(name=config.output.name, started=0.0, settings={}, steps=STEPS)
    return train_trial(task, config, measure, reference_points(task, measure), record, report), lines


def untimed(history: Lines) -> Lines:
    return [{name: value for name, value in line.items() if name != "seconds"} for line in history]


def logged(config: Config) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (config.output / "metrics.jsonl").read_text().splitlines()]
    return [(int(line["step"]), line["loss"]) for line in lines]


def test_leaves_the_usual_run_folder(prepared, make):
    config = make("plain")
    record, lines = run(prepared, config)
    names = {path.name for path in config.output.iterdir()}
    assert names >= {"config.yaml", "metrics.jsonl", "checkpoint", "done.json", "front.json", "samples.json"}
    assert "training" not in names  # nothing is gone on with
    assert record.state == "finished"
    assert Record.load(config.output) == record
    assert [line["step"] for line in record.history] == [4, 8, 12]
    assert lines == record.history[:-1]  # the last is for Tune, once all else is there
    front = Front.load(config.output / "front.json")
    assert record.last["hypervolume/loss"] == front.metrics["loss"].hypervolume
    assert record.last["parameters"] == front.trained_parameters


@pytest.mark.parametrize(("broken_off_at", "measured"), [(1, [4, 8]), (2, [8])])
def test_broken_off_it_goes_on_to_the_same_end(prepared, make, broken_off_at, measured):
    """A front is measured before its state is kept: the one that broke the trial off is measured again, and what the
    record held of it makes way.
    """
    plain, broken = make("plain"), make("broken")
    whole, _ = run(prepared, plain)
    with pytest.raises(BrokenOffError):
        run(prepared, broken, most=broken_off_at)
    kept = Record.load(broken.output)
    assert kept is not None
    assert [line["step"] for line in kept.history] == [4, 8, 12][:broken_off_at]
    record, lines = run(prepared, broken)
    assert [line["step"] for line in lines] == measured
    assert record.state == "finished"
    assert untimed(record.history) == untimed(whole.history)
    assert logged(broken) == logged(plain)
    ours, right = (load_file(c.output / "checkpoint" / "adapters.safetensors") for c in (broken, plain))
    assert all(torch.equal(ours[name], right[name]) for name in right)


def test_fronts_along_the_way_do_not_change_the_training(prepared, make):
    with_fronts, without = make("with"), make("without", evaluation__front_every=0)
    often, _ = run(prepared, with_fronts)
    once, lines = run(prepared, without)
    assert [line.keys() == {"step"} for line in lines] == [True, True]  # states without a front
    assert untimed([often.last]) == untimed(once.history)
    assert logged(with_fronts) == logged(without)


def test_a_front_takes_no_training_time(prepared, make, monkeypatch):
    """On a clock that only measuring moves, three fronts of an hour leave no second of training."""
    task, measure = prepared
    now = 0.0

    def slow(*arguments: Any, **named: Any) -> Any:
        nonlocal now
        now += 3600
        return measure(*arguments, **named)

    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: now))
    record, _ = run((task, slow), make("slow"))
    assert now > 3 * 3600
    assert [line["seconds"] for line in record.history] == [0, 0, 0]


def test_the_reference_point_is_the_bases_own(prepared):
    points = reference_points(*prepared)
    assert points["accuracy"] == [0.5, 0.5]
    assert points["loss"] == pytest.approx([0.6931472, 0.6931472])  # log 2: the base prefers nothing over itself


def test_what_tune_runs(prepared, make, monkeypatch):
    """A trial that is over says again what it came to; one whose loss is not finite is worth nothing."""
    task, measure = prepared
    shared, told = make("sweep"), Lines()
    monkeypatch.setattr(tuning.tune, "report", told.append)

    def tell(name: str, **settings: object) -> Lines:
        told.clear()
        monkeypatch.setattr(tuning.tune, "get_context", lambda: SimpleNamespace(get_trial_name=lambda: name))
        tuning.run_trial(settings, task, shared, measure, reference_points(task, measure))
        return list(told)

    first = tell("good", temperature=0.3)
    assert [line["step"] for line in first] == [4, 8, 12]
    assert tell("good", temperature=0.3) == first[-1:]
    worthless = [{"hypervolume/accuracy": 0.0, "step": 12.0}]
    assert tell("wild", **{"training.learning_rate": 1e30}) == worthless
    assert tell("wild", **{"training.learning_rate": 1e30}) == worthless
    failed = Record.load(shared.output / "trials" / "wild")
    assert failed is not None
    assert failed.state == "failed"
    assert "the loss is not finite" in failed.reason
