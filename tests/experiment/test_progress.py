"""How runs, comparisons and sweeps show their progress: lines, or bars on a terminal."""

from __future__ import annotations

import io
import json
import re
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from cosdpo.activity import advance, counting, forget
from cosdpo.experiment import progress as module
from cosdpo.experiment.progress import BARS, LATEST, Activity, Display, Phase


class TestActivity:
    def test_of_a_training_it_is_the_newest_line(self, tmp_path):
        assert Activity.of_training(tmp_path, 400).words() == "0 of 400 steps"
        lines = [{"step": s, "seconds": s / 4, "loss": 1.0, "loss/kind": 1 / s, "loss/short": 0.5} for s in (100, 120)]
        (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 13')
        activity = Activity.of_training(tmp_path, 400)
        # 120 steps in 30 s are 4 a second; the other 280 take 70 s.
        assert activity.words() == "120 of 400 steps, 4 a second, 1 min 10 s left, kind 0.008, short 0.500"

    def test_of_what_several_processes_count(self, tmp_path):
        with counting(tmp_path, "measuring-cos", 4):
            advance(1)
        with counting(tmp_path, "measuring-cos", 6):
            advance(2)
            advance(3)
        for path in tmp_path.rglob("*.json"):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"began": time.time() - 3}))
        # 6 in 3 s are 2 a second; the other 4 take 2 s, and a little more on a busy machine.
        words = Activity.counted(tmp_path, "measuring-cos", "weights").words()
        assert re.fullmatch(r"6 of 10 weights, [12](\.\d+)? a second, [2-4]\.\d s left", words)
        forget(tmp_path, "measuring-cos")
        assert list(tmp_path.iterdir()) == []
        assert Activity.counted(tmp_path, "measuring-cos", "weights").words() == ""

    def test_of_tokens_that_others_write(self, tmp_path):
        # Whoever asks tells how many, and waits until the others have begun.
        with counting(tmp_path, "answering", 8), counting(tmp_path, "answering"):
            advance(tokens=30)
            advance(0, tokens=30)
        asking, writing = sorted(tmp_path.rglob("*.json"), key=lambda path: json.loads(path.read_text())["done"])
        for path, ago in ((asking, 100), (writing, 3)):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"began": time.time() - ago}))
        words = Activity.counted(tmp_path, "answering", "answers").words()
        assert re.fullmatch(r"1 of 8 answers, 0\.3\d* a second, 2\d s left, (20|1\d(\.\d)?) tokens a second", words), (
            words
        )

    def test_of_what_nothing_is_known(self):
        assert Activity().words() == ""
        assert Activity(note="3 of 5").words() == "3 of 5"


class TestWithoutATerminal:
    def test_a_line_per_step_that_ended(self, capsys):
        def shown(states: dict[str, str], remaining: float | None = None) -> list[str]:
            display.show(states, {}, {"b": "ValueError: no such thing"}, remaining)
            captured = capsys.readouterr()
            assert captured.out == ""
            return captured.err.splitlines()

        with Display() as display:
            assert shown({"a": "running", "b": "running", "c": "waiting"}) == []
            states = {"a": "done", "b": "running", "c": "waiting"}
            assert shown(states, 180.0) == ["a done (1 of 3 done, about 3 min 00 s left)"]
            assert shown(states, 170.0) == []
            assert shown({"a": "done", "b": "failed", "c": "done"}, 0.0) == [
                "b failed: ValueError: no such thing (2 of 3 done, about 0.0 s left)",
                "c done (2 of 3 done, about 0.0 s left)",
            ]
        assert capsys.readouterr().err == ""

    def test_what_runs_is_told_every_half_minute(self, capsys, monkeypatch):
        now = 100.0
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
        with Display() as display:
            told = []
            for now in (129.0, 130.0, 159.0, 160.0):  # noqa: B007, read by the clock
                display.show({"a": "running", "b": "running"}, {"a": Activity(3, 10), "b": Activity()}, {}, None)
                told.append(capsys.readouterr().err)
        assert told == ["", "a: 3 of 10 steps\n"] * 2


@pytest.fixture
def terminal(monkeypatch) -> Callable[[], io.StringIO]:
    """Puts a terminal in the place of stderr."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def replace() -> io.StringIO:
        for key, value in (("TERM", "xterm"), ("COLUMNS", "160"), ("LINES", "60")):
            monkeypatch.setenv(key, value)
        made = Terminal()
        monkeypatch.setattr(sys, "stderr", made)
        return made

    return replace


def test_on_a_terminal_a_bar_per_running_step_and_what_ended(terminal):
    screen = terminal()
    with Display() as display:
        display.show(
            {"a": "failed", "b": "running", "c": "done", "d": "waiting"},
            {"b": Activity(120, 400, 30.0)},
            {"a": "ValueError: no such thing", "c": "hypervolume 0.5"},
            60.0,
        )
    drawn = re.sub(r"\x1b\[[\d;?]*\w", "", screen.getvalue())
    for words in ("1 of 4 done, about 1 min 00 s left", "120 of 400 steps, 4 a second", "━"):
        assert words in drawn
    assert drawn.index("120 of 400") < drawn.index("ValueError: no such thing") < drawn.index("hypervolume 0.5")


def test_on_a_terminal_no_more_than_fits(terminal):
    screen = terminal()
    names = [f"step-{i:03}" for i in range(300)]
    states = dict(zip(names, ["running"] * 100 + ["done"] * 100 + ["failed"] * 2 + ["waiting"] * 98, strict=True))
    ended = {name: f"remark on {name}" for name in names[100:202]}
    with Display() as display:
        display.show(states, {name: Activity() for name in names[:100]}, ended, None)
    drawn = {name for name in names if name in screen.getvalue()}
    assert drawn == {*names[:BARS], *names[200 - LATEST : 202]}


class TestPhase:
    def test_a_quick_one_is_not_shown(self, tmp_path, capsys):
        with Phase("data", tmp_path):
            pass
        assert capsys.readouterr().err == ""

    def test_without_a_terminal_it_tells_how_far_it_is(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(module, "PATIENCE", 0.0)
        monkeypatch.setattr(module, "EVERY", 0.0)
        with Phase("reference scores", tmp_path, "contexts"), counting(tmp_path, "reference scores", 8):
            advance(8)
            time.sleep(0.7)
        lines = capsys.readouterr().err.splitlines()
        assert any(re.fullmatch(r"reference scores: 8 of 8 contexts, .* a second, .* left", line) for line in lines)
        assert lines[-1] == "reference scores done (1 of 1 done)"
        assert list(tmp_path.iterdir()) == []

    def test_what_nobody_counts_tells_how_long_it_takes(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(module, "PATIENCE", 0.0)
        monkeypatch.setattr(module, "EVERY", 0.0)
        with Phase("report", tmp_path):
            time.sleep(0.1)
        assert re.match(r"report: .* so far", capsys.readouterr().err)
