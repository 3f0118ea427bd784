"""A GPU that computes nothing: shapes, types and devices of every operation, on a machine without one.

Under `FakeTensorMode` tensors on "cuda" refuse to meet tensors on the CPU as real ones do. What a program would read
back from the GPU is made up: ones.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

GPU = torch.device("cuda", 0)
CUDA, META = 1, 14
"""Numbers of the device types in torch's c10."""
aten = torch.ops.aten


class Waits(TorchDispatchMode):
    """Everything for which the host waits until the device has done all that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "aten" and func._can_decompose():  # as in inference mode they arrive
            with self:
                return func.decompose(*args, **kwargs)
        on_gpu = bool(args) and isinstance(args[0], Tensor) and args[0].device.type == "cuda"
        if func is aten._local_scalar_dense.default:
            if on_gpu:
                self.found.append("a number is read")
            return bool(1) if args[0].dtype == torch.bool else 1 if not args[0].dtype.is_floating_point else 1.0
        if on_gpu and func in (aten.nonzero.default, aten.repeat_interleave.Tensor) and not kwargs.get("output_size"):
            self.found.append(f"{func} has a size that only the device knows")
        if func is aten._to_copy.default and "device" in kwargs:
            self._copy(args[0].device, kwargs["device"], kwargs.get("non_blocking", False))
            if isinstance(args[0], FakeTensor):
                args[0].constant = None  # of a single number, which torch would take to the real device
        if func is aten.copy_.default:
            self._copy(args[1].device, args[0].device, len(args) > 2 and args[2])
        return func(*args, **kwargs)

    def _copy(self, source: torch.device, target: torch.device, non_blocking: bool) -> None:
        if "cuda" in {source.type, target.type} and source.type != target.type and not non_blocking:
            self.found.append(f"a copy from {source.type} to {target.type}")


@contextmanager
def fake_gpu(monkeypatch: Any) -> Iterator[Waits]:
    """Within it tensors are fake, and autocast believes in the GPU."""
    waits = Waits()

    def ones(tensor: FakeTensor) -> Any:
        if tensor.device.type == "cuda":
            waits.found.append("numbers are read")
        return np.ones(tensor.shape, dtype=str(tensor.dtype).removeprefix("torch."))

    monkeypatch.setattr(FakeTensor, "tolist", lambda tensor: ones(tensor).tolist())
    monkeypatch.setattr(FakeTensor, "numpy", ones, raising=False)
    _guard()
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (7, 5))
    with FakeTensorMode(allow_non_fake_inputs=True), waits:
        yield waits


def _guard() -> None:
    """Lets a build of torch without CUDA index tensors that say they are on a GPU: it takes the guard of "meta".

    Builds with CUDA do the same by themselves where there is no GPU.
    """
    if torch.cuda._is_compiled():
        return
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    try:
        guards = (ctypes.c_void_p * (META + 1)).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    except ValueError:
        pytest.skip("this build of torch keeps its device guards elsewhere")
    guards[CUDA] = guards[META]


def onto_gpu(module: nn.Module) -> None:
    """Replaces the meta tensors of a module by fake ones; torch refuses to move fake parameters."""
    made: dict[int, Tensor] = {}
    for part in module.modules():
        for store in (part._parameters, part._buffers):
            for name, tensor in store.items():
                if tensor is not None and id(tensor) not in made:
                    fake = torch.empty(tensor.shape, dtype=tensor.dtype, device=GPU)
                    trained = tensor.requires_grad
                    made[id(tensor)] = nn.Parameter(fake, trained) if isinstance(tensor, nn.Parameter) else fake
                store[name] = tensor if tensor is None else made[id(tensor)]
