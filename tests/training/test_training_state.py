"""Training state on disk: what comes back, and that nothing of it is pickled."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from torch import nn

from cosdpo.training.training_state import Clock, load_state, save_state


def module_and_optimizer(seed: int, steps: int) -> tuple[nn.Module, torch.optim.AdamW]:
    """A frozen and a trained layer after some steps."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    module[0].requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=0.1)
    for step in range(steps):
        optimizer.zero_grad()
        module(torch.full((1, 3), float(step + 1))).square().sum().backward()
        optimizer.step()
    return module, optimizer


def test_trained_tensors_moments_and_clock_come_back(tmp_path):
    module, optimizer = module_and_optimizer(0, steps=5)
    save_state(tmp_path, module, optimizer, Clock(5, 12.5))
    other, fresh = module_and_optimizer(1, steps=2)
    frozen = other[0].weight.clone()
    assert load_state(tmp_path, other, fresh) == Clock(5, 12.5)
    assert torch.equal(other[1].weight, module[1].weight)
    assert torch.equal(other[0].weight, frozen)  # the base is not in the state
    for ours, expected in zip(other[1].parameters(), module[1].parameters(), strict=True):
        for key in ("exp_avg", "exp_avg_sq", "step"):
            torch.testing.assert_close(fresh.state[ours][key], optimizer.state[expected][key], rtol=0, atol=0)
    # The next step is the one that the saved optimiser takes.
    for m, o in ((module, optimizer), (other, fresh)):
        o.zero_grad()
        m[1](torch.ones(1, 4)).square().sum().backward()
        o.step()
    assert torch.equal(other[1].weight, module[1].weight)


def test_files_are_safetensors_and_json(tmp_path):
    module, optimizer = module_and_optimizer(0, steps=1)
    save_state(tmp_path, module, optimizer, Clock(1, 1.0))
    for file in tmp_path.iterdir():
        if file.suffix == ".json":
            json.loads(file.read_text())
        else:
            with safe_open(file, "pt") as tensors:
                assert not any(".0." in name or name.endswith("0.weight") for name in tensors.keys())  # noqa: SIM118


def test_a_state_of_another_model_is_refused(tmp_path):
    module, optimizer = module_and_optimizer(0, steps=1)
    save_state(tmp_path, module, optimizer, Clock(1, 1.0))
    other = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(2, 2))
    with pytest.raises(KeyError):
        load_state(tmp_path, other, torch.optim.AdamW(other.parameters()))
