"""One metric over the points of a front: as it was measured, and the figures it comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, SerializerFunctionWrapHandler, model_serializer

from cosdpo.arrays import Booleans, Floats
from cosdpo.errors import InputError
from cosdpo.evaluation import indicators
from cosdpo.evaluation.bootstrap import PerContext, hypervolume_deviation

Numbers = list[FiniteFloat]
NonNegative = Annotated[int, Field(ge=0)]
Volume = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Deviation = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Measured:
    """One metric as measured: values [N, m] over the points, base [m] of the untrained model, reference_point [m].

    The points may be at several temperatures; those at the trained one are what a metric sums up.

    With cross-validation, hypervolume_folds is the hypervolume of each fold's own front. Where it is known what each
    held-out context adds, `contexts` has that for the points and `base_contexts` for the base.
    """

    values: npt.ArrayLike
    base: npt.ArrayLike
    reference_point: npt.ArrayLike
    higher_is_better: bool = True
    hypervolume_folds: Sequence[float] | None = None
    contexts: PerContext | None = None
    base_contexts: PerContext | None = None

    @classmethod
    def of(
        cls,
        points: PerContext,
        base: PerContext,
        reference_point: npt.ArrayLike | None = None,
        higher_is_better: bool = True,
    ) -> Self:
        """The means over the held-out contexts; the base is the reference point by default."""
        reference = base.mean if reference_point is None else reference_point
        return cls(points.mean, base.mean, reference, higher_is_better, contexts=points, base_contexts=base)


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
    hypervolume_deviation: Deviation | None = None
    """Of the hypervolume over other held-out contexts (bootstrap.py). Left out of the file, as are the next, where it
    was not kept what each context adds."""
    deviations: list[list[Deviation]] | None = None
    """[N, m] of every point's values, in the points' order, likewise."""

    @model_serializer(mode="wrap")
    def _without_absent(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return leave_out(write(self), "hypervolume_folds", "hypervolume_deviation", "deviations")


def leave_out(written: dict[str, Any], *keys: str) -> dict[str, Any]:
    """The written model without those of `keys` that are absent; other keys may well be null, and stay."""
    return {name: value for name, value in written.items() if name not in keys or value is not None}


def summarise(name: str, measured: Measured, weights: Floats, counted: Booleans | None = None) -> Metric:
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
    deviations, of_volume = _deviations(measured, counted)
    return Metric(
        higher_is_better=measured.higher_is_better,
        reference_point=reference.tolist(),
        hypervolume=indicators.hypervolume(gains, sign * reference),
        base=base.tolist(),
        controllability=indicators.controllability(weights, gains).tolist(),
        spread=indicators.spread(gains),
        non_dominated=len(np.unique(gains[indicators.non_dominated(gains)], axis=0)),
        hypervolume_folds=None if measured.hypervolume_folds is None else list(measured.hypervolume_folds),
        hypervolume_deviation=of_volume,
        deviations=deviations,
    )


def rounded(deviations: Floats) -> Any:
    """Deviations as lists, to the three digits that are known of them at most."""
    return np.vectorize(lambda value: float(f"{value:.3g}"), otypes=[np.float64])(deviations).tolist()


def _deviations(measured: Measured, counted: Booleans | None) -> tuple[list[list[float]] | None, float | None]:
    """Of every point's values, and of the hypervolume of those that are counted.

    A reference point that is what the base was measured at moves with the base; another one stays where it is.
    """
    if measured.contexts is None or measured.base_contexts is None:
        return None, None
    sign = 1.0 if measured.higher_is_better else -1.0
    drawn, base = measured.contexts.drawn(), measured.base_contexts.drawn()
    moves = np.array_equal(np.asarray(measured.reference_point), measured.base_contexts.mean)
    references = base if moves else np.broadcast_to(np.asarray(measured.reference_point, dtype=np.float64), base.shape)
    points = drawn if counted is None else drawn[:, counted]
    deviations: list[list[float]] = rounded(drawn.std(0, ddof=1))
    of_volume = hypervolume_deviation(sign * points, sign * references)
    return deviations, None if of_volume is None else float(rounded(np.asarray(of_volume)))
