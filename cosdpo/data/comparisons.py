"""Comparisons: how many the scores of one context hold, and what they say to a listwise loss.

Shapes: m objectives, n candidates of one context. A label only counts within its list here; only a run that asks for
training.compare_across compares scores of different contexts (losses.preferences_across).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from cosdpo.arrays import Floats
from cosdpo.config import Comparisons
from cosdpo.errors import InputError

Scores = Sequence[Sequence[float] | None]


def label_matrix(scores: Scores) -> Floats:
    """The scores as an array [m, n], NaN for an objective without labels."""
    unlabelled = [np.nan] * _candidates(scores)
    return np.array([unlabelled if values is None else values for values in scores], dtype=np.float64)


def comparison_counts(labels: npt.NDArray[np.floating], form: Comparisons) -> Floats:
    """How many comparisons one context has for each objective, [m].

    Pairs of candidates of which one is above the other; choices of a candidate that has others below it (rankings); or
    the list itself, where not all of it ties (listwise).

    Args:
        labels: [m, n], NaN where a candidate is unlabelled: it is then in no comparison.
    """
    if form == "pairwise":
        counts = (labels[:, :, None] > labels[:, None]).sum((1, 2))
    else:
        above = labels > np.fmin.reduce(labels, axis=1, keepdims=True)
        counts = above.sum(1) if form == "rankings" else above.any(1)
    numbers: Floats = np.asarray(counts, dtype=np.float64)
    return numbers


def target_distribution(scores: Scores, kind: Literal["argmax", "proportional", "gains", "softmax"]) -> Floats:
    """Target distributions p^j over the candidates, shape [m, n].

    Rows sum to 1, or to 0 where objective j carries no preference (no labels, or all equal): that masks the context
    for j.

    Args:
        kind: `argmax` puts all mass on the best candidate, evenly on several that tie; `proportional` divides the
            scores by their sum (targets for graded labels); `gains` does so with 2^score - 1, NDCG's gain; `softmax` is
            the softmax of the scores standardised within the list (mean 0, deviation 1).

    Raises:
        InputError: a negative score with `proportional` or `gains`.
    """
    targets = np.zeros((len(scores), _candidates(scores)))
    for j, values in enumerate(scores):
        if values is None or min(values) == max(values):
            continue
        s = np.asarray(values, dtype=np.float64)
        if kind == "argmax":
            mass = (s == s.max()).astype(np.float64)
        elif kind in ("proportional", "gains"):
            if s.min() < 0:
                raise InputError(
                    f"data.targets is {kind} but a score is {s.min():g}; set data.targets to softmax or argmax, or "
                    "give scores of 0 and above"
                )
            # Divided by the largest first, so that no large score overflows; expm1, so that no small one is lost in 1.
            mass = s / s.max() if kind == "proportional" else np.exp2(s - s.max()) * -np.expm1(-np.log(2) * s)
        else:
            spread = (s - s.min()) / (s.max() - s.min())  # first to [0, 1], so that the deviation cannot underflow
            standardised = (spread - spread.mean()) / spread.std()
            mass = np.exp(standardised - standardised.max())
        targets[j] = mass / mass.sum()
    return targets


def _candidates(scores: Scores) -> int:
    """n, which at least one labelled objective must tell."""
    lengths = {len(values) for values in scores if values is not None}
    if len(lengths) != 1:
        raise ValueError(f"expected lists of one length, at least one of them labelled; got lengths {sorted(lengths)}")
    return lengths.pop()
