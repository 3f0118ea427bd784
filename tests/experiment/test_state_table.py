"""How a comparison shows its progress."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest
from cosdpo.experiment.state_table import SHOWN, StateTable

from cosdpo.experiment import schedule as module
from cosdpo.experiment.schedule import Schedule, Step


@pytest.fixture
def schedule(monkeypatch) -> Schedule:
    """Four steps of cost 1, 60 s after their start."""
    clock = iter([0.0])
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock, 60.0)))
    return Schedule([Step(name, 1.0, (), lambda: None) for name in "abcd"], 2, lambda _: None)


def test_without_a_terminal_it_prints_a_line_per_step_that_ended(schedule, capsys):
    def shown() -> list[str]:
        table.show(schedule)
        captured = capsys.readouterr()
        assert captured.out == ""
        return captured.err.splitlines()

    with StateTable() as table:
        assert shown() == []
        schedule.states |= {"a": "running", "b": "running"}
        assert shown() == []
        schedule.states["a"] = "done"
        # One of four took 60 s.
        assert shown() == ["a done (1 of 4 done, about 3 min 00 s left)"]
        assert shown() == []
        schedule.states |= {"b": "failed", "c": "done"}
        schedule.failures["b"] = "ValueError: no such thing"
        # Two took 60 s, one is left.
        assert shown() == [
            "b failed: ValueError: no such thing (2 of 4 done, about 30 s left)",
            "c done (2 of 4 done, about 30 s left)",
        ]
    assert capsys.readouterr().err == ""


def test_on_a_terminal_it_draws_a_table(schedule, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    schedule.states |= {"a": "failed", "b": "running"}
    schedule.failures["a"] = "ValueError: no such thing"
    with StateTable() as table:
        table.show(schedule)
    drawn = terminal.getvalue()
    assert "0 of 4 done" in drawn
    assert "ValueError: no such thing" in drawn
    assert drawn.index("failed") < drawn.index("running") < drawn.index("waiting")


def test_a_long_table_shows_what_runs_and_what_failed(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    schedule = Schedule([Step(f"step-{i:03}", 1.0, (), lambda: None) for i in range(100)], 2, lambda _: None)
    schedule.states |= {"step-098": "running", "step-099": "failed"}
    with StateTable() as table:
        table.show(schedule)
    drawn = {f"step-{i:03}" for i in range(100) if f"step-{i:03}" in terminal.getvalue()}
    assert len(drawn) == SHOWN
    assert drawn >= {"step-098", "step-099", "step-000"}
