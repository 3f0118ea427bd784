"""What must not change how a run ends: restarts, micro-batches, workers. On a tiny language model, to 1e-5."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from cosdpo.config import Config
from cosdpo.training.loop import optimizer_for, train
from cosdpo.training.training_state import Clock
from tests.tiny_models import settings
from tests.training.runs import Tensors, assert_same_figures, made, resumed_run, shared_run, trained, whole_run

KEYS = ("loss", "loss/kind", "loss/short", "gradient_norm")


def assert_same(ours: Tensors, expected: Tensors, tolerance: float = 1e-5) -> None:
    assert ours.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(ours[name], tensor, rtol=tolerance, atol=tolerance, msg=name)


@pytest.fixture
def tiny(base) -> Callable[..., Config]:
    """Configuration of a run of 12 steps on 24 contexts."""

    def make(**changes: object) -> Config:
        defaults = {"conditioning": "both", "training__steps": 12, "training__batch_size": 8, "training__log_every": 1}
        return settings(base, **{**defaults, **changes})

    return make


@pytest.mark.parametrize(
    "changes",
    [
        {"model__lora_dropout": 0.2, "training__weight_decay": 0.1},
        {"scope": "response", "model__temperature_conditioned": True, "training__penalty": 0.5},
        {"training__target": "rewards", "model__temperature_conditioned": True, "model__lora_dropout": 0.2},
        {"data__comparisons": "listwise", "data__targets": "softmax", "training__stratified": False},
        {"data__comparisons": "rankings", "training__penalty": 0.5},
    ],
    ids=["dropout", "temperatures", "rewards", "listwise", "rankings"],
)
def test_a_resumed_run_ends_like_an_uninterrupted_one(tiny, tmp_path, changes):
    config = tiny(**changes, training__checkpoint_every=5)
    expected, lines = whole_run(config)
    ours, resumed = resumed_run(config, tmp_path)
    assert_same(ours, expected)
    assert_same_figures(resumed, lines[5:], (*KEYS, "learning_rate"), 1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"scope": "sequence", "training__penalty": 0.5},
        {"scope": "response", "training__penalty": 0.5},
        {"training__target": "rewards"},
    ],
    ids=["sequence", "response", "rewards"],
)
def test_micro_batches_add_up_to_the_batch(tiny, changes):
    expected, whole = whole_run(tiny(**changes, training__steps=6))
    for micro in (1, 3):
        ours, lines = whole_run(tiny(**changes, training__steps=6, training__micro_batch=micro))
        assert_same(ours, expected)
        assert_same_figures(lines, whole, KEYS, 1e-4)


@pytest.mark.parametrize("target", ["labels", "rewards"])
@pytest.mark.whole
def test_two_workers_train_like_one_at_the_same_global_batch(tiny, tmp_path, target):
    config = tiny(training__steps=6, training__micro_batch=2, training__log_every=3, training__target=target)
    expected, lines = whole_run(config)
    workers, logged = shared_run(config, tmp_path)
    for ours in workers:
        assert_same(ours, expected)
    assert_same_figures(logged, lines, KEYS, 1e-4)


@pytest.mark.parametrize("target", ["labels", "rewards"])
def test_checkpointed_layers_train_the_same(tiny, target):
    """Their second pass must meet the weights of the first, not those of a pass in between."""
    config = tiny(training__steps=3, training__target=target)
    expected, _ = whole_run(config)
    module, data = made(config)
    module.model.get_base_model().activation_checkpointing_enable({"use_reentrant": False})
    train(module, data, config, optimizer_for(module, config), Clock(), lambda line: None, lambda clock: None)
    assert_same(trained(module), expected)


def test_a_run_is_a_function_of_its_seed(tiny):
    first, again, other = (whole_run(tiny(seed=s, training__steps=2))[0] for s in (0, 0, 1))
    for name, tensor in first.items():
        assert torch.equal(tensor, again[name])
    assert any(not torch.equal(tensor, other[name]) for name, tensor in first.items())


@pytest.mark.parametrize("comparisons", ["pairwise", "rankings"])
def test_training_lowers_the_losses(tiny, comparisons):
    changes = {"data__comparisons": comparisons, "training__steps": 60, "training__log_every": 15}
    _, lines = whole_run(tiny(**changes, training__learning_rate=2e-2))
    assert lines[0]["loss/kind"] > 1.3 * lines[-1]["loss/kind"]
    assert lines[0]["loss/short"] > 1.3 * lines[-1]["loss/short"]
