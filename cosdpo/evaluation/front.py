"""front.json: the trade-offs a method reached, each a weight vector with its metrics, and what they are worth together.

Written by the evaluation of a run and read by the report, the service and comparisons. `build` turns measured arrays
into a `Front`; `Front.save` and `Front.load` are the only ways to the file and back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from cosdpo.arrays import Booleans, Floats
from cosdpo.errors import InputError
from cosdpo.evaluation import indicators
from cosdpo.files import whole_file
from cosdpo.models.temperature import ratio

Numbers = list[FiniteFloat]
Weight = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
NonNegative = Annotated[int, Field(ge=0)]
Volume = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Measured:
    """One metric as measured: values [N, m] over the points, base [m] of the untrained model, reference_point [m].

    The points may be at several temperatures; those at the trained one are what a metric sums up.

    With cross-validation, hypervolume_folds is the hypervolume of each fold's own front.
    """

    values: npt.ArrayLike
    base: npt.ArrayLike
    reference_point: npt.ArrayLike
    higher_is_better: bool = True
    hypervolume_folds: Sequence[float] | None = None


class Metric(BaseModel):
    """One metric over the points at the trained temperature. Other indicators may stand next to these and are kept."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    higher_is_better: bool
    """False for losses, whose hypervolume and indicators are taken of the negated values."""
    reference_point: Numbers
    """[m] The worst values that count for the hypervolume, in the metric's own direction."""
    hypervolume: Volume
    """Volume between the reference point and the non-dominated points."""
    base: Numbers
    """[m] Values of the base model."""
    controllability: list[Annotated[float, Field(ge=-1, le=1)]]
    """[m] Spearman's rank correlation of w_j with metric j; positive where more weight makes it better."""
    spread: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Diagonal of the box around the non-dominated points."""
    non_dominated: NonNegative
    """Number of different non-dominated points."""
    hypervolume_folds: Annotated[list[Volume], Field(min_length=1)] | None = None
    """Hypervolume of each fold's own front, of which the report shows mean and standard deviation; left out of the file
    where there was no cross-validation."""

    @model_serializer(mode="wrap")
    def _without_absent(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _leave_out(write(self), "hypervolume_folds")


class Main(BaseModel):
    """The main objective along the front: what the trade-offs between the others cost it."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: str
    """What it is called, such as relevance."""
    metric: str
    """How it was measured, such as ndcg@10."""
    higher_is_better: bool = True
    """False for losses."""
    base: FiniteFloat
    """Value of the base model."""
    values: Numbers
    """[N] value at every point, in the points' order."""

    @property
    def gains(self) -> Floats:
        """[N] values turned so that more is better: losses are negated."""
        return np.array(self.values, dtype=np.float64) * (1 if self.higher_is_better else -1)


class Point(BaseModel):
    """One measured trade-off."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    weights: list[Weight]
    """[m] Importance of the objectives, summing to 1."""
    temperature: list[Beta]
    """[m] DPO temperature of each objective at which the point was measured."""
    values: dict[str, Numbers]
    """[m] values of every metric."""


class Front(BaseModel):
    """The front of one run, as in front.json."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    method: str
    """Training method, such as cos."""
    task: Literal["language", "ranking"]
    """What was trained."""
    objectives: Annotated[list[str], Field(min_length=1)]
    """The m names, in the order of every list of m numbers here."""
    seed: int
    """Seed of the run."""
    trained_temperature: Beta | list[Beta]
    """DPO temperature of the training, one for all objectives or one each."""
    train_seconds: Seconds
    """Training time of the run itself."""
    train_seconds_total: Seconds
    """Training time of all runs that the method needs for this front."""
    trained_parameters: NonNegative
    """Number of parameters that were trained."""
    metrics: Annotated[dict[str, Metric], Field(min_length=1)]
    """The metrics by name."""
    main: Main | None = None
    """The main objective, which is no part of the trade-off; left out of the file where there is none."""
    points: Annotated[list[Point], Field(min_length=1)]
    """The trade-offs, in the order of the weight grid: at the trained temperature, then at each of its other multiples
    that were measured."""

    @model_validator(mode="after")
    def _shapes(self) -> Self:
        for where, numbers in self._vectors():
            if len(numbers) != len(self.objectives):
                raise ValueError(f"{where} has {len(numbers)} numbers for {len(self.objectives)} objectives")
        for i, point in enumerate(self.points):
            if set(point.values) != set(self.metrics):
                raise ValueError(f"points[{i}].values has {sorted(point.values)} but metrics {sorted(self.metrics)}")
            if abs(sum(point.weights) - 1) > 1e-6:
                raise ValueError(f"points[{i}].weights sum to {sum(point.weights):g} instead of 1")
        if self.main is not None and len(self.main.values) != len(self.points):
            raise ValueError(f"main.values has {len(self.main.values)} numbers for {len(self.points)} points")
        return self

    @model_serializer(mode="wrap")
    def _without_absent(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _leave_out(write(self), "main")

    def _vectors(self) -> Iterator[tuple[str, list[float]]]:
        """Every list that must have a number per objective, with its place in the file."""
        if isinstance(self.trained_temperature, list):
            yield "trained_temperature", self.trained_temperature
        for name, metric in self.metrics.items():
            yield f"metrics.{name}.reference_point", metric.reference_point
            yield f"metrics.{name}.base", metric.base
            yield f"metrics.{name}.controllability", metric.controllability
        for i, point in enumerate(self.points):
            yield f"points[{i}].weights", point.weights
            yield f"points[{i}].temperature", point.temperature
            for name, values in point.values.items():
                yield f"points[{i}].values.{name}", values

    @property
    def weights(self) -> Floats:
        """[N, m] weights of the points."""
        return np.array([point.weights for point in self.points], dtype=np.float64)

    @property
    def ratios(self) -> list[float]:
        """Multiples c of the trained temperature at which there are points, in rising order."""
        return sorted({round(ratio(np.array(point.temperature), self._trained.tolist()), 9) for point in self.points})

    def at(self, c: float) -> Front:
        """The points at c times the trained temperature alone, with figures of their own.

        At 1 this is the front without its other temperatures.
        """
        at_c = [np.allclose(point.temperature, c * self._trained, rtol=1e-6) for point in self.points]
        if all(at_c):
            return self
        rows = np.flatnonzero(at_c)
        metrics = self.metrics
        if c != 1:
            metrics = {
                name: _summarise(
                    name,
                    Measured(self.values(name)[rows], metric.base, metric.reference_point, metric.higher_is_better),
                    self.weights[rows],
                )
                for name, metric in self.metrics.items()
            }
        main = self.main and self.main.model_copy(update={"values": [self.main.values[i] for i in rows]})
        points = [self.points[i] for i in rows]
        return self.model_copy(update={"points": points, "metrics": metrics, "main": main})

    @property
    def _trained(self) -> Floats:
        """[m] trained temperature of every objective."""
        return np.broadcast_to(np.array(self.trained_temperature, dtype=np.float64), len(self.objectives))

    def values(self, metric: str) -> Floats:
        """[N, m] values of one metric over the points, in its own direction."""
        return np.array([point.values[metric] for point in self.points], dtype=np.float64)

    def gains(self, metric: str) -> Floats:
        """[N, m] values of one metric turned so that more is better: losses are negated."""
        return self.values(metric) if self.metrics[metric].higher_is_better else -self.values(metric)

    def save(self, path: Path) -> None:
        """Write front.json whole or not at all: a reader never meets half a file."""
        with whole_file(path) as temporary:
            temporary.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Front:
        """Read front.json.

        Raises:
            InputError: the file is missing, is no JSON, or is not a front; the message names the first wrong key.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise InputError(f"{path} does not exist; give the folder of a finished run") from None
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}; give the front.json of a run") from None
        except ValidationError as error:
            raise InputError(f"{path} is no front, {_first(error)}; evaluate the run again to write it anew") from None


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
    asked = np.asarray(trained_temperature if temperatures is None else temperatures, dtype=np.float64)
    try:
        beta = np.broadcast_to(asked, grid.shape)
    except ValueError:
        raise InputError(f"temperatures have shape {asked.shape}; give {grid.shape}, ({m},) or one number") from None
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
                "metrics": {name: _summarise(name, measured, grid, trained) for name, measured in metrics.items()},
                "main": main,
                "points": [
                    {"weights": w, "temperature": t, "values": {name: rows[i] for name, rows in values.items()}}
                    for i, (w, t) in enumerate(zip(grid.tolist(), beta.tolist(), strict=True))
                ],
            }
        )
    except ValidationError as error:
        raise InputError(f"the front is wrong at {_first(error)}; mend what was measured") from None


def _leave_out(written: dict[str, Any], key: str) -> dict[str, Any]:
    """The written model without `key` if that is absent; other keys may well be null, and stay."""
    return {name: value for name, value in written.items() if name != key or value is not None}


def _first(error: ValidationError) -> str:
    """Place and message of the first thing that is wrong, in one line."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "top level"
    return f"{where}: {' '.join(first['msg'].split())}"


def _summarise(name: str, measured: Measured, weights: Floats, counted: Booleans | None = None) -> Metric:
    """The figures of the points that are `counted`, which are all by default."""
    values = np.asarray(measured.values, dtype=np.float64)
    base = np.asarray(measured.base, dtype=np.float64)
    reference = np.asarray(measured.reference_point, dtype=np.float64)
    if values.shape != weights.shape:
        raise InputError(f"metric {name} has values of shape {values.shape}; give {weights.shape}, one per weight")
    for what, vector in (("base", base), ("reference point", reference)):
        if vector.shape != values.shape[1:] or not np.isfinite(vector).all():
            raise InputError(f"metric {name} needs {values.shape[1]} finite numbers as {what}, has {vector.tolist()}")
    if not np.isfinite(values).all():
        objective = int(np.argmin(np.isfinite(values).all(axis=0)))
        raise InputError(f"metric {name} of objective {objective} is not finite; are there held-out labels for it?")
    sign = 1.0 if measured.higher_is_better else -1.0
    gains = sign * values
    if counted is not None:
        gains, weights = gains[counted], weights[counted]
    return Metric(
        higher_is_better=measured.higher_is_better,
        reference_point=reference.tolist(),
        hypervolume=indicators.hypervolume(gains, sign * reference),
        base=base.tolist(),
        controllability=indicators.controllability(weights, gains).tolist(),
        spread=indicators.spread(gains),
        non_dominated=len(np.unique(gains[indicators.non_dominated(gains)], axis=0)),
        hypervolume_folds=None if measured.hypervolume_folds is None else list(measured.hypervolume_folds),
    )


_PREFERRED = ("accuracy", "ndcg@10", "reward", "loss")


def main_metric(front: Front) -> str:
    """The metric that the headline is about: accuracy, NDCG, reward or loss, the first that was measured."""
    return next((name for name in _PREFERRED if name in front.metrics), next(iter(front.metrics)))
