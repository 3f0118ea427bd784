"""The plots of a comparison show the figures, in the direction and the colours they claim."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from cosdpo.experiment.results.summary import summarise
from cosdpo.reports.comparison_fronts import fronts_figure
from cosdpo.reports.drawing import INK, MUTED, OBJECTIVE_COLOURS, PAPER
from cosdpo.reports.method_marks import marks
from cosdpo.reports.volumes import hypervolume_figure, time_figure
from tests.fake_results import field, result


def points(axes: Axes, ink: str) -> list[tuple[float, float]]:
    """Places of the artists with a hover text and this colour."""
    found = [line for line in axes.lines if str(line.get_gid()).startswith("line-") and to_hex(line.get_color()) == ink]
    return [tuple(np.asarray(line.get_xydata(), dtype=np.float64)[0].tolist()) for line in found]


def test_planes_hold_the_mean_fronts() -> None:
    results = [result(name, seed, q + seed, loss=True) for name, q in (("cos", 1.0), ("soup", 0.5)) for seed in (0, 1)]
    drawn, titles = fronts_figure(summarise(results), results)
    accuracy, loss = drawn.axes
    looks = marks(["cos", "soup"])
    weights = results[0].front.weights
    for name, quality in (("cos", 1.5), ("soup", 1.0)):
        np.testing.assert_allclose(sorted(points(accuracy, looks[name].ink)), sorted(map(tuple, quality * weights)))
        np.testing.assert_allclose(sorted(points(loss, looks[name].ink)), sorted(map(tuple, 1 - quality * weights)))
    assert loss.xaxis_inverted()
    assert loss.yaxis_inverted()
    assert not accuracy.xaxis_inverted()
    assert len(titles) == 2 * 2 * 5
    # 1.5 * (0.25, 0.75), each with the deviation of 1 and 2 times the weight
    assert "cos\nkind 0.25, brief 0.75\naccuracy: 0.375 ± 0.177, 1.125 ± 0.530" in titles
    assert {text.get_text() for text in accuracy.texts} == {"base = reference"}


@pytest.mark.parametrize(("m", "panels"), [(3, 3), (5, 5)])
def test_more_objectives_have_more_panels(m: int, panels: int) -> None:
    names = ["a", "b", "c", "d", "e"][:m]
    results = [result(method, seed, objectives=names) for method in ("cos", "soup") for seed in (0, 1)]
    drawn, _ = fronts_figure(summarise(results), results)
    assert len(drawn.axes) == panels


def test_hypervolumes_over_seeds_and_their_ratio() -> None:
    comparison = summarise(field({"cos": [1.1, 1.1], "soup": [1.0, 1.0], "modpo": [0.5, 0.5]}))
    (axes,) = hypervolume_figure(comparison)[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cos", "soup", "modpo"]
    assert [text.get_text().split("  ·  ")[1] for text in axes.texts] == [
        "1.21 \u00d7 soup",
        "best baseline",
        "0.25 \u00d7 soup",
    ]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx(  # type: ignore[attr-defined]
        [one.hypervolume["accuracy"].mean for one in comparison.methods.values()]
    )
    assert axes.yaxis_inverted()  # the first method is on top


def test_time_is_logarithmic_and_equal_time_hollow() -> None:
    results = field({"cos": [1, 1], "soup": [1, 1]}, {"cos": 100.0, "soup": 1000.0})
    results += [result("soup", seed, 0.5, seconds=100.0, budget="time") for seed in (0, 1)]
    (axes,) = time_figure(summarise(results))[0].axes
    assert axes.get_xscale() == "log"
    hollow = [line for line in axes.lines if line.get_color() == PAPER]
    assert [float(np.asarray(line.get_xdata())[0]) for line in hollow] == [100.0]  # soup's; cos is there once, filled
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2 min", "5 min", "10 min", "20 min"]


def test_methods_and_objectives_differ_in_colour() -> None:
    looks = marks(["cos", "linear_scalarization", "soup", "modpo", "cos, hyper_prompt", "another"])
    inks = {mark.ink for mark in looks.values()}
    assert len(inks) == len({mark.marker for mark in looks.values()}) == len(looks)
    assert not inks & {*OBJECTIVE_COLOURS, INK, MUTED, PAPER}
    assert marks(["another", "cos"])["cos"] == looks["cos"]
