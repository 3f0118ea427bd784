"""Kills, storage that fails, and other numbers of workers: however a training is interrupted, it ends the same."""

from __future__ import annotations

import shutil

import pytest

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.training import storage
from tests.interruptions import at_step, killing_a_worker
from tests.training.faulty import STEPS, assert_same, checkpoints, first_steps, settings, train

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_of_two_cores")]
SLOW = 0.1
"""Seconds of a step of what is interrupted, so that it is while it trains."""
workers = pytest.mark.parametrize("workers", [1, 2])


def stopped(config: Config) -> str:
    """What a training ends with that has no room for its states after step 12; there is room again."""
    flag = config.output / "full"
    with at_step(config, 12, flag.touch), pytest.raises(InputError, match="No space left on device") as error:
        train(config, SLOW)
    flag.unlink()
    return str(error.value)


@workers
def test_a_killed_worker_costs_the_steps_since_the_last_state(tmp_path, workers):
    config = settings(tmp_path / "run", scaling__workers=workers)
    with killing_a_worker(config, 13) as killed:
        trained = train(config, SLOW)
    assert killed
    assert trained.workers == workers
    _, second = first_steps(config)
    assert second in range(6, STEPS, 5)
    assert_same(config)
    assert not (config.output / "training").exists()


def test_what_gave_up_is_gone_on_with_by_other_numbers_of_workers(tmp_path):
    for count, step in ((2, 8), (1, 18), (2, 28)):
        config = settings(tmp_path / "run", scaling__workers=count, scaling__max_failures=0)
        with killing_a_worker(config, step) as killed, pytest.raises(InputError) as error:
            train(config, SLOW)
        assert killed
        message = str(error.value)
        assert message.startswith("workers died more than scaling.max_failures = 0 times")
        assert message.endswith(f"{tmp_path / 'run'} are good: run again with --resume")
    train(settings(tmp_path / "run"))
    first = first_steps(config)
    assert len(first) == 4
    assert first == sorted(first)
    assert first[-1] > 11
    assert_same(config)


@workers
def test_a_worker_killed_within_a_save(tmp_path, workers):
    config = settings(tmp_path / "run", scaling__workers=workers)
    with at_step(config, 12, (config.output / "kill").touch) as acted:
        train(config, SLOW)
    assert acted
    assert not (config.output / "kill").exists()
    assert len(first_steps(config)) == 2
    assert_same(config)


@workers
def test_a_full_disk_ends_it_in_one_line_and_it_is_gone_on_with(tmp_path, workers):
    config = settings(tmp_path / "run", scaling__workers=workers)
    message = stopped(config)
    assert "\n" not in message
    assert message.endswith("then run again with --resume; the checkpoints before it are good")
    train(config)
    assert first_steps(config)[1] > 1
    assert_same(config)


def test_lost_storage_ends_it_in_one_line(tmp_path):
    place = tmp_path / "storage"
    config = settings(tmp_path / "run", scaling__storage=str(place))
    removed = at_step(config, 12, lambda: shutil.rmtree(place))
    with removed, pytest.raises(InputError, match="cannot read or write") as error:
        train(config, SLOW)
    assert "\n" not in str(error.value)
    assert str(place) in str(error.value)


def test_states_under_an_address_are_gone_on_from(tmp_path):
    place = tmp_path / "bucket" / "one"
    config = settings(tmp_path / "run", scaling__storage=place.as_uri(), scaling__max_failures=0)
    stopped(config)
    assert len(checkpoints(place)) == 2
    assert not (config.output / "training").exists()
    train(config)
    assert_same(config)
    assert checkpoints(place) == ["checkpoint_00000035", "checkpoint_00000040"]


def test_a_list_of_checkpoints_that_a_kill_cut_short(tmp_path):
    config = settings(tmp_path / "run", scaling__workers=2, scaling__max_failures=0)
    stopped(config)
    snapshot = config.output / "training" / storage.SNAPSHOT
    snapshot.write_bytes(snapshot.read_bytes()[:40])
    newest = config.output / "training" / checkpoints(config.output)[-1]
    newer = config.output / "training" / "checkpoint_00000039"  # copied in part
    shutil.copytree(newest, newer)
    state = newer / "training_state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    train(config)
    assert first_steps(config) == [1, int(newest.name.removeprefix("checkpoint_")) + 1]
    assert_same(config)


def test_fewer_workers_than_asked_for_are_enough(tmp_path):
    config = settings(tmp_path / "run", scaling__workers=5, scaling__min_workers=1)
    assert train(config).workers == 2  # the cluster has two cores
    assert_same(config)
