"""What a strategy needs and is not there is refused before Ray starts, in one line with the mend."""

from __future__ import annotations

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
NF4 = {"model__quantization": "nf4"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (ZERO, r"pip install 'cosdpo\[deepspeed\]', or set fsdp"),
        ({**NF4, "scaling__use_gpu": True}, r"needs bitsandbytes: pip install bitsandbytes"),
    ],
)
def test_absent_packages(absent, changes, message):
    absent(False)
    with pytest.raises(InputError, match=message):
        compatible.check(configured(**changes))
    absent(True)
    compatible.check(configured(**changes))


def test_quantization_without_a_gpu(absent):
    absent(True)
    with pytest.raises(InputError, match=r"nf4 needs GPUs: set scaling\.use_gpu true"):
        compatible.check(configured(**NF4))


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
