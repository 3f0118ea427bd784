"""The front of what was measured, and what is kept of it in a run folder for the report, the service and a resume."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cosdpo.arrays import Floats
from cosdpo.config import Config
from cosdpo.evaluation.between import curve_weights
from cosdpo.evaluation.front import Front, Measured, build, curve_of
from cosdpo.evaluation.samples import Ranking, Sample
from cosdpo.files import write_whole
from cosdpo.simplex import das_dennis
from cosdpo.tasks.task import Findings

FRONT = "front.json"
SAMPLES = "samples.json"
"""The report's prompts and answers, or queries and rankings."""
EXAMPLE = "example.json"
"""A held-out query of a ranker with its features, which the service reads."""
Reference = Mapping[str, Sequence[float]]
"""[m] reference point of every metric."""


def front_of(
    config: Config,
    method: str,
    findings: Findings,
    *,
    seconds: float,
    parameters: int,
    seconds_total: float | None = None,
    reference: Reference | None = None,
) -> Front:
    """The front over the grid of `config`, at every ratio that was measured.

    Args:
        seconds: training time of one run.
        parameters: trained ones, of all runs.
        seconds_total: training time of all runs that the method needs; `seconds` by default.
        reference: where the hypervolume of each metric is taken from; by default as the task says.
    """
    grid = das_dennis(len(config.objectives), config.partitions)
    count = len(next(iter(findings.metrics.values())).values)  # type: ignore[arg-type]
    ratios = config.ratios[: count // len(grid)]

    def judged(metrics: Mapping[str, Measured]) -> Mapping[str, Measured]:
        if reference is None:
            return metrics
        return {name: dataclasses.replace(m, reference_point=reference[name]) for name, m in metrics.items()}

    weights, between = curve_over(config, grid), findings.curve
    return build(
        method=method,
        task=config.task,
        objectives=config.objectives,
        seed=config.seed,
        trained_temperature=config.temperature,
        train_seconds=seconds,
        train_seconds_total=seconds_total,
        trained_parameters=parameters,
        weights=np.tile(grid, (len(ratios), 1)),
        temperatures=np.outer(np.repeat(ratios, len(grid)), config.temperatures),
        metrics=judged(findings.metrics),
        main=findings.main,
        curve=None if weights is None or between is None else curve_of(weights, judged(between.metrics), between.main),
    )


def curve_over(config: Config, grid: Floats) -> Floats | None:
    """The weights of the curve that `config` asks for; None where there is none."""
    return curve_weights(grid, config.partitions, config.grid.curve)


def keep_samples(folder: Path, findings: Findings) -> None:
    """Writes samples.json."""
    shown = [item.model_dump() for item in (*findings.samples, *findings.rankings)]
    write_whole(folder / SAMPLES, json.dumps(shown, indent=2))


def kept_samples(folder: Path) -> tuple[list[Sample], list[Ranking]]:
    """What `keep_samples` wrote; nothing where it did not."""
    path = folder / SAMPLES
    shown = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    samples = [Sample.model_validate(item) for item in shown if "prompt" in item]
    return samples, [Ranking.model_validate(item) for item in shown if "query" in item]


def kept_front(path: Path, grid: Floats, ratios: Sequence[float] = (1.0,), curve: Floats | None = None) -> Front | None:
    """The front that was measured before, unless on another grid, at other temperatures or with another curve."""
    front = Front.load(path) if path.exists() else None
    if front is None or not np.array_equal(front.weights, np.tile(grid, (len(ratios), 1))):
        return None
    if not np.array_equal([] if front.curve is None else front.curve.weights, [] if curve is None else curve):
        return None
    return front if front.ratios == sorted(round(c, 9) for c in ratios) else None
