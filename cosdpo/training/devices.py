"""Where a worker computes, and in which type the frozen base is held."""

from __future__ import annotations

import torch

from cosdpo.config import Config


def worker_device(use_gpu: bool) -> torch.device:
    """The GPU that Ray assigned to this task or actor (it alone is visible), or the CPU."""
    return torch.device("cuda", 0) if use_gpu else torch.device("cpu")


def training_device(use_gpu: bool) -> torch.device:
    """The device of a Ray Train worker, which sees the GPUs of all workers on its node."""
    if not use_gpu:
        return torch.device("cpu")
    import ray.train.torch  # here, since references and comparisons need no Ray Train

    device: torch.device = ray.train.torch.get_device()
    torch.cuda.set_device(device)
    return device


def base_dtype(config: Config, device: torch.device) -> torch.dtype:
    """The type of the base that model.dtype names; `device` is where the base is loaded."""
    # A sharded base is loaded on the CPU and goes to the GPUs in parts.
    return dtype_of(config.model.dtype, device.type == "cuda" or config.scaling.use_gpu)


def dtype_of(name: str, on_gpu: bool) -> torch.dtype:
    """float32 or bfloat16 by name, where auto is bfloat16 on GPUs and float32 on CPUs."""
    return torch.bfloat16 if name == "bfloat16" or (name == "auto" and on_gpu) else torch.float32
