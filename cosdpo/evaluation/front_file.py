"""front.json: the trade-offs a method reached, each a weight vector with its metrics, and what they are worth together.

Read by the report, the service and comparisons; `Front.save` and `Front.load` are the only ways to the file and back.
Others import all of this from evaluation/front.py, which builds fronts of what was measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
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

from cosdpo.arrays import Floats, Integers
from cosdpo.errors import InputError, first_wrong
from cosdpo.evaluation.bootstrap import PerContext
from cosdpo.evaluation.metric import Deviation, Measured, Metric, NonNegative, Numbers, leave_out, rounded, summarise
from cosdpo.files import write_whole
from cosdpo.models.temperature import ratio

Weight = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


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
    deviations: list[Deviation] | None = None
    """[N] of every value over other held-out contexts (bootstrap.py); left out of the file where it is not known."""

    @model_serializer(mode="wrap")
    def _without_absent(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return leave_out(write(self), "deviations")

    @classmethod
    def of(cls, name: str, metric: str, points: PerContext, base: float, higher_is_better: bool = True) -> Main:
        """The means [N, 1] over the held-out contexts, and their deviations."""
        values, deviations = points.mean[:, 0].tolist(), rounded(points.deviation()[:, 0])
        return cls(
            name=name,
            metric=metric,
            higher_is_better=higher_is_better,
            base=base,
            values=values,
            deviations=deviations,
        )

    def at(self, rows: Integers) -> Main:
        """At some of the points."""
        deviations = self.deviations and [self.deviations[i] for i in rows]
        return self.model_copy(update={"values": [self.values[i] for i in rows], "deviations": deviations})

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


class FrontCurve(BaseModel):
    """The front at many more weights, from scores interpolated between those of the grid (between.py)."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    weights: Annotated[list[list[Weight]], Field(min_length=1)]
    """[K, m] those of the grid among them; in order."""
    metrics: dict[str, Metric]
    """The metrics by name, with the figures of the curve; not those of generated text."""
    values: dict[str, list[Numbers]]
    """[K, m] values of every metric."""
    main: Main | None = None
    """The main objective along the curve."""


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
    curve: FrontCurve | None = None
    """Between the points, at the trained temperature; left out of the file of a method that has no other weights."""

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
        for where, rows, count in self._columns():
            if rows is not None and len(rows) != count:
                raise ValueError(f"{where} has {len(rows)} numbers for {count} points")
        return self

    @model_serializer(mode="wrap")
    def _without_absent(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return leave_out(write(self), "main", "curve")

    def _vectors(self) -> Iterator[tuple[str, list[float]]]:
        """Every list that must have a number per objective, with its place in the file."""
        if isinstance(self.trained_temperature, list):
            yield "trained_temperature", self.trained_temperature
        yield from _of_metrics("metrics", self.metrics)
        if self.curve is not None:
            yield from _of_metrics("curve.metrics", self.curve.metrics)
            yield from ((f"curve.weights[{k}]", weights) for k, weights in enumerate(self.curve.weights))
            for name, rows in self.curve.values.items():
                yield from ((f"curve.values.{name}[{k}]", row) for k, row in enumerate(rows))
        for i, point in enumerate(self.points):
            yield f"points[{i}].weights", point.weights
            yield f"points[{i}].temperature", point.temperature
            for name, values in point.values.items():
                yield f"points[{i}].values.{name}", values

    def _columns(self) -> Iterator[tuple[str, Sequence[Any] | None, int]]:
        """Every list that must have a number per point, with its place in the file, and how many points there are."""
        parts = [("", self.main, self.metrics, len(self.points))]
        if self.curve is not None:
            count = len(self.curve.weights)
            parts.append(("curve.", self.curve.main, self.curve.metrics, count))
            yield from ((f"curve.values.{name}", self.curve.values.get(name, []), count) for name in self.curve.metrics)
        for where, main, metrics, count in parts:
            if main is not None:
                yield f"{where}main.values", main.values, count
                yield f"{where}main.deviations", main.deviations, count
            for name, metric in metrics.items():
                yield f"{where}metrics.{name}.deviations", metric.deviations, count

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
        metrics = {}
        for name, metric in self.metrics.items():
            own = metric
            if c != 1:
                measured = self.values(name)[rows], metric.base, metric.reference_point, metric.higher_is_better
                own = summarise(name, Measured(*measured), self.weights[rows])
            deviations = metric.deviations and [metric.deviations[i] for i in rows]
            metrics[name] = own.model_copy(update={"deviations": deviations})
        points = [self.points[i] for i in rows]
        main, curve = self.main and self.main.at(rows), self.curve if c == 1 else None
        return self.model_copy(update={"points": points, "metrics": metrics, "main": main, "curve": curve})

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
        write_whole(path, self.model_dump_json(indent=2) + "\n")

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
            raise InputError(f"{path} is no front, {first_wrong(error)}; evaluate the run again") from None


def front_path(checkpoint: Path) -> Path:
    """Where the front.json is of the run whose checkpoint folder is `checkpoint`: beside it, or in it as on the hub."""
    within = checkpoint / "front.json"
    return within if within.exists() else checkpoint.resolve().parent / "front.json"


def _of_metrics(where: str, metrics: Mapping[str, Metric]) -> Iterator[tuple[str, list[float]]]:
    """Every list in them that must have a number per objective."""
    for name, metric in metrics.items():
        yield f"{where}.{name}.reference_point", metric.reference_point
        yield f"{where}.{name}.base", metric.base
        yield f"{where}.{name}.controllability", metric.controllability
        for i, deviations in enumerate(metric.deviations or []):
            yield f"{where}.{name}.deviations[{i}]", deviations


_PREFERRED = ("accuracy", "ndcg@10", "reward", "loss")


def main_metric(front: Front) -> str:
    """The metric that the headline is about: accuracy, NDCG, reward or loss, the first that was measured."""
    return next((name for name in _PREFERRED if name in front.metrics), next(iter(front.metrics)))
