"""Query lists with their objectives' labels, ready to be batched: the rankers' counterpart of data/batching.py.

Labels are graded from 0 to 4, like the main label. An auxiliary objective's label is its feature, compressed by
sign(x) log(1 + |x|) and scaled to [0, 4] within the list; a list in which the feature is constant has labels 0 and is
masked for that objective. (The grading is this project's choice: the paper's could not be checked.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from cosdpo.arrays import Floats, Integers, Singles
from cosdpo.config import DataConfig
from cosdpo.data.batching import Batch, length_batches
from cosdpo.data.comparisons import comparison_counts
from cosdpo.data.packed_lists import PackedLists
from cosdpo.data.query_lists import QueryLists
from cosdpo.errors import InputError

TOP_GRADE = 4.0


def graded_labels(lists: QueryLists) -> Singles:
    """Labels of the auxiliary objectives, [N, A] in [0, 4]."""
    compressed = np.sign(lists.auxiliary) * np.log1p(np.abs(lists.auxiliary))
    starts, lengths = lists.offsets[:-1], lists.lengths
    low = np.minimum.reduceat(compressed, starts)
    span = np.maximum.reduceat(compressed, starts) - low
    span[span == 0] = 1.0
    graded: Singles = (TOP_GRADE * (compressed - np.repeat(low, lengths, 0)) / np.repeat(span, lengths, 0)).astype(
        np.float32
    )
    return graded


def list_targets(labels: Singles, offsets: Integers, kind: str) -> Singles:
    """Target distributions over the documents of each list, [N, m]; all 0 where a list's labels are all equal.

    Args:
        labels: [N, m], not negative.
        kind: as data.targets: argmax, proportional, gains or softmax.
    """
    starts, lengths = offsets[:-1], np.diff(offsets)

    def spread(per_list: Floats) -> Floats:
        return np.repeat(per_list, lengths, 0)

    values = labels.astype(np.float64)
    top, low = np.maximum.reduceat(values, starts), np.minimum.reduceat(values, starts)
    if kind == "argmax":
        mass = (values == spread(top)).astype(np.float64)
    elif kind == "proportional":
        mass = values
    elif kind == "gains":
        # (2^l - 1) / 2^top, so that no large label overflows and no small one is lost in 1.
        mass = np.exp2(values - spread(top)) * -np.expm1(-np.log(2) * values)
    else:
        mean = np.add.reduceat(values, starts) / lengths[:, None]
        deviation = np.sqrt(np.add.reduceat((values - spread(mean)) ** 2, starts) / lengths[:, None])
        deviation[deviation == 0] = 1.0
        mass = np.exp((values - spread(top)) / spread(deviation))
    total = np.add.reduceat(mass, starts)
    total[(top == low) | (total == 0)] = np.inf  # a list that carries no preference
    targets: Singles = (mass / spread(total)).astype(np.float32)
    return targets


class RankingData:
    """Query lists, labels and reference scores of the objectives that are trained."""

    unit = "documents"

    def __init__(self, lists: QueryLists, labels: Singles, data: DataConfig) -> None:
        """Reads the target distributions out of the labels.

        Args:
            labels: [N, m] in the order of the objectives.
        """
        self.lists = lists
        self.labels = labels
        self.form = data.comparisons
        self.targets = list_targets(labels, lists.offsets, data.targets)
        self.reference: Singles = np.zeros(len(labels), dtype=np.float32)
        self.margins: Singles | None = None
        self.lengths = lists.lengths

    def __len__(self) -> int:
        return len(self.lists)

    def set_margins(self, margins: Sequence[Floats] | None) -> None:
        """Sets what MO-DPO subtracts from the rewards, [n] per query; None takes it away."""
        self.margins = None if margins is None else np.concatenate(margins).astype(np.float32)

    def comparisons(self, objectives: Sequence[str]) -> Floats:
        """Number of lists that carry a preference for each objective, or of the choices that rankings are made of, [m].

        Raises:
            InputError: an objective without a single list whose labels differ cannot be trained or judged.
        """
        of_lists = np.split(self.labels, self.lists.offsets[1:-1])
        counts: Floats = np.sum([comparison_counts(labels.T, self.form) for labels in of_lists], axis=0)
        for name, count in zip(objectives, counts, strict=True):
            if count == 0:
                raise InputError(f"objective {name} has no list in which its labels differ; choose another feature")
        return counts

    def fingerprint(self) -> str:
        """sha256 over the features and labels of all documents, and the lists that they form."""
        digest = hashlib.sha256()
        for array in (self.lists.features, self.lists.offsets, self.lists.relevance, self.labels):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def all_scores(self) -> Floats:
        """[m, N] labels of all documents."""
        labels: Floats = self.labels.T.astype(np.float64)
        return labels

    def batch(self, indices: Sequence[int]) -> Batch:
        """The lists at `indices`: packed for the scorer, padded to the longest for the losses."""
        rows = self.lists.documents(indices)
        reference = self.reference[rows]
        packed = PackedLists.of(self.lists.features[rows], self.lengths[np.asarray(indices)], reference)
        mask = packed.pad(torch.ones(len(rows), dtype=torch.bool))
        labels = packed.pad(torch.from_numpy(self.labels[rows])).transpose(1, 2)
        return Batch(
            contexts=packed,
            reference=packed.pad(torch.from_numpy(reference)),
            mask=mask,
            form=self.form,
            scores=labels.masked_fill(~mask[:, None], torch.nan),
            items=len(rows),
            targets=packed.pad(torch.from_numpy(self.targets[rows])).transpose(1, 2),
            margins=None if self.margins is None else packed.pad(torch.from_numpy(self.margins[rows])),
        )

    def in_order_of_length(self, batch_documents: int) -> Iterator[list[int]]:
        """All indices in batches of at most `batch_documents`, shortest lists first."""
        return length_batches(self.lengths, batch_documents)
