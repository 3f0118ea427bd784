"""A front of measured arrays: figures of every metric over the points, and the mean over the folds of a data set.

The models of the file and of a metric (front_file.py, metric.py) are imported from here like the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from cosdpo.errors import InputError, first_wrong
from cosdpo.evaluation.front_file import Front, FrontCurve, Main, Point, front_path, main_metric
from cosdpo.evaluation.metric import Measured, Metric, rounded, summarise

__all__ = [
    "Front",
    "FrontCurve",
    "Main",
    "Measured",
    "Metric",
    "Point",
    "build",
    "curve_of",
    "front_path",
    "main_metric",
    "mean_over_folds",
]


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
    curve: FrontCurve | None = None,
) -> Front:
    """The front of measured values, with hypervolume, controllability, spread and non-dominated count of every metric
    at the trained temperature.

    Args:
        weights: [N, m] on the simplex.
        metrics: per name the measured values [N, m], base [m] and reference point [m], in the metric's own direction.
        temperatures: [N, m], [m] or one number at which the points were measured; the trained temperature by default.
        train_seconds_total: training time of all runs the method needs; train_seconds by default (one run).
        main: the main objective at the same points, where there is one.
        curve: what lies between the points, where there is something.

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
                "curve": curve,
                "points": [
                    {"weights": w, "temperature": t, "values": {name: rows[i] for name, rows in values.items()}}
                    for i, (w, t) in enumerate(zip(grid.tolist(), beta.tolist(), strict=True))
                ],
            }
        )
    except ValidationError as error:
        raise InputError(f"the front is wrong at {first_wrong(error)}; mend what was measured") from None


def mean_over_folds(fronts: Sequence[Front]) -> Front:
    """Values averaged over folds point by point; hypervolumes of every fold are kept next to that of the mean, and its
    deviation is that of the mean of theirs.
    """
    first = fronts[0]
    front = build(
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
            name: _mean([front.values(name) for front in fronts], [front.metrics[name] for front in fronts])
            for name in first.metrics
        },
        main=_mean_main([front.main for front in fronts]),
    )
    for name, metric in front.metrics.items():
        _take_deviations(metric, [fold.metrics[name] for fold in fronts])
    curves = [fold.curve for fold in fronts if fold.curve is not None]
    if len(curves) == len(fronts):
        of_each = {name: [fold.metrics[name] for fold in curves] for name in curves[0].metrics}
        front.curve = curve_of(
            curves[0].weights,
            {name: _mean([fold.values[name] for fold in curves], metrics) for name, metrics in of_each.items()},
            _mean_main([fold.main for fold in curves]),
        )
        for name, metric in front.curve.metrics.items():
            _take_deviations(metric, of_each[name])
    return front


def curve_of(weights: npt.ArrayLike, metrics: Mapping[str, Measured], main: Main | None) -> FrontCurve:
    """The curve of what is known at the weights [K, m]; values as for `build`."""
    along = np.asarray(weights, dtype=np.float64)
    return FrontCurve(
        weights=along.tolist(),
        metrics={name: summarise(name, measured, along) for name, measured in metrics.items()},
        values={name: np.asarray(measured.values).tolist() for name, measured in metrics.items()},
        main=main,
    )


def _mean(values: Sequence[Any], metrics: Sequence[Metric]) -> Measured:
    """One metric of all folds."""
    return Measured(
        values=np.mean(values, axis=0),
        base=np.mean([metric.base for metric in metrics], axis=0),
        reference_point=np.mean([metric.reference_point for metric in metrics], axis=0),
        higher_is_better=metrics[0].higher_is_better,
        hypervolume_folds=[metric.hypervolume for metric in metrics],
    )


def _mean_main(of_folds: Sequence[Main | None]) -> Main | None:
    mains = [main for main in of_folds if main is not None]
    if not mains:
        return None
    return Main(
        name=mains[0].name,
        metric=mains[0].metric,
        higher_is_better=mains[0].higher_is_better,
        base=float(np.mean([main.base for main in mains])),
        values=np.mean([main.values for main in mains], axis=0).tolist(),
        deviations=_of_mean([main.deviations for main in mains]),
    )


def _take_deviations(metric: Metric, of_folds: Sequence[Metric]) -> None:
    metric.deviations = _of_mean([of_fold.deviations for of_fold in of_folds])
    metric.hypervolume_deviation = _of_mean([of_fold.hypervolume_deviation for of_fold in of_folds])


def _of_mean(deviations: Sequence[Any]) -> Any:
    """Deviation of the mean over folds, each with contexts of its own; None where that of a fold is not known."""
    if any(of_fold is None for of_fold in deviations):
        return None
    return rounded(np.sqrt(np.square(deviations).sum(axis=0)) / len(deviations))
