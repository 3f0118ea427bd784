"""Training state on disk: trained tensors and AdamW's moments as safetensors, the step and the clock as JSON.

Data order, weight draws and dropout are functions of (seed, step), so this is all that a run needs to go on exactly
where it was. Nothing is pickled. Folders are written whole under another name and renamed by their callers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

STATE = "training_state.safetensors"
CLOCK = "training_clock.json"
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Clock:
    """How far a run is."""

    step: int = 0
    """Optimiser steps done."""
    seconds: float = 0.0
    """Wall time spent in training, over all restarts; what is saved or measured on the way does not count."""


def trained_state(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The trained tensors of `module` and the moments of its AdamW `optimizer`, by name."""
    tensors = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            tensors[f"parameter/{name}"] = parameter.detach()
            for key in MOMENTS:
                tensors[f"{key}/{name}"] = optimizer.state[parameter][key]
    return tensors


def restore(module: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], step: int) -> None:
    """Takes over what `trained_state` gave after `step` steps, in place."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(tensors[f"parameter/{name}"])
                optimizer.state[parameter] = {
                    "step": torch.tensor(float(step)),
                    **{key: tensors[f"{key}/{name}"].to(parameter.device) for key in MOMENTS},
                }


def write_state(folder: Path, tensors: Mapping[str, Tensor], clock: Clock) -> None:
    """Writes a state and its clock."""
    save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, folder / STATE)
    (folder / CLOCK).write_text(json.dumps(asdict(clock)))


def read_state(folder: Path) -> tuple[dict[str, Tensor], Clock]:
    """What `write_state` wrote."""
    return load_file(folder / STATE), Clock(**json.loads((folder / CLOCK).read_text()))


def save_state(folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, clock: Clock) -> None:
    """Writes the trained tensors of `module`, the moments of its AdamW `optimizer`, and the clock."""
    write_state(folder, trained_state(module, optimizer), clock)


def load_state(folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> Clock:
    """Restores what `save_state` wrote, in place."""
    tensors, clock = read_state(folder)
    restore(module, optimizer, tensors, clock.step)
    return clock
