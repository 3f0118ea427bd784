"""NDCG@k of packed query lists: how well scores put the documents with the large gains first.

Shapes: Q queries, N documents altogether; query q owns the documents offsets[q]:offsets[q + 1]. Everything is computed
over all documents at once, so the cost is that of two sorts. Tied scores count in expectation, because the order of a
tie is the sorting's accident and not the ranker's doing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cosdpo.arrays import Booleans, Floats, Integers
from cosdpo.errors import InputError

LARGEST_LABEL = 1000
"""2 ** 1000 leaves room to sum over a long list before float64 ends at 2 ** 1024."""


def exponential_gains(labels: npt.ArrayLike) -> Floats:
    """Gains 2 ** label - 1 of graded labels (Burges et al. 2005), any shape: 0, 1, 3, 7, 15 for the grades 0 to 4.

    Raises:
        InputError: a label is not a number from 0 to 1,000.
    """
    graded = np.asarray(labels, dtype=np.float64)
    if not ((graded >= 0) & (graded <= LARGEST_LABEL)).all():  # also false for nan
        raise InputError(f"labels must be grades from 0 to {LARGEST_LABEL:,}; sort raw counts into a few grades first")
    return np.exp2(graded) - 1


def ndcg(scores: npt.ArrayLike, gains: npt.ArrayLike, offsets: npt.ArrayLike, k: int = 10) -> Floats:
    """NDCG@k of every list, shape [Q], each in [0, 1].

    DCG@k = sum over ranks r = 1..k of gain(r) / log2(r + 1), divided by the DCG@k of the best order (Jaervelin and
    Kekaelaeinen 2002). A group of documents with one score shares the mean gain of the group over the ranks it takes,
    which is the expectation over all orders of the group (McSherry and Najork 2008).

    A list without a positive gain has no best order and gets 0.0, and so does an empty list.

    Args:
        scores: [N], larger ranks higher.
        gains: [N], at least 0; see exponential_gains for labels.
        offsets: [Q + 1] first document of each list, and N.
        k: ranks that count; lists may be shorter.

    Raises:
        InputError: shapes that do not fit, a score or gain that is not finite, a negative gain, or k below 1.
    """
    score, gain, starts = _lists(scores, gains, offsets)
    if k < 1:
        raise InputError(f"k is {k}; give the number of ranks that count, at least 1")
    query = _query(starts)
    count, total = len(starts) - 1, len(query)
    rank = np.arange(total) - starts[query]
    discounts = np.where(rank < k, 1 / np.log2(rank + 2), 0.0)

    order = np.lexsort((-score, query))  # stays within the lists, so query[order] is query
    ranked = score[order]
    opens = np.ones(total, dtype=np.bool_)
    opens[1:] = (query[1:] != query[:-1]) | (ranked[1:] != ranked[:-1])
    groups = np.flatnonzero(opens)
    means = np.add.reduceat(gain[order], groups) / np.diff(groups, append=total)
    dcg = np.bincount(query[groups], means * np.add.reduceat(discounts, groups), minlength=count)

    ideal = np.bincount(query, gain[np.lexsort((-gain, query))] * discounts, minlength=count)
    return np.divide(dcg, ideal, out=np.zeros(count), where=ideal > 0)


def mean_ndcg(scores: npt.ArrayLike, labels: npt.ArrayLike, offsets: npt.ArrayLike, k: int = 10) -> float:
    """Mean NDCG@k, with exponential gains, over the lists that carry information.

    A list whose labels are all equal says nothing about a ranker, every order of it is best, and is left out.

    Args:
        scores: [N], larger ranks higher.
        labels: [N] grades, 0 is irrelevant.
        offsets: [Q + 1] first document of each list, and N.
        k: ranks that count.

    Raises:
        InputError: as for ndcg and exponential_gains, or no list has two different labels.
    """
    gains = exponential_gains(labels)
    _lists(scores, gains, offsets)
    tells = informative(labels, offsets)
    if not tells.any():
        raise InputError("no query has documents of different labels, so NDCG says nothing; give labels that vary")
    return float(ndcg(scores, gains, offsets, k)[tells].mean())


def informative(labels: npt.ArrayLike, offsets: npt.ArrayLike) -> Booleans:
    """The lists whose labels are not all equal, [Q]; arguments as for mean_ndcg."""
    graded, starts = np.asarray(labels), np.asarray(offsets)
    query = _query(starts)
    changes = (graded[1:] != graded[:-1]) & (query[1:] == query[:-1])
    tells: Booleans = np.bincount(query[1:][changes], minlength=len(starts) - 1) > 0
    return tells


def _query(offsets: Integers) -> Integers:
    """[N] number of the list that each document belongs to."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def _lists(scores: npt.ArrayLike, gains: npt.ArrayLike, offsets: npt.ArrayLike) -> tuple[Floats, Floats, Integers]:
    """The three arrays, checked."""
    score, gain = np.asarray(scores, dtype=np.float64), np.asarray(gains, dtype=np.float64)
    starts = np.asarray(offsets, dtype=np.int64)
    if score.ndim != 1 or score.shape != gain.shape:
        raise InputError(f"scores have shape {score.shape} and gains {gain.shape}; both need [documents]")
    if starts.ndim != 1 or len(starts) < 2 or starts[0] != 0 or starts[-1] != len(score) or (np.diff(starts) < 0).any():
        raise InputError(f"offsets must rise from 0 to the {len(score)} documents, one more than there are lists")
    if not np.isfinite(score).all():
        raise InputError(f"the score of document {int(np.argmin(np.isfinite(score)))} is not finite")
    if not (np.isfinite(gain) & (gain >= 0)).all():
        raise InputError("gains must be finite and at least 0")
    return score, gain, starts
