"""What must not change how the run of a ranker ends: restarts, micro-batches, workers. On tiny lists, to 1e-5."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cosdpo.config import Config
from cosdpo.training.checkpoint import Clock, load_state, save_state
from cosdpo.training.loop import optimizer_for, train
from tests.tiny_rankers import disturb, ranking_data, scorer, settings

ROOT = Path(__file__).parents[2]
KEYS = ("step", "loss", "loss/a", "loss/b", "gradient_norm")
Lines = list[dict[str, float]]


def run_of_12_steps(**changes: object) -> Config:
    defaults: dict[str, object] = {"training__steps": 12, "training__batch_size": 8, "training__log_every": 1}
    return settings(**defaults | changes)


def trained(module: nn.Module) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in module.named_parameters() if p.requires_grad}


def assert_same(ours: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-5) -> None:
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


def whole_run(config: Config) -> tuple[dict[str, Tensor], Lines]:
    """Trained tensors and metrics of an uninterrupted run."""
    module, lines = scorer(config), []
    train(
        module, ranking_data(config), config, optimizer_for(module, config), Clock(), lines.append, lambda clock: None
    )
    return trained(module), lines


@pytest.mark.parametrize(
    "changes",
    [
        {"ranker__dropout": 0.2, "training__weight_decay": 0.1},
        {"model__temperature_conditioned": True, "training__penalty": 0.5, "ranker__conditioning": "gates"},
        {"ranker__parametrisation": "scratch", "data__targets": "gains", "ranker__architecture": "mlp"},
    ],
    ids=["dropout", "temperatures", "scratch"],
)
def test_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path, changes):
    config = run_of_12_steps(**changes, training__checkpoint_every=5)
    expected, lines = whole_run(config)
    data, first = ranking_data(config), scorer(config)
    optimizer = optimizer_for(first, config)

    def save(clock: Clock) -> None:
        save_state(tmp_path, first, optimizer, clock)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(first, data, config, optimizer, Clock(), lambda line: None, save)

    torch.manual_seed(99)  # nothing may hang on the state of the process that goes on
    second = scorer(config.model_copy(update={"seed": 1}))
    disturb(second)
    optimizer = optimizer_for(second, config)
    clock = load_state(tmp_path, second, optimizer)
    assert clock.step == 5
    resumed: Lines = []
    end = train(second, data, config, optimizer, clock, resumed.append, lambda clock: None)
    assert end.step == 12
    assert_same(trained(second), expected)
    assert len(resumed) == 7
    for ours, right in zip(resumed, lines[5:], strict=True):
        for key in (*KEYS, "learning_rate"):
            assert ours[key] == pytest.approx(right[key], rel=1e-5)


@pytest.mark.parametrize("architecture", ["transformer", "mlp"])
def test_micro_batches_add_up_to_the_batch(architecture):
    form = {"ranker__architecture": architecture, "training__penalty": 0.5}
    expected, whole = whole_run(run_of_12_steps(**form))
    for micro in (1, 3, 8):
        ours, lines = whole_run(run_of_12_steps(**form, training__micro_batch=micro))
        assert_same(ours, expected)
        for line, right in zip(lines, whole, strict=True):
            for key in KEYS:
                assert line[key] == pytest.approx(right[key], rel=1e-4)


def test_two_workers_train_like_one_at_the_same_global_batch(tmp_path):
    config = run_of_12_steps(training__steps=6, training__micro_batch=2, training__log_every=3)
    expected, lines = whole_run(config)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    command = [sys.executable, "-m", "tests.training.two_workers", str(tmp_path)]
    workers = [subprocess.Popen([*command, str(rank)], cwd=ROOT) for rank in (0, 1)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    for rank in (0, 1):
        assert_same(load_file(tmp_path / f"trained.{rank}.safetensors"), expected)
    logged = [json.loads(line) for line in (tmp_path / "lines.0").read_text().splitlines()]
    for ours, right in zip(logged, lines, strict=True):
        for key in KEYS:
            assert ours[key] == pytest.approx(right[key], rel=1e-4)


def test_a_run_is_a_function_of_its_seed():
    first, again, other = (whole_run(run_of_12_steps(seed=s, training__steps=2))[0] for s in (0, 0, 1))
    for name, tensor in first.items():
        assert torch.equal(tensor, again[name])
    assert any(not torch.equal(tensor, other[name]) for name, tensor in first.items())


def test_training_lowers_the_losses():
    _, lines = whole_run(run_of_12_steps(training__steps=60, training__log_every=15, temperature=1.0))
    # The targets' own entropy is left in the end.
    assert lines[0]["loss/a"] > lines[-1]["loss/a"] + 0.05
    assert lines[0]["loss/b"] > lines[-1]["loss/b"] + 0.05
