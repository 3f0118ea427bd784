"""What trainings take of a cluster of two cores, and how many of them run at once."""

from __future__ import annotations

import pytest

from cosdpo.errors import InputError
from cosdpo.experiment import cluster
from cosdpo.experiment.compare import located
from cosdpo.experiment.resources import Resources, at_once, check, of_run, of_worker
from tests.tiny_models import settings


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch) -> None:
    monkeypatch.setattr(cluster, "capacity", lambda: {"CPU": 2.0})


def test_of_one_worker():
    assert of_worker(settings("")) == Resources(1, 0)
    assert of_worker(settings("", scaling__cpus_per_worker=4, scaling__use_gpu=True)) == Resources(4, 1)
    shares = settings("", comparison__cpus_per_run=0.5, comparison__gpus_per_run=0.25, scaling__use_gpu=True)
    assert of_worker(shares) == of_run(shares) == Resources(0.5, 0.25)
    assert at_once(settings("", comparison__cpus_per_run=0.5)) == 4


def test_of_several():
    config = settings("", scaling__workers=8, scaling__use_gpu=True, scaling__cpus_per_worker=2)
    assert of_run(config) == Resources(16, 8)
    assert at_once(settings("", scaling__workers=2)) == 1
    assert at_once(settings("", scaling__workers=2, scaling__cpus_per_worker=0.5)) == 2


def test_an_elastic_run_takes_what_there_is():
    assert at_once(settings("", scaling__workers=8, scaling__min_workers=2)) == 1
    assert at_once(settings("", scaling__workers=2, scaling__min_workers=1, scaling__cpus_per_worker=0.5)) == 2


def test_more_than_there_is():
    with pytest.raises(InputError, match=r"a run needs 8 CPUs and 0 GPUs, the cluster has 2 and 0: lower comparison"):
        at_once(settings("", comparison__cpus_per_run=8))
    with pytest.raises(InputError, match=r"a run needs 3 CPUs .*: lower scaling\.workers"):
        at_once(settings("", scaling__workers=3))


def test_a_share_of_a_gpu_is_one_for_the_references_too():
    assert located(settings("", comparison__gpus_per_run=0.5)).scaling.use_gpu
    assert not located(settings("")).scaling.use_gpu


@pytest.mark.parametrize("key", ["cpus_per_run", "gpus_per_run"])
def test_shares_of_a_run_of_several_workers(key):
    share = {f"comparison__{key}": 0.5}
    check(settings("", **share))
    with pytest.raises(InputError, match=rf"^comparison\.{key} 0\.5 is for runs of one worker: leave it out"):
        check(settings("", scaling__workers=2, **share))
