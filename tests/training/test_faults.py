"""Storage that fails, kills within a save, and fewer workers than asked for: how a run on Ray ends."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cosdpo.errors import InputError
from cosdpo.training import storage
from cosdpo.training.ray_train import fit
from cosdpo.training.tracking import last_metrics
from tests.interruptions import at_step
from tests.training.faulty import assert_same, job, settings

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_of_two_cores")]


def checkpoints(place: Path) -> list[str]:
    return sorted(path.name for path in (place / "training").glob("checkpoint_0*"))


def test_a_full_disk_ends_the_run_in_one_line_and_it_is_gone_on_with(tmp_path):
    config = settings(tmp_path / "run")
    flag = config.output / "full"
    with at_step(config, 12, flag.touch) as acted, pytest.raises(InputError, match="No space left on device") as error:
        fit(config, job(config))
    assert acted
    assert "\n" not in str(error.value)
    assert "--resume" in str(error.value)
    assert checkpoints(config.output)[-1] == "checkpoint_00000010"
    flag.unlink()
    assert_same(fit(config, job(config)).parts[0], config)


def test_lost_storage_ends_the_run_in_one_line(tmp_path):
    place = tmp_path / "storage"
    config = settings(tmp_path / "run", scaling__storage=str(place))
    removed = at_step(config, 12, lambda: shutil.rmtree(place))
    with removed, pytest.raises(InputError, match="cannot read or write") as error:
        fit(config, job(config))
    assert "\n" not in str(error.value)
    assert str(place) in str(error.value)


def test_checkpoints_under_an_address_are_gone_on_from(tmp_path):
    place = tmp_path / "bucket" / "one"
    config = settings(tmp_path / "run", scaling__storage=place.as_uri(), scaling__max_failures=0)
    with at_step(config, 12, (config.output / "full").touch), pytest.raises(InputError, match="No space left"):
        fit(config, job(config))
    (config.output / "full").unlink()
    assert checkpoints(place) == ["checkpoint_00000005", "checkpoint_00000010"]
    assert not (config.output / "training").exists()
    assert_same(fit(config, job(config)).parts[0], config)
    assert checkpoints(place) == ["checkpoint_00000035", "checkpoint_00000040"]


def test_a_worker_killed_while_its_checkpoint_is_copied(tmp_path):
    config = settings(tmp_path / "run")
    with at_step(config, 12, (config.output / "kill").touch) as acted:
        outcome = fit(config, job(config))
    assert acted
    assert not (config.output / "kill").exists()
    assert_same(outcome.parts[0], config)


def test_a_list_of_checkpoints_that_a_kill_cut_short(tmp_path):
    config = settings(tmp_path / "run", scaling__max_failures=0)
    with at_step(config, 12, (config.output / "full").touch), pytest.raises(InputError):
        fit(config, job(config))
    (config.output / "full").unlink()
    snapshot = config.output / "training" / storage.SNAPSHOT
    snapshot.write_bytes(snapshot.read_bytes()[:40])
    newer = config.output / "training" / "checkpoint_00000030"  # copied in part
    shutil.copytree(config.output / "training" / "checkpoint_00000010", newer)
    state = newer / "training_state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    started = last_metrics(config.output)["step"]
    assert_same(fit(config, job(config)).parts[0], config)
    assert started < 20


def test_fewer_workers_than_asked_for_are_enough(tmp_path):
    config = settings(tmp_path / "run", scaling__workers=5, scaling__min_workers=1)
    part = fit(config, job(config)).parts[0]
    assert part["workers"] == 2  # the cluster has two cores
    assert_same(part, config)
