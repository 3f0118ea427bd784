"""The training loop: values by hand, and what must not change how a run ends: restarts, micro-batches, workers."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cosdpo.config import Config, DataConfig
from cosdpo.data.batching import PreferenceData
from cosdpo.errors import InputError
from cosdpo.training.checkpoint import Clock, load_state, save_state
from cosdpo.training.loop import Sampler, World, optimizer_for, schedule, train
from tests.tiny_models import preferences, scorer, settings

LN = math.log
ROOT = Path(__file__).parents[2]
Lines = list[dict[str, float]]


def trained(module: nn.Module) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}


def assert_same(ours: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-5) -> None:
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


def whole_run(config: Config) -> tuple[dict[str, Tensor], Lines]:
    """Trained tensors and metrics of an uninterrupted run."""
    module, lines = scorer(config), []
    data = preferences(Path(config.model.base), config)
    train(module, data, config, optimizer_for(module, config), Clock(), lines.append, lambda clock: None)
    return trained(module), lines


class TestInvariants:
    @pytest.mark.parametrize(
        "changes",
        [
            {"model__lora_dropout": 0.2, "training__weight_decay": 0.1},
            {"scope": "response", "model__temperature_conditioned": True, "training__penalty": 0.5},
            {"data__comparisons": "listwise", "data__targets": "softmax", "training__stratified": False},
        ],
        ids=["dropout", "temperatures", "listwise"],
    )
    def test_a_resumed_run_ends_like_an_uninterrupted_one(self, tiny, tmp_path, changes):
        config = tiny(**changes, training__checkpoint_every=5)
        expected, lines = whole_run(config)
        data = preferences(Path(config.model.base), config)
        first = scorer(config)
        optimizer = optimizer_for(first, config)

        class Killed(Exception):
            pass

        def save(clock: Clock) -> None:
            save_state(tmp_path, first, optimizer, clock)
            raise Killed

        with pytest.raises(Killed):
            train(first, data, config, optimizer, Clock(), lambda line: None, save)

        torch.manual_seed(99)  # nothing may hang on the state of the process that goes on
        second = scorer(config.model_copy(update={"seed": 1}))
        with torch.no_grad():
            for parameter in second.trainable().values():
                parameter.add_(1.0)
        optimizer = optimizer_for(second, config)
        clock = load_state(tmp_path, second, optimizer)
        assert clock.step == 5
        resumed: Lines = []
        end = train(second, data, config, optimizer, clock, resumed.append, lambda clock: None)
        assert end.step == 12
        assert end.seconds > clock.seconds > 0
        assert_same(trained(second), expected)
        for ours, right in zip(resumed, lines[5:], strict=True):
            assert ours["step"] == right["step"]
            for key in ("loss", "loss/kind", "loss/short", "learning_rate", "gradient_norm"):
                assert ours[key] == pytest.approx(right[key], rel=1e-5)

    @pytest.mark.parametrize("scope", ["sequence", "response"])
    def test_micro_batches_add_up_to_the_batch(self, tiny, scope):
        expected, whole = whole_run(tiny(scope=scope, training__penalty=0.5))
        for micro in (1, 3, 8):
            ours, lines = whole_run(tiny(scope=scope, training__penalty=0.5, training__micro_batch=micro))
            assert_same(ours, expected)
            for line, right in zip(lines, whole, strict=True):
                for key in ("loss", "loss/kind", "loss/short", "gradient_norm"):
                    assert line[key] == pytest.approx(right[key], rel=1e-4)

    def test_two_workers_train_like_one_at_the_same_global_batch(self, tiny, tmp_path):
        config = tiny(training__steps=6, training__micro_batch=2, training__log_every=3)
        expected, lines = whole_run(config)
        (tmp_path / "config.json").write_text(config.model_dump_json())
        command = [sys.executable, "-m", "tests.training.two_workers", str(tmp_path)]
        workers = [subprocess.Popen([*command, str(rank)], cwd=ROOT) for rank in (0, 1)]
        assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
        for rank in (0, 1):
            assert_same(load_file(tmp_path / f"trained.{rank}.safetensors"), expected)
        logged = [json.loads(line) for line in (tmp_path / "lines.0").read_text().splitlines()]
        for ours, right in zip(logged, lines, strict=True):
            for key in ("step", "loss", "loss/kind", "loss/short", "gradient_norm"):
                assert ours[key] == pytest.approx(right[key], rel=1e-4)

    def test_a_run_is_a_function_of_its_seed(self, tiny):
        first, again, other = (whole_run(tiny(seed=s, training__steps=2))[0] for s in (0, 0, 1))
        for name, tensor in first.items():
            assert torch.equal(tensor, again[name])
        assert any(not torch.equal(tensor, other[name]) for name, tensor in first.items())

    def test_training_lowers_the_losses(self, tiny):
        _, lines = whole_run(tiny(training__steps=60, training__learning_rate=2e-2, training__log_every=15))
        assert lines[0]["loss/kind"] > 1.3 * lines[-1]["loss/kind"]
        assert lines[0]["loss/short"] > 1.3 * lines[-1]["loss/short"]


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

        with pytest.raises(InputError, match="not finite at step 1: lower training.learning_rate") as error:
            train(table, data, config, optimizer_for(table, config), Clock(), broken, lambda clock: None)
        assert "\n" not in str(error.value)

    def test_a_finished_run_has_nothing_left_to_do(self):
        config, data, table = by_hand()
        before, clock = trained(table), Clock(1, 5.0)
        assert train(table, data, config, optimizer_for(table, config), clock, lambda _: None, lambda _: None) == clock
        assert_same(trained(table), before, 0)


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
    assert schedule(step, steps, warmup) == pytest.approx(expected, abs=1e-12)


class TestOptimizer:
    def test_weight_decay_acts_on_the_adapters_matrices_alone(self, tiny):
        config = tiny(training__weight_decay=0.5, training__learning_rate=0.1, training__prompt_learning_rate=0.2)
        module = scorer(config)
        optimizer = optimizer_for(module, config)
        before = trained(module)
        for parameter in module.trainable().values():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        after = trained(module)
        for name, tensor in before.items():
            # AdamW without a gradient multiplies by 1 - rate * decay.
            torch.testing.assert_close(after[name], tensor * (1 - 0.1 * 0.5) if "lora_" in name else tensor)
        assert {"lora_" in name for name in before} == {True, False}

    def test_the_hyper_prompt_has_its_own_rate(self, tiny):
        config = tiny(training__learning_rate=0.1, training__prompt_learning_rate=0.02, training__warmup=0)
        module = scorer(config)
        optimizer = optimizer_for(module, config)
        before = trained(module)
        for parameter in module.trainable().values():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        for name, tensor in trained(module).items():
            # Adam's first step is the rate times the gradient's sign.
            rate = 0.02 if name.startswith("prompt") else 0.1
            torch.testing.assert_close(before[name] - tensor, torch.full_like(tensor, rate), rtol=1e-3, atol=1e-6)

    def test_the_rate_follows_the_schedule(self):
        config, data, table = by_hand(training__steps=10, training__warmup=0.2, training__learning_rate=0.1)
        optimizer = torch.optim.SGD([{"params": list(table.parameters()), "lr": 0.0, "peak": 0.1}])
        lines, _ = steps(config, data, table, optimizer)
        expected = [0.1 * schedule(step, 10, 0.2) for step in range(10)]
        assert [line["learning_rate"] for line in lines] == pytest.approx(expected)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected[-1])


class TestDraws:
    def sampler(self, **changes: object) -> Sampler:
        items = [Item(i) for i in range(32)]
        data = PreferenceData(items, [[[1.0, 0.0], [0.0, 1.0]]] * 32, [np.zeros(2)] * 32, DataConfig())
        return Sampler(data, settings("", training__batch_size=8, **changes))

    def test_every_context_has_its_own_weights(self):
        draw = self.sampler()(0)
        assert draw.weights.shape == (8, 2)
        torch.testing.assert_close(draw.weights.sum(1), torch.ones(8))
        assert len(set(draw.weights[:, 0].tolist())) == 8

    def test_a_draw_is_a_function_of_seed_and_step(self):
        first, again = self.sampler()(3), self.sampler()(3)
        assert first.contexts == again.contexts
        assert torch.equal(first.weights, again.weights)
        for other in (self.sampler()(2), self.sampler(seed=1)(3)):
            assert not torch.equal(first.weights, other.weights)
            assert first.contexts != other.contexts

    @pytest.mark.parametrize(("alpha", "low", "high"), [(0.05, 0.9, 1.0), (50.0, 0.5, 0.65)])
    def test_a_small_alpha_favours_the_ends(self, alpha, low, high):
        largest = torch.cat([self.sampler(training__alpha=alpha)(s).weights.max(1).values for s in range(50)])
        assert low < largest.mean() < high

    def test_temperatures_are_the_trained_ones(self):
        draw = self.sampler(temperature=[0.1, 0.4])(0)
        torch.testing.assert_close(draw.temperatures, torch.tensor([[0.1, 0.4]]).expand(8, 2))

    def test_conditioned_temperatures_vary_at_the_trained_scale(self):
        draw = self.sampler(temperature=[0.1, 0.4], model__temperature_conditioned=True)(0)
        torch.testing.assert_close(draw.temperatures.sum(1), torch.full((8,), 0.5))
        assert len(set(draw.temperatures[:, 0].tolist())) == 8
        assert not torch.allclose(draw.temperatures[:, 0] / 0.5, draw.weights[:, 0])

    @pytest.mark.parametrize(("size", "micro"), [(1, 3), (2, 2), (4, 2), (8, 1)])
    def test_shares_and_micro_batches_make_up_the_global_batch(self, size, micro):
        draw = self.sampler()(0)
        parts = [
            draw.share(World(rank, size), start, start + micro)
            for rank in range(size)
            for start in range(0, 8 // size, micro)
        ]
        rows = {
            c: (w.tolist(), b.tolist()) for c, w, b in zip(draw.contexts, draw.weights, draw.temperatures, strict=True)
        }
        seen = [
            (c, (w.tolist(), b.tolist()))
            for part in parts
            for c, w, b in zip(part.contexts, part.weights, part.temperatures, strict=True)
        ]
        assert len(seen) == 8
        assert dict(seen) == rows
