"""Whether a training fits a GPU: shares by hand, and mends that do mend."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from transformers import LlamaConfig

from cosdpo.errors import InputError
from cosdpo.preflight.memory_fit import MemoryFit
from cosdpo.preflight.shares import GIB, RESERVE, shares
from cosdpo.preflight.step_memory import StepMemory
from tests.tiny_models import settings

MEMORY = StepMemory(layers=800.0, layer=10.0, rest=50.0, trained=6.0, activations=100.0)


def test_shares_by_hand():
    """Four workers. ddp: 800 + 50, 6 parameters of 4 + 4 + 8 bytes and 4 more exchanged. fsdp: 800 / 4 + 2 layers + 50.
    ZeRO 2: weights 24, gradients 24 / 4, moments and a copy 72 / 4. ZeRO 3 shares
    the base as fsdp does.
    """
    found = shares(MEMORY, settings("x", scaling__workers=4))
    assert (found["ddp"].base, found["ddp"].trained) == (850, 120)
    assert (found["fsdp"].base, found["fsdp"].trained) == (270, 120)
    assert (found["deepspeed 1"].base, found["deepspeed 1"].trained) == (850, 24 + 24 + 18)
    assert (found["deepspeed 2"].base, found["deepspeed 2"].trained) == (850, 24 + 6 + 18)
    assert (found["deepspeed 3"].base, found["deepspeed 3"].trained) == (270, 24 + 6 + 18)
    assert found["ddp"].total == 850 + 120 + 100 + RESERVE


def test_one_worker_shares_nothing():
    found = shares(MEMORY, settings("x"))
    assert {share.base for share in found.values()} == {850}
    assert found["ddp"].trained == 16 * 6


def test_offloading_by_hand():
    zero = {"scaling__workers": 4, "scaling__strategy": "deepspeed", "scaling__zero_stage": 3}
    optimizer = shares(MEMORY, settings("x", **zero, scaling__offload="optimizer"))
    assert optimizer["deepspeed 2"].trained == 24 + 6
    parameters = shares(MEMORY, settings("x", **zero, scaling__offload="parameters"))
    assert parameters["deepspeed 3"].base == 20 + 50
    assert optimizer["ddp"] == parameters["ddp"] == shares(MEMORY, settings("x", scaling__workers=4))["ddp"]


@pytest.fixture(scope="module")
def fit(tmp_path_factory) -> Callable[..., MemoryFit]:
    """The fit of a config alone; what was measured of one length is not measured again."""
    base = tmp_path_factory.mktemp("base")
    LlamaConfig(
        vocab_size=1000, hidden_size=1024, intermediate_size=4096, num_hidden_layers=4, num_attention_heads=8
    ).save_pretrained(base)
    by_length: dict[int, MemoryFit] = {}

    def make(length: int, batch: int, **changes: object) -> MemoryFit:
        config = settings(base, data__max_length=length, training__batch_size=batch, **changes)
        return replace(by_length.setdefault(length, MemoryFit(config)), config=config)

    return make


def needed(fit: MemoryFit) -> float:
    """GiB that are needed besides the reserve."""
    return (fit.share(fit.config).total - RESERVE) / GIB


@pytest.mark.parametrize(
    ("batch", "length", "lacking", "mend"),
    [
        (16, 256, -9.0, None),
        (16, 256, 0.05, "training.micro_batch"),
        (1, 256, 0.1, "gradient_checkpointing"),
        (8, 8, 0.25, "scaling.strategy fsdp"),
    ],
)
@pytest.mark.whole
def test_the_mend_that_is_named_does_mend(fit, batch, length, lacking, mend):
    """A GPU lacks a share of what is needed besides the reserve."""
    memory = 2 + needed(fit(length, batch)) * (1 - lacking)
    tight = fit(length, batch, gpu__memory=memory)
    if mend is None:
        tight.check()
        return
    with pytest.raises(InputError, match=mend) as error:
        tight.check()
    changes = dict(re.findall(r"([a-z]+\.[a-z_]+) (\w+)", str(error.value).split(": ", 1)[1]))
    values = {key.replace(".", "__"): int(v) if v.isdigit() else v == "true" or v for key, v in changes.items()}
    fit(length, batch, gpu__memory=memory, **values).check()


def test_the_gentlest_mend_is_named(fit):
    """Half of the largest micro-batch suffices, and less would too."""
    memory = 2 + needed(fit(256, 16, training__micro_batch=8))
    with pytest.raises(InputError, match=r"set training\.micro_batch 8$"):
        fit(256, 16, gpu__memory=memory).check()


@pytest.mark.whole
def test_no_gpu_is_large_enough(fit):
    with pytest.raises(InputError, match=r"gpu\.memory is 0\.5: choose a smaller base"):
        fit(8, 8, gpu__memory=0.5).check()


@pytest.mark.whole
def test_a_batch_that_more_workers_cannot_share(fit):
    """Sharding over more GPUs would mend it, but a batch of 1 has no part for a second worker."""
    with pytest.raises(InputError, match="choose a smaller base"):
        fit(8, 1, gpu__memory=2 + 0.9 * needed(fit(8, 1))).check()


def test_printed_figures_are_those_of_the_shares(fit, capsys):
    of_two = fit(8, 2, scaling__workers=2, gpu__memory=4)
    of_two.print()
    lines = capsys.readouterr().out.splitlines()
    (total,) = [line.split()[-5:] for line in lines if line.startswith("all,")]
    assert total == [
        f"{share.total / GIB:.1f}" for share in shares(of_two.memory(of_two.config), of_two.config).values()
    ]


def test_without_gpus_the_plan_is_of_main_memory(fit, capsys):
    """A base in float32 instead of bfloat16, and no size of a GPU that it would have to fit."""
    printed = {}
    for use_gpu in (True, False):
        of_two = fit(8, 2, scaling__workers=2, scaling__use_gpu=use_gpu)
        of_two.print()
        printed[use_gpu] = capsys.readouterr().out
        printed[use_gpu, "base"] = of_two.share(of_two.config).base
    assert printed[False, "base"] == 2 * printed[True, "base"]
    assert "2 GPU(s) to a training" in printed[True]
    assert "GiB on each GPU" in printed[True]
    assert "fits 80 GiB" in printed[True]
    assert "2 worker(s) to a training" in printed[False]
    assert "GiB of main memory" in printed[False]
    assert "GPU" not in printed[False]
    assert "fits" not in printed[False]
