"""points.parquet: every measured trade-off of every method and seed, a row each, for analyses of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cosdpo.experiment.results.result import Result
from cosdpo.files import whole_file

_NUMBERS = pa.list_(pa.float64())


def write_points(results: Sequence[Result], path: Path) -> None:
    """Write points.parquet.

    Columns: budget, method, seed, point (its place in the front), weights [m], temperature [m], each metric's values
    [m] under the metric's name, main (the main objective, null where there is none), train_seconds_total.
    """
    metrics = list(results[0].front.metrics)
    schema = pa.schema(
        [
            ("budget", pa.string()),
            ("method", pa.string()),
            ("seed", pa.int64()),
            ("point", pa.int64()),
            ("weights", _NUMBERS),
            ("temperature", _NUMBERS),
            *((name, _NUMBERS) for name in metrics),
            ("main", pa.float64()),
            ("train_seconds_total", pa.float64()),
        ]
    )
    rows = [
        {
            "budget": result.budget,
            "method": result.front.method,
            "seed": result.front.seed,
            "point": number,
            "weights": point.weights,
            "temperature": point.temperature,
            **point.values,
            "main": result.front.main.values[number] if result.front.main else None,
            "train_seconds_total": result.front.train_seconds_total,
        }
        for result in results
        for number, point in enumerate(result.front.points)
    ]
    with whole_file(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary)
