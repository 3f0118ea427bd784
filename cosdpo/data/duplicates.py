"""Candidates that are the same: compared with each other they teach nothing."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from statistics import mean
from typing import TypeVar

T = TypeVar("T", bound=Hashable)
Scores = list[list[float] | None]
"""Of each objective, one per candidate; None where it is unlabelled."""


def distinct(candidates: Sequence[T], scores: Scores) -> tuple[list[T], Scores]:
    """Each different candidate once, at its first place, with the mean of the scores of all that are equal to it.

    Lists are often sorted by score, so that the first one's would flatter; and where equal beginnings are all that is
    left of different responses, the mean is what can be known of their scores. It is exact, so that equal scores
    stay tied with those of others.
    """
    places: dict[T, list[int]] = {}
    for i, candidate in enumerate(candidates):
        places.setdefault(candidate, []).append(i)
    if len(places) == len(candidates):
        return list(candidates), scores
    means = [None if values is None else [mean(values[i] for i in of) for of in places.values()] for values in scores]
    return list(places), means


def tells_apart(scores: Scores) -> bool:
    """Whether an objective prefers one candidate to another."""
    return any(values is not None and min(values) < max(values) for values in scores)
