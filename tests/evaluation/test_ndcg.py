"""NDCG against scikit-learn, against the average over all orders of ties, and by hand."""

from __future__ import annotations

import time
from itertools import pairwise, permutations
from math import log2

import numpy as np
import pytest

from cosdpo.arrays import Floats, Integers
from cosdpo.errors import InputError
from cosdpo.evaluation.ndcg import exponential_gains, mean_ndcg, ndcg


def packed(lengths: list[int], seed: int, levels: int = 4) -> tuple[Floats, Floats, Integers]:
    """Random scores and labels of lists of these lengths; the fewer levels, the more ties."""
    random = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    scores = random.integers(0, levels, offsets[-1]) / levels
    return scores, random.integers(0, 5, offsets[-1]).astype(np.float64), offsets


def test_by_hand() -> None:
    """Gains 3, 0, 1 ranked in this order.

    DCG = 3 / log2 2 + 0 / log2 3 + 1 / log2 4 = 3.5; the best order 3, 1, 0 has 3 + 1 / log2 3 = 3.63093.
    """
    (value,) = ndcg([0.9, 0.5, 0.1], [3, 0, 1], [0, 3])
    assert value == pytest.approx(3.5 / (3 + 1 / log2(3)))


def test_ties_by_hand() -> None:
    """The documents of gains 0 and 1 share ranks 2 and 3: half a gain at each.

    DCG = 3 + .5 (1 / log2 3 + 1 / log2 4) = 3.56546 of 3.63093. At k = 2 rank 3 is worth nothing: 3 + .5 / log2 3.
    """
    scores, gains = [0.9, 0.5, 0.5], [3, 0, 1]
    assert ndcg(scores, gains, [0, 3])[0] == pytest.approx((3 + 0.5 / log2(3) + 0.25) / (3 + 1 / log2(3)))
    assert ndcg(scores, gains, [0, 3], k=2)[0] == pytest.approx((3 + 0.5 / log2(3)) / (3 + 1 / log2(3)))


@pytest.mark.parametrize("k", [1, 3, 10, 2000])
def test_equals_scikit_learn(k: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    lengths = [2, 3, 7, 10, 11, 60, 1251]
    for levels in (1, 2, 4, 10**6):
        scores, labels, offsets = packed(lengths, seed=levels, levels=levels)
        labels[offsets[3] : offsets[4]] = 0  # nothing relevant in this list
        gains = exponential_gains(labels)
        expected = [metrics.ndcg_score(gains[None, a:b], scores[None, a:b], k=k) for a, b in pairwise(offsets)]
        np.testing.assert_allclose(ndcg(scores, gains, offsets, k), expected, rtol=1e-12, atol=0)
        assert expected[3] == 0.0


@pytest.mark.parametrize("k", [1, 2, 4, 10])
@pytest.mark.parametrize("seed", range(4))
def test_is_the_mean_over_all_orders_of_ties(k: int, seed: int) -> None:
    scores, labels, offsets = packed([6, 5], seed, levels=2)
    gains = exponential_gains(labels)

    def dcg(order: tuple[int, ...]) -> float:
        return float(sum(gains[document] / log2(rank + 2) for rank, document in enumerate(order[:k])))

    expected = []
    for a, b in pairwise(offsets):
        every = list(permutations(range(a, b)))
        by_score = [order for order in every if all(scores[x] >= scores[y] for x, y in pairwise(order))]
        expected.append(np.mean([dcg(order) for order in by_score]) / max(dcg(order) for order in every))
    np.testing.assert_allclose(ndcg(scores, gains, offsets, k), expected)


def test_scores_count_by_their_order_alone() -> None:
    scores, labels, offsets = packed([1, 5, 40, 300], seed=0, levels=30)
    value = ndcg(scores, labels, offsets)
    np.testing.assert_array_equal(ndcg(np.exp(3 * scores) - 7, labels, offsets), value)
    # a shift of whole lists changes nothing either: lists are not compared with each other
    np.testing.assert_array_equal(ndcg(scores + np.repeat([9.0, 0, -9, 4], [1, 5, 40, 300]), labels, offsets), value)


def test_order_of_the_documents_does_not_matter() -> None:
    scores, labels, offsets = packed([30], seed=1, levels=3)
    shuffled = np.random.default_rng(2).permutation(30)
    np.testing.assert_allclose(ndcg(scores[shuffled], labels[shuffled], offsets), ndcg(scores, labels, offsets))


def test_lists_of_none_and_one() -> None:
    # empty; one relevant document; one irrelevant document; empty
    assert ndcg([0.3, 0.4], [2.0, 0.0], [0, 0, 1, 2, 2]).tolist() == [0.0, 1.0, 0.0, 0.0]
    assert ndcg([], [], [0, 0]).tolist() == [0.0]


def test_gains_by_hand() -> None:
    assert exponential_gains([0, 1, 2, 3, 4]).tolist() == [0, 1, 3, 7, 15]


def test_mean_leaves_out_lists_without_information() -> None:
    """Labels 2, 0 turned round, twice: gains 3, 0 give (3 / log2 3) / 3. Labels 1, 1, a single document, and none."""
    scores, labels = [0.1, 0.9, 0.5, 0.6, 0.7, 0.1, 0.9], [2, 0, 1, 1, 4, 2, 0]
    assert mean_ndcg(scores, labels, [0, 2, 4, 5, 5, 7]) == pytest.approx(1 / log2(3))
    # two lists that differ from each other and not within
    with pytest.raises(InputError, match="no query has documents of different labels"):
        mean_ndcg([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1], [0, 2, 4])


def test_mean_cuts_at_k() -> None:
    assert mean_ndcg([0.9, 0.1], [0, 1], [0, 2], k=1) == 0.0
    assert mean_ndcg([0.9, 0.1], [0, 1], [0, 2], k=2) == pytest.approx(1 / log2(3))


def test_is_fast() -> None:
    scores, labels, offsets = packed([1, 2] * 80_000, seed=0, levels=1000)
    started = time.perf_counter()
    mean_ndcg(scores, labels, offsets)
    assert time.perf_counter() - started < 2  # takes 0.1 s; a loop over 160,000 lists takes 10 s


@pytest.mark.parametrize(
    ("scores", "gains", "offsets", "says"),
    [
        ([1.0, 2.0], [1.0], [0, 2], "both need"),
        ([1.0, 2.0], [1.0, 0.0], [0, 1], "offsets must rise from 0 to the 2 documents"),
        ([1.0, 2.0], [1.0, 0.0], [1, 2], "offsets"),
        ([1.0, 2.0], [1.0, 0.0], [0, 3, 2], "offsets"),
        ([1.0, 2.0], [1.0, 0.0], [], "offsets"),
        ([1.0, np.nan], [1.0, 0.0], [0, 2], "score of document 1 is not finite"),
        ([1.0, 2.0], [1.0, -1.0], [0, 2], "at least 0"),
        ([1.0, 2.0], [1.0, np.inf], [0, 2], "finite"),
    ],
)
def test_wrong_lists_are_refused(scores: list[float], gains: list[float], offsets: list[int], says: str) -> None:
    with pytest.raises(InputError, match=says):
        ndcg(scores, gains, offsets)


def test_wrong_k_and_labels_are_refused() -> None:
    with pytest.raises(InputError, match="k is 0"):
        ndcg([1.0], [1.0], [0, 1], k=0)
    for label in (-1.0, np.nan, 50_000.0):  # the last a raw click count
        with pytest.raises(InputError, match="grades from 0 to 1,000"):
            exponential_gains([0.0, label])
