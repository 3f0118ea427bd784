"""Floors and ceilings in the report: what its script chooses is what `choose` does, and the mark goes there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cosdpo.config import Config
from cosdpo.evaluation.choosing import KNEE, choose
from cosdpo.experiment.results.run_result import RunResult
from cosdpo.reports.run_page import write_run
from tests.drawn_fronts import bent

playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [pytest.mark.whole, pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The page of a front with a curve, in a browser that has nothing to complain of."""
    folder, complaints = tmp_path_factory.mktemp("report"), []
    (folder / "metrics.jsonl").write_text("")
    path = write_run(RunResult(Config(output=folder, objectives=["a", "b"]), bent(), {}), "python job.py")
    with playwright.sync_playwright() as runner:
        browser = runner.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path.as_uri())
        yield page
        browser.close()
    assert complaints == []


def wish(page: Any, best: str, **bounds: str) -> list[float]:
    """Types bounds, by value; the weights that the page then names."""
    page.locator("[name=best]").select_option(best)
    for name in ("a", "b", "KL"):
        page.get_by_label(f"bound of {name} as a number").fill(bounds.get(name, ""))
    there = json.loads(page.locator(".weights-there code").inner_text())
    return [there.get("a", 0.0), there.get("b", 0.0)]


def test_the_page_chooses_as_python_does(opened: Any) -> None:
    front = bent()
    assert wish(opened, "") == pytest.approx(choose(front, best=KNEE).weights, abs=1e-4)
    assert wish(opened, "1", a="0.5") == pytest.approx(choose(front, {"a": 0.5}, best="b").weights, abs=1e-4)
    assert wish(opened, "0", KL="0.1") == pytest.approx(choose(front, at_most={"KL": 0.1}, best="a").weights, abs=1e-4)
    assert not opened.locator(".missed").is_visible()
    nearest = choose(front, {"a": 0.9, "b": 0.9}, best="a")
    assert wish(opened, "0", a="0.9", b="0.9") == pytest.approx(nearest.weights, abs=1e-4)
    misses = ", ".join(f"{name} by {round(miss, 3)}" for name, miss in nearest.misses.items())
    assert f"miss {misses}." in opened.locator(".missed").inner_text()


def test_a_slider_asks_for_what_its_number_says(opened: Any) -> None:
    wish(opened, "1")
    opened.get_by_label("bound of a", exact=True).fill("500")
    assert float(opened.get_by_label("bound of a as a number").input_value()) == 0.5  # half way from 0 to 1
    assert opened.locator(".weights-there code").inner_text() == '{"a": 0.34, "b": 0.66}'


def test_the_mark_goes_to_the_point(opened: Any) -> None:
    # At equal weights there is a measured point, on which the ring then lies.
    assert wish(opened, "1", a="0.7071") == [0.5, 0.5]
    ring = opened.locator("figure svg .ring").first.bounding_box()
    mark = opened.locator('figure svg .point[data-point="2"]').first.bounding_box()
    for side, size in (("x", "width"), ("y", "height")):
        assert ring[side] + ring[size] / 2 == pytest.approx(mark[side] + mark[size] / 2, abs=0.6)
