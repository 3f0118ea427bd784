"""Synthetic query lists: their schema, what they share with MSLR, and objectives that can be learnt and pull apart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import rankdata

from cosdpo.arrays import Floats, Singles
from cosdpo.data import letor, synthetic_ranking
from cosdpo.data.query_lists import QueryLists


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSDPO_CACHE", str(tmp_path_factory.mktemp("cache")))
        return synthetic_ranking.write(200, seed=0)


@pytest.fixture(scope="module")
def lists(place: Path) -> QueryLists:
    (lists,) = letor.load([place], synthetic_ranking.OBJECTIVES)
    return lists


def ranks(lists: QueryLists, values: Singles) -> Floats:
    """Ranks within each list, of mean 0 and deviation 1; 0 where all are tied."""
    parts = [rankdata(values[a:b]) for a, b in zip(lists.offsets[:-1], lists.offsets[1:], strict=True)]
    return np.concatenate([(part - part.mean()) / max(part.std(), 1e-9) for part in parts])


@pytest.fixture(scope="module")
def objectives(lists: QueryLists) -> Floats:
    """[6, N] ranks by the label and the five auxiliary objectives."""
    return np.stack([ranks(lists, lists.relevance), *(ranks(lists, column) for column in lists.auxiliary.T)])


def test_has_mslr_s_columns(place: Path, lists: QueryLists):
    assert pq.read_schema(place).names == ["qid", "docid", "relevance", *(f"feature_{i}" for i in range(1, 137))]
    assert len(lists) == 200
    assert lists.queries[:2] == ("1", "2")
    assert lists.features.shape[1] == 131
    assert lists.auxiliary.shape[1] == 5


def test_labels_are_as_frequent_as_in_mslr(lists: QueryLists):
    shares = np.bincount(lists.relevance.astype(int), minlength=5) / len(lists.relevance)
    # The merit of whole lists varies, so 200 of them are within about two percentage points.
    np.testing.assert_allclose(shares, synthetic_ranking.SHARES, atol=0.04)
    assert set(np.unique(lists.relevance)) == {0, 1, 2, 3, 4}


def test_list_lengths_are_those_of_mslr():
    lengths = synthetic_ranking.list_lengths(30_000, np.random.default_rng(0))
    assert lengths.min() == 1
    assert 800 < lengths.max() <= 1_251
    assert lengths.mean() == pytest.approx(120, abs=3)
    assert np.median(lengths) == pytest.approx(110, abs=3)


def test_every_feature_varies(lists: QueryLists):
    assert (lists.features.std(axis=0) > 0).all()
    assert (lists.auxiliary.std(axis=0) > 0).all()


def test_features_are_bounded_or_heavy_tailed_as_their_kind_is(lists: QueryLists):
    columns = dict(zip(lists.numbers, lists.features.T, strict=True))
    for number in (6, 46, 101):  # share of covered terms, normalised frequency, vector space model
        assert 0 <= columns[number].min() <= columns[number].max() <= 1
    assert set(np.unique(columns[96])) == {0, 1}
    assert columns[111].max() < 0  # a log likelihood
    for number in (21, 91, 128):  # term frequency, a variance, inlinks
        assert columns[number].max() > 100 * np.median(columns[number])
    # The inverse document frequency is one of the query.
    idf = columns[16]
    assert all(len(np.unique(idf[a:b])) == 1 for a, b in zip(lists.offsets[:-1], lists.offsets[1:], strict=True))


def test_objectives_pull_apart(objectives: Floats):
    relevance, quality, quality2, query_clicks, clicks, dwell = range(6)
    correlations = np.corrcoef(objectives)
    for first, second in [(quality, clicks), (quality, query_clicks), (quality2, clicks), (dwell, clicks)]:
        assert correlations[first, second] < -0.15
    assert correlations[relevance, quality] > 0.15
    assert correlations[relevance, quality2] < 0
    # None is another's twin.
    assert np.abs(correlations[~np.eye(6, dtype=bool)]).max() < 0.6


def test_objectives_are_predictable_from_the_inputs_but_only_to_a_degree(lists: QueryLists, objectives: Floats):
    """Ridge regression between ranks within lists, fitted on half of the queries and judged on the others."""
    inputs = np.stack([ranks(lists, column) for column in lists.features.T], axis=1)
    half = lists.offsets[100]
    left = inputs[:half].T @ inputs[:half] + 100 * np.eye(131)
    for objective in objectives:
        weights = np.linalg.solve(left, inputs[:half].T @ objective[:half])
        assert 0.4 < np.corrcoef(inputs[half:] @ weights, objective[half:])[0, 1] < 0.9


def test_is_made_once(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COSDPO_CACHE", str(place.parent))
    monkeypatch.setattr(synthetic_ranking, "chunks", None)
    assert synthetic_ranking.write(200, seed=0) == place


def test_a_larger_set_begins_with_the_smaller(lists: QueryLists):
    """130 queries end within the second chunk of 128."""
    part = list(synthetic_ranking.chunks(130, seed=0))
    assert [query for chunk in part for query in chunk.queries][-1] == "130"
    count = int(lists.offsets[130])
    features = np.concatenate([chunk.features for chunk in part])
    assert features.shape == (count, 136)
    np.testing.assert_array_equal(features[:, :131], lists.features[:count])
    np.testing.assert_array_equal(features[:, 131:], lists.auxiliary[:count])
    np.testing.assert_array_equal(np.concatenate([chunk.relevance for chunk in part]), lists.relevance[:count])


def test_another_seed_is_another_world(lists: QueryLists):
    (other,) = synthetic_ranking.chunks(5, seed=1)
    assert not np.array_equal(other.features[:5, :131], lists.features[:5])


RACER = """
import sys
from cosdpo.data import synthetic_ranking
print("ready", flush=True)
sys.stdin.readline()
print(synthetic_ranking.write(300, 0))
"""


def test_two_first_runs_share_one_cache(tmp_path: Path):
    """Two processes write the same set at once into an empty cache: both read it whole, and one file is left."""
    environment = os.environ | {"COSDPO_CACHE": str(tmp_path / "cache")}
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER], env=environment, stdin=PIPE, stdout=PIPE, text=True)
        for _ in range(2)
    ]
    assert [racer.stdout.readline() for racer in racers if racer.stdout] == ["ready\n"] * 2
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("\n")
        racer.stdin.flush()
    (place, other) = [racer.communicate(timeout=120)[0].strip() for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert place == other
    assert [str(path) for path in (tmp_path / "cache").iterdir()] == [place]
    (lists,) = letor.load([Path(place)], synthetic_ranking.OBJECTIVES)
    assert len(lists.lengths) == 300
