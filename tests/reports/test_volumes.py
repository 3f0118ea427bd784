"""Hypervolumes of a comparison as drawn: over the seeds, and against time."""

from __future__ import annotations

import numpy as np
import pytest

from cosdpo.experiment.results.summary import summarise
from cosdpo.reports.drawing import PAPER
from cosdpo.reports.volumes import hypervolume_sheet, time_sheet
from tests.fake_results import field, result


def test_hypervolumes_over_seeds_and_their_ratio() -> None:
    comparison = summarise(field({"cos": [1.1, 1.1], "soup": [1.0, 1.0], "modpo": [0.5, 0.5]}))
    (axes,) = hypervolume_sheet(comparison).panels
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
    (axes,) = time_sheet(summarise(results)).panels
    assert axes.get_xscale() == "log"
    hollow = [line for line in axes.lines if line.get_color() == PAPER]
    assert [float(np.asarray(line.get_xdata())[0]) for line in hollow] == [100.0]  # soup's; cos is there once, filled
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2 min", "5 min", "10 min", "20 min"]
