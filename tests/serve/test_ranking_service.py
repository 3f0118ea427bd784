"""Rankings over HTTP against the ranker itself."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import numpy as np
import pytest

from cosdpo.evaluation.front import Measured, build
from serve.http.backend import TradeOff
from serve.ranking_service import RankingService
from tests.serve.conftest import Serve

pytestmark = pytest.mark.anyio
RNG = np.random.default_rng(0)
LISTS = [RNG.normal(size=(n, 10)).tolist() for n in (4, 1, 7, 3, 12, 2)]


async def test_a_ranking(serve: Serve, ranker: RankingService) -> None:
    rows = LISTS[2]
    async with serve(backend=ranker) as served:
        body = (
            await served.post("/v1/rank", {"features": rows, "weights": {"b": 2, "a": 1}, "temperature": 1.5})
        ).json()
        plain = (await served.post("/v1/rank", {"features": rows})).json()
    expected = ranker.scorer.score(rows, [1, 2], 1.5)
    assert body["scores"] == pytest.approx(expected, rel=1e-5)
    assert body["order"] == np.argsort(-expected, kind="stable").tolist()
    assert body["objectives"] == ["a", "b"]
    assert body["weights"] == pytest.approx([1 / 3, 2 / 3])
    assert body["temperature"] == [1.5, 1.5]
    assert (plain["weights"], plain["temperature"]) == ([0.5, 0.5], [0.5, 0.5])
    # The base is what an infinite temperature leaves: u / beta is gone.
    base = ranker.scorer.score(rows, [1, 2], 1e9)
    assert body["base_order"] == np.argsort(-base, kind="stable").tolist()
    assert body["order"] != body["base_order"]


async def test_all_features_of_the_data_will_do(serve: Serve, ranker: RankingService) -> None:
    """Features 11 and 12 are the objectives; they are left out."""
    rows = LISTS[0]
    wide = [[*row, 9.0, 9.0] for row in rows]
    async with serve(backend=ranker) as served:
        narrow = (await served.post("/v1/rank", {"features": rows})).json()
        whole = (await served.post("/v1/rank", {"features": wide})).json()
    assert whole["scores"] == narrow["scores"]


async def test_lists_that_wait_together_are_scored_as_if_alone(serve: Serve, ranker: RankingService) -> None:
    weights = [[1, 0], [0, 1], [1, 1], [3, 1], [1, 9], [2, 2]]
    bodies = [
        {"features": rows, "weights": w, "temperature": 0.3 + i}
        for i, (rows, w) in enumerate(zip(LISTS, weights, strict=True))
    ]
    lists, batches = ranker.lists, ranker.batches
    async with serve(backend=ranker) as served:
        answers = await asyncio.gather(*(served.post("/v1/rank", body) for body in bodies * 3))
    for body, answer in zip(bodies * 3, answers, strict=True):
        expected = ranker.scorer.score(body["features"], body["weights"], body["temperature"])  # type: ignore[arg-type]
        assert answer.json()["scores"] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert ranker.lists - lists == 18
    assert ranker.batches - batches < 18


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"features": []}, "features"),
        ({"features": [[]]}, "features"),
        ({"features": [[1.0] * 9]}, "features"),
        ({"features": [[1.0] * 10, [1.0] * 11]}, "features"),
        ({"features": [[1.0] * 10] * 21}, "features"),
        ({"features": [[1e39] * 10]}, "features"),
        ({"features": [["1"] * 10]}, "features"),
        ({"temperature": 1e-300}, "features"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": [0.5, 0.7]}, "temperature"),
        ({"weights": [1, 2, 3]}, "weights"),
    ],
)
async def test_refused(serve: Serve, ranker: RankingService, change: dict[str, Any], param: str) -> None:
    async with serve(backend=ranker, limits={"documents": 20}) as served:
        answer = await served.post("/v1/rank", {"features": LISTS[0], **change})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_a_cancelled_ranking_leaves_the_others_alone(ranker: RankingService) -> None:
    tasks = [asyncio.ensure_future(ranker.rank(TradeOff(), rows)) for rows in LISTS]
    await asyncio.sleep(0)
    tasks[1].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(one, BaseException) for one in done] == [False, True, False, False, False, False]


async def test_the_front_comes_with_an_example(serve: Serve, ranker: RankingService) -> None:
    run = ranker.folder.parent
    grid = np.array([[0.0, 1.0], [1.0, 0.0]])
    front = build(
        method="cos", task="ranking", objectives=["a", "b"], seed=0, trained_temperature=0.5, train_seconds=1.0,
        trained_parameters=1, weights=grid, metrics={"ndcg@10": Measured(grid, [0.1, 0.1], [0.1, 0.1])},
    )  # fmt: skip
    front.save(run / "front.json")
    async with serve(backend=ranker) as served:
        without = (await served.client.get("/v1/front")).json()
        (run / "example.json").write_text(json.dumps({"features": LISTS[0]}))
        found = (await served.client.get("/v1/front")).json()
    assert without["example_features"] is None
    assert found["example_features"] == LISTS[0]
    assert found["feature_names"] == [f"feature {i}" for i in range(1, 11)]
    assert found["checkpoint"].startswith("tiny-ranks-")
    assert found["points"] == front.model_dump(mode="json")["points"]


async def test_texts_are_not_for_rankers(serve: Serve, ranker: RankingService) -> None:
    async with serve(backend=ranker) as served:
        for path, body in (
            ("generate", {"prompt": "a"}),
            ("generate", {"prompt": "a", "stream": True}),
            ("score", {"prompt": "a", "candidates": ["b"]}),
            ("completions", {"prompt": "a"}),
        ):
            answer = await served.post(f"/v1/{path}", body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "wrong_task")
        (model,) = (await served.client.get("/v1/models")).json()["data"]
    assert (model["task"], model["scope"], model["smallest_temperature"]) == ("ranking", None, None)
    assert model["created"] <= time.time()
