"""Numbers on their way between the host and a device, each of which may make the host wait.

A GPU works through a queue. A plain copy to it (torch.tensor(values, device=...)) waits until the queue is empty, and
so does every number that is read back. A step that waits more often than it must leaves the GPU idle in between.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def on_device(values: Any, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """The tensor of numbers in (nested) lists, on `device`, without waiting for what the device has to do."""
    # From memory that is not pinned the driver takes a copy before the call returns: the source may go.
    return torch.tensor(values, dtype=dtype).to(device, non_blocking=True)


def to_host(*tensors: Tensor) -> list[Any]:
    """The numbers of all tensors, as lists like tolist's, in one transfer: whole numbers are exact up to 2^53."""
    joined = torch.cat([t.flatten().double() for t in tensors]).cpu()
    parts = joined.split([t.numel() for t in tensors])
    return [part.to(t.dtype).view(t.shape).tolist() for part, t in zip(parts, tensors, strict=True)]
