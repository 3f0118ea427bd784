"""report.html of a sweep: one file that loads and runs nothing, and tells what was found."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosdpo.experiment.sweep.sweep_result import SweepResult
from cosdpo.reports.sweep_page import write_sweep
from tests.fake_sweep import sweep_result
from tests.html_page import FlowingPage, assert_loads_nothing

EVIL = "</style><script>alert('$x$ & <b>')</script>"


class Page(FlowingPage):
    """The report of an sweep_result."""

    def __init__(self, found: SweepResult, command: str = "python jobs/sweep.py") -> None:
        super().__init__(write_sweep(found, command), between=" ")


QUALITIES = [0.2, 0.7, 0.5, 0.9, 0.1, 0.6, 0.8]


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(sweep_result(tmp_path, QUALITIES, stopped=[0, 4], failed=[2], scheduler="asha"))


def test_loads_and_runs_nothing(page):
    assert_loads_nothing(page)


def test_says_what_was_found(page):
    assert "The best of 7 trials reaches hypervolume/accuracy" in page.text
    assert "4 of 7 trials took all their steps. 2 were stopped early" in page.text
    # 4 x 40 and 2 x 20 steps of 7 x 40; the failed one never reached a front.
    assert "the sweep took 200 of 280 optimiser steps" in page.text
    assert "temperature mattered most" in page.text
    assert "the loss is not finite" in page.text
    assert "loguniform(0.1, 1)" in page.text
    assert "best.yaml" in page.text
    assert "optuna-dashboard sqlite:///" in page.text
    assert sum(tag == "svg" for tag, _ in page.elements) == 3


def test_every_measured_trial_links_to_its_report(page):
    links = [a["href"] for tag, a in page.elements if tag == "a" and a["href"].startswith("trials/")]
    assert links == [f"trials/trial-{number:02d}/report.html" for number in (0, 1, 3, 4, 5, 6)]


def test_several_metrics_have_their_trade_off(tmp_path):
    page = Page(sweep_result(tmp_path, QUALITIES, metrics=["hypervolume", "parameters"]))
    assert "The trade-off between the metrics" in page.text
    assert "beaten by none" in page.text
    assert sum(tag == "svg" for tag, _ in page.elements) == 4


@pytest.mark.parametrize("count", [1, 2, 12])
def test_any_number_of_trials(tmp_path, count):
    assert f"{count} of {count} trials took all their steps" in Page(sweep_result(tmp_path, [0.5] * count)).text


def test_hostile_text_stays_text(tmp_path):
    found = sweep_result(tmp_path, [0.3, 0.9], failed=[0])
    found.trials[0].reason = EVIL
    page = Page(found, command=EVIL)
    assert not [tag for tag, _ in page.elements if tag == "script"]
    assert page.text.count(EVIL) == 2
