"""Rankers measured at several temperatures, against the network itself run at each of them."""

from __future__ import annotations

import numpy as np
import pytest
import ray
import torch

from cosdpo.evaluation.ndcg import mean_ndcg
from cosdpo.simplex import das_dennis
from cosdpo.tasks.ranking import RankingTask
from cosdpo.tasks.ranking.ranking_measurement import measure
from tests.tiny_rankers import disturb, ranking_data, scorer, settings

RATIOS = [1.0, 0.25, 3.0]


@pytest.fixture
def stored(monkeypatch):
    """Data that `measure` gets, without Ray."""
    monkeypatch.setattr(ray, "get", lambda data: data)


def measured(made, config, data, indices, ratios=(1.0,)):
    return measure(made, config, indices, False, False, ratios, data=data)


@pytest.mark.parametrize("parametrisation", ["augmentation", "scratch"])
def test_values_are_those_of_the_network_at_that_temperature(stored, parametrisation):
    config = settings(ranker__parametrisation=parametrisation, grid__partitions=2)
    made, data, grid = scorer(config).eval(), ranking_data(config), das_dennis(2, 2)
    disturb(made.network, 5)
    ranked = measured(made, config, data, [0, 2], RATIOS)
    assert ranked.ndcg.keys() == ranked.main.keys() == {0, 2}
    batch = data.batch(range(len(data)))
    for index in (0, 2):
        w = torch.tensor(grid[index]).float().expand(len(data), 2)
        for c, values, relevance in zip(RATIOS, ranked.ndcg[index].mean, ranked.main[index].mean, strict=True):
            with torch.no_grad():  # the trained temperature is 0.5
                scores = batch.contexts.unpad(made(batch.contexts, w, torch.full_like(w, 0.5 * c))).numpy()
            expected = [mean_ndcg(scores, labels, data.lists.offsets) for labels in data.labels.T]
            assert values == pytest.approx(expected, abs=1e-9)
            assert relevance == pytest.approx([mean_ndcg(scores, data.lists.relevance, data.lists.offsets)], abs=1e-9)
        assert len({round(float(x), 6) for x in ranked.main[index].mean[:, 0]}) == len(RATIOS)  # and they differ


def test_one_pass_of_the_network_gives_every_temperature(stored, monkeypatch):
    config = settings(grid__partitions=2)
    made, data, passes = scorer(config).eval(), ranking_data(config), []
    network = made.network.forward
    monkeypatch.setattr(made.network, "forward", lambda *a: passes.append(1) or network(*a))
    measured(made, config, data, [0, 1, 2])
    alone = len(passes)
    measured(made, config, data, [0, 1, 2], RATIOS)
    assert len(passes) == 2 * alone


def test_findings_have_the_grid_at_one_temperature_after_the_other(stored):
    config = settings(grid__partitions=2)
    made, data, grid = scorer(config).eval(), ranking_data(config), das_dennis(2, 2)
    disturb(made.network, 5)
    task = object.__new__(RankingTask)
    task.config, task.held_out = config, data
    parts = [measured(made, config, data, some, RATIOS) for some in ([0, 2], [1])]  # two workers
    findings = task.findings(parts, grid)
    values, main = np.array(findings.metrics["ndcg@10"].values), findings.main
    assert main is not None
    assert values.shape == (9, 2)
    for r in range(3):
        for i in range(3):
            part = parts[i % 2]
            assert values[3 * r + i].tolist() == pytest.approx(part.ndcg[i].mean[r].tolist())
            assert main.values[3 * r + i] == pytest.approx(part.main[i].mean[r, 0])
    # Between its points the front is that of the scores in between, and at them what it was.
    assert findings.curve is None
    curve = das_dennis(2, 4)
    between = task.findings(parts, grid, curve).curve
    assert between is not None
    assert between.main is not None
    found = np.array(between.metrics["ndcg@10"].values)
    assert found[::2] == pytest.approx(values[:3])
    assert between.main.values[::2] == pytest.approx(main.values[:3])
    # A parabola runs through three points: half way it has 3, 6 and -1 eighths of them.
    scores = [part.scores[i] for i, part in enumerate((parts[0], parts[1], parts[0]))]
    for row, shares in zip(found[1::2], ([3, 6, -1], [-1, 6, 3]), strict=True):
        mixed = sum(share / 8 * score for share, score in zip(shares, scores, strict=True))
        assert row == pytest.approx(
            [mean_ndcg(mixed, labels, data.lists.offsets) for labels in data.labels.T], abs=1e-6
        )
    # Without further temperatures they are what they were.
    alone = task.findings([measured(made, config, data, range(3))], grid)
    assert np.array(alone.metrics["ndcg@10"].values).tolist() == values[:3].tolist()
    assert alone.main == main.at(np.arange(3))
