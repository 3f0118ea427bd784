"""Flags, and what is refused before anything starts."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from cosdpo.cli import read
from cosdpo.errors import InputError
from serve.command import checked, main
from serve.http.access import hashed, is_local
from serve.service_settings import ServiceSettings


def test_flags() -> None:
    settings = read(
        ServiceSettings,
        ["--checkpoint", "a/b", "--port", "81", "--cors_origins", "https://x", "https://y", "--limits.n", "3",
         "--engine.max_running", "5", "--gpus", "0.5"],
    )  # fmt: skip
    assert settings.checkpoint == Path("a/b")
    assert (settings.port, settings.limits.n, settings.engine.max_running, settings.gpus) == (81, 3, 5, 0.5)
    assert settings.cors_origins == ["https://x", "https://y"]
    assert settings.limits.new_tokens == ServiceSettings(checkpoint=Path("x")).limits.new_tokens


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "checkpoint is not set"),
        (["--chekpoint", "a"], "--chekpoint: unknown key; did you mean --checkpoint?"),
        (["--checkpoint", "a", "--limits.m", "1"], "--limits.m: unknown key; did you mean --limits.n?"),
        (["--checkpoint", "a", "--port", "70000"], "--port: expected integer >= 0 and <= 65535, got '70000'"),
        (["--checkpoint", "a", "--limits.n", "0"], "--limits.n: expected integer >= 1, got '0'"),
        (["--checkpoint", "a", "--key_hashes", "secret"], "SHA-256"),
        (["--checkpoint", "a", "--replicas", "3", "--max_replicas", "2"], "max_replicas 2"),
        (["--checkpoint", "nowhere"], "nowhere"),
        (["--checkpoint", "nowhere", "--keys", "absent"], "absent"),
    ],
)
def test_wrong_flags_are_one_line(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(flags)
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


def test_the_help_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    for name in ("--checkpoint", "--keys", "--limits.body_bytes", "--engine.kv_tokens", "--request_timeout_s"):
        assert name in shown
    assert "(path; required)" in " ".join(shown.split())
    assert "python -m serve --checkpoint DIR" in shown


def test_a_yaml_file_gives_settings_too(tmp_path: Path) -> None:
    file = tmp_path / "service.yaml"
    file.write_text("checkpoint: a/b\nlimits: {n: 3}\nkeys: hashed.txt\n")
    settings = read(ServiceSettings, ["--config", str(file), "--limits.n", "4"])
    assert (settings.checkpoint, settings.limits.n, settings.keys) == (Path("a/b"), 4, Path("hashed.txt"))


def test_other_machines_only_with_keys(run_folder: Path, tmp_path: Path) -> None:
    settings = ServiceSettings(checkpoint=run_folder / "checkpoint", port=0)
    assert checked(settings).port > 0
    for host in ("0.0.0.0", "::", "10.1.2.3", "example.org"):
        with pytest.raises(InputError, match="open to other machines"):
            checked(settings.changed({"host": host}))
    (tmp_path / "keys").write_text(hashed("k"))
    assert checked(settings.changed({"host": "0.0.0.0", "keys": tmp_path / "keys"})).port > 0


def test_a_busy_port_and_too_many_replicas(run_folder: Path) -> None:
    settings = ServiceSettings(checkpoint=run_folder / "checkpoint")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="--port"):
            checked(settings.changed({"port": taken.getsockname()[1]}))
    with pytest.raises(InputError, match="cores"):
        checked(settings.changed({"port": 0, "replicas": 10_000}))


def test_local_addresses() -> None:
    for host in ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "LOCALHOST"):
        assert is_local(host)
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org", "127.0.0.1.example.org", ""):
        assert not is_local(host)
