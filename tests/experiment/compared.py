"""Finished comparisons, for tests to look into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cosdpo.config import Config
from cosdpo.evaluation.front import Front
from cosdpo.experiment.compare import compare
from cosdpo.experiment.results.comparison_result import ComparisonResult
from cosdpo.experiment.results.result import Budget
from cosdpo.training.unit import Trained


@dataclass(frozen=True)
class Compared:
    """A finished comparison."""

    config: Config
    result: ComparisonResult

    def front(self, method: str, budget: Budget = "steps") -> Front:
        (found,) = [r.front for r in self.result.results if (r.front.method, r.budget) == (method, budget)]
        return found

    @property
    def runs(self) -> dict[str, Path]:
        return {path.name: path for path in (self.config.output / "seed-0" / "runs").iterdir()}

    @property
    def trained(self) -> Mapping[str, Trained]:
        return {name: Trained.read(path) for name, path in self.runs.items()}

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        return {(r.front.method, r.budget): r.runs for r in self.result.results}


def compared(config: Config) -> Compared:
    result = compare(config)
    assert result is not None
    assert result.comparison.failures == {}
    return Compared(config, result)
