"""Gates start as the polynomials their docstring names; end adapters are plain low-rank updates."""

import pytest
import torch

from cosdpo.models.conditioning import EndAdapter, Gates


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        # blocks: w1^2, w2^2, 4 w1 w2
        ([1.0, 0.0], [1, 0, 0]),
        ([0.5, 0.5], [0.25, 0.25, 1]),
        ([0.2, 0.8], [0.04, 0.64, 0.64]),
        # blocks: w1^2, w2^2, w3^2, 4 w1 w2, 4 w1 w3, 4 w2 w3
        ([0.0, 1.0, 0.0], [0, 1, 0, 0, 0, 0]),
        ([0.5, 0.3, 0.2], [0.25, 0.09, 0.04, 0.6, 0.4, 0.24]),
    ],
)
def test_quadratic_gates_start_at_bernstein_polynomials(weights: list[float], expected: list[float]) -> None:
    gates = Gates(layers=3, rank=2 * len(expected), objectives=len(weights), conditions=len(weights), kind="quadratic")
    values = gates(torch.tensor([weights]))
    assert values.shape == (1, 3, 2 * len(expected))
    for layer in range(3):
        assert values[0, layer].tolist() == pytest.approx([v for v in expected for _ in range(2)], abs=1e-6)


def test_temperatures_do_not_move_fresh_gates() -> None:
    gates = Gates(layers=1, rank=3, objectives=2, conditions=4, kind="quadratic")
    conditions = torch.tensor([[0.2, 0.8, 0.5, 0.5], [0.2, 0.8, 0.9, 0.1]])
    first, second = gates(conditions)
    torch.testing.assert_close(first, second)


def test_end_adapter_by_hand() -> None:
    """One rank, scaling 2: token t gets 2 * a_t * g * b; hidden (1, 2) with a = (3, 4) gets 2 * 11 * g * b."""
    ends = EndAdapter(vocabulary=2, hidden_size=2, rank=1, scaling=2.0)
    with torch.no_grad():
        ends.lora_in_a.copy_(torch.tensor([[5.0], [7.0]]))
        ends.lora_in_b.copy_(torch.tensor([[1.0], [-1.0]]))
        ends.lora_out_a.copy_(torch.tensor([[3.0, 4.0]]))
        ends.lora_out_b.copy_(torch.tensor([[0.5], [0.0]]))
    gates = torch.tensor([[0.5], [1.0]])
    assert ends.embedding(torch.tensor([0, 1]), gates).tolist() == [[5.0, -5.0], [14.0, -14.0]]
    assert ends.hidden(torch.tensor([[1.0, 2.0], [1.0, 2.0]]), gates).tolist() == [[5.5, 0.0], [11.0, 0.0]]


def test_a_fresh_end_adapter_changes_nothing() -> None:
    ends = EndAdapter(vocabulary=5, hidden_size=4, rank=2, scaling=1.0)
    assert not ends.embedding(torch.tensor([3]), torch.ones(1, 2)).any()
    assert not ends.hidden(torch.randn(1, 4), torch.ones(1, 2)).any()
