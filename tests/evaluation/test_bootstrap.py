"""Deviations over held-out contexts, by closed form and against Efron's bootstrap."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cosdpo.evaluation.bootstrap import PerContext, hypervolume_deviation
from cosdpo.evaluation.front import Front, Main, Measured, mean_over_folds
from cosdpo.simplex import das_dennis
from tests.built_fronts import built

RNG = np.random.default_rng(7)
CONTEXTS = 300
WIDE = 0.15
"""Three deviations of a deviation that is taken of 200 draws."""


def test_of_a_mean_it_is_its_standard_error() -> None:
    # Weights from Dir(1, ..., 1) have variance (C - 1) / (C^2 (C + 1)): that of the weighted mean is s^2 / (C + 1).
    values = RNG.normal([0.0, 5.0], [1.0, 3.0], (CONTEXTS, 2))
    measured = PerContext(values, np.ones_like(values))
    assert measured.mean.tolist() == pytest.approx(values.mean(0).tolist())
    expected = values.std(0) / np.sqrt(CONTEXTS + 1)
    assert measured.deviation().tolist() == pytest.approx(expected.tolist(), rel=WIDE)


def test_of_a_ratio_it_is_that_of_contexts_drawn_with_replacement() -> None:
    # Contexts of many pairs weigh more, and those of none nothing.
    counts = RNG.integers(0, 6, (CONTEXTS, 1)).astype(float)
    right = RNG.binomial(counts.astype(int), RNG.uniform(0.3, 1, (CONTEXTS, 1))).astype(float)
    drawn = RNG.integers(0, CONTEXTS, (4000, CONTEXTS))
    efron = (right[drawn].sum(1) / counts[drawn].sum(1)).std(0)
    assert PerContext(right, counts).deviation().tolist() == pytest.approx(efron.tolist(), rel=WIDE)


def test_points_and_base_are_drawn_together() -> None:
    # Every context adds to each point what it adds to the base and the weight: all of it is common but the weights.
    weights = das_dennis(2, 4)
    base = RNG.normal(size=(CONTEXTS, 2))
    counts = np.ones_like(base)
    points = PerContext(base + weights[:, None], counts)
    expected = np.tile(base.std(0) / np.sqrt(CONTEXTS), (5, 1))
    assert points.deviation() == pytest.approx(expected, rel=WIDE)
    moving = front_of(Measured.of(points, PerContext(base, counts))).metrics["accuracy"]
    assert moving.hypervolume > 0
    assert moving.hypervolume_deviation == pytest.approx(0, abs=1e-9)
    # A reference point that is no measured base stays where it is, and the volume moves with the points.
    fixed = front_of(Measured.of(points, PerContext(base, counts), [-1.0, -1.0])).metrics["accuracy"]
    shift = points.drawn()
    volumes = [volume_above(of_draw, -1.0) for of_draw in shift]
    assert fixed.hypervolume_deviation == pytest.approx(np.std(volumes, ddof=1), rel=1e-2)


def volume_above(points: np.ndarray, reference: float) -> float:
    """Of a staircase whose points rise in the first objective and fall in the second."""
    widths = np.diff(np.concatenate([[reference], points[:, 0]]))
    return float((widths * (points[:, 1] - reference)).sum())


def test_one_objective_of_one_point_has_the_deviation_of_its_value() -> None:
    drawn = RNG.normal(3.0, 0.1, (200, 1, 1))
    assert hypervolume_deviation(drawn, np.zeros((200, 1))) == pytest.approx(drawn.std(ddof=1))


def test_a_volume_of_many_objectives_is_not_taken_hundreds_of_times() -> None:
    assert hypervolume_deviation(np.ones((200, 101, 5)), np.zeros((200, 5))) is None
    assert hypervolume_deviation(np.ones((200, 100, 5)), np.zeros((200, 5))) == 0


def front_of(measured: Measured, temperatures: int = 1) -> Front:
    weights = np.tile(das_dennis(2, 4), (temperatures, 1))
    nats = PerContext(np.arange(len(weights) * 3, dtype=float).reshape(-1, 3, 1), np.ones((3, 1)))
    return built(
        weights,
        {"accuracy": measured},
        temperatures=np.repeat([[0.1, 0.1], [0.2, 0.2]][:temperatures], 5, axis=0),
        main=Main.of("KL", "nats", nats, 0.0, higher_is_better=False),
    )


@pytest.fixture
def noisy() -> Front:
    """Five points at each of two temperatures."""
    sums = np.tile(das_dennis(2, 4), (2, 1))[:, None] + RNG.normal(size=(10, CONTEXTS, 2))
    base = RNG.normal(size=(CONTEXTS, 2)) - 1
    return front_of(Measured.of(PerContext(sums, np.ones_like(base)), PerContext(base, np.ones_like(base))), 2)


def test_deviations_survive_the_file_and_stay_with_their_points(noisy: Front, tmp_path: Path) -> None:
    noisy.save(tmp_path / "front.json")
    assert Front.load(tmp_path / "front.json") == noisy
    deviations = noisy.metrics["accuracy"].deviations
    assert deviations is not None
    assert np.array(deviations) == pytest.approx(1 / np.sqrt(CONTEXTS), rel=0.4)
    assert noisy.at(1).metrics["accuracy"].deviations == deviations[:5]
    assert noisy.at(1).metrics["accuracy"].hypervolume_deviation == noisy.metrics["accuracy"].hypervolume_deviation
    assert noisy.at(2).metrics["accuracy"].deviations == deviations[5:]
    assert noisy.at(2).metrics["accuracy"].hypervolume_deviation is None
    assert noisy.main is not None
    assert noisy.main.deviations is not None
    main = noisy.at(2).main
    assert main is not None
    assert main.deviations == noisy.main.deviations[5:]
    written = json.loads((tmp_path / "front.json").read_text())
    assert set(written["points"][0]) == {"weights", "temperature", "values"}


def test_folds_have_contexts_of_their_own(noisy: Front) -> None:
    deviations = noisy.metrics["accuracy"].deviations
    mean = mean_over_folds([noisy, noisy, noisy, noisy])
    assert mean.main is not None
    assert noisy.main is not None
    assert deviations is not None
    assert noisy.main.deviations is not None
    assert np.array(mean.metrics["accuracy"].deviations) == pytest.approx(np.array(deviations) / 2, rel=0.01)
    assert np.array(mean.main.deviations) == pytest.approx(np.array(noisy.main.deviations) / 2, rel=0.01)
