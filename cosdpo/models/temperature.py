"""The DPO temperature that a request asks for, and its ratio c to the trained one.

The optimum at temperature c * beta is the trained one with its rewards divided by c (COS-DPO's linear transformation
property): c = 1 is the trained model, larger c is closer to the base, smaller c goes beyond what was trained.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosdpo.arrays import Floats
from cosdpo.errors import InputError

Temperature = float | Sequence[float] | None

SMALLEST_RATIO = 0.1
"""Smallest c at which a language model is asked for tokens: below, differences of logits are blown up tenfold and
more, and its text falls apart."""


def temperatures(wanted: Temperature, trained: Sequence[float], conditioned: bool, infinite: bool = False) -> Floats:
    """Temperatures of every objective, [m].

    Args:
        wanted: one for all objectives, one each, or None for the trained ones.
        trained: [m].
        conditioned: whether the model was trained over the ratios of temperatures.
        infinite: take an infinite temperature too, which is the base itself.

    Raises:
        InputError: not a number > 0 or one per objective, or other ratios than the model was trained for.
    """
    usual = np.asarray(trained, dtype=np.float64)
    if wanted is None:
        return usual
    try:
        beta = np.asarray(wanted, dtype=np.float64)
    except (TypeError, ValueError):
        beta = np.zeros(0)
    beta = np.full_like(usual, beta) if beta.ndim == 0 else beta
    if infinite and beta.shape == usual.shape and np.isposinf(beta).all():
        return beta
    if beta.shape != usual.shape or not np.isfinite(beta).all() or (beta <= 0).any():
        raise InputError(f"temperature must be a number > 0, or {len(usual)} of them, one per objective")
    if not conditioned and not np.allclose(beta / beta.max(), usual / usual.max(), rtol=1e-6):
        raise InputError(
            f"temperature {beta.tolist()} has other ratios than the trained {usual.tolist()}; give a multiple of "
            "those, or train with model.temperature_conditioned true"
        )
    return beta


def ratio(beta: Floats, trained: Sequence[float], smallest: float = 0.0) -> float:
    """c = ||beta||_1 / ||trained||_1 of temperatures [m]; exactly 1 where they are equal.

    Raises:
        InputError: c is below `smallest`.
    """
    usual = np.asarray(trained, dtype=np.float64)
    # Plain sums: infinity where numbers are too large to be added up, without a word.
    c = 1.0 if np.array_equal(beta, usual) else sum(beta.tolist()) / sum(usual.tolist())
    if c < smallest * (1 - 1e-9):  # the smallest that the message names shall be taken
        raise InputError(
            f"temperature {beta.mean():g} is {c:.2g} of the trained {usual.mean():g}; give at least "
            f"{smallest * usual.mean():g}"
        )
    return c
