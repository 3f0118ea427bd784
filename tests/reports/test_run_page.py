"""report.html: one file that loads nothing, runs nothing it was not built with, and holds what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front, Main, Measured, build
from cosdpo.evaluation.samples import Answer, Order, Ranking, Sample
from cosdpo.experiment.results.run_result import RunResult
from cosdpo.reports.run_page import write_run
from cosdpo.simplex import das_dennis
from tests.html_page import HtmlPage, assert_loads_nothing

EVIL = "</script><script>alert('$x$ & <b>')</script>"


def front(m: int, names: list[str] | None = None) -> Front:
    weights = das_dennis(m, 4 if m == 2 else 2)
    rewards = 0.5 + 0.3 * weights
    return build(
        method="cos",
        task="language",
        objectives=names or [f"objective{j}" for j in range(m)],
        seed=7,
        trained_temperature=0.1,
        train_seconds=158.0,
        trained_parameters=1000,
        weights=weights,
        metrics={
            "accuracy": Measured(rewards, np.full(m, 0.45), np.full(m, 0.5)),
            "loss": Measured(1 - rewards, np.full(m, 0.7), np.full(m, 0.7), higher_is_better=False),
        },
    )


def samples(m: int, text: str = "They danced.") -> list[Sample]:
    weights = das_dennis(m, 4)[:5].tolist()
    answers = [Answer(weights=w, temperature=[0.1] * m, text=text, scores={"length": 12.0}) for w in weights]
    return [Sample(prompt="Once upon a time", answers=answers)]


def ranking_front(m: int, names: list[str] | None = None, main: str = "relevance") -> Front:
    weights = das_dennis(m, 4 if m == 2 else 2)
    ndcg = Measured(0.3 + 0.2 * weights, np.full(m, 0.25), np.full(m, 0.25), hypervolume_folds=[0.01, 0.02, 0.03])
    return build(
        method="cos",
        task="ranking",
        objectives=names or [f"objective{j}" for j in range(m)],
        seed=7,
        trained_temperature=1.0,
        train_seconds=158.0,
        trained_parameters=1000,
        weights=weights,
        metrics={"ndcg@10": ndcg},
        main=Main(name=main, metric="ndcg@10", base=0.385, values=(0.39 - 0.03 * weights[:, 0]).tolist()),
    )


def ranking(m: int) -> Ranking:
    """Twelve documents; the first objective's labels rise with their number, relevance falls."""
    orders = [Order(weights=w, order=list(range(11, -1, -1))) for w in np.eye(m).tolist()[:-1]]
    return Ranking(
        query="Query 17",
        documents=[f"doc {i}" for i in range(12)],
        labels={"objective0": [float(i) for i in range(12)], "relevance": [2.0] + [0.0] * 11},
        orders=[*orders, Order(weights=[0.0] * (m - 1) + [1.0], order=[0, 1, 2])],
    )


def write(
    folder: Path,
    front: Front,
    samples: Sequence[Sample] = (),
    rankings: Sequence[Ranking] = (),
    *,
    steps: Sequence[Mapping[str, float]] = (),
    facts: Mapping[str, str | int | float] | None = None,
    dropped: Mapping[str, int] | None = None,
    command: str = "python job.py",
) -> HtmlPage:
    """The page of a run folder with these lines of metrics.jsonl."""
    (folder / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    config = Config(output=folder, objectives=front.objectives, seed=7)
    return HtmlPage(write_run(RunResult(config, front, facts or {}, dropped, samples, rankings), command))


def full(folder: Path, m: int = 2) -> HtmlPage:
    """A page with all that a language model's run has."""
    steps = [{"step": float(s), "loss/objective0": 0.7 - s / 1e3, "learning_rate": 1e-3} for s in range(0, 300, 10)]
    facts: dict[str, str | int | float] = {"base_parameters": 4000, "device": "one core"}
    return write(folder, front(m), samples(m), steps=steps, facts=facts, dropped={"empty response": 41})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page of two objectives lies."""
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def pages(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, HtmlPage]:
    """Pages by number of objectives."""
    return {2: full(folder)} | {m: full(tmp_path_factory.mktemp("report"), m) for m in (3, 5)}


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> dict[int, HtmlPage]:
    """Pages of rankers by number of objectives."""
    return {m: write(tmp_path_factory.mktemp("ranked"), ranking_front(m), rankings=[ranking(m)]) for m in (2, 3, 5)}


@pytest.mark.parametrize("m", [2, 3, 5])
def test_loads_nothing_and_runs_its_own_script_alone(pages: dict[int, HtmlPage], m: int) -> None:
    assert_loads_nothing(pages[m], scripts=2)  # the data, and what walks along it


@pytest.mark.parametrize("m", [2, 3, 5])
def test_every_trade_off_is_in_every_plot_and_in_the_table(pages: dict[int, HtmlPage], m: int) -> None:
    page = pages[m]
    count = len(front(m).points)
    marks = [int(attributes["data-point"]) for _, attributes in page.elements if "data-point" in attributes]
    # front: a plane per metric; three planes and the triangle; a line; steering: m panels; for 2 metrics each
    per_point = 2 * ({2: 1, 3: 4, 5: 1}[m] + m)
    assert np.bincount(marks).tolist() == [per_point] * count
    assert [a["data-row"] for _, a in page.elements if "data-row" in a] == [str(i) for i in range(count)]
    assert sum(tag == "svg" for tag, _ in page.elements) == 3


def test_says_what_was_measured(pages: dict[int, HtmlPage]) -> None:
    page = pages[2]
    text = " ".join(page.text.split())
    # w_j from 0 to 1 moves accuracy from .5 to .8 and, in the hover text of the last point, loss from .5 to .2
    assert "The weights steer both objectives: objective0 accuracy from 0.5 to 0.8 and objective1" in text
    assert "2 min 38 s" in text
    assert "25% of the base's 4,000" in text
    assert "seed 7" in text
    assert "empty response41" in text  # two cells of a row
    assert "python job.py" in text
    assert "loss: 0.200, 0.500" in text
    assert "Ren, Xiao, Shavlovsky, Ying, Rahmanian" in text
    assert ("a", {"href": "https://arxiv.org/abs/2410.08316", "rel": "noreferrer"}) in page.elements


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    names = [EVIL, "$\\frac{a}$"]
    hostile = samples(2, EVIL)
    hostile[0].prompt = EVIL
    hostile[0].answers[0].scores = {EVIL: 1.0}
    steps = [{"step": 1.0, f"loss/{EVIL}": 1.0}]
    facts, dropped = {EVIL: EVIL}, {EVIL: 1}
    page = write(tmp_path, front(2, names), hostile, steps=steps, facts=facts, dropped=dropped, command=EVIL)
    assert len(page.scripts) == 2  # the data and the page's own, nothing else
    data = json.loads(page.scripts[0])
    assert data["samples"][0]["prompt"] == EVIL
    assert data["objectives"] == names
    assert "alert" not in page.scripts[1]
    assert page.text.count(EVIL) >= 10
    assert "$\\frac{a}$" in page.text  # drawn as it is written, not as mathematics


def test_does_without_samples_training_and_drops(tmp_path: Path) -> None:
    page = write(tmp_path, front(2))
    assert "The same prompt" not in page.text
    assert "Data rows dropped" not in page.text
    assert sum(tag == "svg" for tag, _ in page.elements) == 2


@pytest.mark.parametrize("m", [2, 3, 5])
def test_ranking_says_what_the_front_costs(ranked: dict[int, HtmlPage], m: int) -> None:
    page = ranked[m]
    text = " ".join(page.text.split())
    assert "The price: relevance ndcg@10 goes from 0.385 (base) to 0.360 at its lowest and 0.390 at its highest" in text
    assert "hypervolume0.02 ± 0.01 over 3 folds, of ndcg@10, from 0.25" in text
    assert "The price in the main objective" in text
    marks = [int(attributes["data-point"]) for _, attributes in page.elements if "data-point" in attributes]
    per_point = {2: 1, 3: 4, 5: 1}[m] + m + {2: 3, 3: 3, 5: 5}[m]  # front, steering and price
    assert np.bincount(marks).tolist() == [per_point] * len(ranking_front(m).points)
    data = json.loads(page.scripts[0])
    assert data["main"] == {"name": "relevance", "metric": "ndcg@10", "base": 0.385, "worst": 0.36, "best": 0.39}
    assert [point["main"] for point in data["points"]] == ranking_front(m).main.values  # type: ignore[union-attr]
    assert_loads_nothing(page, scripts=2)


def test_rows_of_the_points_hold_the_main_objective(ranked: dict[int, HtmlPage]) -> None:
    text = " ".join(ranked[2].text.split())
    # the base, then the first and the last trade-off: main, and both objectives; cells follow without a space
    for row in ("base model0.3850.2500.250", "0 · 10.3900.3000.500", "1 · 00.3600.5000.300"):
        assert row in text


def test_slider_runs_from_worst_to_best_and_lists_the_metrics_in_the_fronts_order(
    pages: dict[int, HtmlPage], tmp_path: Path
) -> None:
    front = ranking_front(2)
    assert front.main is not None
    front.main.higher_is_better = False
    front.metrics["a"] = front.metrics["ndcg@10"]  # before n in the alphabet, after it in the front
    for point in front.points:
        point.values["a"] = [0.0, 0.0]
    data = json.loads(write(tmp_path, front).scripts[0])
    assert (data["main"]["worst"], data["main"]["best"]) == (0.39, 0.36)
    assert list(data["metrics"]) == ["ndcg@10", "a"]
    assert json.loads(pages[2].scripts[0])["main"] is None


def test_documents_stand_at_their_ranks_with_their_labels(ranked: dict[int, HtmlPage]) -> None:
    page = ranked[2]
    cells = [a for tag, a in page.elements if tag == "td" and "data-document" in a]
    # ten ranks in the first column, three in the second: 11 0, 10 1, 9 2, 8, 7, ...
    numbers = ["11", "0", "10", "1", "9", "2", "8", "7", "6", "5", "4", "3", "2"]
    assert [cell["data-document"] for cell in cells] == numbers
    assert cells[0]["title"] == "doc 11: objective0 11, relevance 0"
    bars = [a["style"] for tag, a in page.elements if tag == "i"]
    # of documents 11 and 0: label / 11 in the objective's blue, then relevance / 2 in ink
    assert bars[:4] == [
        "--c:#0072b2;height:100%",
        "--c:var(--ink);height:0%",
        "--c:#0072b2;height:0%",
        "--c:var(--ink);height:100%",
    ]
    assert "The same query along the trade-off" in page.text
    assert "Query 17" in page.text


def test_hostile_rankings_stay_text(tmp_path: Path) -> None:
    front = ranking_front(2, [EVIL, "b"], main=f"main{EVIL}")
    order = Order(weights=[0.5, 0.5], order=[0])
    hostile = Ranking(query=EVIL, documents=[EVIL], labels={EVIL: [1], f"main{EVIL}": [1]}, orders=[order])
    page = write(tmp_path, front, rankings=[hostile])
    assert len(page.scripts) == 2
    assert page.text.count(EVIL) >= 10


def test_wrong_rankings_are_refused(tmp_path: Path) -> None:
    front = ranking_front(2)
    with pytest.raises(InputError, match="need 2 weights each"):
        write(tmp_path, front, rankings=[ranking(3)])
    strange = ranking(2)
    strange.labels["clicks"] = strange.labels.pop("objective0")
    with pytest.raises(InputError, match="'clicks' in query 'Query 17': give one of objective0, objective1, relevance"):
        write(tmp_path, front, rankings=[strange])
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
    good = ranking(2).model_dump()
    for change, says in (
        ({"labels": {"objective0": [1.0]}}, "labels.objective0 has 1 numbers for 12 documents"),
        ({"orders": [{"weights": [1, 0], "order": [12]}]}, r"orders\[0\] must name documents from 0 to 11"),
        ({"orders": [{"weights": [1, 0], "order": [3, 3]}]}, "each once"),
        ({"labels": {"objective0": [-1.0] * 12}}, "greater than or equal to 0"),
    ):
        with pytest.raises(ValidationError, match=says):
            Ranking.model_validate({**good, **change})


def test_same_run_gives_the_same_bytes(pages: dict[int, HtmlPage], folder: Path) -> None:
    assert full(folder).source == pages[2].source


def test_answers_need_a_weight_per_objective(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="need 3 weights"):
        write(tmp_path, front(3), samples(2))
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def warm_front(main: bool = True) -> Front:
    """`ranking_front` at its trained temperature 1 and at 0.5 and 4."""
    one = ranking_front(2)
    assert one.main is not None
    return build(
        method="cos",
        task="ranking",
        objectives=one.objectives,
        seed=7,
        trained_temperature=1.0,
        train_seconds=158.0,
        trained_parameters=1000,
        weights=np.tile(one.weights, (3, 1)),
        temperatures=np.repeat([1.0, 0.5, 4.0], 5)[:, None] * np.ones(2),
        metrics={"ndcg@10": Measured(np.tile(one.values("ndcg@10"), (3, 1)), np.full(2, 0.25), np.full(2, 0.25))},
        main=one.main.model_copy(update={"values": [x + d for d in (0.0, -0.123, 0.01) for x in one.main.values]}),
    )


def test_temperatures_have_a_section_and_buttons_and_leave_the_rest_alone(tmp_path: Path) -> None:
    front = warm_front()
    page = write(tmp_path, front)
    (tmp_path / "plain").mkdir()
    plain = write(tmp_path / "plain", front.at(1))
    assert "What the temperature buys" in page.text
    assert "What the temperature buys" not in plain.text
    assert (tmp_path / "front-temperature.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "plain" / "front-temperature.png").exists()
    buttons = [a for tag, a in page.elements if tag == "input" and a.get("name") == "temperature"]
    assert [(a["value"], "checked" in a) for a in buttons] == [("0", False), ("1", True), ("2", False)]
    assert not [a for tag, a in plain.elements if a.get("name") == "temperature"]
    data = json.loads(page.scripts[0])
    assert data["temperatures"] == [[0.5, 0.5], [1, 1], [4, 4]]
    assert data["trained"] == 1
    assert [point["temperature"][0] for point in data["points"]] == [1] * 5 + [0.5] * 5 + [4] * 5
    # A mark per panel of an objective for points of other temperatures, and the plain page's two more for the others.
    marks = np.bincount([int(a["data-point"]) for _, a in page.elements if "data-point" in a])
    plain_marks = np.bincount([int(a["data-point"]) for _, a in plain.elements if "data-point" in a])
    assert marks.tolist() == (plain_marks + 2).tolist() + [2] * 10
    assert [a["data-row"] for _, a in page.elements if "data-row" in a] == [str(i) for i in range(5)]
    assert "All 5 trade-offs" in page.text
    lowest = min(front.at(0.5).main.values)  # type: ignore[union-attr]
    assert f"{lowest:.3f}" in page.text
    assert "temperature 0.5" in page.text  # hover text
    assert all(a.get("aria-label") for tag, a in page.elements if tag == "svg")
