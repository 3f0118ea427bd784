"""The plots show the measured values, in the direction and colours they claim."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.image import imread
from matplotlib.lines import Line2D

from cosdpo.arrays import Floats
from cosdpo.evaluation.front import Front, Main, Measured, build
from cosdpo.reports.curves import steering_figure, training_figure
from cosdpo.reports.drawing import mix
from cosdpo.reports.front_plot import front_figure, write_front_png
from cosdpo.reports.price import price_figure
from cosdpo.simplex import das_dennis


def make(m: int, higher_is_better: bool = True, points: int = 4) -> Front:
    weights = das_dennis(m, points)
    values = 1 + weights if higher_is_better else 2 - weights
    measured = Measured(values, np.full(m, 1.5), np.full(m, 1.0 if higher_is_better else 2.0), higher_is_better)
    return build(
        method="cos",
        task="ranking",
        objectives=["a", "b", "c", "d", "e"][:m],
        seed=0,
        trained_temperature=1.0,
        train_seconds=1.0,
        trained_parameters=1,
        weights=weights,
        metrics={"metric": measured},
    )


def dots(axes: Axes) -> Floats:
    """Places of the trade-offs in a panel, [N, 2], in their order."""
    return by_gid(axes, "point")[:, 0]


def by_gid(axes: Axes, kind: str) -> Floats:
    """Data of the artists of the trade-offs, [N, their length, 2], in the order of the trade-offs."""
    found = {str(line.get_gid()): drawn(line) for line in axes.lines if str(line.get_gid()).startswith(f"{kind}-")}
    return np.array([found[f"{kind}-{i}"] for i in range(len(found))])


def drawn(line: Line2D) -> Floats:
    """Data of a line, [its length, 2]."""
    return np.asarray(line.get_xydata(), dtype=np.float64)


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_plane_of_two_objectives(higher_is_better: bool) -> None:
    front = make(2, higher_is_better)
    (axes,) = front_figure(front).axes
    np.testing.assert_array_equal(dots(axes), front.values("metric"))
    # up and right is better: axes of losses run backwards
    assert axes.xaxis_inverted() == axes.yaxis_inverted() == (not higher_is_better)
    labels = {text.get_text() for text in axes.texts}
    assert labels == {"0", "0.25", "0.5", "0.75", "1", "base", "reference"}


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_shaded_region_is_the_hypervolume(higher_is_better: bool) -> None:
    front = make(2, higher_is_better)
    (axes,) = front_figure(front).axes
    (region,) = (c for c in axes.collections if isinstance(c, PolyCollection))
    x, y = np.asarray(region.get_paths()[0].vertices).T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2  # shoelace
    assert area == pytest.approx(front.metrics["metric"].hypervolume)
    assert area == pytest.approx(0.25 * (0.25 + 0.5 + 0.75))  # steps of a quarter under the diagonal


def test_pairs_of_three_objectives() -> None:
    front = make(3)
    axes = front_figure(front).axes
    values = front.values("metric")
    for panel, pair in zip(axes[:3], ([0, 1], [0, 2], [1, 2]), strict=True):
        np.testing.assert_array_equal(dots(panel), values[:, pair])
    triangle = dots(axes[3])
    for corner, place in enumerate(([0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(3) / 2])):
        np.testing.assert_allclose(triangle[front.weights[:, corner] == 1], [place], atol=1e-12)


def test_parallel_coordinates_run_from_worst_to_best() -> None:
    front = make(5, higher_is_better=False)  # losses from 1 at full weight to 2, base at 1.5
    (axes,) = front_figure(front).axes
    np.testing.assert_allclose(by_gid(axes, "line")[:, :, 1], front.weights, atol=1e-12)


def test_steering_draws_the_median_over_equal_weights() -> None:
    front = make(3, points=2)
    for j, axes in enumerate(steering_figure(front).axes):
        np.testing.assert_array_equal(dots(axes), np.column_stack([front.weights[:, j], front.values("metric")[:, j]]))
        (curve,) = (drawn(line) for line in axes.lines if len(drawn(line)) == 3)
        np.testing.assert_allclose(curve, [[0.0, 1.0], [0.5, 1.5], [1.0, 2.0]])


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_price_of_two_objectives(higher_is_better: bool) -> None:
    front = make(2, higher_is_better)
    sign = 1 if higher_is_better else -1
    values = [0.5, 0.3, 0.4, 0.2, 0.1]
    main = Main(name="relevance", metric="ndcg@10", higher_is_better=higher_is_better, base=0.6, values=values)
    panels = price_figure(front, main).axes
    across = [front.weights[:, 0], *front.values("metric").T]
    for axes, x in zip(panels, across, strict=True):
        np.testing.assert_array_equal(dots(axes), np.column_stack([x, values]))
        (base,) = (drawn(line) for line in axes.lines if line.get_linestyle() == "--")
        assert base[:, 1].tolist() == [0.6, 0.6]
        low, high = axes.get_ylim()
        assert sign * low < sign * high  # up is better
    assert [panel.xaxis_inverted() for panel in panels] == [False, not higher_is_better, not higher_is_better]
    for axes in panels[1:]:
        (diamond,) = (drawn(line) for line in axes.lines if line.get_marker() == "D")
        assert diamond.tolist() == [[1.5, 0.6]]


@pytest.mark.parametrize("m", [1, 3, 5])
def test_price_draws_the_main_objective_against_each_weight(m: int) -> None:
    front = make(m, points=2)
    values = 1 - front.weights[:, 0]  # what the first objective costs
    main = Main(name="relevance", metric="ndcg@10", base=0.6, values=values.tolist())
    panels = price_figure(front, main).axes
    assert len(panels) == m
    for j, axes in enumerate(panels):
        np.testing.assert_array_equal(dots(axes), np.column_stack([front.weights[:, j], values]))
        assert axes.get_title(loc="left") == front.objectives[j]
    if m > 1:
        (curve,) = (drawn(line) for line in panels[0].lines if len(drawn(line)) == 3)
        np.testing.assert_allclose(curve, [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
        note = panels[0].get_title(loc="right") if m == 3 else panels[0].get_xlabel()
        assert note.endswith("\u22121")  # the rank correlation: more weight, less relevance


def test_price_correlation_of_losses_is_that_of_the_gain() -> None:
    front = make(3, points=2)
    values = front.weights[:, 0].tolist()
    loss = Main(name="relevance", metric="loss", higher_is_better=False, base=0.6, values=values)
    assert price_figure(front, loss).axes[0].get_title(loc="right") == "rank correlation \u22121"


def test_training_smooths_over_a_tenth() -> None:
    rows = [{"step": float(i), "loss/a": float(i % 2)} for i in range(40)]  # 0, 1, 0, 1: any 4 in a row average .5
    figure = training_figure(rows, ["a"])
    assert figure is not None
    (axes,) = figure.axes
    raw, smooth = (drawn(line)[:, 1] for line in axes.lines)
    np.testing.assert_array_equal(raw, [0, 1] * 20)
    np.testing.assert_allclose(smooth[3:], 0.5)


def test_training_draws_each_objective_its_own_loss() -> None:
    # "b" ends the names of the others, and "loss" is the total: only loss/b is b's
    row = {"step": 1.0, "loss": 9.0, "loss/ab": 1.0, "loss/b": 2.0, "gradient_norm": 3.0, "tokens_per_second": 4.0}
    figure = training_figure([row], ["b", "ab"])
    assert figure is not None
    loss, norm = figure.axes
    assert {str(line.get_label()): drawn(line)[0, 1] for line in loss.lines} == {"b": 2.0, "ab": 1.0}
    assert norm.get_title(loc="left") == "gradient norm"
    assert drawn(norm.lines[0]).tolist() == [[1.0, 3.0]]


def test_training_without_lines_has_no_figure() -> None:
    assert training_figure([], ["a"]) is None
    assert training_figure([{"step": 1.0}], ["a"]) is None


def test_colours_mix_by_weight() -> None:
    # Okabe and Ito's blue (0, 114, 178) and vermilion (213, 94, 0): the middle is (106.5, 104, 89), rounded to even.
    assert mix([1, 0]) == "#0072b2"
    assert mix([0, 1]) == "#d55e00"
    assert mix([0.5, 0.5]) == "#6a6859"


@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_png_is_drawn(tmp_path: Path, m: int) -> None:
    write_front_png(make(m), tmp_path / "front.png")
    image = imread(tmp_path / "front.png")
    assert image.shape[0] > 300
    assert np.ptp(image[..., :3]) > 0.5
