"""metrics.jsonl and TensorBoard."""

from __future__ import annotations

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cosdpo.training.tracking import RunLog, last_metrics, read_metrics
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
