"""Colours of trials: by how good they are, from pale blue to crimson, and one each for the best."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

WORST, BEST = "#9db8d2", "#b5123e"
FIRST = ("#b5123e", "#4a3fb0", "#17a3a3", "#8a8b12")
"""The best trials, in their order."""


def shades(values: Mapping[str, float], sign: int) -> dict[str, str]:
    """#rrggbb by name: BEST for the best of `values`, WORST for the worst; evenly by rank, since one outlier would
    otherwise make all others look alike.
    """
    names = sorted(values, key=lambda name: sign * values[name])
    low, high = (np.array([int(ink[k : k + 2], 16) for k in (1, 3, 5)]) for ink in (WORST, BEST))
    inks = {}
    for place, name in enumerate(names):
        part = place / (len(names) - 1) if len(names) > 1 else 1.0
        red, green, blue = np.rint(low + part * (high - low)).astype(int)
        inks[name] = f"#{red:02x}{green:02x}{blue:02x}"
    return inks
