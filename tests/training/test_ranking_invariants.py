"""What must not change how the run of a ranker ends: restarts, micro-batches, workers. On tiny lists, to 1e-5."""

from __future__ import annotations

import pytest
import torch

from cosdpo.config import Config
from cosdpo.training.loop import optimizer_for, train
from cosdpo.training.training_state import Clock
from tests.tiny_rankers import settings
from tests.training.runs import Tensors, assert_same_figures, made, resumed_run, shared_run, whole_run

KEYS = ("loss", "loss/a", "loss/b", "gradient_norm")


def run_of_12_steps(**changes: object) -> Config:
    defaults: dict[str, object] = {"training__steps": 12, "training__batch_size": 8, "training__log_every": 1}
    return settings(**defaults | changes)


def assert_same(ours: Tensors, expected: Tensors, tolerance: float = 1e-5) -> None:
    """Of what the loss can see: the keys' bias and the last norm's move all scores of a list alike, so that their
    gradients are rounding alone, which AdamW makes whole steps of.
    """
    assert ours.keys() == expected.keys()
    for name, tensor in expected.items():
        if name == "network.norm.bias":
            continue
        seen = torch.ones(len(tensor), dtype=torch.bool)
        if name.endswith("qkv.bias"):
            seen.view(3, -1)[1] = False
        torch.testing.assert_close(ours[name][seen], tensor[seen], rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize(
    "changes",
    [
        {"ranker__dropout": 0.2, "training__weight_decay": 0.1},
        {"model__temperature_conditioned": True, "training__penalty": 0.5, "ranker__conditioning": "gates"},
        {"ranker__parametrisation": "scratch", "data__targets": "gains", "ranker__architecture": "mlp"},
        {"data__comparisons": "rankings", "training__penalty": 0.5},
    ],
    ids=["dropout", "temperatures", "scratch", "rankings"],
)
def test_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path, changes):
    config = run_of_12_steps(**changes, training__checkpoint_every=5)
    expected, lines = whole_run(config)
    ours, resumed = resumed_run(config, tmp_path)
    assert_same(ours, expected)
    assert_same_figures(resumed, lines[5:], (*KEYS, "learning_rate"), 1e-5)


@pytest.mark.parametrize("architecture", ["transformer", "mlp"])
def test_micro_batches_add_up_to_the_batch(architecture):
    form = {"ranker__architecture": architecture, "training__penalty": 0.5}
    expected, whole = whole_run(run_of_12_steps(**form, training__steps=6))
    for micro in (1, 3):
        ours, lines = whole_run(run_of_12_steps(**form, training__steps=6, training__micro_batch=micro))
        assert_same(ours, expected)
        assert_same_figures(lines, whole, KEYS, 1e-4)


@pytest.mark.whole
def test_two_workers_train_like_one_at_the_same_global_batch(tmp_path):
    config = run_of_12_steps(training__steps=6, training__micro_batch=2, training__log_every=3)
    expected, lines = whole_run(config)
    workers, logged = shared_run(config, tmp_path)
    for ours in workers:
        assert_same(ours, expected)
    assert_same_figures(logged, lines, KEYS, 1e-4)


def test_a_run_is_a_function_of_its_seed():
    first, again, other = (whole_run(run_of_12_steps(seed=s, training__steps=2))[0] for s in (0, 0, 1))
    for name, tensor in first.items():
        assert torch.equal(tensor, again[name])
    assert any(not torch.equal(tensor, other[name]) for name, tensor in first.items())


@pytest.mark.parametrize("comparisons", ["listwise", "rankings"])
def test_training_lowers_the_losses(comparisons):
    changes = {"data__comparisons": comparisons, "training__steps": 60, "training__log_every": 15, "temperature": 1.0}
    _, lines = whole_run(run_of_12_steps(**changes))
    # The targets' own entropy is left in the end, and of a and b what the other one's weight costs them.
    assert lines[0]["loss"] > lines[-1]["loss"] + 0.15
    assert lines[0]["loss/a"] > lines[-1]["loss/a"] + 0.02
    assert lines[0]["loss/b"] > lines[-1]["loss/b"] + 0.02


@pytest.mark.parametrize("comparisons", ["listwise", "rankings"])
def test_training_lowers_each_loss_at_its_own_vertex(comparisons):
    """Where the other objective costs nothing."""
    config = run_of_12_steps(data__comparisons=comparisons, training__steps=60, temperature=1.0)
    scorer, data = made(config)
    batch, beta = data.batch(range(len(data))), torch.ones(len(data), 2)

    def at_vertices() -> torch.Tensor:
        with torch.no_grad():
            rewards = [scorer(batch.contexts, w.expand(len(data), 2), beta) - batch.reference for w in torch.eye(2)]
        return torch.stack([batch.losses(r, beta)[:, j].mean() for j, r in enumerate(rewards)])

    before = at_vertices()
    train(scorer, data, config, optimizer_for(scorer, config), Clock(), lambda line: None, lambda clock: None)
    scorer.eval()
    assert (before - at_vertices()).min() > 0.2
