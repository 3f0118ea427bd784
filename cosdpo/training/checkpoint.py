"""Training state on disk: trained tensors and AdamW's moments as safetensors, the step and the clock as JSON.

Data order, weight draws and dropout are functions of (seed, step), so this is all that a run needs to go on exactly
where it was. Nothing is pickled. Folders are written whole under another name and renamed by their callers.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

STATE = "training_state.safetensors"
CLOCK = "training_clock.json"


@dataclass(frozen=True)
class Clock:
    """How far a run is."""

    step: int = 0
    """Optimiser steps done."""
    seconds: float = 0.0
    """Wall time spent in the training loop, over all restarts."""


def _moments(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            tensors[f"parameter/{name}"] = parameter.detach()
            for key in ("exp_avg", "exp_avg_sq"):
                tensors[f"{key}/{name}"] = optimizer.state[parameter][key]
    return tensors


def save_state(folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, clock: Clock) -> None:
    """Writes the trained tensors of `module`, the moments of its AdamW `optimizer`, and the clock."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in _moments(module, optimizer).items()}
    save_file(tensors, folder / STATE)
    (folder / CLOCK).write_text(json.dumps(asdict(clock)))


def load_state(folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> Clock:
    """Restores what `save_state` wrote, in place."""
    clock = Clock(**json.loads((folder / CLOCK).read_text()))
    tensors = load_file(folder / STATE)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(tensors[f"parameter/{name}"])
                optimizer.state[parameter] = {
                    "step": torch.tensor(float(clock.step)),
                    **{k: tensors[f"{k}/{name}"].to(parameter.device) for k in ("exp_avg", "exp_avg_sq")},
                }
    return clock
