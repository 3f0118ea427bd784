"""The training loop by hand: losses, clipping, schedule, checkpoints, log lines."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cosdpo.config import Config
from cosdpo.data.batching import PreferenceData
from cosdpo.errors import InputError
from cosdpo.training.loop import learning_rate_scale, optimizer_for, train
from cosdpo.training.training_state import Clock
from tests.tiny_models import settings

LN = math.log
Lines = list[dict[str, float]]


@dataclass(frozen=True)
class Item:
    """A context known by its place in a table."""

    index: int
    tokens: int = 1


class Table(nn.Module):
    """Scores that are parameters; keeps what it was asked."""

    def __init__(self, rows: list[list[float]]) -> None:
        super().__init__()
        longest = max(map(len, rows))
        self.table = nn.Parameter(torch.tensor([[*r, *[0.0] * (longest - len(r))] for r in rows]))
        self.asked: list[tuple[list[int], Tensor, Tensor]] = []

    def decays(self, name: str) -> bool:
        return False

    def forward(self, contexts: Sequence[Item], weights: Tensor, temperatures: Tensor) -> Tensor:
        indices = [c.index for c in contexts]
        self.asked.append((indices, weights, temperatures))
        return self.table[indices]


def by_hand(**changes: object) -> tuple[Config, PreferenceData, Table]:
    """Three contexts: rewards (ln 4, ln 2, 0), (ln 2, 0), (0, 0) over references that cancel.

    Objective 0 orders them 0 > 1 > 2, 1 > 0, 0 > 1, objective 1 says 2 > 0 and 2 > 1, nothing, 0 > 1.
    """
    reference = [np.array([-3.0, -1.0, -2.0]), np.array([-5.0, -9.0]), np.array([-1.0, -1.0])]
    rewards = [[LN(4), LN(2), 0.0], [LN(2), 0.0], [0.0, 0.0]]
    scores = [[[2.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [[0.0, 1.0], None], [[1.0, 0.0], [1.0, 0.0]]]
    defaults = {"temperature": 1.0, "training__batch_size": 3, "training__steps": 1, "training__log_every": 1}
    config = settings("", **{**defaults, **changes})
    data = PreferenceData([Item(i) for i in range(3)], scores, reference, config.data)
    table = Table([[a + b for a, b in zip(r, s, strict=True)] for r, s in zip(rewards, reference, strict=True)])
    return config, data, table


def steps(config: Config, data: PreferenceData, module: nn.Module, optimizer=None) -> tuple[Lines, list[int]]:
    """Metrics, and the steps at which checkpoints were asked for."""
    lines: Lines = []
    saved: list[int] = []
    optimizer = optimizer or optimizer_for(module, config)
    train(module, data, config, optimizer, Clock(), lines.append, lambda clock: saved.append(clock.step))
    return lines, saved


def test_the_clock_counts_training_alone(monkeypatch):
    """A step takes a second, what is saved after it a hundred: four steps after five earlier seconds are nine."""
    config, data, table = by_hand(training__steps=4, training__checkpoint_every=1)
    now = 0.0

    def spend(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    table.register_forward_hook(lambda *_: spend(1.0))
    seen: list[Clock] = []

    def save(clock: Clock) -> None:
        seen.append(clock)
        spend(100.0)

    end = train(table, data, config, optimizer_for(table, config), Clock(0, 5.0), lambda line: None, save)
    assert [clock.seconds for clock in seen] == [6.0, 7.0, 8.0, 9.0]
    assert end == Clock(4, 9.0)


class TestByHand:
    losses = np.array(
        [[2 * LN(3 / 2) + LN(5 / 4), LN(5) + LN(3)], [LN(3), 0.0], [LN(2), LN(2)]]
    )  # [context, objective]; 5 and 3 comparisons

    @pytest.mark.parametrize("penalty", [0.0, 2.0])
    def test_the_loss_is_the_weighted_mean_over_comparisons(self, penalty):
        config, data, table = by_hand(training__penalty=penalty)
        (line,), _ = steps(config, data, table)
        assert line["loss/kind"] == pytest.approx(self.losses[:, 0].sum() / 5, rel=1e-6)
        assert line["loss/short"] == pytest.approx(self.losses[:, 1].sum() / 3, rel=1e-6)
        ((order, weights, _),) = table.asked  # all losses come from one forward pass
        w, scaled = weights.double().numpy(), self.losses[order] * 3 / np.array([5, 3])
        cosines = (w * scaled).sum(1) / np.linalg.norm(w, axis=1) / np.linalg.norm(scaled, axis=1)
        cosines[np.array(order) == 1] = 0  # the context that one objective says nothing about
        expected = ((w * scaled).sum(1) - penalty * cosines).mean()
        assert line["loss"] == pytest.approx(expected, rel=1e-5)

    def test_listwise(self):
        config, data, table = by_hand(data__comparisons="listwise")
        (line,), _ = steps(config, data, table)
        # -log softmax of the best: ln 7/4, ln 3, ln 2, and ln 7, ln 2 of the two labelled contexts.
        assert line["loss/kind"] == pytest.approx((LN(7 / 4) + LN(3) + LN(2)) / 3, rel=1e-6)
        assert line["loss/short"] == pytest.approx((LN(7) + LN(2)) / 2, rel=1e-6)

    def test_rankings(self):
        config, data, table = by_hand(data__comparisons="rankings")
        (line,), _ = steps(config, data, table)
        # Each candidate out of itself and those below: 4 of 7 and 2 of 3, 1 of 3, 1 of 2; and 1 of 7, 1 of 2.
        assert line["loss/kind"] == pytest.approx((LN(7 / 4) + LN(3 / 2) + LN(3) + LN(2)) / 4, rel=1e-6)
        assert line["loss/short"] == pytest.approx((LN(7) + LN(2)) / 2, rel=1e-6)

    def test_contexts_compared_with_each_other_are_one_list(self):
        config, data, table = by_hand(training__compare_across=3)
        (line,), _ = steps(config, data, table)
        # Rewards ln 4, ln 2, 0 | ln 2, 0 | 0, 0 with the scores 2, 1, 0 | 0, 1 | 1, 0 and 0, 0, 1 | none | 1, 0.
        rewards = np.array([LN(4), LN(2), 0, LN(2), 0, 0, 0])
        nan = float("nan")
        for name, scores in (("kind", [2, 1, 0, 0, 1, 1, 0]), ("short", [0, 0, 1, nan, nan, 1, 0])):
            pairs = [(i, k) for i in range(7) for k in range(7) if scores[i] > scores[k]]
            expected = np.mean([np.log1p(np.exp(rewards[k] - rewards[i])) for i, k in pairs])
            assert line[f"loss/{name}"] == pytest.approx(expected, rel=1e-6)
        ((_, weights, _),) = table.asked
        assert line["loss"] == pytest.approx(
            float(weights[0, 0]) * line["loss/kind"] + float(weights[0, 1]) * line["loss/short"], rel=1e-5
        )

    def test_the_temperature_multiplies_the_rewards(self):
        config, data, table = by_hand(temperature=[2.0, 1.0], data__comparisons="listwise")
        (line,), _ = steps(config, data, table)
        # At beta 2 the softmax of (ln 4, ln 2, 0) is (16, 4, 1) / 21, that of (ln 2, 0) is (4, 1) / 5.
        assert line["loss/kind"] == pytest.approx((LN(21 / 16) + LN(5) + LN(2)) / 3, rel=1e-6)
        assert line["loss/short"] == pytest.approx((LN(7) + LN(2)) / 2, rel=1e-6)

    def test_the_gradient_is_clipped_to_its_norm(self):
        config, data, table = by_hand(training__clip=0.25)
        before = table.table.detach().clone()
        sgd = torch.optim.SGD([{"params": list(table.parameters()), "lr": 1.0, "peak": 1.0}])
        (line,), _ = steps(config, data, table, sgd)
        assert line["gradient_norm"] > 0.3  # the norm before clipping
        assert (table.table.detach() - before).norm().item() == pytest.approx(0.25, rel=1e-4)
        config, data, free = by_hand(training__clip=1e6)
        sgd = torch.optim.SGD([{"params": list(free.parameters()), "lr": 1.0, "peak": 1.0}])
        steps(config, data, free, sgd)
        assert (free.table.detach() - before).norm().item() == pytest.approx(line["gradient_norm"], rel=1e-4)

    def test_checkpoints_and_log_lines_come_when_asked_for_and_after_the_last_step(self):
        config, data, table = by_hand(training__steps=7, training__checkpoint_every=3, training__log_every=2)
        lines, saved = steps(config, data, table)
        assert saved == [3, 6, 7]
        assert [line["step"] for line in lines] == [2, 4, 6, 7]
        assert all(line["contexts_per_second"] > 0 and line["tokens_per_second"] > 0 for line in lines)
        assert [line["seconds"] for line in lines] == sorted(line["seconds"] for line in lines)

    def test_log_lines_are_means_over_the_steps_since_the_last(self):
        every, data, table = by_hand(training__steps=4, training__log_every=1)
        single, _ = steps(every, data, table)
        second, data, table = by_hand(training__steps=4, training__log_every=2)
        double, _ = steps(second, data, table)
        for key in ("loss", "loss/kind", "loss/short"):
            means = [(single[0][key] + single[1][key]) / 2, (single[2][key] + single[3][key]) / 2]
            assert [line[key] for line in double] == pytest.approx(means, rel=1e-5)

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_a_loss_that_is_not_finite_stops_the_run_in_one_line(self, value):
        config, data, table = by_hand(training__steps=3)

        def broken(*_: object) -> None:
            with torch.no_grad():
                table.table[0, 0] = value

        with pytest.raises(InputError, match=r"not finite at step 1: lower training\.learning_rate") as error:
            train(table, data, config, optimizer_for(table, config), Clock(), broken, lambda clock: None)
        assert "\n" not in str(error.value)

    def test_a_finished_run_has_nothing_left_to_do(self):
        config, data, table = by_hand()
        before, clock = table.table.detach().clone(), Clock(1, 5.0)
        assert train(table, data, config, optimizer_for(table, config), clock, lambda _: None, lambda _: None) == clock
        assert torch.equal(table.table, before)

    def test_the_rate_follows_the_schedule(self):
        config, data, table = by_hand(training__steps=10, training__warmup=0.2, training__learning_rate=0.1)
        optimizer = torch.optim.SGD([{"params": list(table.parameters()), "lr": 0.0, "peak": 0.1}])
        lines, _ = steps(config, data, table, optimizer)
        expected = [0.1 * learning_rate_scale(step, 10, 0.2) for step in range(10)]
        assert [line["learning_rate"] for line in lines] == pytest.approx(expected)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected[-1])


@pytest.mark.parametrize(
    ("step", "steps", "warmup", "expected"),
    [
        # A rise of 2 of 10 steps: 1/2, 1; then half a cosine over the other 8: cos(0), cos(pi/2) at step 6, ...
        (0, 10, 0.2, 0.5),
        (1, 10, 0.2, 1.0),
        (2, 10, 0.2, 1.0),
        (4, 10, 0.2, 0.5 + 0.25 * math.sqrt(2)),
        (6, 10, 0.2, 0.5),
        (8, 10, 0.2, 0.5 - 0.25 * math.sqrt(2)),
        (10, 10, 0.2, 0.0),
        (0, 10, 0.0, 1.0),
        (0, 1, 0.1, 1.0),
        (25, 500, 0.1, 26 / 50),
    ],
)
def test_schedule(step, steps, warmup, expected):
    assert learning_rate_scale(step, steps, warmup) == pytest.approx(expected, abs=1e-12)
