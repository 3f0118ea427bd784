"""The documents of a batch of queries one after another, as a ranker reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cosdpo.arrays import Singles


@dataclass(frozen=True)
class PackedLists:
    """The documents of B queries one after another, T in total, at most n in one list."""

    features: Tensor
    """[T, F] input features as the data has them."""
    owner: Tensor
    """[T] which of the B lists a document belongs to."""
    position: Tensor
    """[T] its place in that list."""
    lengths: tuple[int, ...]
    """[B] documents of each list."""
    reference: Tensor | None = None
    """[T] reference scores, where they are known already."""

    @classmethod
    def of(cls, features: Singles, lengths: Sequence[int], reference: npt.NDArray[Any] | None = None) -> PackedLists:
        """Packs features [T, F] of lists of the given lengths."""
        counts = np.asarray(lengths, dtype=np.int64)
        owner = np.repeat(np.arange(len(counts)), counts)
        position = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        return cls(
            torch.from_numpy(features),
            torch.from_numpy(owner),
            torch.from_numpy(position),
            tuple(counts.tolist()),
            None if reference is None else torch.from_numpy(np.asarray(reference, dtype=np.float32)),
        )

    def to(self, device: torch.device, non_blocking: bool = False) -> PackedLists:
        """The same lists on `device`."""
        moved: dict[str, Any] = {
            k: v.to(device, non_blocking=non_blocking) if isinstance(v, Tensor) else v for k, v in vars(self).items()
        }
        return PackedLists(**moved)

    def pad(self, values: Tensor) -> Tensor:
        """Packed values [T, ...] as [B, n, ...], zero where there is no document."""
        padded = values.new_zeros(len(self.lengths), max(self.lengths), *values.shape[1:])
        return padded.index_put((self.owner, self.position), values)

    def unpad(self, values: Tensor) -> Tensor:
        """Padded values [B, n, ...] as [T, ...]."""
        return values[self.owner, self.position]

    def mask(self) -> Tensor | None:
        """[B, 1, 1, n] true where a document is; None where all lists are equally long."""
        if len(set(self.lengths)) == 1:
            return None
        lengths = torch.tensor(self.lengths, device=self.owner.device)
        places = torch.arange(max(self.lengths), device=self.owner.device)
        return (places < lengths[:, None])[:, None, None, :]
