"""Where a worker computes, and in which type the frozen base is held."""

from __future__ import annotations

import torch

from cosdpo.config import Config


def worker_device(use_gpu: bool) -> torch.device:
    """The GPU that Ray assigned to this process (it alone is visible), or the CPU."""
    return torch.device("cuda", 0) if use_gpu else torch.device("cpu")


def base_dtype(config: Config, device: torch.device) -> torch.dtype:
    """model.dtype, where auto is bfloat16 on GPUs and float32 on CPUs."""
    if config.model.dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return torch.bfloat16 if config.model.dtype == "bfloat16" else torch.float32
