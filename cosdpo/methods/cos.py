"""COS-DPO: one conditioned run, whose model takes the weights as an input (Ren et al., UAI 2025)."""

from __future__ import annotations

from collections.abc import Sequence

from cosdpo.methods.method import Floats, Method, Policy, TrainingRun

NAME = "cos"


class Cos(Method):
    """One run for the whole front."""

    def runs(self, grid: Floats) -> list[TrainingRun]:
        """The conditioned run."""
        return [TrainingRun(NAME, self.config)]

    def at(self, weights: Sequence[float] | Floats) -> Policy:
        """The same model at every weight; it is told the weights when it is used."""
        return Policy({NAME: 1.0})
