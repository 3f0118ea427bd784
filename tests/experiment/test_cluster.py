"""What a cluster or machine cannot run is refused at once: an infeasible request would wait for ever."""

from __future__ import annotations

import os
import socket

import pytest
import torch

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.experiment.cluster import check_devices, check_reachable, check_resources, start_here
from tests.tiny_models import settings


class TestStartHere:
    @pytest.fixture
    def asked(self, monkeypatch, tmp_path) -> dict[str, object]:
        """What ray.init is called with, in a home of its own and without a token."""
        options: dict[str, object] = {}
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
        monkeypatch.setenv("RAY_AUTH_TOKEN", "")
        monkeypatch.delenv("RAY_AUTH_TOKEN")
        monkeypatch.setattr("ray.init", lambda **given: options.update(given))
        return options

    def test_the_token_stays_in_the_environment(self, asked, tmp_path):
        start_here(num_cpus=2)
        first = os.environ["RAY_AUTH_TOKEN"]
        assert asked == {"address": "local", "include_dashboard": False, "num_cpus": 2}
        assert len(bytes.fromhex(first)) == 32
        assert not list(tmp_path.iterdir())
        start_here()  # a second session of the same process: Ray has read the first token already
        assert os.environ["RAY_AUTH_TOKEN"] == first

    @pytest.mark.parametrize("failures", [2, 3])
    def test_a_machine_that_is_busy_for_a_while_and_for_too_long(self, asked, monkeypatch, failures):
        attempts, ended = [], []

        def init(**options: object) -> None:
            attempts.append(options)
            if len(attempts) <= failures:
                raise Exception("The current node timed out during startup.\nmore")

        monkeypatch.setattr("ray.init", init)
        monkeypatch.setattr("ray.shutdown", lambda: ended.append(len(attempts)))
        if failures == 3:
            with pytest.raises(InputError, match="could not be started here: The current node timed out") as error:
                start_here()
            assert "\n" not in str(error.value)
        else:
            start_here()
        assert len(attempts) == 3
        assert ended == list(range(1, failures + 1))

    def test_the_user_s_own_token_is_used_and_kept_private(self, asked, tmp_path):
        token = tmp_path / ".ray" / "auth_token"
        token.parent.mkdir()
        token.write_text("x" * 64)
        token.chmod(0o644)
        start_here()
        assert "RAY_AUTH_TOKEN" not in os.environ
        assert token.stat().st_mode & 0o777 == 0o600


def scaling(**changes: object) -> Config:
    return settings("", **{f"scaling__{key}": value for key, value in changes.items()})


@pytest.mark.parametrize(
    ("changes", "available"),
    [
        ({}, {"CPU": 1.0}),
        ({"workers": 4}, {"CPU": 4.0}),
        ({"workers": 4, "cpus_per_worker": 2}, {"CPU": 8.0, "GPU": 0.0}),
        ({"workers": 2, "cpus_per_worker": 0.5}, {"CPU": 1.0}),
        ({"workers": 8, "use_gpu": True}, {"CPU": 64.0, "GPU": 8.0}),
    ],
)
def test_enough(changes, available):
    check_resources(scaling(**changes), available)


@pytest.mark.parametrize(
    ("changes", "available", "message"),
    [
        (
            {"workers": 4},
            {"CPU": 3.0},
            "scaling.workers 4 needs 4 CPUs, the cluster has 3: lower scaling.workers or scaling.cpus_per_worker",
        ),
        (
            {"workers": 3, "cpus_per_worker": 1.5},
            {"CPU": 4.0},
            "scaling.workers 3 needs 4.5 CPUs, the cluster has 4: lower scaling.workers or scaling.cpus_per_worker",
        ),
        (
            {"workers": 2, "use_gpu": True},
            {"CPU": 64.0},
            "scaling.workers 2 needs 2 GPUs, the cluster has 0: lower scaling.workers, set scaling.use_gpu false or "
            "add GPU nodes",
        ),
    ],
)
def test_too_little(changes, available, message):
    with pytest.raises(InputError) as error:
        check_resources(scaling(**changes), available)
    assert str(error.value) == message


class TestAddresses:
    """RAY_ADDRESS and the folder of temporary files, before Ray is asked to wait for them."""

    def test_a_cluster_that_listens(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            check_reachable(f"127.0.0.1:{server.getsockname()[1]}")

    def test_a_dead_cluster(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(InputError, match=f"^no Ray answers at RAY_ADDRESS {address}: start it, mend the address"):
            check_reachable(address)

    @pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:port", "127.0.0.1:99999", ""])
    def test_no_address(self, address: str):
        with pytest.raises(InputError, match=r"^no Ray answers at RAY_ADDRESS"):
            check_reachable(address)

    @pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "https://ray.example", "ray://127.0.0.1:10001"])
    def test_an_address_of_another_kind(self, address: str):
        with pytest.raises(InputError, match=f"RAY_ADDRESS {address} is not the cluster's own address"):
            check_reachable(address)

    def test_a_long_name_for_temporary_files(self, monkeypatch):
        monkeypatch.setenv("RAY_TMPDIR", "/" + 79 * "t")
        with pytest.raises(InputError, match=r"has a name of 80 characters, .* room for 39: set RAY_TMPDIR"):
            check_reachable("local")
        check_reachable("auto")


class TestDevices:
    def test_without_gpus_asked_for_there_is_nothing_to_check(self, monkeypatch):
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        check_devices(scaling(workers=8))

    @pytest.mark.parametrize(("gpus", "workers"), [(0, 1), (2, 8)])
    def test_too_few_on_this_machine(self, monkeypatch, gpus, workers):
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        with pytest.raises(InputError, match=f"needs {workers} GPUs, this machine has {gpus}") as error:
            check_devices(scaling(workers=workers, use_gpu=True))
        assert "ray job submit" in str(error.value)
        assert "--scaling.use_gpu false" in str(error.value)
        assert "\n" not in str(error.value)

    def test_a_cluster_may_have_them(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
        monkeypatch.setenv("RAY_ADDRESS", "auto")
        check_devices(scaling(workers=8, use_gpu=True))

    def test_this_machine_may_have_them(self, monkeypatch):
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
        check_devices(scaling(workers=8, use_gpu=True))
