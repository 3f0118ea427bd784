"""The plots of a sweep show every trial where it stands, in one colour, and stopped ones as such."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from cosdpo.arrays import Floats
from cosdpo.experiment.sweep.space import parse_space
from cosdpo.reports.drawing import PAPER
from cosdpo.reports.importance import judged
from cosdpo.reports.sweep_plots import (
    BEST,
    WORST,
    best_fronts_sheet,
    course_sheet,
    pareto,
    settings_sheet,
    shades,
    trade_off_sheet,
)
from tests.fake_sweep import front, sweep_result

INKS = {f"trial-{i:02d}": f"#{i}{i}{i}{i}{i}{i}" for i in range(9)}


def by_gid(axes: Axes, kind: str) -> dict[str, Floats]:
    return {
        str(line.get_gid()): np.asarray(line.get_xydata(), dtype=np.float64)
        for line in axes.lines
        if str(line.get_gid()).startswith(kind)
    }


def test_shades_go_from_the_worst_to_the_best():
    up, down = shades({"a": 1.0, "b": 3.0, "c": 2.0}, 1), shades({"a": 1.0, "b": 3.0}, -1)
    assert (up["a"], up["b"]) == (WORST, BEST)
    assert up["c"] not in (WORST, BEST)
    assert down == {"b": WORST, "a": BEST}
    assert shades({"a": 1.0}, 1) == {"a": BEST}


def test_the_course_shows_stopped_trials_and_leaves_failed_ones_out(tmp_path):
    found = sweep_result(tmp_path, [0.5, 0.9, 0.3, 0.7], stopped=[1], failed=[2])
    history, along = course_sheet(found, INKS).panels
    last = {i: found.trials[i].last["hypervolume/accuracy"] for i in (0, 1, 3)}
    places = {gid: tuple(place[0].tolist()) for gid, place in by_gid(history, "point").items()}
    assert places == {f"point-{i}": (i + 1, value) for i, value in last.items()}
    hollow = {str(line.get_gid()) for line in history.lines if line.get_color() == PAPER}
    assert hollow == {"point-1"}
    (best,) = (line for line in history.lines if line.get_drawstyle() == "steps-post")
    # The second was the best when it was stopped, but took not all its steps.
    np.testing.assert_allclose(best.get_xydata(), [[1, last[0]], [2, last[0]], [4, last[3]]])
    curves = by_gid(along, "line")
    assert curves.keys() == {"line-0", "line-1", "line-3"}
    assert curves["line-3"][:, 0].tolist() == [20, 40]
    assert curves["line-1"].tolist() == [[20, last[1]]]
    crosses = [line for line in along.lines if line.get_marker() == "x"]
    assert [to_hex(line.get_color()) for line in crosses] == [INKS["trial-01"]]


def test_less_is_better_for_costs(tmp_path):
    found = sweep_result(tmp_path, [0.5, 0.9, 0.3], metrics=["parameters"])  # 100, 101, 102
    history = course_sheet(found, INKS).panels[0]
    (best,) = (line for line in history.lines if line.get_drawstyle() == "steps-post")
    assert np.asarray(best.get_ydata()).tolist() == [100, 100, 100]


def test_settings_stand_at_their_place_between_the_ends(tmp_path):
    found = sweep_result(tmp_path, [0.0, 0.25, 1.0])
    _, values = judged(found.trials, found.targets[0])
    (axes,) = settings_sheet(found.trials, parse_space(found.config), found.targets[0], values).panels
    rows = {gid: row[:, 1] for gid, row in by_gid(axes, "line").items()}
    # temperature 0.1 + 0.8 quality in loguniform(0.1, 1); gates affine, quadratic by turns; rank 4, 5, 6 in int(4, 8);
    # and the hypervolume, quality squared, from the worst to the best.
    np.testing.assert_allclose(rows["line-0"], [0, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(rows["line-1"], [np.log10(3), 1, 0.25, 0.0625])
    np.testing.assert_allclose(rows["line-2"], [np.log10(9), 0, 0.5, 1])
    assert {"0.1", "1", "affine", "quadratic", "4", "8", "hypervolume/accuracy"} <= {t.get_text() for t in axes.texts}


def test_a_single_trial_and_a_single_key_can_be_drawn(tmp_path):
    found = sweep_result(tmp_path, [0.5])
    space = {"temperature": parse_space(found.config)["temperature"]}
    _, values = judged(found.trials, found.targets[0])
    (axes,) = settings_sheet(found.trials, space, found.targets[0], values).panels
    assert by_gid(axes, "line")["line-0"].shape == (2, 2)


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
def test_best_fronts_are_named_and_losses_reversed(metric):
    fronts = {"trial 2": front(0.9), "trial 1": front(0.5)}
    sheet = best_fronts_sheet(fronts, metric)
    (axes,) = sheet.panels
    places = np.concatenate(list(by_gid(axes, "point").values()))
    np.testing.assert_allclose(places, np.concatenate([one.values(metric) for one in fronts.values()]))
    assert axes.xaxis_inverted() == axes.yaxis_inverted() == (metric == "loss")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["trial 2", "trial 1"]
    assert sheet.titles[0].startswith("trial 2\nkind 0, brief 1\naccuracy: 0.500, 0.860")


def test_the_trade_off_joins_what_none_beats(tmp_path):
    found = sweep_result(tmp_path, [0.3, 0.9, 0.5], metrics=["hypervolume", "parameters"])
    (axes,) = trade_off_sheet(found.finished, found.targets, INKS).panels
    values = [trial.last["hypervolume/accuracy"] for trial in found.trials]
    (line,) = (line for line in axes.lines if len(line.get_xydata()) == 2)
    np.testing.assert_allclose(line.get_xydata(), [[100, values[0]], [101, values[1]]])
    assert len(by_gid(axes, "point")) == 3


def test_pareto_keeps_what_none_beats(tmp_path):
    # More quality and more parameters by number, so that of 0.3, 0.9, 0.5 the third is beaten by the second.
    found = sweep_result(tmp_path, [0.3, 0.9, 0.5], metrics=["hypervolume", "parameters"])
    assert [t.name for t in pareto(found.trials, found.targets)] == ["trial-00", "trial-01"]
