"""What must not change how a run ends: restarts, micro-batches, workers. On a tiny language model, to 1e-5."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cosdpo.config import Config
from cosdpo.training.checkpoint import Clock, load_state, save_state
from cosdpo.training.loop import optimizer_for, train
from tests.tiny_models import preferences, scorer, settings

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


@pytest.mark.parametrize(
    "changes",
    [
        {"model__lora_dropout": 0.2, "training__weight_decay": 0.1},
        {"scope": "response", "model__temperature_conditioned": True, "training__penalty": 0.5},
        {"data__comparisons": "listwise", "data__targets": "softmax", "training__stratified": False},
    ],
    ids=["dropout", "temperatures", "listwise"],
)
def test_a_resumed_run_ends_like_an_uninterrupted_one(tiny, tmp_path, changes):
    config = tiny(**changes, training__checkpoint_every=5)
    expected, lines = whole_run(config)
    data = preferences(Path(config.model.base), config)
    first = scorer(config)
    optimizer = optimizer_for(first, config)

    def save(clock: Clock) -> None:
        save_state(tmp_path, first, optimizer, clock)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
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
def test_micro_batches_add_up_to_the_batch(tiny, scope):
    expected, whole = whole_run(tiny(scope=scope, training__penalty=0.5))
    for micro in (1, 3, 8):
        ours, lines = whole_run(tiny(scope=scope, training__penalty=0.5, training__micro_batch=micro))
        assert_same(ours, expected)
        for line, right in zip(lines, whole, strict=True):
            for key in ("loss", "loss/kind", "loss/short", "gradient_norm"):
                assert line[key] == pytest.approx(right[key], rel=1e-4)


def test_two_workers_train_like_one_at_the_same_global_batch(tiny, tmp_path):
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


def test_a_run_is_a_function_of_its_seed(tiny):
    first, again, other = (whole_run(tiny(seed=s, training__steps=2))[0] for s in (0, 0, 1))
    for name, tensor in first.items():
        assert torch.equal(tensor, again[name])
    assert any(not torch.equal(tensor, other[name]) for name, tensor in first.items())


def test_training_lowers_the_losses(tiny):
    _, lines = whole_run(tiny(training__steps=60, training__learning_rate=2e-2, training__log_every=15))
    assert lines[0]["loss/kind"] > 1.3 * lines[-1]["loss/kind"]
    assert lines[0]["loss/short"] > 1.3 * lines[-1]["loss/short"]
