"""What the training loop needs of its data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from cosdpo.arrays import Floats, Integers
from cosdpo.data.batching import Batch


class TrainingData(Protocol):
    """Contexts with comparisons and reference scores; data/batching.py and data/ranking.py have one each."""

    unit: str
    """What a batch's items are: tokens or documents."""
    lengths: Integers
    """[N] items of each context, by which batches are bucketed."""

    def __len__(self) -> int:
        """Number of contexts."""

    def fingerprint(self) -> str:
        """Hash of contexts, candidates and scores."""

    def batch(self, indices: Sequence[int]) -> Batch:
        """The contexts at `indices`, padded to the longest list of candidates."""

    def all_scores(self) -> Floats:
        """[m, N] labels of all candidates of all contexts, NaN where there is none."""

    def in_order_of_length(self, batch_items: int) -> Iterator[list[int]]:
        """All indices in batches of at most `batch_items` tokens or documents."""

    def set_margins(self, margins: Sequence[Floats] | None) -> None:
        """Sets what MO-DPO subtracts from the rewards, [n] per context."""

    def comparisons(self, objectives: Sequence[str]) -> Floats:
        """Number of comparisons per objective, [m]."""
