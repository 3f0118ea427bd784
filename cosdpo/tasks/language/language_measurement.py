"""What is measured of a language model along the grid: by whichever worker, and joined to metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import ray

from cosdpo.arrays import Floats
from cosdpo.config import Config
from cosdpo.data.batching import PreferenceData
from cosdpo.evaluation.bootstrap import PerContext
from cosdpo.evaluation.front import Measured
from cosdpo.evaluation.measure import Measurement, measure
from cosdpo.evaluation.profile import Profile, profiles_of
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
    metrics = _accuracy_and_loss(profiles, base)
    if measurement.base_reward is not None:
        rewards = PerContext.by_temperature([measurement.rewards[i] for i in range(points)])
        metrics["reward"] = Measured.of(rewards, measurement.base_reward)
    return metrics


def along(
    measurement: Measurement, data: PreferenceData, config: Config, shares: Floats
) -> tuple[dict[str, Measured], PerContext]:
    """Accuracy and loss at K weights whose scores are `shares` [K, N] of those of the N grid points, and the nats per
    token there [K, C, 1]; all at the trained temperature.
    """
    base, points = measurement.base_profile, range(shares.shape[1])
    assert base is not None
    rewards = np.tensordot(shares, np.stack([measurement.profiles[i][0].rewards for i in points]), 1)
    rewards = rewards.astype(np.float32).astype(np.float64)  # so that responses that tie still do
    between = profiles_of(rewards, data, config.temperatures, config.evaluation.batch_tokens)
    nats = np.stack([measurement.divergences[i].sums[0] for i in points])
    price = PerContext(np.maximum(0.0, np.tensordot(shares, nats, 1)), measurement.divergences[0].counts)
    return _accuracy_and_loss(between, base), price


def _accuracy_and_loss(profiles: Sequence[Profile], base: Profile) -> dict[str, Measured]:
    right, losses = (PerContext.stacked([getattr(p, name) for p in profiles]) for name in ("right", "losses"))
    return {
        "accuracy": Measured.of(right, base.right, np.full_like(base.accuracy, 0.5)),
        "loss": Measured.of(losses, base.losses, higher_is_better=False),
    }
