"""training.keep best: of all states it is the one of the largest hypervolume, on contexts nothing was trained on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cosdpo.config import Config
from cosdpo.data.batching import of_epochs
from cosdpo.errors import InputError
from cosdpo.models.ranking_scorer import RankingScorer
from cosdpo.training.best import Best
from cosdpo.training.checkpoints import FOLDER, FolderCheckpoints
from cosdpo.training.curve import Curve
from cosdpo.training.loop import Sampler
from cosdpo.training.strategies.strategy import Strategy
from cosdpo.training.tracking import read_metrics
from cosdpo.training.training_state import Clock
from cosdpo.training.unit import Trained, Unit, train_unit
from cosdpo.training.world import World
from tests.tiny_rankers import ranking_data, scorer, settings

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def config() -> Config:
    """A rate at which two passes over a handful of lists learn them by heart."""
    return settings(
        training__keep="best",
        training__steps=12,
        training__batch_size=4,
        training__learning_rate=0.4,
        training__checkpoint_every=1,
        evaluation__curve_every=1,
        evaluation__curve_contexts=4,
    )


def create(config: Config, device: torch.device) -> RankingScorer:
    return scorer(config)


def curve_of(config: Config) -> Curve:
    data = ranking_data(config)
    curve = Curve.of(data, data, config)
    assert curve is not None
    return curve


def run(config: Config, folder: Path, watch: Any = lambda scorer, now: None) -> Trained:
    config = config.changed({"output": folder})
    states = FolderCheckpoints(folder / FOLDER, keep=2)
    unit = Unit(config, create, curve=curve_of(config))
    return train_unit(unit, ranking_data(config), states, CPU, watch=watch)


def area(points: list[tuple[float, float]]) -> float:
    """Of the union of the rectangles between 0 and each point, by sweeping along the first axis."""
    inside = sorted((p for p in points if min(p) > 0), reverse=True)
    edges = [*(x for x, _ in inside), 0.0]
    highest = np.maximum.accumulate([y for _, y in inside] or [0.0])
    return float(sum((right - left) * y for (right, left), y in zip(pairwise(edges), highest, strict=False)))


@torch.no_grad()
def gains(module: RankingScorer, config: Config, curve: Curve) -> list[tuple[float, float]]:
    """1 - loss / the base's loss at both ends and in the middle, on the lists set apart."""
    batch = ranking_data(config).batch(list(curve.apart))
    beta = torch.tensor(config.temperatures).expand(len(batch.mask), 2)
    module.eval()

    def total(rewards: torch.Tensor) -> torch.Tensor:
        return batch.losses(rewards, beta).sum(0)

    base, points = total(torch.zeros_like(batch.reference)), []
    for weights in ([1.0, 0.0], [0.0, 1.0], [0.5, 0.5]):
        scores = module(batch.contexts, torch.tensor(weights).expand(len(batch.mask), 2), beta)
        first, second = (1 - total((scores - batch.reference) * batch.mask) / base).tolist()
        points.append((first, second))
    module.train()
    return points


@pytest.fixture(scope="module")
def whole(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[float], list[Any]]]:
    """The folder of a run, and the worth and the tensors of each of its states."""
    folder = tmp_path_factory.mktemp("best") / "run"
    curve, worths, tensors = curve_of(config), [], []

    def watch(module: Any, now: Clock) -> None:
        points = gains(module, config, curve)
        worths.append(area(points) or min(0.0, (points[0][0] + points[1][1]) / 2))
        tensors.append({name: p.detach().clone() for name, p in module.named_parameters() if p.requires_grad})

    run(config, folder, watch)
    return folder, worths, tensors


def test_the_checkpoint_is_the_best_state(whole) -> None:
    folder, worths, tensors = whole
    best = int(np.argmax(worths))
    assert 0 < best < len(worths) - 1, "neither the first nor the last: the test would not tell them apart"
    assert [line["selection"] for line in read_metrics(folder)] == pytest.approx(worths, rel=1e-4, abs=1e-7)
    kept = load_file(folder / "checkpoint" / "model.safetensors")
    assert all(torch.equal(kept[name], tensor) for name, tensor in tensors[best].items())
    left = Trained.read(folder)
    assert left is not None
    assert (left.kept_step, left.steps) == (best + 1, 12)
    assert not (folder / "best").exists()


def test_a_kill_after_the_best_state_does_not_lose_it(config, whole, tmp_path) -> None:
    folder, worths, _ = whole

    def die(module: Any, now: Clock) -> None:
        if now.step == len(worths) - 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "run", die)
    assert (tmp_path / "run" / "best" / "worth.json").exists()
    run(config, tmp_path / "run")
    ours, right = (load_file(path / "checkpoint" / "model.safetensors") for path in (tmp_path / "run", folder))
    assert all(torch.equal(ours[name], tensor) for name, tensor in right.items())


def test_what_chooses_is_not_trained_on(config) -> None:
    data, apart = ranking_data(config), set(curve_of(config).apart)
    sampler = Sampler(data, config, sorted(apart))
    drawn = {index for step in range(40) for index in sampler(step).contexts}
    assert drawn == set(range(len(data))) - apart
    assert len(apart) == 4


@pytest.mark.parametrize(
    ("changes", "contexts", "count"),
    [({}, 1000, 64), ({}, 100, 25), ({"evaluation.curve_contexts": 10}, 1000, 10), ({"training.keep": "last"}, 99, 0)],
)
def test_how_many_are_set_apart(changes: dict[str, object], contexts: int, count: int) -> None:
    config = Config().changed({"training.keep": "best", "training.epochs": 2} | changes)
    assert of_epochs(config, contexts).training.steps == 2 * ((contexts - count) // 8)


def test_the_better_of_two_is_kept(config, tmp_path) -> None:
    module = scorer(config)
    strategy = Strategy(module, torch.optim.AdamW([p for p in module.parameters() if p.requires_grad]))
    for parameter in strategy.parameters:
        parameter.grad = torch.zeros_like(parameter)
    strategy.optimizer.step()
    best = Best(tmp_path / "best")
    for step, worth in enumerate((-0.5, 0.2, 0.1, 0.2)):
        best.offer(worth, strategy, Clock(step), World())
    assert Best(tmp_path / "best").worth == 0.2
    assert best.take(strategy, World()) == 1


@pytest.mark.parametrize("changes", [{"training.keep": "best"}, {"sweep.space": {"training.keep": "grid(last, best)"}}])
def test_a_sweep_refuses_it(changes: dict[str, object]) -> None:
    from cosdpo.experiment.sweep.sweep import check

    config = Config().changed({"sweep.space": {"training.alpha": "uniform(0.5, 1)"}} | changes)
    with pytest.raises(InputError, match=r"leave training\.keep out"):
        check(config)


def test_fixed_weights_choose_by_their_own_loss(config, tmp_path) -> None:
    fixed = config.changed({"training.weights": [0.0, 3.0], "training.steps": 3})
    run(fixed, tmp_path)
    for line in read_metrics(tmp_path):
        assert line["selection"] == pytest.approx(1 - line["held_out/" + fixed.objectives[1]], rel=1e-6)
