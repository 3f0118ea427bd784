"""The plot of the temperatures shows the measured values, every one in its place and shade."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from cosdpo.evaluation.front import Front, Main, Measured
from cosdpo.reports.drawing import colour
from cosdpo.reports.temperature_plot import has_temperatures, shades, temperature_sheet
from cosdpo.simplex import das_dennis
from tests.built_fronts import built

RATIOS = [1.0, 0.5, 2.0]


def make(m: int, task: str = "ranking", ratios: Sequence[float] = RATIOS) -> Front:
    """NDCG that grows, and relevance that falls, with the weight and with 1 / temperature; or a KL in its place."""
    grid = das_dennis(m, 4)
    weights, c = np.tile(grid, (len(ratios), 1)), np.repeat(ratios, len(grid))[:, None]
    main = 0.5 - 0.1 * weights[:, :1] / c if task == "ranking" else (1 + weights[:, :1]) / c**2
    return built(
        weights,
        {"metric": Measured(0.3 + 0.1 * weights / c, np.full(m, 0.3), np.full(m, 0.3))},
        task=task,
        trained_temperature=0.5,
        temperatures=0.5 * c * np.ones(m),
        main=Main(
            name="relevance" if task == "ranking" else "KL to base",
            metric="ndcg@10",
            higher_is_better=task == "ranking",
            base=0.5 if task == "ranking" else 0.0,
            values=main[:, 0].tolist(),
        ),
    )


def panels(front: Front) -> list[Axes]:
    assert front.main is not None
    return temperature_sheet(front, front.main).panels


@pytest.mark.parametrize("m", [2, 3, 5])
@pytest.mark.parametrize("task", ["ranking", "language"])
def test_every_point_is_drawn_in_the_panel_of_every_objective(m, task):
    front = make(m, task)
    drawn = panels(front)
    assert len(drawn) == m + 1
    for j, axes in enumerate(drawn[:-1]):
        dots = {str(line.get_gid()): line for line in axes.lines if str(line.get_gid()).startswith("point-")}
        assert len(dots) == len(front.points)
        for i, point in enumerate(front.points):
            (x,), (y,) = dots[f"point-{i}"].get_data()
            assert (x, y) == (front.main.values[i], point.values["metric"][j])
        assert axes.xaxis_inverted() == (task == "language")
        diamonds = [line for line in axes.lines if line.get_marker() == "D"]
        assert [tuple(map(float, np.ravel(line.get_data()))) for line in diamonds] == [(front.main.base, 0.3)]


def test_a_line_per_temperature_light_to_dark_with_the_trained_one_bold():
    for j, axes in enumerate(panels(make(2))[:-1]):
        lines = [line for line in axes.lines if len(line.get_xdata()) == 5]  # 5 weights
        inks = [to_hex(line.get_color()) for line in lines]
        assert inks == shades(colour(j), 3)
        brightness = [int(ink[1:3], 16) + int(ink[3:5], 16) + int(ink[5:], 16) for ink in inks]
        assert brightness == sorted(brightness, reverse=True)
        assert inks[-1] == colour(j)
        # In the order of the temperatures: the line of half the temperature has twice the gain at w_j = 1.
        assert [line.get_ydata()[-1] for line in lines] == pytest.approx([0.5, 0.4, 0.35])
        assert np.argmax([line.get_linewidth() for line in lines]) == 1
        assert [text.get_text() for text in axes.texts] == ["\u00d70.5", "\u00d71", "\u00d72"]


def test_lines_of_three_objectives_run_through_the_medians():
    front = make(3)
    axes = panels(front)[0]
    (line, *_) = [line for line in axes.lines if len(line.get_xdata()) == 5]
    half = front.at(0.5)
    on_quarter = np.isclose(half.weights[:, 0], 0.25)
    assert on_quarter.sum() == 4
    assert line.get_xdata()[1] == pytest.approx(np.median(np.array(half.main.values)[on_quarter]))


def test_the_last_panel_is_the_hypervolume_against_the_mean_of_the_main_objective():
    front = make(2)
    axes = panels(front)[-1]
    (line,) = [line for line in axes.lines if len(line.get_xdata()) == 3]
    expected = [(np.mean(front.at(c).main.values), front.at(c).metrics["metric"].hypervolume) for c in (0.5, 1, 2)]
    np.testing.assert_allclose(line.get_xydata(), expected)
    assert expected[0][1] == pytest.approx(4 * expected[1][1])  # twice the gains


def test_the_distance_from_the_base_has_room_for_the_base():
    left, right = panels(make(2, "language"))[0].get_xlim()
    assert left > 8  # 2 / 0.5^2
    assert -1 < right < 0
    assert np.isfinite([left, right]).all()


def test_a_front_of_one_temperature_has_nothing_to_show():
    assert has_temperatures(make(2))
    assert not has_temperatures(make(2, ratios=[1.0]))
    assert not has_temperatures(make(2).model_copy(update={"main": None}))
