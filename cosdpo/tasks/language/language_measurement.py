"""What is measured of a language model along the grid: by whichever worker, and joined to metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import ray

from cosdpo.config import Config
from cosdpo.data.batching import PreferenceData
from cosdpo.evaluation.front import Measured
from cosdpo.evaluation.measure import Measurement, measure
from cosdpo.models.language_scorer import LanguageScorer
from cosdpo.simplex import das_dennis


def measure_share(
    scorer: LanguageScorer,
    config: Config,
    indices: Iterable[int],
    lead: bool,
    illustrate: bool = True,
    ratios: Sequence[float] = (1.0,),
    *,
    data: Any,
    prompts: list[str],
) -> Measurement:
    """The points `indices` of the grid.

    Args:
        data: reference to the held-out data in Ray's object store.
        prompts: those that text is generated for.
    """
    grid = das_dennis(len(config.objectives), config.partitions)
    held_out: PreferenceData = ray.get(data)
    ids = [context.prompt for context in held_out.contexts[: len(prompts)]]
    return measure(scorer, held_out, config, grid, indices, prompts, ids, lead, illustrate, ratios)


def metrics_of(measurement: Measurement, points: int) -> dict[str, Measured]:
    """Accuracy, loss and reward at `points` weights, those of one temperature after those of another."""
    along = [measurement.profiles[i] for i in range(points)]
    profiles = [of_weight[r] for r in range(len(along[0])) for of_weight in along]
    base = measurement.base_profile
    assert base is not None
    half = np.full_like(base.accuracy, 0.5)
    metrics = {
        "accuracy": Measured(np.stack([p.accuracy for p in profiles]), base.accuracy, half),
        "loss": Measured(np.stack([p.loss for p in profiles]), base.loss, base.loss, higher_is_better=False),
    }
    if measurement.base_reward is not None:
        rewards = np.stack([measurement.rewards[i] for i in range(points)], axis=1)  # [R, N, m]
        metrics["reward"] = Measured(np.concatenate(rewards), measurement.base_reward, measurement.base_reward)
    return metrics
