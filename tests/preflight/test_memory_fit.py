"""Whether a training fits a GPU: shares by hand, and mends that do mend."""

import re

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


@pytest.fixture
def base(tmp_path):
    """A folder with a config alone."""
    LlamaConfig(
        vocab_size=1000, hidden_size=1024, intermediate_size=4096, num_hidden_layers=4, num_attention_heads=8
    ).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("batch", "length", "lacking", "mend"),
    [
        (16, 256, -9.0, None),
        (16, 256, 0.05, "training.micro_batch"),
        (1, 256, 0.1, "gradient_checkpointing"),
        (8, 8, 0.25, "scaling.strategy fsdp"),
    ],
)
def test_the_mend_that_is_named_does_mend(base, batch, length, lacking, mend):
    """A GPU lacks a share of what is needed besides the reserve."""
    shape = {"data__max_length": length, "training__batch_size": batch}
    need = MemoryFit(settings(base, **shape)).share(settings(base, **shape)).total / GIB - 2
    config = settings(base, **shape, gpu__memory=2 + need * (1 - lacking))
    fit = MemoryFit(config)
    if mend is None:
        fit.check()
        return
    with pytest.raises(InputError, match=mend) as error:
        fit.check()
    changes = dict(re.findall(r"([a-z]+\.[a-z_]+) (\w+)", str(error.value).split(": ", 1)[1]))
    values = {key.replace(".", "__"): int(v) if v.isdigit() else v == "true" or v for key, v in changes.items()}
    MemoryFit(settings(base, **shape, gpu__memory=config.gpu.memory, **values)).check()


def test_no_gpu_is_large_enough(base):
    config = settings(base, gpu={"memory": 0.5})
    with pytest.raises(InputError, match=r"gpu\.memory is 0\.5: choose a smaller base"):
        MemoryFit(config).check()


def test_a_batch_that_more_workers_cannot_share(base):
    """Sharding over more GPUs would mend it, but a batch of 1 has no part for a second worker."""
    shape = {"data__max_length": 8, "training__batch_size": 1}
    need = MemoryFit(settings(base, **shape)).share(settings(base, **shape)).total / GIB
    with pytest.raises(InputError, match="choose a smaller base"):
        MemoryFit(settings(base, **shape, gpu__memory=2 + 0.9 * (need - 2))).check()


def test_printed_figures_are_those_of_the_shares(base, capsys):
    config = settings(base, scaling__workers=2, gpu={"memory": 4})
    fit = MemoryFit(config)
    fit.print()
    lines = capsys.readouterr().out.splitlines()
    (total,) = [line.split()[-5:] for line in lines if line.startswith("all,")]
    assert total == [f"{share.total / GIB:.1f}" for share in shares(fit.memory(config), config).values()]
