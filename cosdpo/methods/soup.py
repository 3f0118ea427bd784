"""DPO soup: one run per objective, and for every weight the average of their parameters (Rame et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosdpo.arrays import Floats
from cosdpo.methods.method import Method, Policy, TrainingRun, single


class Soup(Method):
    """As many runs as there are objectives."""

    continuous = True

    def runs(self, grid: Floats) -> list[TrainingRun]:
        """A single-objective run per objective."""
        return [single(self.config, corner) for corner in np.eye(grid.shape[1])]

    def at(self, weights: Sequence[float] | Floats) -> Policy:
        """sum_j w_j theta_j; for LoRA the sum of the updates w_j B_j A_j, not of their factors."""
        corners = np.eye(len(weights))
        return Policy(
            {
                single(self.config, corner).name: float(w)
                for corner, w in zip(corners, weights, strict=True)
                if not np.isclose(w, 0)
            }
        )
