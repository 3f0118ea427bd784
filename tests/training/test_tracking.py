"""metrics.jsonl and the trackers next to it."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cosdpo.errors import InputError
from cosdpo.training.tracking import RunLog, check_trackers, last_metrics, read_metrics
from tests.tiny_models import settings


@pytest.fixture
def config(tmp_path):
    return settings("", output=tmp_path)


def write(config, start: int, steps: range) -> None:
    with RunLog(config, start) as log:
        for step in steps:
            log({"step": step, "loss": 1.0 / step, "loss/kind": 2.0})


def test_lines_come_back_in_order_and_while_the_run_goes_on(config, tmp_path):
    assert read_metrics(tmp_path) == []
    assert last_metrics(tmp_path) is None
    with RunLog(config, 0) as log:
        log({"step": 1, "loss": 0.5})
        assert read_metrics(tmp_path) == [{"step": 1, "loss": 0.5}]
        log({"step": 2, "loss": 0.25})
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]


def test_a_restart_takes_back_the_lines_after_its_checkpoint(config, tmp_path):
    write(config, 0, range(1, 8))
    write(config, 5, range(6, 9))
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_line_cut_short_by_a_kill_is_left_out(config, tmp_path):
    write(config, 0, range(1, 3))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2]
    assert last_metrics(tmp_path)["step"] == 2
    write(config, 2, range(3, 4))
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3]


def test_tensorboard_has_the_same_numbers(config, tmp_path):
    write(config, 0, range(1, 5))
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert sorted(board.Tags()["scalars"]) == ["loss", "loss/kind"]
    assert [(e.step, e.value) for e in board.Scalars("loss")] == [
        (s, pytest.approx(1 / s, rel=1e-6)) for s in range(1, 5)
    ]


def test_configured_trackers_receive_the_metrics(tmp_path, monkeypatch):
    calls: list[tuple[object, ...]] = []
    mlflow = SimpleNamespace(
        set_tracking_uri=lambda uri: calls.append(("uri", uri)),
        start_run=lambda **_: None,
        log_params=lambda _: None,
        log_metrics=lambda values, step: calls.append(("mlflow", values, step)),
    )
    wandb = SimpleNamespace(
        init=lambda project, **_: SimpleNamespace(log=lambda v, step: calls.append((project, v, step)))
    )
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    config = settings("", output=tmp_path, tracking__mlflow="http://host:5000", tracking__wandb="fronts")
    check_trackers(config)
    with RunLog(config, 0) as log:
        log({"step": 3, "loss/kind": 2.0})
    assert calls == [
        ("uri", "http://host:5000"),
        ("mlflow", {"loss.kind": 2.0}, 3),  # MLflow takes no slash in a name
        ("fronts", {"loss/kind": 2.0}, 3),
    ]


@pytest.mark.parametrize(
    ("credentials", "variables"),
    [
        ("me:p%40ss", {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "p@ss"}),
        ("t0ken", {"MLFLOW_TRACKING_TOKEN": "t0ken"}),
    ],
)
def test_trackers_get_credentials_where_nobody_prints_them(tmp_path, monkeypatch, credentials, variables):
    said: list[object] = []
    mlflow = SimpleNamespace(
        set_tracking_uri=said.append, start_run=lambda **kw: said.append(kw), log_params=said.append
    )
    wandb = SimpleNamespace(init=lambda **kw: said.append(kw))
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
    RunLog(config, 0).__exit__(None, None, None)
    assert said[0] == "https://host/x"
    assert not any(secret in str(said) for secret in ("p@ss", "p%40ss", "t0ken", "SECRET"))
    assert said[-1]["config"]["scaling"]["storage"] == "s3://***@bucket"
    for name, value in variables.items():
        assert os.environ[name] == value


@pytest.mark.parametrize("tracker", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_refused(monkeypatch, tracker):
    monkeypatch.setitem(sys.modules, tracker, None)  # makes its import fail
    with pytest.raises(InputError, match=f"tracking.{tracker} is set but {tracker} is not installed"):
        check_trackers(settings("", **{f"tracking__{tracker}": "x"}))
    check_trackers(settings(""))
