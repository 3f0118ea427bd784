"""The study outlives Tune's snapshots: what it knows is not lost, and what it asked for in vain is asked for again."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosdpo.experiment.sweep.search import StoredSearch, search_for
from cosdpo.experiment.sweep.space import parse_space
from cosdpo.experiment.sweep.targets import targets
from tests.fake_sweep import configuration

METRIC = "hypervolume/accuracy"


def search(folder: Path, how: str, limit: int = 9, temperatures: str = "grid(0.1, 0.2)") -> StoredSearch:
    """Over temperatures."""
    config = configuration(folder, search=how).changed({"sweep.space": {"temperature": temperatures}})
    return search_for(config, parse_space(config), targets(config), limit)


@pytest.mark.parametrize("how", ["grid", "random", "optuna"])
def test_a_trial_that_no_snapshot_knows_is_asked_for_again(tmp_path, how):
    """Twice, as after two kills: a grid of two would have no other for it."""
    first = search(tmp_path, how)
    ended, lost = first.suggest("a"), first.suggest("b")
    first.on_trial_complete("a", {METRIC: 0.5})
    for name in ("c", "d"):
        again = search(tmp_path, how)
        again.ask_again()
        assert again.suggest(name) == lost
        assert again.has_ended(ended)
    again.on_trial_complete("d", {METRIC: 0.25})
    assert again.has_ended(lost)
    assert [trial.value for trial in again._ot_study.trials] == [0.5, None, None, 0.25]


@pytest.mark.parametrize("how", ["random", "optuna"])
@pytest.mark.parametrize("snapshot", [False, True])
def test_without_its_last_snapshot_it_draws_what_it_would_have_drawn(tmp_path, how, snapshot):
    """A trial has ended and one was running, which the last snapshot does not know or no snapshot is left."""
    folders = [tmp_path / name for name in ("whole", "broken")]
    for folder in folders:
        folder.mkdir()
    whole, broken = (search(folder, how, temperatures="uniform(0.1, 0.2)") for folder in folders)
    expected = [whole.suggest(name) for name in "abcde"]
    assert [broken.suggest("a")] == expected[:1]
    broken.save(str(tmp_path / "snapshot"))
    assert broken.suggest("b") == expected[1]
    again = search(folders[1], how, temperatures="uniform(0.1, 0.2)")
    if snapshot:
        again.restore(str(tmp_path / "snapshot"))
    else:
        again.ask_again()
        expected = ["nothing of this", *expected]  # the first is asked for again as well
    assert [again.suggest(name) for name in "cd"] == expected[1:3]
    again.save(str(tmp_path / "later"))
    again.restore(str(tmp_path / "later"))
    assert again.suggest("e") == expected[3]


def test_a_value_that_comes_again_is_kept_once(tmp_path):
    """A trial that goes on reports a front again, and Tune counts its reports anew: the step tells them apart."""
    made = search(tmp_path, "random")
    made.suggest("a")
    for step, value in [(10, 0.1), (20, 0.2), (20, 0.2), (30, 0.3)]:
        made.on_trial_result("a", {"step": step, METRIC: value, "training_iteration": 1})
    made.on_trial_result("a", {"step": 40, "training_iteration": 2})  # a line without a front
    assert made._stored("a").intermediate_values == {10: 0.1, 20: 0.2, 30: 0.3}


def test_no_more_trials_at_once_than_the_limit(tmp_path):
    made = search(tmp_path, "random", limit=1)
    assert made.suggest("a") is not None
    assert made.suggest("b") is None
    made.on_trial_complete("a", {METRIC: 0.5})
    assert made.suggest("b") is not None
