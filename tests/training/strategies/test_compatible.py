"""Combinations that are refused before Ray starts, in one line that names the key and the mend."""

from __future__ import annotations

import importlib.util

import pytest

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.training.strategies import compatible
from tests.tiny_models import settings


def configured(**changes: object) -> Config:
    return settings("", **changes)


@pytest.fixture
def absent(monkeypatch):
    """Makes packages look as if they were not installed, or were."""

    def set_to(found: bool) -> None:
        monkeypatch.setattr(compatible, "find_spec", lambda name: object() if found else None)

    return set_to


FSDP = {"scaling__strategy": "fsdp", "scaling__workers": 2}
ZERO = {"scaling__strategy": "deepspeed", "scaling__workers": 2}
NF4 = {"model__quantization": "nf4", "scaling__use_gpu": True}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({**FSDP, "task": "ranking"}, r"scaling\.strategy fsdp is for language models: set it to ddp"),
        ({**FSDP, "scaling__workers": 1}, r"nothing to shard over: set scaling\.workers to 2 or more"),
        ({**FSDP, "scaling__offload": "optimizer"}, r"needs scaling\.strategy deepspeed"),
        ({"scaling__offload": "parameters"}, r"needs scaling\.strategy deepspeed"),
        ({**ZERO, "scaling__offload": "parameters"}, r"set scaling\.zero_stage 3"),
        ({**ZERO, "scaling__offload": "parameters", "scaling__workers": 1, "scaling__zero_stage": 3}, "2 or more"),
        ({**NF4, "task": "ranking"}, r"model\.quantization is for language models"),
        ({**NF4, **FSDP}, r"nf4 does not go with scaling\.strategy fsdp: set ddp"),
        ({**NF4, "scaling__use_gpu": False}, r"nf4 needs GPUs: set scaling\.use_gpu true"),
    ],
)
def test_impossible_combinations(absent, changes, message):
    absent(True)
    with pytest.raises(InputError, match=message) as error:
        compatible.check(configured(**changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [(ZERO, r"pip install 'cosdpo\[deepspeed\]', or set fsdp"), (NF4, r"needs bitsandbytes: pip install bitsandbytes")],
)
def test_absent_packages(absent, changes, message):
    absent(False)
    with pytest.raises(InputError, match=message):
        compatible.check(configured(**changes))
    absent(True)
    compatible.check(configured(**changes))


@pytest.mark.parametrize(
    ("changes", "sharded"),
    [
        ({}, False),
        ({"scaling__workers": 2}, False),
        (FSDP, True),
        ({**FSDP, "scaling__workers": 1}, False),
        (ZERO, False),
        ({**ZERO, "scaling__zero_stage": 3}, True),
        ({**ZERO, "scaling__zero_stage": 3, "scaling__workers": 1}, False),
    ],
)
def test_where_the_base_is_sharded(changes, sharded):
    assert compatible.shards_the_base(configured(**changes)) == sharded


def test_what_is_possible_passes():
    compatible.check(configured())
    compatible.check(configured(task="ranking", scaling__workers=2))
    compatible.check(configured(**FSDP))
    if importlib.util.find_spec("deepspeed"):
        compatible.check(configured(**ZERO, scaling__zero_stage=3, scaling__offload="parameters"))
        compatible.check(configured(scaling__strategy="deepspeed", scaling__offload="optimizer"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (FSDP, r"scaling\.strategy fsdp .* the trials of a sweep train in one process each, set it to ddp"),
        ({"scaling__min_workers": 1}, r"scaling\.min_workers 1 .*leave it out"),
        ({"scaling__storage": "s3://b/x"}, r"scaling\.storage s3://b/x .*leave it out"),
    ],
)
def test_trainings_in_one_process_each(changes, message):
    with pytest.raises(InputError, match=message):
        compatible.check_single(configured(**changes), "the trials of a sweep")
    compatible.check_single(configured(scaling__workers=4), "the trials of a sweep")  # they score references together


def test_a_single_worker_left_over_cannot_hold_a_sharded_base():
    with pytest.raises(InputError, match=r"scaling\.min_workers 1 leaves nothing to shard over"):
        compatible.check(configured(**FSDP, scaling__min_workers=1))
    compatible.check(configured(**{**FSDP, "scaling__workers": 4, "scaling__min_workers": 2}))
    compatible.check(configured(scaling__workers=4, scaling__min_workers=1))
