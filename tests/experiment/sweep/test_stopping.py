"""Early stopping: what it stops, and that it knows the trials of before a restart."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from cosdpo.experiment.sweep.record import Record
from cosdpo.experiment.sweep.stopping import RememberingAsha, scheduler_for
from cosdpo.experiment.sweep.targets import targets
from tests.fake_sweep import configuration

METRIC = "hypervolume/accuracy"


def scheduler(folder: Path) -> RememberingAsha:
    """Milestones at 10 and 20 of 40 steps; the better half goes on."""
    config = configuration(folder, scheduler="asha", grace_steps=10, reduction_factor=2)
    made = scheduler_for(config, targets(config))
    assert isinstance(made, RememberingAsha)
    return made


def judge(asha: RememberingAsha, name: str, step: float, value: float | None) -> str:
    trial = SimpleNamespace(trial_id=name, config={}, stub=False)
    if name not in asha._trial_info:
        asha.on_trial_add(None, trial)
    line = {"step": step} if value is None else {"step": step, METRIC: value}
    return str(asha.on_trial_result(None, trial, line))


def test_the_worse_half_stops_at_a_milestone(tmp_path):
    asha = scheduler(tmp_path)
    # The first has nothing to be compared with; then the cut is the median of those before: 0.5, then 0.55.
    assert [judge(asha, name, 10, value) for name, value in [("a", 0.5), ("b", 0.6), ("c", 0.54)]] == [
        "CONTINUE",
        "CONTINUE",
        "STOP",
    ]
    assert judge(asha, "b", 15, 0.0) == "CONTINUE"  # between milestones
    assert judge(asha, "d", 5, 0.0) == "CONTINUE"  # before the first


def test_the_end_is_the_end(tmp_path):
    assert judge(scheduler(tmp_path), "a", 40, 0.5) == "STOP"


def test_lines_without_a_front_are_passed_over(tmp_path):
    assert judge(scheduler(tmp_path), "a", 10, None) == "CONTINUE"


@pytest.mark.parametrize(("earlier", "decision"), [([], "CONTINUE"), ([0.5, 0.6], "STOP"), ([0.1, 0.2], "CONTINUE")])
def test_earlier_trials_are_compared_with(tmp_path, earlier, decision):
    for number, value in enumerate(earlier):
        name = f"trial-{number}"
        (tmp_path / "trials" / name).mkdir(parents=True)
        history = [{"step": 10.0, METRIC: value}]
        Record(name=name, started=number, settings={}, steps=40, history=history).save(tmp_path / "trials" / name)
    assert judge(scheduler(tmp_path), "new", 10, 0.4) == decision


def test_a_trial_that_goes_on_is_not_judged_twice(tmp_path):
    name = tmp_path / "trials" / "trial-a"
    name.mkdir(parents=True)
    Record(name="trial-a", started=0, settings={}, steps=40, history=[{"step": 10.0, METRIC: 0.3}]).save(name)
    asha = scheduler(tmp_path)
    assert judge(asha, "a", 10, 0.3) == "CONTINUE"
    assert len(asha._brackets[0]._rungs[-1][1]) == 1


def test_none_stops_nothing(tmp_path):
    config = configuration(tmp_path)
    assert scheduler_for(config, targets(config)) is None
