"""points.parquet holds every measured number."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cosdpo.experiment.results.points import write_points
from tests.fake_results import result


def test_round_trip(tmp_path: Path) -> None:
    results = [result("cos", 0, loss=True), result("soup", 3, 0.5, loss=True, seconds=120, budget="time")]
    write_points(results, tmp_path / "points.parquet")
    table = pq.read_table(tmp_path / "points.parquet")
    assert table.schema.field("accuracy").type == pa.list_(pa.float64())
    assert table.schema.field("main").type == pa.float64()
    rows = table.to_pylist()
    assert len(rows) == 10
    assert [(row["budget"], row["method"], row["seed"], row["point"]) for row in rows[4:6]] == [
        ("steps", "cos", 0, 4),
        ("time", "soup", 3, 0),
    ]
    for row in rows:
        front = results[row["method"] == "soup"].front
        point = front.points[row["point"]]
        assert (row["weights"], row["temperature"]) == (point.weights, point.temperature)
        assert {name: row[name] for name in front.metrics} == point.values
        assert row["main"] is None
        assert row["train_seconds_total"] == front.train_seconds_total


def test_main_objective(tmp_path: Path) -> None:
    one = result(main="relevance")
    write_points([one], tmp_path / "points.parquet")
    assert one.front.main is not None
    assert pq.read_table(tmp_path / "points.parquet")["main"].to_pylist() == one.front.main.values
