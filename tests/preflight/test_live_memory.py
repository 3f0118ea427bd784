import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from cosdpo.preflight.live_memory import LiveMemory


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
