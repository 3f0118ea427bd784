"""Builds the scorer of a run and places it on the workers as the configuration asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from cosdpo.config import Config
from cosdpo.training.loop import optimizer_for
from cosdpo.training.strategies.strategy import Strategy

Create = Callable[[Config, torch.device], Any]


def start(config: Config, create: Create, device: torch.device) -> Strategy:
    """Called by every worker at the same time, within their process group if there are several.

    Args:
        create: builds a fresh scorer on a device; under config.seed it is the same one on every worker.
    """
    kind = config.scaling.strategy
    several = dist.is_initialized() and dist.get_world_size() > 1
    torch.manual_seed(config.seed)
    if kind == "deepspeed":
        from cosdpo.training.strategies.zero import Zero  # an extra that few installations have

        return Zero(create(config, torch.device("cpu")), config, device)
    # Sharded ones are built on the CPU: what needs sharding does not fit the device.
    scorer = create(config, torch.device("cpu") if kind == "fsdp" and several else device)
    optimizer = optimizer_for(scorer, config)
    if not several:
        return Strategy(scorer, optimizer)
    if kind == "fsdp":
        from cosdpo.training.strategies.fsdp import Fsdp

        return Fsdp(scorer, optimizer, device)
    from cosdpo.training.strategies.ddp import Ddp

    return Ddp(scorer, optimizer)
