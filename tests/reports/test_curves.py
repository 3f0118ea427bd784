"""The curves of a run show the measured values and their middle."""

from __future__ import annotations

import numpy as np

from cosdpo.reports.curves import steering_sheet, training_sheet
from tests.drawn_fronts import dots, drawn, made_front


def test_steering_draws_the_median_over_equal_weights() -> None:
    front = made_front(3, points=2)
    for j, axes in enumerate(steering_sheet(front).panels):
        np.testing.assert_array_equal(dots(axes), np.column_stack([front.weights[:, j], front.values("metric")[:, j]]))
        (curve,) = (drawn(line) for line in axes.lines if len(drawn(line)) == 3)
        np.testing.assert_allclose(curve, [[0.0, 1.0], [0.5, 1.5], [1.0, 2.0]])


def test_training_smooths_over_a_tenth() -> None:
    rows = [{"step": float(i), "loss/a": float(i % 2)} for i in range(40)]  # 0, 1, 0, 1: any 4 in a row average .5
    sheet = training_sheet(rows, ["a"])
    assert sheet is not None
    (axes,) = sheet.panels
    raw, smooth = (drawn(line)[:, 1] for line in axes.lines)
    np.testing.assert_array_equal(raw, [0, 1] * 20)
    np.testing.assert_allclose(smooth[3:], 0.5)


def test_training_draws_each_objective_its_own_loss() -> None:
    # "b" ends the names of the others, and "loss" is the total: only loss/b is b's
    row = {"step": 1.0, "loss": 9.0, "loss/ab": 1.0, "loss/b": 2.0, "gradient_norm": 3.0, "tokens_per_second": 4.0}
    sheet = training_sheet([row], ["b", "ab"])
    assert sheet is not None
    loss, norm = sheet.panels
    assert {str(line.get_label()): drawn(line)[0, 1] for line in loss.lines} == {"b": 2.0, "ab": 1.0}
    assert norm.get_title(loc="left") == "gradient norm"
    assert drawn(norm.lines[0]).tolist() == [[1.0, 3.0]]


def test_held_out_losses_have_a_panel_of_their_own_with_the_base_at_1() -> None:
    rows = [{"step": 5.0, "loss/a": 2.0}, {"step": 10.0, "loss/a": 1.0, "held_out/a": 0.9, "held_out/b": 1.2}]
    sheet = training_sheet(rows, ["a", "b"])
    assert sheet is not None
    _, held_out = sheet.panels
    assert held_out.get_title(loc="left") == "held-out loss, base = 1"
    first, second, base = held_out.lines
    assert [drawn(line).tolist() for line in (first, second)] == [[[10.0, 0.9]], [[10.0, 1.2]]]
    assert list(base.get_ydata()) == [1.0, 1.0]


def test_training_without_lines_has_no_figure() -> None:
    assert training_sheet([], ["a"]) is None
    assert training_sheet([{"step": 1.0}], ["a"]) is None
