"""A front of measured arrays: figures of every metric over the points, and the mean over the folds of a data set.

The models of the file and of a metric (front_file.py, metric.py) are imported from here like the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from cosdpo.errors import InputError, first_wrong
from cosdpo.evaluation.front_file import Front, Main, Point, front_path, main_metric
from cosdpo.evaluation.metric import Measured, Metric, summarise

__all__ = ["Front", "Main", "Measured", "Metric", "Point", "build", "front_path", "main_metric", "mean_over_folds"]


def build(
    *,
    method: str,
    task: Literal["language", "ranking"],
    objectives: Sequence[str],
    seed: int,
    trained_temperature: float | Sequence[float],
    train_seconds: float,
    trained_parameters: int,
    weights: npt.ArrayLike,
    metrics: Mapping[str, Measured],
    temperatures: npt.ArrayLike | None = None,
    train_seconds_total: float | None = None,
    main: Main | None = None,
) -> Front:
    """The front of measured values, with hypervolume, controllability, spread and non-dominated count of every metric
    at the trained temperature.

    Args:
        weights: [N, m] on the simplex.
        metrics: per name the measured values [N, m], base [m] and reference point [m], in the metric's own direction.
        temperatures: [N, m], [m] or one number at which the points were measured; the trained temperature by default.
        train_seconds_total: training time of all runs the method needs; train_seconds by default (one run).
        main: the main objective at the same points, where there is one.

    Raises:
        InputError: shapes that do not fit, values that are not finite, or weights off the simplex.
    """
    grid = np.asarray(weights, dtype=np.float64)
    m = len(objectives)
    if grid.ndim != 2 or grid.shape[1] != m or len(grid) == 0:
        raise InputError(f"weights have shape {grid.shape}; give [points, {m}], a column per objective")
    given = np.asarray(trained_temperature if temperatures is None else temperatures, dtype=np.float64)
    try:
        beta = np.broadcast_to(given, grid.shape)
    except ValueError:
        raise InputError(f"temperatures have shape {given.shape}; give {grid.shape}, ({m},) or one number") from None
    trained = (beta == np.asarray(trained_temperature)).all(axis=1)
    if not trained.any():
        raise InputError(f"no point is at the trained temperature {trained_temperature}; measure the front there too")
    values = {name: np.asarray(measured.values, dtype=np.float64).tolist() for name, measured in metrics.items()}
    scalar = isinstance(trained_temperature, int | float)
    try:
        return Front.model_validate(
            {
                "method": method,
                "task": task,
                "objectives": list(objectives),
                "seed": seed,
                "trained_temperature": trained_temperature if scalar else np.asarray(trained_temperature).tolist(),
                "train_seconds": train_seconds,
                "train_seconds_total": train_seconds if train_seconds_total is None else train_seconds_total,
                "trained_parameters": trained_parameters,
                "metrics": {name: summarise(name, measured, grid, trained) for name, measured in metrics.items()},
                "main": main,
                "points": [
                    {"weights": w, "temperature": t, "values": {name: rows[i] for name, rows in values.items()}}
                    for i, (w, t) in enumerate(zip(grid.tolist(), beta.tolist(), strict=True))
                ],
            }
        )
    except ValidationError as error:
        raise InputError(f"the front is wrong at {first_wrong(error)}; mend what was measured") from None


def mean_over_folds(fronts: Sequence[Front]) -> Front:
    """Values averaged over folds point by point; hypervolumes of every fold are kept next to that of the mean."""
    first = fronts[0]
    mains = [front.main for front in fronts if front.main is not None]
    return build(
        method=first.method,
        task=first.task,
        objectives=first.objectives,
        seed=first.seed,
        trained_temperature=first.trained_temperature,
        train_seconds=float(np.mean([front.train_seconds for front in fronts])),
        train_seconds_total=float(np.mean([front.train_seconds_total for front in fronts])),
        trained_parameters=first.trained_parameters,
        weights=first.weights,
        temperatures=[point.temperature for point in first.points],
        metrics={
            name: Measured(
                values=np.mean([front.values(name) for front in fronts], axis=0),
                base=np.mean([front.metrics[name].base for front in fronts], axis=0),
                reference_point=np.mean([front.metrics[name].reference_point for front in fronts], axis=0),
                higher_is_better=metric.higher_is_better,
                hypervolume_folds=[front.metrics[name].hypervolume for front in fronts],
            )
            for name, metric in first.metrics.items()
        },
        main=Main(
            name=mains[0].name,
            metric=mains[0].metric,
            base=float(np.mean([main.base for main in mains])),
            values=np.mean([main.values for main in mains], axis=0).tolist(),
        )
        if mains
        else None,
    )
