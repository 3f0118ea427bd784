"""Bytes of live tensors while code runs, by following every storage that an operation returns.

Under torch's fake tensors nothing is allocated or computed, so that a training step of a model of any size can be
followed on a laptop.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):
    """Within `with LiveMemory(held) as memory:`, memory.peak is the largest number of bytes alive at once."""

    def __init__(self, held: Iterable[Tensor] = ()) -> None:
        """`held` are the tensors that exist already; those that share a storage count once."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._alive: set[int] = set()
        for tensor in held:
            self._follow(tensor.untyped_storage())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(returned):
            if isinstance(leaf, Tensor):
                self._follow(leaf.untyped_storage())
        return returned

    def _follow(self, storage: torch.UntypedStorage) -> None:
        # The Python object of a storage may be made anew for every tensor, its address in C++ lives as long as it does.
        address = storage._cdata
        if address in self._alive:
            return
        self._alive.add(address)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, address, storage.nbytes())

    def _forget(self, address: int, size: int) -> None:
        self._alive.discard(address)
        self.now -= size
