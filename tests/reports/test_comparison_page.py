"""report.html of a comparison: one file that loads and runs nothing, and tells what was measured and what was not."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosdpo.config import Config
from cosdpo.experiment.results.comparison_result import ComparisonResult
from cosdpo.experiment.results.result import Result
from cosdpo.experiment.results.summary import summarise
from cosdpo.reports.comparison_page import write_comparison
from tests.fake_results import field, result
from tests.html_page import FlowingPage, assert_loads_nothing

EVIL = "</style><script>alert('$x$ & <b>')</script>"


def write(
    folder: Path,
    results: list[Result],
    failures: dict[str, str] | None = None,
    facts: dict[str, str | int | float] | None = None,
    command: str = "python jobs/compare.py",
) -> FlowingPage:
    config = Config(output=folder, objectives=results[0].front.objectives)
    facts = facts or {"validation_contexts": 4096, "device": "one core"}
    result = ComparisonResult(config, results, summarise(results, failures), facts)
    result.save()
    return FlowingPage(write_comparison(result, command))


def rich(m: int) -> list[Result]:
    names = ["a", "b", "c", "d", "e"][:m]
    methods = {"cos": 1.1, "linear_scalarization": 1.0, "soup": 0.9, "modpo": 0.8}
    full = [result(n, s, q + s / 100, objectives=names, main="relevance") for n, q in methods.items() for s in (0, 1)]
    return [*full, result("soup", 0, 0.5, objectives=names, main="relevance", budget="time")]


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FlowingPage]:
    """The folder and the page of two objectives with all that there can be."""
    folder = tmp_path_factory.mktemp("comparison")
    return folder, write(folder, rich(2))


def test_loads_and_runs_nothing(of_two: tuple[Path, FlowingPage]) -> None:
    assert_loads_nothing(of_two[1])


@pytest.mark.parametrize("m", [3, 5])
def test_of_more_objectives_loads_and_runs_nothing(tmp_path: Path, m: int) -> None:
    assert_loads_nothing(write(tmp_path, rich(m)))


def test_writes_all_files(of_two: tuple[Path, FlowingPage]) -> None:
    folder, _ = of_two
    plots = {"fronts.png", "hypervolume.png", "hypervolume_time.png"}
    assert {path.name for path in folder.iterdir()} == {"comparison.json", "points.parquet", "report.html", *plots}
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in plots)


def test_says_what_was_measured(of_two: tuple[Path, FlowingPage]) -> None:
    _, page = of_two
    assert "One conditioned run reaches 1.21 times the hypervolume of 5 single-weight runs" in page.text
    for heading in ("With equal training time", "Weight by weight", "The price in the main objective"):
        assert heading in page.text
    assert "validation contexts4,096" in page.text  # two cells of a row
    assert "python jobs/compare.py" in page.text
    assert "seed: 0" in page.text
    assert "Ren, Xiao, Shavlovsky, Ying, Rahmanian" in page.text
    assert sum(tag == "svg" for tag, _ in page.elements) == 3
    assert "What failed" not in page.text


def test_marks_the_weights_at_which_cos_is_beaten(tmp_path: Path) -> None:
    page = write(tmp_path, field({"cos": [0.9, 0.901], "soup": [1.0, 1.001]}))
    marked = [a for tag, a in page.elements if tag == "td" and "marked" in a.get("class", "")]
    assert [cell["title"] for cell in marked] == ["worse than soup"] * 2 * 3  # both values at .25, .5 and .75
    assert "At 3 of 5 weights cos is worse than a baseline in both objectives" in page.text


def test_shows_failures_and_methods_without_them(tmp_path: Path) -> None:
    page = write(tmp_path, field({"cos": [1.0]}), {"modpo, seed 0": "out of memory in step 41"})
    assert "What failed" in page.text
    assert "modpo, seed 0out of memory in step 41" in page.text
    assert "One conditioned run and nothing to compare it with." in page.text
    assert "With equal training time" not in page.text


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    names = [EVIL, "$\\frac{a}$"]
    results = [result(method, seed, objectives=names, main=EVIL) for method in ("cos", EVIL) for seed in (0, 1)]
    page = write(tmp_path, results, {EVIL: EVIL}, {EVIL: EVIL}, EVIL)
    assert not [tag for tag, _ in page.elements if tag == "script"]
    assert page.text.count(EVIL) >= 10


def test_same_results_give_the_same_bytes(of_two: tuple[Path, FlowingPage]) -> None:
    folder, _ = of_two
    before = [(folder / name).read_bytes() for name in ("comparison.json", "report.html")]
    write(folder, rich(2))
    assert before == [(folder / name).read_bytes() for name in ("comparison.json", "report.html")]
