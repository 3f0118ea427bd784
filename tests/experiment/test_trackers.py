"""Trackers get every row of a training and its end, whichever way it ends; the packages' own files are read back."""

from __future__ import annotations

import logging
import os
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.experiment import trackers
from cosdpo.experiment.trackers import Trackers, check
from cosdpo.training.tracking import RunLog
from tests.tiny_models import settings


def write(config: Config, start: int, steps: range) -> None:
    config.output.mkdir(exist_ok=True)
    with RunLog(config, start) as log:
        for step in steps:
            log({"step": step, "loss": 1.0 / step, "loss/kind": 2.0})


def train(config: Config, start: int, steps: range, fails: bool = False) -> None:
    """Three rows come before the training is followed, as on a slow machine, and the others with its end."""
    with Trackers() as followed:
        write(config, start, steps[:3])
        followed.follow("training", config)
        write(config, steps[:3][-1], steps[3:])
        followed.end("training", "FAILED" if fails else "FINISHED")


def interrupt(config: Config, start: int, steps: range) -> None:
    with pytest.raises(KeyboardInterrupt), Trackers() as followed:  # noqa: PT012
        followed.follow("training", config)
        write(config, start, steps)
        raise KeyboardInterrupt


class Recorder:
    """A tracker in memory; it cannot be reached while `down`."""

    durable = True
    started: list[str]
    rows: list[tuple[dict[str, float], int]]
    ended: list[str]
    down = False

    def __init__(self, config: Config, run: str) -> None:
        self.started.append(run)
        self.run = run or "first"

    def log(self, values: dict[str, float], step: int) -> None:
        if self.down:
            raise ConnectionError("nobody answers\nat all")
        self.rows.append((values, step))

    def end(self, status: str) -> None:
        self.ended.append(status)


@pytest.fixture
def recorder(monkeypatch) -> type[Recorder]:
    class Own(Recorder):
        started: list[str] = []  # noqa: RUF012
        rows: list[tuple[dict[str, float], int]] = []  # noqa: RUF012
        ended: list[str] = []  # noqa: RUF012

    monkeypatch.setattr(trackers, "EVERY", 0.01)
    monkeypatch.setattr(trackers, "TRACKERS", {"mlflow": Own})
    return Own


@pytest.fixture
def config(tmp_path) -> Config:
    return settings("", output=tmp_path / "run", tracking__mlflow="http://host:5000")


class TestFollowing:
    @pytest.mark.parametrize("last", [3, 150])
    def test_every_row_once_and_the_end(self, recorder, config, last):
        train(config, 0, range(1, last + 1))
        assert recorder.rows == [({"loss": 1.0 / step, "loss/kind": 2.0}, step) for step in range(1, last + 1)]
        assert recorder.ended == ["FINISHED"]

    def test_a_failure_and_an_interruption(self, recorder, config):
        train(config, 0, range(1, 5), fails=True)
        interrupt(config, 4, range(5, 9))
        assert recorder.ended == ["FAILED", "KILLED"]

    def test_a_resumed_run_goes_on_with_its_own(self, recorder, config):
        interrupt(config, 0, range(1, 8))
        train(config, 5, range(6, 12))  # from a checkpoint: rows 6 and 7 come again
        assert recorder.started == ["", "first"]
        assert [step for _, step in recorder.rows] == list(range(1, 12))
        assert recorder.ended == ["KILLED", "FINISHED"]

    def test_one_that_fails_is_told_once_and_caught_up(self, recorder, config, caplog):
        recorder.down = True
        tried, passed_on = threading.Event(), trackers._Followed._pass_on

        def seen(*arguments: Any) -> None:
            try:
                passed_on(*arguments)
            except ConnectionError:
                if caplog.messages:
                    tried.set()  # for the second time
                raise

        with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING), Trackers() as followed:
            patch.setattr(trackers._Followed, "_pass_on", seen)
            write(config, 0, range(1, 3))
            followed.follow("training", config)
            assert tried.wait(30)
            recorder.down = False
            write(config, 2, range(3, 5))
            followed.end("training", "FINISHED")
        (said,) = caplog.messages
        assert said.startswith("tracking.mlflow fails (nobody answers): the run goes on")
        assert [step for _, step in recorder.rows] == [1, 2, 3, 4]

    def test_one_that_hangs_does_not_keep_the_job(self, recorder, config, monkeypatch, caplog):
        hangs = threading.Event()
        monkeypatch.setattr(recorder, "log", lambda *_: hangs.wait(60))
        monkeypatch.setattr(trackers, "PATIENCE", 0.1)
        with caplog.at_level(logging.WARNING):
            train(config, 0, range(1, 4))
        hangs.set()
        assert "did not take all rows: metrics.jsonl has them" in caplog.text

    def test_nothing_is_followed_without_a_tracker(self, recorder, config):
        train(config.changed({"tracking.mlflow": ""}), 0, range(1, 4))
        assert not recorder.started
        assert not (config.output / "trackers.json").exists()


@pytest.mark.slow
class TestMlflow:
    @pytest.fixture
    def stored(self, config, tmp_path) -> Iterator[Config]:
        """Its store is a file, as a server's is."""
        mlflow = pytest.importorskip("mlflow")
        pytest.importorskip("sqlalchemy")
        yield config.changed({"tracking.mlflow": f"sqlite:///{tmp_path / 'store.db'}"})
        mlflow.set_tracking_uri(None)

    def test_rows_and_status_are_there(self, stored):
        import mlflow

        check(stored)
        train(stored, 0, range(1, 4))
        client = mlflow.MlflowClient(stored.tracking.mlflow)
        (run,) = client.search_runs(["0"])
        assert run.info.status == "FINISHED"
        assert run.info.run_name == "run"
        assert run.data.params == {"method": "cos", "conditioning": stored.conditioning, "seed": str(stored.seed)}
        history = client.get_metric_history(run.info.run_id, "loss")
        assert [(row.step, row.value) for row in history] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
        assert "loss.kind" in run.data.metrics  # MLflow takes no slash in a name

    def test_an_interrupted_run_is_killed_and_goes_on(self, stored):
        import mlflow

        client = mlflow.MlflowClient(stored.tracking.mlflow)
        interrupt(stored, 0, range(1, 5))
        (run,) = client.search_runs(["0"])
        assert run.info.status == "KILLED"
        train(stored, 2, range(3, 8), fails=True)
        (same,) = client.search_runs(["0"])
        assert (same.info.run_id, same.info.status) == (run.info.run_id, "FAILED")
        assert [row.step for row in client.get_metric_history(same.info.run_id, "loss")] == list(range(1, 8))

    def test_a_server_that_does_not_answer_is_refused(self, config):
        pytest.importorskip("mlflow")
        with pytest.raises(InputError, match=r"^tracking.mlflow http://127.0.0.1:9 cannot be used \(.*leave.*out$"):
            check(config.changed({"tracking.mlflow": "http://127.0.0.1:9"}))


@pytest.mark.slow
class TestWeightsAndBiases:
    @pytest.fixture
    def offline(self, config, monkeypatch) -> Config:
        pytest.importorskip("wandb")
        monkeypatch.setenv("WANDB_MODE", "offline")
        return config.changed({"tracking.mlflow": "", "tracking.wandb": "fronts"})

    @pytest.mark.parametrize("last", [3, 150])
    def test_all_rows_are_in_its_file(self, offline, last):
        check(offline)
        train(offline, 0, range(1, last + 1))
        (path,) = offline.output.glob("wandb/offline-run-*/run-*.wandb")
        rows, code = stored_rows(path)
        assert rows == [(step, 1.0 / step) for step in range(1, last + 1)]
        assert code == 0

    def test_a_resumed_run_has_the_same_name(self, offline):
        interrupt(offline, 0, range(1, 5))
        train(offline, 3, range(4, 8))
        first, second = sorted(offline.output.glob("wandb/offline-run-*/run-*.wandb"))
        assert first.name == second.name
        (before, code), (after, _) = stored_rows(first), stored_rows(second)
        assert [step for step, _ in before + after] == list(range(1, 8))
        assert code != 0

    def test_one_without_a_key_is_refused(self, offline, monkeypatch):
        import wandb

        monkeypatch.setattr(trackers, "_online", lambda _: True)
        monkeypatch.setattr(wandb, "login", lambda **_: (_ for _ in ()).throw(wandb.errors.UsageError("no API key")))
        with pytest.raises(
            InputError, match=r"^tracking.wandb fronts cannot be used \(no API key\): mend it, or leave"
        ):
            check(offline)


def stored_rows(path: Path) -> tuple[list[tuple[int, float]], int]:
    """(step, loss) of all rows in a .wandb file, and the exit code at its end.

    LevelDB's log format: blocks of 32 KiB, records in parts with a checksum, a length and a kind (1 whole, 4 the last).
    """
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = path.read_bytes(), 7, b""
    rows, code = [], -1
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record = Record()
            record.ParseFromString(whole)
            whole = b""
            if record.HasField("history"):
                values = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
                rows.append((int(values["_step"]), float(values["loss"])))
            elif record.HasField("exit"):
                code = record.exit.exit_code
    return rows, code


@pytest.mark.parametrize(
    ("credentials", "variables"),
    [
        ("me:p%40ss", {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "p@ss"}),
        ("t0ken", {"MLFLOW_TRACKING_TOKEN": "t0ken"}),
    ],
)
def test_trackers_get_credentials_where_nobody_prints_them(tmp_path, monkeypatch, credentials, variables):
    said: list[object] = []
    run = SimpleNamespace(info=SimpleNamespace(run_id="one"), id="two", finish=lambda **_: None)
    mlflow = SimpleNamespace(
        set_tracking_uri=said.append,
        start_run=lambda **kw: said.append(kw) or run,
        log_params=said.append,
        end_run=said.append,
    )
    wandb = SimpleNamespace(init=lambda **kw: said.append(kw) or run, Settings=dict)
    monkeypatch.setattr(trackers, "_online", lambda _: False)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "")
    config = settings(
        "",
        output=tmp_path,
        tracking__mlflow=f"https://{credentials}@host/x",
        tracking__wandb="fronts",
        scaling__storage="s3://KEY:SECRET@bucket",
    )
    with Trackers() as followed:
        followed.follow("training", config)
        followed.end("training", "FINISHED")
    assert said[0] == "https://host/x"
    assert not any(secret in str(said) for secret in ("p@ss", "p%40ss", "t0ken", "SECRET"))
    assert said[-1]["config"]["scaling"]["storage"] == "s3://***@bucket"
    for name, value in variables.items():
        assert os.environ[name] == value


@pytest.mark.parametrize("tracker", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_refused(monkeypatch, tracker):
    monkeypatch.setitem(sys.modules, tracker, None)  # makes its import fail
    with pytest.raises(InputError, match=f"tracking.{tracker} is set but {tracker} is not installed"):
        check(settings("", **{f"tracking__{tracker}": "x"}))
    check(settings(""))
