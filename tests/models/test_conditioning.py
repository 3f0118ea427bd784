"""Gates and hyper prompts as functions of the weights."""

from __future__ import annotations

import pytest
import torch

from cosdpo.models.conditioning import Gates, HyperPrompt


def even_blocks(block_of_rank: list[int], blocks: int) -> bool:
    sizes = [block_of_rank.count(j) for j in range(blocks)]
    return sorted(block_of_rank) == block_of_rank and min(sizes) > 0 and max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("rank", "objectives"), [(4, 2), (16, 3), (5, 3), (3, 3), (2, 1)])
def test_affine_gates_start_at_the_weight_of_their_block(rank, objectives):
    gates = Gates(layers=2, rank=rank, objectives=objectives, conditions=objectives, kind="affine")
    weights = torch.rand(3, objectives, generator=torch.Generator().manual_seed(0)).softmax(-1)
    values = gates(weights)
    assert values.shape == (3, 2, rank)
    for w, layers in zip(weights, values, strict=True):
        block = [int((w - gate).abs().argmin()) for gate in layers[0]]
        torch.testing.assert_close(layers, w[block].expand(2, rank))
        assert even_blocks(block, objectives)


@pytest.mark.parametrize(("rank", "objectives"), [(3, 2), (24, 2), (6, 3), (13, 3), (2, 1)])
def test_quadratic_gates_start_at_the_bernstein_polynomials(rank, objectives):
    # w_j^2 per objective, then 4 w_i w_j per pair, which is 1 half-way between the two.
    gates = Gates(layers=2, rank=rank, objectives=objectives, conditions=objectives, kind="quadratic")
    for w in torch.rand(3, objectives, generator=torch.Generator().manual_seed(0)).softmax(-1):
        pairs = [4 * w[i] * w[j] for i in range(objectives) for j in range(i + 1, objectives)]
        polynomials = torch.stack([*(w * w), *pairs])
        layers = gates(w[None])[0]
        block = [int((polynomials - gate).abs().argmin()) for gate in layers[0]]
        torch.testing.assert_close(layers, polynomials[block].expand(2, rank), rtol=1e-5, atol=1e-6)
        assert even_blocks(block, len(polynomials))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("affine", [0.3, 0.3, 0.3, 0.7, 0.7, 0.7]), ("quadratic", [0.09] * 2 + [0.49] * 2 + [0.84] * 2)],
)
def test_gates_do_not_start_on_the_temperatures(kind, expected):
    gates = Gates(layers=1, rank=6, objectives=2, conditions=4, kind=kind)
    weights, ratios = torch.tensor([[0.3, 0.7]]), torch.tensor([[0.9, 0.1]])
    torch.testing.assert_close(gates(torch.cat([weights, ratios], 1))[0, 0], torch.tensor(expected))


@pytest.mark.parametrize(
    ("kind", "expected"), [("affine", [0.3, 0.3, 0.7]), ("quadratic", [0.09, 0.49, 0.84])], ids=["affine", "quadratic"]
)
def test_shared_ranks_start_at_one_whatever_the_weights(kind, expected):
    gates = Gates(layers=2, rank=5, objectives=2, conditions=2, kind=kind)
    gates.deal(2)
    torch.testing.assert_close(gates(torch.tensor([[0.3, 0.7]]))[0], torch.tensor([*expected, 1.0, 1.0]).expand(2, 5))
    gates.deal(0)
    assert torch.equal(gates.slope, Gates(2, 5, 2, 2, kind).slope)
    assert not gates.offset.any()


@pytest.mark.parametrize(
    "conditioning", [HyperPrompt(tokens=3, hidden_size=5, conditions=2, scale=0.5), Gates(2, 4, 2, 2, "affine")]
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
