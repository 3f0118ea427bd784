"""Gates and hyper prompts as functions of the weights."""

from __future__ import annotations

import pytest
import torch

from cosdpo.models.conditioning import Gates, HyperPrompt


@pytest.mark.parametrize(("rank", "objectives"), [(4, 2), (16, 3), (5, 3), (3, 3)])
def test_gates_start_at_the_weight_of_their_block(rank, objectives):
    gates = Gates(layers=2, rank=rank, objectives=objectives, conditions=objectives)
    weights = torch.rand(3, objectives).softmax(-1)
    values = gates(weights)
    assert values.shape == (3, 2, rank)
    for b in range(3):
        # Every gate is the weight of one objective; blocks follow the objectives' order and none is empty.
        block = [int((weights[b] - gate).abs().argmin()) for gate in values[b, 0]]
        torch.testing.assert_close(values[b], weights[b][block].expand(2, rank))
        assert sorted(block) == block
        assert set(block) == set(range(objectives))
        assert max(block.count(j) for j in range(objectives)) - min(block.count(j) for j in range(objectives)) <= 1


def test_gates_do_not_start_on_the_temperatures():
    gates = Gates(layers=1, rank=4, objectives=2, conditions=4)
    weights, ratios = torch.tensor([[0.3, 0.7]]), torch.tensor([[0.9, 0.1]])
    torch.testing.assert_close(gates(torch.cat([weights, ratios], 1))[0, 0], torch.tensor([0.3, 0.3, 0.7, 0.7]))


@pytest.mark.parametrize(
    "conditioning", [HyperPrompt(tokens=3, hidden_size=5, conditions=2, scale=0.5), Gates(2, 4, 2, 2)]
)
def test_conditioning_is_affine_in_the_weights_and_per_row(conditioning):
    with torch.no_grad():
        for parameter in conditioning.parameters():
            parameter.normal_()
    a, b = torch.tensor([0.1, 0.9]), torch.tensor([0.7, 0.3])
    at_a, at_b, at_mix = conditioning(torch.stack([a, b, 0.25 * a + 0.75 * b]))
    torch.testing.assert_close(at_mix, 0.25 * at_a + 0.75 * at_b)
    assert (at_a - at_b).abs().min() > 0


def test_a_hyper_prompt_starts_at_the_scale_of_the_embeddings():
    torch.manual_seed(0)
    soft = HyperPrompt(tokens=50, hidden_size=100, conditions=2, scale=0.02)
    # P_0 and each column of A have the embeddings' deviation: at a vertex that is sqrt(2) times it.
    assert soft(torch.tensor([[1.0, 0.0]])).std().item() == pytest.approx(0.02 * 2**0.5, rel=0.05)
