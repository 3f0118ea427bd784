"""Chunked log-probabilities against the plain form: log_softmax of all logits, in float64 and through autograd."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from cosdpo.models import log_probabilities
from cosdpo.models.log_probabilities import token_divergences, token_log_probabilities

VOCABULARY, WIDTH = 50, 12


def case(tokens: int, bias: bool, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor]:
    """hidden, weight, bias, tokens and the gradient that arrives from the loss."""
    generator = torch.Generator().manual_seed(tokens)
    hidden = torch.randn(tokens, WIDTH, generator=generator) * scale
    weight = torch.randn(VOCABULARY, WIDTH, generator=generator)
    offset = torch.randn(VOCABULARY, generator=generator) if bias else None
    ids = torch.randint(VOCABULARY, (tokens,), generator=generator)
    return hidden, weight, offset, ids, torch.randn(tokens, generator=generator)


def plain(hidden: Tensor, weight: Tensor, bias: Tensor | None, tokens: Tensor) -> Tensor:
    """The slow twin, in float64."""
    logits = hidden.double() @ weight.double().T
    if bias is not None:
        logits = logits + bias.double()
    return logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("tokens", [1, 15, 16, 17, 32, 61])
@pytest.mark.parametrize("chunk_elements", [1, 20 * VOCABULARY, 8 << 20])
def test_values_and_gradients_equal_the_plain_form(monkeypatch, tokens, bias, chunk_elements):
    monkeypatch.setattr(log_probabilities, "CHUNK_ELEMENTS", chunk_elements)
    hidden, weight, offset, ids, arriving = case(tokens, bias)
    hidden.requires_grad_()
    fast, slow = token_log_probabilities(hidden, weight, offset, ids), plain(hidden, weight, offset, ids)
    assert fast.dtype == torch.float32
    torch.testing.assert_close(fast.double(), slow, rtol=1e-5, atol=1e-5)
    (gradient,) = torch.autograd.grad(fast, hidden, arriving)
    (expected,) = torch.autograd.grad(slow, hidden, arriving.double())
    torch.testing.assert_close(gradient, expected.float(), rtol=1e-4, atol=1e-5)


def test_without_gradient_the_values_are_the_same():
    hidden, weight, offset, ids, _ = case(20, bias=True)
    with torch.no_grad():
        bare = token_log_probabilities(hidden, weight, offset, ids)
    torch.testing.assert_close(bare, token_log_probabilities(hidden.requires_grad_(), weight, offset, ids).detach())


def test_huge_logits_do_not_overflow():
    hidden, weight, offset, ids, arriving = case(20, bias=False, scale=1e4)
    hidden.requires_grad_()
    fast = token_log_probabilities(hidden, weight, offset, ids)
    torch.testing.assert_close(fast.double(), plain(hidden, weight, offset, ids), rtol=1e-4, atol=1e-2)
    (gradient,) = torch.autograd.grad(fast, hidden, arriving)
    assert gradient.isfinite().all()


def test_a_bfloat16_head_gives_float32_values_and_gradients_of_the_input_type():
    hidden, weight, offset, ids, arriving = case(20, bias=False)
    hidden.requires_grad_()
    fast = token_log_probabilities(hidden, weight.bfloat16(), offset, ids)
    assert fast.dtype == torch.float32
    slow = plain(hidden, weight, offset, ids)
    torch.testing.assert_close(fast.double(), slow, rtol=0.02, atol=0.05)  # bfloat16 keeps 8 bits
    (gradient,) = torch.autograd.grad(fast, hidden, arriving)
    (expected,) = torch.autograd.grad(slow, hidden, arriving.double())
    assert gradient.dtype == hidden.dtype
    torch.testing.assert_close(gradient, expected.float(), rtol=0.05, atol=0.05)


class LargestTensor(TorchDispatchMode):
    """Number of elements of the largest tensor that any operation returned."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


def test_logits_of_all_tokens_never_exist_at_once(monkeypatch):
    monkeypatch.setattr(log_probabilities, "CHUNK_ELEMENTS", 20 * VOCABULARY)
    hidden, weight, offset, ids, arriving = case(500, bias=True)
    hidden.requires_grad_()
    with LargestTensor() as largest:
        token_log_probabilities(hidden, weight, offset, ids).backward(arriving)
    # 500 x 50 logits; hidden states have 500 x 12.
    assert largest.elements == 500 * WIDTH


def test_divergences_are_those_of_torch_distributions(monkeypatch):
    monkeypatch.setattr("cosdpo.models.log_probabilities.CHUNK_ELEMENTS", 0)  # chunks of 16 tokens
    generator = torch.Generator().manual_seed(0)
    hidden, other = torch.randn(2, 37, 8, generator=generator)
    weight, bias = torch.randn(21, 8, generator=generator), torch.randn(21, generator=generator)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=hidden @ weight.T + bias),
        torch.distributions.Categorical(logits=other @ weight.T + bias),
    )
    torch.testing.assert_close(token_divergences(hidden, other, weight, bias), expected)
    assert token_divergences(hidden, hidden, weight, None).abs().max() < 1e-6
