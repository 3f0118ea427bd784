"""The lines that a sweep tells of its trials, and that it goes on telling them after a restart."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cosdpo.experiment.sweep.targets import Target
from cosdpo.experiment.sweep.trial_progress import TrialProgress

METRIC = "hypervolume/accuracy"


class Trial:
    """What Tune tells of a trial."""

    def __init__(self, name: str, status: str, step: int = 0, value: float | None = None, **config: object) -> None:
        self.trial_id = name
        self.status = status
        self.config = config
        self.last_result = {"step": step} if value is None else {"step": step, METRIC: value}

    def __str__(self) -> str:
        return f"trial-{self.trial_id}"


@pytest.fixture
def progress(tmp_path, monkeypatch) -> TrialProgress:
    """Of three trials of 40 steps, a second of a clock apart; what runs is told at every step."""
    seconds = iter(range(1000))
    clock = SimpleNamespace(monotonic=lambda: float(next(seconds)))
    monkeypatch.setattr("cosdpo.experiment.sweep.trial_progress.time", clock)
    monkeypatch.setattr("cosdpo.experiment.progress.EVERY", 0.0)
    return TrialProgress(3, Target(METRIC), tmp_path, 40)


def step(progress: TrialProgress, trials: list[Any], capsys: pytest.CaptureFixture[str]) -> list[str]:
    progress.on_step_end(0, trials)
    return capsys.readouterr().err.splitlines()


def test_without_a_terminal_a_line_for_each_that_runs_or_ends(progress, tmp_path, capsys):
    running = Trial("b", "RUNNING")
    ended = Trial("a", "TERMINATED", 40, 0.12, temperature=0.5, **{"model.gates": "affine"})
    (tmp_path / "trial-b").mkdir()
    (tmp_path / "trial-b" / "metrics.jsonl").write_text(
        json.dumps({"step": 10, "seconds": 5.0, "loss/kind": 0.6}) + "\n"
    )
    progress.setup()
    assert step(progress, [running], capsys) == ["trial 1: 10 of 40 steps, 2 a second, 15 s left, kind 0.600"]
    progress.on_trial_complete(0, [], ended)
    assert step(progress, [ended, running], capsys) == [
        "trial 1 done: hypervolume/accuracy 0.12 after 40 steps (best 0.12); temperature 0.5, model.gates affine "
        "(1 of 3 done, about 2.0 s left)",  # 2 more trials, of a second each
        "trial 2: 10 of 40 steps, 2 a second, 15 s left, kind 0.600",
    ]
    failed = Trial("b", "ERROR", 12, temperature=9.0)
    progress.on_trial_error(0, [], failed)
    (line,) = step(progress, [ended, failed], capsys)
    assert line.startswith("trial 2 failed: broke off after 12 steps (best 0.12); temperature 9")


def test_after_a_restart_it_knows_the_trials_of_before(progress, tmp_path, capsys):
    """Tune pickles the callback before the first trial, keeps its state with every snapshot, and sets it up again."""
    pickled = pickle.dumps(progress)
    progress.setup()
    first = Trial("a", "TERMINATED", 40, 0.5)
    progress.on_trial_complete(0, [], first)
    state = pickle.loads(pickle.dumps(progress.get_state()))
    again: TrialProgress = pickle.loads(pickled)
    again.set_state(state)
    again.setup()
    (old,) = step(again, [first], capsys)
    assert old.endswith("(1 of 3 done)")  # one that ended before says nothing of the pace
    second = Trial("b", "TERMINATED", 40, 0.25)
    again.on_trial_complete(0, [], second)
    (new,) = step(again, [first, second], capsys)
    assert new.startswith("trial 2 done: hypervolume/accuracy 0.25 after 40 steps (best 0.5)")
    assert "about " in new


def test_a_pickle_leaves_the_terminal_out(progress, tmp_path: Path):
    progress.setup()
    assert pickle.loads(pickle.dumps(progress)).get_state() == progress.get_state()
