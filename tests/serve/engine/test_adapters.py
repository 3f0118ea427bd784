"""The engine's layers against peft's own, matrix by matrix."""

from __future__ import annotations

import pytest
import torch
from peft.tuners.lora import LoraLayer

from serve.engine.adapters import Adapters


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["gpt2-untied", "llama-tied"])  # matrices of both orders, with biases and without
def test_every_matrix_is_as_by_peft(make_twins, kind, dtype):
    scorer, _ = make_twins(kind, conditioning="gated_lora")
    scorer.embed.weight.requires_grad_(False)
    for name, weight in scorer.named_parameters():
        if "base_layer" in name:
            weight.data = weight.data.to(dtype)
    layers = [module for module in scorer.model.modules() if isinstance(module, LoraLayer)]
    state = scorer.state
    gates = torch.rand(5, len(layers) + 2, scorer.model.peft_config["default"].r)
    gates[3] = 0  # a row of the base
    inputs = [torch.randn(5, 1, layer.in_features, dtype=dtype) for layer in layers]

    def outputs():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            return [layer(x) for layer, x in zip(layers, inputs, strict=True)]

    state.enabled, state.gates, state.rows = True, gates, None
    expected = outputs()
    state.enabled = False
    base = outputs()
    adapters = Adapters(scorer.model, dtype)
    state.enabled = True
    adapters.use(gates)
    tolerance = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.05, "rtol": 0.05}
    for found, by_peft, plain in zip(outputs(), expected, base, strict=True):
        assert found.dtype == by_peft.dtype
        torch.testing.assert_close(found, by_peft, **tolerance)
        assert torch.equal(found[3], plain[3])
        assert not torch.allclose(found[2], plain[2], **tolerance)
    adapters.use(None)
    for found, plain in zip(outputs(), base, strict=True):
        torch.testing.assert_close(found, plain, **tolerance)
    adapters.leave()
    for found, by_peft in zip(outputs(), expected, strict=True):
        assert torch.equal(found, by_peft)
