"""DPO with linear scalarization: for every weight a run of its own on sum_j w_j L_j."""

from __future__ import annotations

from collections.abc import Sequence

from cosdpo.arrays import Floats
from cosdpo.methods.method import Method, Policy, TrainingRun, single


class LinearScalarization(Method):
    """As many runs as the front has points."""

    def runs(self, grid: Floats) -> list[TrainingRun]:
        """A run per weight."""
        return [single(self.config, weights) for weights in grid]

    def at(self, weights: Sequence[float] | Floats) -> Policy:
        """The run of that weight."""
        return Policy({single(self.config, weights).name: 1.0})
