"""What a run of one method came to: its front and what its report shows besides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cosdpo.config import Config
from cosdpo.evaluation.front import Front
from cosdpo.evaluation.samples import Ranking, Sample


@dataclass(frozen=True)
class RunResult:
    """One front of one run folder."""

    config: Config
    """Its output is the run folder."""
    front: Front
    facts: Mapping[str, str | int | float]
    """How it came about, such as the base model or the number of workers; `base_parameters` among them."""
    dropped: Mapping[str, int] | None = None
    """Data rows dropped, by reason; None where no data was read."""
    samples: Sequence[Sample] = field(default_factory=list)
    """Prompts answered along the trade-off, by a language model."""
    rankings: Sequence[Ranking] = field(default_factory=list)
    """Queries ranked along the trade-off, by a ranker."""
