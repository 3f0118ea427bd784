"""Results of made-up methods whose hypervolumes are known: the values of a method are its quality times its weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosdpo.evaluation.front import Main, Measured, build
from cosdpo.experiment.results.result import Budget, Result
from cosdpo.simplex import das_dennis

RUNS = {"cos": 1, "linear_scalarization": 5, "soup": 2, "modpo": 6}


def result(
    method: str = "cos",
    seed: int = 0,
    quality: float = 1.0,
    *,
    seconds: float = 60.0,
    objectives: Sequence[str] = ("kind", "brief"),
    budget: Budget = "steps",
    base: float = 0.0,
    main: str = "",
    loss: bool = False,
    values: object = None,
    partitions: int = 0,
) -> Result:
    """A front with accuracy base + quality * weights (or `values`) from reference `base`, and loss 1 - accuracy."""
    m = len(objectives)
    weights = das_dennis(m, partitions or (4 if m == 2 else 2))
    accuracy = base + quality * weights if values is None else np.asarray(values, dtype=np.float64)
    metrics = {"accuracy": Measured(accuracy, [base] * m, [base] * m)}
    if loss:
        metrics["loss"] = Measured(1 - accuracy, [1 - base] * m, [1 - base] * m, higher_is_better=False)
    front = build(
        method=method,
        task="ranking" if main else "language",
        objectives=objectives,
        seed=seed,
        trained_temperature=0.1,
        train_seconds=60.0,
        train_seconds_total=seconds,
        trained_parameters=1000,
        weights=weights,
        metrics=metrics,
        main=Main(name=main, metric="ndcg@10", base=0.4, values=(0.4 - 0.1 * weights[:, 0]).tolist()) if main else None,
    )
    return Result(front, budget, RUNS.get(method, 1 if method.startswith("cos") else 3), 2**20 * (seed + 1))


def field(qualities: dict[str, Sequence[float]], seconds: dict[str, float] | None = None) -> list[Result]:
    """Methods with a quality per seed."""
    return [
        result(method, seed, quality, seconds=(seconds or {}).get(method, 60.0))
        for method, per_seed in qualities.items()
        for seed, quality in enumerate(per_seed)
    ]
