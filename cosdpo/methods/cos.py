"""COS-DPO: one conditioned run, whose model takes the weights as an input (Ren et al., UAI 2025)."""

from __future__ import annotations

from collections.abc import Sequence

from cosdpo.arrays import Floats
from cosdpo.config import Config
from cosdpo.methods.method import Method, Policy, TrainingRun

NAME = "cos"


class Cos(Method):
    """One run for the whole front."""

    continuous = True

    def __init__(self, config: Config, name: str = NAME) -> None:
        """`name` tells the runs of several conditionings apart."""
        super().__init__(config)
        self.name = name

    def runs(self, grid: Floats) -> list[TrainingRun]:
        """The conditioned run."""
        return [TrainingRun(self.name, self.config)]

    def at(self, weights: Sequence[float] | Floats) -> Policy:
        """The same model at every weight; it is told the weights when it is used."""
        return Policy({self.name: 1.0})
