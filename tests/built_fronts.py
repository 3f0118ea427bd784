"""Fronts of given values: what a test says of one, and the rest that a front has to have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cosdpo.evaluation.front import Front, Measured, build

OF_A_RUN: dict[str, Any] = {
    "method": "cos",
    "task": "language",
    "seed": 0,
    "trained_temperature": 0.1,
    "train_seconds": 1.0,
    "trained_parameters": 1,
}


def built(weights: npt.ArrayLike, metrics: Mapping[str, Measured], **changes: Any) -> Front:
    """The front of a conditioned run over objectives a, b, ..., with `changes` to the arguments of `build`."""
    names = ["a", "b", "c", "d", "e"][: np.shape(weights)[1]]
    return build(**(OF_A_RUN | {"objectives": names, "weights": weights, "metrics": metrics} | changes))
