"""The held-out losses along a training: those of the front at its ends, and nothing in what is trained."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from cosdpo.config import Config
from cosdpo.evaluation.profile import profile
from cosdpo.training.curve import Curve
from cosdpo.training.loop import optimizer_for, train_together
from cosdpo.training.strategies.strategy import Strategy
from cosdpo.training.training_state import Clock
from cosdpo.training.world import World
from tests import tiny_models, tiny_rankers
from tests.training.runs import Lines, Tensors, made, trained

CPU = torch.device("cpu")
LENGTH: dict[str, Any] = {"training__steps": 6, "training__batch_size": 4, "training__learning_rate": 0.01}


@pytest.fixture(params=["language", "ranking"])
def config(request: pytest.FixtureRequest, tiny_base: Path) -> Config:
    if request.param == "language":
        return tiny_models.settings(tiny_base, evaluation__curve_every=4, **LENGTH)
    return tiny_rankers.settings(evaluation__curve_every=4, ranker__dropout=0.3, **LENGTH)


def run(config: Config, watched: bool) -> tuple[Tensors, Lines]:
    """Trained tensors and metrics of a run that is watched on its own training data, or not."""
    module, data = made(config)
    lines: Lines = []
    curve = Curve.of(data, data, config)
    assert curve is not None
    strategy = Strategy(module, optimizer_for(module, config))

    def held_out(now: Clock) -> dict[str, float]:
        return curve.line(strategy, config, CPU) if watched and curve.due(now.step, config) else {}

    train_together(strategy, data, config, Clock(), lines.append, lambda clock: None, World(), CPU, held_out=held_out)
    return trained(module), lines


def test_watching_changes_nothing_that_is_trained(config: Config) -> None:
    (plain, _), (tensors, lines) = run(config, watched=False), run(config, watched=True)
    assert all(torch.equal(tensors[name], plain[name]) for name in plain)
    keys = {f"held_out/{name}" for name in config.objectives}
    assert [line["step"] for line in lines if keys <= line.keys()] == [4, 6]


@pytest.mark.parametrize("fixed", [[], [0.3, 0.7]])
def test_each_loss_is_that_of_the_profile_at_its_own_end(fixed: list[float], tiny_base: Path) -> None:
    changes = {"conditioning": "none", "training__weights": fixed} if fixed else {}
    config = tiny_models.settings(tiny_base, evaluation__curve_contexts=99, training__micro_batch=5, **changes)
    module, data = made(config)
    module.eval()
    with torch.no_grad():
        for parameter in module.trainable().values():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)), alpha=0.1)
    curve = Curve.of(data, data, config)
    assert curve is not None
    assert [len(batch.mask) for batch in curve.batches] == [5, 5, 5, 5, 4]
    line = curve.line(Strategy(module, torch.optim.SGD(module.parameters())), config, CPU)
    for j, name in enumerate(config.objectives):
        end = fixed or [float(k == j) for k in range(2)]
        expected = profile(module, data, end, config.temperatures, 64).loss[j] / math.log(2)  # of a base, log 2
        assert line[f"held_out/{name}"] == pytest.approx(expected, rel=1e-5)
    assert module.training, "the next step trains"


@pytest.mark.parametrize(
    ("steps", "every", "points"),
    [
        (500, 0, [63, 126, 189, 252, 315, 378, 441, 500]),
        (60, 0, [25, 50, 60]),
        (60, 20, [20, 40, 60]),
        (6, 0, [6]),
    ],
)
def test_points_are_an_eighth_of_the_steps_apart(steps: int, every: int, points: list[int]) -> None:
    config = Config().changed({"training.steps": steps, "evaluation.curve_every": every})
    assert [step for step in range(1, steps + 1) if Curve([]).due(step, config)] == points


def test_contexts_are_spread_over_the_held_out_data(tiny_base: Path) -> None:
    config = tiny_models.settings(tiny_base, evaluation__curve_contexts=3)
    data = tiny_models.preferences(tiny_base, config)
    curve = Curve.of(data, data, config)
    assert curve is not None
    contexts = [context for batch in curve.batches for context in batch.contexts]
    assert contexts == [data.contexts[i] for i in (0, 12, 23)]
    assert Curve.of(data, data, config.changed({"evaluation.curve_contexts": 0})) is None


def test_an_objective_of_which_nothing_is_known_is_left_out(tiny_base: Path) -> None:
    config = tiny_models.settings(tiny_base)
    module, data = made(config)
    curve = Curve([data.batch([3, 7])])  # every fourth context says nothing of the second objective
    line = curve.line(Strategy(module, torch.optim.SGD(module.parameters())), config, CPU)
    assert set(line) == {f"held_out/{config.objectives[0]}"}
