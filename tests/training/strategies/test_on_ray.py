"""Whole runs on Ray under the sharded strategies, from the references to the front."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front
from cosdpo.experiment import run as experiment
from cosdpo.training.tracking import read_metrics
from tests.interruptions import killing_a_worker
from tests.tiny_models import rows, settings, write_model, write_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.usefixtures("ray_of_two_cores")]

FSDP = {"scaling__strategy": "fsdp"}
ZERO = {"scaling__strategy": "deepspeed", "scaling__zero_stage": 3, "scaling__offload": "optimizer"}


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Config]]:
    """The configuration of a run of 20 steps by two workers, each with a cache of its own."""
    folder = tmp_path_factory.mktemp("strategies")
    write_model(folder / "base", "llama-untied")
    write_rows(folder / "train.jsonl", rows(40, 0))
    write_rows(folder / "validation.jsonl", rows(15, 1))
    numbers = itertools.count()
    with pytest.MonkeyPatch.context() as patch:

        def configure(**changes: object) -> Config:
            name = f"run{next(numbers)}"
            patch.setenv("COSDPO_CACHE", str(folder / f"{name}-cache"))
            defaults: dict[str, object] = {
                "output": folder / name,
                "scope": "response",
                "scaling__workers": 2,
                "data__train": str(folder / "train.jsonl"),
                "data__validation": str(folder / "validation.jsonl"),
                "training__steps": 20,
                "training__batch_size": 4,
                "training__log_every": 1,
                "training__checkpoint_every": 10,
                "evaluation__max_new_tokens": 8,
                "evaluation__prompts": 4,
                "evaluation__samples": 2,
                "evaluation__scorers": {"kind": "brevity", "short": "dialogue"},
                "grid__partitions": 4,
            }
            return settings(folder / "base", **{**defaults, **changes})

        yield configure


def run(config: Config) -> Front:
    (result,) = experiment.run(config)
    return result.front


@pytest.fixture(scope="module")
def whole(make) -> tuple[Config, Front]:
    config = make(scaling__workers=1)
    return config, run(config)


def trained(config: Config) -> dict[str, Tensor]:
    checkpoint = config.output / "checkpoint"
    return load_file(checkpoint / "adapters.safetensors") | load_file(checkpoint / "conditioning.safetensors")


@pytest.mark.parametrize("strategy", [FSDP, ZERO], ids=["fsdp", "deepspeed"])
def test_ends_like_one_worker(make, whole, strategy):
    if strategy is ZERO:
        pytest.importorskip("deepspeed")
    config = make(**strategy)
    front = run(config)
    ours, right = trained(config), trained(whole[0])
    assert ours.keys() == right.keys()
    for name, tensor in right.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-4, atol=1e-4, msg=name)
    for mine, expected in zip(front.points, whole[1].points, strict=True):
        for name in ("accuracy", "loss"):
            assert mine.values[name] == pytest.approx(expected.values[name], abs=1e-3)
    assert front.metrics.keys() == {"accuracy", "loss", "reward"}
    assert not (config.output / "reference").exists()


def test_a_run_that_gave_up_under_one_goes_on_under_another(make, whole):
    config = make(**FSDP, scaling__max_failures=0, training__micro_batch=1, training__checkpoint_every=5)
    with killing_a_worker(config, 12) as killed, pytest.raises(InputError, match="run again with --resume"):
        run(config)
    assert killed
    resumed = config.changed({"resume": True, "scaling": whole[0].scaling})
    run(resumed)
    right = trained(whole[0])
    for name, tensor in trained(resumed).items():
        torch.testing.assert_close(tensor, right[name], rtol=1e-4, atol=1e-4, msg=name)
    assert [line["step"] for line in read_metrics(resumed.output)] == list(range(1, 21))


def test_a_run_that_diverges_ends_in_one_line(make):
    config = make(**FSDP, training__learning_rate=1e30, training__warmup=0, training__clip=1e30)
    with pytest.raises(InputError, match=r"not finite at step .*lower training\.learning_rate") as error:
        run(config)
    assert "\n" not in str(error.value)
