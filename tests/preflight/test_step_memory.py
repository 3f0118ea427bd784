"""Memory of a step: what can be counted by hand, and depths that were not measured."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import LlamaConfig

from cosdpo.data.tokenization import TokenizedContext
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.preflight import step_memory as memory_module
from cosdpo.preflight.step_memory import LiveMemory, step_memory
from tests.tiny_models import settings

CONTEXTS = [TokenizedContext(prompt=[0] * 20, candidates=[[0] * 15] * 2)] * 3


def llama(layers: int = 3) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=101, hidden_size=32, intermediate_size=48, num_hidden_layers=layers, num_attention_heads=4
    )


def test_weights_by_hand():
    """Attention 4 * 32^2, gate, up and down 3 * 32 * 48, two norms of 32; embeddings, head 101 * 32, a norm of 32."""
    found = step_memory(settings("x", conditioning="hyper_prompt"), llama(), CONTEXTS, torch.float32)
    layer = 4 * (4 * 32**2 + 3 * 32 * 48 + 2 * 32)
    assert found.layer == layer
    assert found.layers == 3 * layer
    assert found.rest == 4 * (2 * 101 * 32 + 32)
    half = step_memory(settings("x", conditioning="hyper_prompt"), llama(), CONTEXTS, torch.bfloat16)
    assert (half.layers, half.rest) == (found.layers / 2, found.rest / 2)
    assert half.trained == found.trained


def test_trained_parameters_by_hand():
    """Rank 4 on q, k, v, o (32 + 32) and gate, up, down (32 + 48) of 3 layers; 2 soft tokens, offset and slopes."""
    config = settings("x", conditioning="hyper_prompt", model__lora_rank=4, model__soft_tokens=2)
    found = step_memory(config, llama(), CONTEXTS, torch.float32)
    assert found.trained == 3 * 4 * (4 * 64 + 3 * 80) + 2 * 32 * (1 + 2)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_depths_between_which_nothing_was_measured(monkeypatch, checkpointing):
    """Six layers from two and four equal six measured ones."""
    config = settings("x", model__gradient_checkpointing=checkpointing)
    guessed = step_memory(config, llama(6), CONTEXTS, torch.float32)
    monkeypatch.setattr(memory_module, "DEPTHS", (2, 6))
    counted = step_memory(config, llama(6), CONTEXTS, torch.float32)
    for name, value in vars(counted).items():
        assert getattr(guessed, name) == pytest.approx(value, rel=0.01), name


def test_activations_grow_with_contexts_and_shrink_by_checkpointing():
    one, two = (step_memory(settings("x"), llama(), CONTEXTS * count, torch.float32).activations for count in (4, 8))
    assert two == pytest.approx(2 * one, rel=0.1)
    spared = step_memory(settings("x", model__gradient_checkpointing=True), llama(), CONTEXTS * 8, torch.float32)
    assert spared.activations < 0.7 * two


def test_measuring_trains_nothing_and_reads_no_weights(monkeypatch):
    monkeypatch.setattr(LanguageScorer, "load", None)
    with torch.random.fork_rng():
        before = torch.random.get_rng_state()
        step_memory(settings("x"), llama(), CONTEXTS, torch.float32)
        assert torch.equal(torch.random.get_rng_state(), before)


def test_the_peak_is_what_lives_at_once() -> None:
    """a: 4,000 bytes, b and c: 8,000 each. b dies before c is made: 12,000 at once, never 20,000."""
    with LiveMemory() as memory:
        a = torch.zeros(1000)
        b = torch.zeros(2000)
        del b
        c = torch.zeros(2000)
    assert memory.peak == 12_000
    assert memory.now == 12_000
    del a, c
    assert memory.now == 0


def test_views_and_operations_in_place_cost_nothing() -> None:
    with LiveMemory() as memory:
        a = torch.zeros(10, 100)
        b = a.T[:5].add_(1)
        a[0] += 1
    assert memory.peak < 4_000 + 500  # index of the row, nothing of a's size
    del a
    assert memory.now >= 4_000  # b holds a's storage
    del b
    assert memory.now == 0


def test_what_is_held_already_counts_once() -> None:
    weight = torch.nn.Parameter(torch.zeros(1000))
    with LiveMemory([weight, weight]) as memory:
        _ = weight.detach().view(10, 100).T
    assert memory.peak == 4_000


def test_a_backward_pass_by_hand() -> None:
    """y = exp(x)^2 of 1,000 numbers: x is held (4,000). exp keeps its result e for the backward pass (4,000), so
    that e and y live after the forward pass.
    """
    with FakeTensorMode():
        x = torch.zeros(1000, requires_grad=True)
        with LiveMemory([x]) as memory:
            y = x.exp().square()
            assert memory.now == 12_000
            y.sum().backward()
        del y
        assert memory.now == 8_000  # x and its gradient


def test_a_fake_model_of_any_size_is_free() -> None:
    with FakeTensorMode(), LiveMemory() as memory:
        torch.empty(1 << 20, 1 << 20) @ torch.empty(1 << 20, 1 << 20)
    assert memory.peak == 3 * 4 << 40
