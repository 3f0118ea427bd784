"""The plot of a front shows the measured values, in the direction and colours it claims."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.image import imread

from cosdpo.reports.drawing import save_png
from cosdpo.reports.front_plot import front_sheet
from tests.drawn_fronts import by_gid, dots, made_front


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_plane_of_two_objectives(higher_is_better: bool) -> None:
    front = made_front(2, higher_is_better)
    (axes,) = front_sheet(front).panels
    np.testing.assert_array_equal(dots(axes), front.values("metric"))
    # up and right is better: axes of losses run backwards
    assert axes.xaxis_inverted() == axes.yaxis_inverted() == (not higher_is_better)
    labels = {text.get_text() for text in axes.texts}
    assert labels == {"0", "0.25", "0.5", "0.75", "1", "base", "reference"}


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_shaded_region_is_the_hypervolume(higher_is_better: bool) -> None:
    front = made_front(2, higher_is_better)
    (axes,) = front_sheet(front).panels
    (region,) = (c for c in axes.collections if isinstance(c, PolyCollection))
    x, y = np.asarray(region.get_paths()[0].vertices).T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2  # shoelace
    assert area == pytest.approx(front.metrics["metric"].hypervolume)
    assert area == pytest.approx(0.25 * (0.25 + 0.5 + 0.75))  # steps of a quarter under the diagonal


def test_pairs_of_three_objectives() -> None:
    front = made_front(3)
    axes = front_sheet(front).panels
    values = front.values("metric")
    for panel, pair in zip(axes[:3], ([0, 1], [0, 2], [1, 2]), strict=True):
        np.testing.assert_array_equal(dots(panel), values[:, pair])
    triangle = dots(axes[3])
    for corner, place in enumerate(([0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(3) / 2])):
        np.testing.assert_allclose(triangle[front.weights[:, corner] == 1], [place], atol=1e-12)


def test_parallel_coordinates_run_from_worst_to_best() -> None:
    front = made_front(5, higher_is_better=False)  # losses from 1 at full weight to 2, base at 1.5
    (axes,) = front_sheet(front).panels
    np.testing.assert_allclose(by_gid(axes, "line")[:, :, 1], front.weights, atol=1e-12)


@pytest.mark.parametrize("m", [1, 2, 3, 5])
def test_png_is_drawn(tmp_path: Path, m: int) -> None:
    save_png(front_sheet(made_front(m)).figure, tmp_path / "front.png")
    image = imread(tmp_path / "front.png")
    assert image.shape[0] > 300
    assert np.ptp(image[..., :3]) > 0.5
