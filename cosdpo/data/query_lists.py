"""Query lists: the documents of many queries as packed arrays, the form in which rankers are trained and judged.

Shapes: Q queries, N documents altogether, F input features, A auxiliary objectives. Query q owns the documents
offsets[q]:offsets[q + 1]; nothing is padded, so that a list of one document and one of 1,251 each cost what they hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cosdpo.arrays import Integers, Singles
from cosdpo.errors import InputError


@dataclass(frozen=True)
class QueryLists:
    """Judged documents by query."""

    features: Singles
    """[N, F] input features as the source gives them."""
    auxiliary: Singles
    """[N, A] features that serve as auxiliary objectives and are no inputs."""
    relevance: Singles
    """[N] main label, 0 is irrelevant."""
    offsets: Integers
    """[Q + 1] first document of each query, and N."""
    queries: tuple[str, ...]
    """[Q] query ids."""
    numbers: tuple[int, ...]
    """[F] feature numbers of the input columns, from 1."""
    docids: npt.NDArray[np.bytes_] = field(default_factory=lambda: np.zeros(0, np.bytes_))
    """[N] names of the documents in UTF-8, empty where the source has none; [0] where it has none at all."""

    def __post_init__(self) -> None:
        n = len(self.features)
        if not (len(self.auxiliary) == len(self.relevance) == self.offsets[-1] == n):
            raise ValueError("features, auxiliary, relevance and offsets disagree on the number of documents")
        if len(self.offsets) != len(self.queries) + 1 or self.features.shape[1] != len(self.numbers):
            raise ValueError("offsets need a query each, features a number each")
        if len(self.docids) not in (0, n):
            raise ValueError("docids are of all documents or of none")

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def lengths(self) -> Integers:
        """[Q] documents of each query."""
        lengths: Integers = np.diff(self.offsets)
        return lengths

    def documents(self, queries: Sequence[int] | npt.NDArray[Any]) -> Integers:
        """Row numbers of all documents of `queries`, in their order."""
        chosen = np.asarray(queries, dtype=np.int64)
        starts, lengths = self.offsets[chosen], self.lengths[chosen]
        # Counts up within each list: a running index minus where the list begins in the output.
        begins = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        rows: Integers = np.arange(lengths.sum()) + np.repeat(starts - begins, lengths)
        return rows

    def subset(self, queries: Sequence[int] | npt.NDArray[Any]) -> QueryLists:
        """The lists of `queries` alone, copied."""
        rows = self.documents(queries)
        return QueryLists(
            features=self.features[rows],
            auxiliary=self.auxiliary[rows],
            relevance=self.relevance[rows],
            offsets=np.concatenate([[0], np.cumsum(self.lengths[np.asarray(queries)])]),
            queries=tuple(self.queries[q] for q in queries),
            numbers=self.numbers,
            docids=self.docids[rows] if len(self.docids) else self.docids,
        )

    @staticmethod
    def concat(parts: Sequence[QueryLists]) -> QueryLists:
        """All lists of all parts, which must have the same features."""
        if len({part.numbers for part in parts}) != 1:
            raise InputError("the files have different features; give files of one data set")
        sizes = [len(part.relevance) for part in parts]
        shifts = np.concatenate([[0], np.cumsum(sizes)])
        named = any(len(part.docids) for part in parts)
        offsets = [part.offsets[:-1] + shift for part, shift in zip(parts, shifts[:-1], strict=True)]
        return QueryLists(
            features=np.concatenate([part.features for part in parts]),
            auxiliary=np.concatenate([part.auxiliary for part in parts]),
            relevance=np.concatenate([part.relevance for part in parts]),
            offsets=np.concatenate([*offsets, shifts[-1:]]).astype(np.int64),
            queries=tuple(query for part in parts for query in part.queries),
            numbers=parts[0].numbers,
            docids=np.concatenate(
                [
                    np.full(size, b"") if named and not len(part.docids) else part.docids
                    for part, size in zip(parts, sizes, strict=True)
                ]
            ),
        )

    def folds(self, count: int, seed: int) -> list[Integers]:
        """The queries cut at random into `count` parts of nearly equal size.

        Raises:
            InputError: fewer queries than parts.
        """
        if len(self) < count:
            raise InputError(f"data.folds {count} needs as many queries, the data has {len(self)}; lower it")
        order = np.random.default_rng(seed).permutation(len(self))
        return [np.sort(part) for part in np.array_split(order, count)]
