"""Any number of workers trains the same: also one that does not divide the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cosdpo.config import Config
from cosdpo.training.loop import optimizer_for, train_together
from cosdpo.training.strategies.strategy import Strategy
from cosdpo.training.training_state import Clock
from cosdpo.training.world import World
from tests.tiny_models import preferences, scorer, settings
from tests.training.runs import assert_same_figures, shared_run, whole_run


@pytest.fixture
def tiny(base) -> Callable[..., Config]:
    """Configuration of a run of 6 steps with batches of 8."""

    def make(**changes: object) -> Config:
        defaults = {"conditioning": "both", "training__steps": 6, "training__batch_size": 8, "training__log_every": 1}
        return settings(base, **{**defaults, **changes})

    return make


@dataclass(frozen=True)
class Alone(World):
    """One of several workers, without the others."""

    def total(self, values: Tensor) -> Tensor:
        return values


class Recorded(Strategy):
    """Keeps the gradient of the first step and counts the passes."""

    passes = 0

    def score(self, *inputs: object) -> Tensor:
        self.passes += 1
        return super().score(*inputs)

    def step(self, clip: float) -> float:
        self.gradients = [p.grad.clone() for p in self.parameters]
        return super().step(clip)


def one_step(config: Config, world: World) -> tuple[Recorded, dict[str, float]]:
    module = scorer(config)
    strategy, lines = Recorded(module, optimizer_for(module, config)), []
    data = preferences(Path(config.model.base), config)
    train_together(strategy, data, config, Clock(), lines.append, lambda clock: None, world)
    return strategy, lines[0]


@pytest.mark.parametrize("changes", [{}, {"training__micro_batch": 1}, {"training__micro_batch": 3}], ids=str)
@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.whole
def test_gradients_of_unequal_shares_average_to_that_of_the_batch(tiny, changes, group):
    if group == 2 and "training__micro_batch" in changes:
        changes = {"training__micro_batch": 2}
    config = tiny(**changes, training__steps=1, training__compare_across=group, training__penalty=0.5)
    whole, line = one_step(config, World())
    for size in (3, 5, 8) if group == 1 else (3, 4):
        workers = [one_step(config, Alone(rank, size)) for rank in range(size)]
        assert len({strategy.passes for strategy, _ in workers}) == 1
        for right, *ours in zip(whole.gradients, *(strategy.gradients for strategy, _ in workers), strict=True):
            torch.testing.assert_close(torch.stack(ours).mean(0), right, rtol=1e-4, atol=1e-6)
        for key in ("loss", "loss/kind", "loss/short"):
            assert sum(mine[key] for _, mine in workers) == pytest.approx(line[key], rel=1e-4)


@pytest.mark.parametrize("size", [3, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.whole
def test_one_three_and_five_workers_have_the_same_trajectory(tiny, tmp_path, size):
    config = tiny(training__micro_batch=1 if size == 3 else 0)
    expected, lines = whole_run(config)
    workers, logged = shared_run(config, tmp_path, size)
    for ours in workers:
        assert ours.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(ours[name], tensor, rtol=1e-5, atol=1e-5, msg=name)
    assert_same_figures(logged, lines, ("loss", "loss/kind", "loss/short", "gradient_norm"), 1e-4)


def test_a_notice_is_answered_by_a_checkpoint_at_once_and_only_by_one(tiny):
    config = tiny(training__checkpoint_every=4)
    module = scorer(config)
    asked, saved = iter([False, True, False, False]), []
    train_together(
        Strategy(module, optimizer_for(module, config)),
        preferences(Path(config.model.base), config),
        config,
        Clock(),
        lambda line: None,
        lambda clock: saved.append(clock.step),
        World(),
        notice=lambda: next(asked),
    )
    assert saved == [2, 4, 6]  # on notice, every four steps, and the last
