"""MO-DPO: for every weight a run on one objective, with the other objectives' rewards as a margin (Zhou et al. 2023).

    L = - log sigmoid( (1 / w_j) [ beta (Delta log pi - Delta log pi_ref) - sum_{k != j} w_k Delta r^k ] )

r^k = beta log(pi_k / pi_ref) comes from the single-objective run of objective k. The chosen objective j is the one with
the largest weight, which keeps 1 / w_j small; at a vertex its own single-objective run is the policy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosdpo.arrays import Floats
from cosdpo.methods.method import Method, Policy, TrainingRun, label, single, vertex


class Modpo(Method):
    """The single-objective runs that give the margins, and a run per weight between them."""

    def runs(self, grid: Floats) -> list[TrainingRun]:
        """Margin runs first."""
        corners = [single(self.config, corner) for corner in np.eye(grid.shape[1])]
        return corners + [self._between(weights) for weights in grid if vertex(weights) is None]

    def _between(self, weights: Sequence[float] | Floats) -> TrainingRun:
        chosen = int(np.argmax(weights))
        corners = np.eye(len(weights))
        plain = single(self.config, corners[chosen])
        # Only the chosen objective is trained here, so that its temperature beta / w_j is the only one that counts.
        beta = [float(beta / weights[chosen]) for beta in self.config.temperatures]
        return TrainingRun(
            f"modpo_{label(weights)}",
            plain.config.changed({"temperature": beta}),
            margins={
                single(self.config, corners[k]).name: float(w)
                for k, w in enumerate(weights)
                if k != chosen and not np.isclose(w, 0)
            },
        )

    def at(self, weights: Sequence[float] | Floats) -> Policy:
        """The run of that weight."""
        corner = vertex(weights)
        run = self._between(weights) if corner is None else single(self.config, np.eye(len(weights))[corner])
        return Policy({run.name: 1.0})
