"""One metric over the points of a front: as it was measured, and the figures it comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, SerializerFunctionWrapHandler, model_serializer

from cosdpo.arrays import Booleans, Floats
from cosdpo.errors import InputError
from cosdpo.evaluation import indicators

Numbers = list[FiniteFloat]
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
        return leave_out(write(self), "hypervolume_folds")


def leave_out(written: dict[str, Any], key: str) -> dict[str, Any]:
    """The written model without `key` if that is absent; other keys may well be null, and stay."""
    return {name: value for name, value in written.items() if name != key or value is not None}


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
