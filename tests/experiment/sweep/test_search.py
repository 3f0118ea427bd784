"""The study outlives Tune's snapshots: what it knows is not lost, and what it asked for in vain is asked for again."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosdpo.experiment.sweep.search import StoredSearch, search_for
from cosdpo.experiment.sweep.space import parse_space
from cosdpo.experiment.sweep.targets import targets
from tests.fake_sweep import configuration

METRIC = "hypervolume/accuracy"


def search(folder: Path, how: str, limit: int = 9) -> StoredSearch:
    """Over two temperatures."""
    config = configuration(folder, search=how).changed({"sweep.space": {"temperature": "grid(0.1, 0.2)"}})
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
