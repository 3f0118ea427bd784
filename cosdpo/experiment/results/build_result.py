"""What a build of preferences came to: the answers of every round, their scores, and the front that they led to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from cosdpo.arrays import Floats
from cosdpo.config import Config
from cosdpo.evaluation.front import Front


@dataclass(frozen=True)
class BuiltRound:
    """Preferences, and the front of the run that was trained on them, where one was."""

    name: str
    path: Path
    """Of the preferences."""
    objectives: Sequence[str]
    prompts: int
    answers: int
    tokens: int
    seconds: float
    """Of sampling and scoring."""
    dropped: dict[str, int]
    front: Front | None = None

    def trained(self, front: Front) -> BuiltRound:
        """The same with the front that was reached on it."""
        return replace(self, front=front)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the file."""
        rows: list[dict[str, Any]] = pq.read_table(self.path).to_pylist()
        return rows

    def scores(self, objective: str) -> Floats:
        """Of all answers, [N]."""
        return np.array([score for row in self.rows for score in row["scores"][objective]])

    def opposite(self) -> dict[tuple[str, str], float]:
        """Of the pairs of answers to one prompt that both objectives tell apart, the share that they order oppositely;
        nan where there is no such pair.
        """
        shares = {}
        for one, other in combinations(self.objectives, 2):
            signs = np.concatenate([_signs(row["scores"][one]) * _signs(row["scores"][other]) for row in self.rows])
            decided = signs[signs != 0]
            shares[one, other] = float((decided < 0).mean()) if len(decided) else float("nan")
        return shares


def _signs(scores: Sequence[float]) -> Floats:
    """Which of every two answers has more, as 1, 0 or -1, [n (n - 1) / 2]."""
    values = np.array(scores)
    first, second = np.triu_indices(len(values), 1)
    signs: Floats = np.sign(values[first] - values[second])
    return signs


@dataclass(frozen=True)
class BuildResult:
    """All rounds of a build."""

    config: Config
    """Its output is the folder."""
    rounds: Sequence[BuiltRound]
