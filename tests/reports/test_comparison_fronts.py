"""The fronts of a comparison stand where they were measured, in the direction and the colours they claim."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from cosdpo.experiment.results.summary import summarise
from cosdpo.reports.comparison_fronts import fronts_sheet
from cosdpo.reports.method_marks import looks
from tests.fake_results import result


def points(axes: Axes, ink: str) -> list[tuple[float, float]]:
    """Places of the artists with a hover text and this colour."""
    found = [
        line for line in axes.lines if str(line.get_gid()).startswith("point-") and to_hex(line.get_color()) == ink
    ]
    return [tuple(np.asarray(line.get_xydata(), dtype=np.float64)[0].tolist()) for line in found]


def test_planes_hold_the_mean_fronts() -> None:
    results = [result(name, seed, q + seed, loss=True) for name, q in (("cos", 1.0), ("soup", 0.5)) for seed in (0, 1)]
    sheet = fronts_sheet(summarise(results), results)
    accuracy, loss = sheet.panels
    methods = looks(["cos", "soup"])
    weights = results[0].front.weights
    for name, quality in (("cos", 1.5), ("soup", 1.0)):
        np.testing.assert_allclose(sorted(points(accuracy, methods[name].ink)), sorted(map(tuple, quality * weights)))
        np.testing.assert_allclose(sorted(points(loss, methods[name].ink)), sorted(map(tuple, 1 - quality * weights)))
    assert loss.xaxis_inverted()
    assert loss.yaxis_inverted()
    assert not accuracy.xaxis_inverted()
    assert len(sheet.titles) == 2 * 2 * 5
    # 1.5 * (0.25, 0.75), each with the deviation of 1 and 2 times the weight
    assert "cos\nkind 0.25, brief 0.75\naccuracy: 0.375 ± 0.177, 1.125 ± 0.530" in sheet.titles
    assert {text.get_text() for text in accuracy.texts} == {"base = reference"}


@pytest.mark.parametrize(("m", "panels"), [(3, 3), (5, 5)])
def test_more_objectives_have_more_panels(m: int, panels: int) -> None:
    names = ["a", "b", "c", "d", "e"][:m]
    results = [result(method, seed, objectives=names) for method in ("cos", "soup") for seed in (0, 1)]
    sheet = fronts_sheet(summarise(results), results)
    assert len(sheet.panels) == panels
