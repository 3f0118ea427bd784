"""What mattered in a sweep: judged where all trials were, and by Optuna once there are enough of them."""

from __future__ import annotations

import pytest

from cosdpo.experiment.sweep.space import parse_space
from cosdpo.reports.importance import importances, judged
from tests.fake_sweep import sweep_result


def test_trials_are_judged_where_all_of_them_were(tmp_path):
    found = sweep_result(tmp_path, [0.3, 0.9], stopped=[1])
    step, values = judged(found.trials, found.targets[0])
    assert step == 20
    assert values == {trial.name: trial.history[0]["hypervolume/accuracy"] for trial in found.trials}


def test_without_a_common_step_the_newest_value_counts(tmp_path):
    found = sweep_result(tmp_path, [0.3, 0.9])
    short = found.trials[1].model_copy(update={"history": [{"step": 5.0, "hypervolume/accuracy": 0.2}]})
    assert judged([found.trials[0], short], found.targets[0])[1]["trial-01"] == 0.2


@pytest.mark.parametrize("count", [6, 30])
def test_what_decides_comes_first(tmp_path, count):
    # Quality is the temperature; gates and rank follow the number of the trial.
    found = sweep_result(tmp_path, [((7 * k) % count) / count for k in range(count)])
    order, how = importances(found.trials, parse_space(found.config), found.targets[0])
    assert next(iter(order)) == "temperature"
    assert how == ("rank correlation" if count < 10 else "PED-ANOVA, shares of 1")
    assert set(order) == set(found.config.sweep.space)
