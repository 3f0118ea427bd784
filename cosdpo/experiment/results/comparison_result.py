"""What a comparison came to: the fronts of all methods and seeds, and what they are over the seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cosdpo.config import Config
from cosdpo.experiment.results.points import write_points
from cosdpo.experiment.results.result import Result
from cosdpo.experiment.results.summary import Comparison

DATA, POINTS = "comparison.json", "points.parquet"


@dataclass(frozen=True)
class ComparisonResult:
    """All methods of one comparison folder."""

    config: Config
    """Its output is the folder."""
    results: Sequence[Result]
    """Fronts of all methods, seeds and budgets; methods are listed in their order of appearance."""
    comparison: Comparison
    """`summarise` of these results, with what failed."""
    facts: Mapping[str, str | int | float]
    """How it was measured, such as the base model or the device."""

    def save(self) -> None:
        """Writes comparison.json and points.parquet, before anything is drawn: what was measured outlives a plot."""
        self.comparison.save(self.config.output / DATA)
        write_points(self.results, self.config.output / POINTS)
