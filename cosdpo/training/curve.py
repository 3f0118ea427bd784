"""Held-out losses along a training, each at its objective's own end: whether steering is still being learned.

A few contexts, a pass for each end, an eighth of the steps apart. Under training.keep last nothing is chosen by them.
Under best the state of the largest hypervolume is kept, and the contexts are training contexts set apart for it: a
front that is measured on what chose it flatters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cosdpo.arrays import Floats
from cosdpo.config import Config
from cosdpo.data.batching import Batch, set_apart
from cosdpo.data.training_data import TrainingData
from cosdpo.simplex import normalise
from cosdpo.training.strategies.strategy import Strategy

CURVE = "held_out"
"""How the curve's keys in metrics.jsonl begin: held_out/OBJECTIVE."""
SELECTION = "selection"
"""Key of how good a state is, where the best is kept."""
POINTS = 8
"""Of a curve, where nothing else is said."""
FEWEST_STEPS = 25
"""Between two points, likewise: a point costs about as much as a step of training or two."""


@dataclass(frozen=True)
class Curve:
    """Contexts on which a training is watched; picklable."""

    batches: Sequence[Batch]
    apart: Sequence[int] = ()
    """Indices of training contexts that these are, which are not trained on."""

    @classmethod
    def of(cls, train: TrainingData, held_out: TrainingData, config: Config) -> Curve | None:
        """Contexts spread over the held-out data, or over the training data where the best state is kept.

        Args:
            train: data of the task, with its reference scores.
            held_out: likewise.

        Returns:
            None where none are wanted.
        """
        apart = set_apart(config, len(train))
        data, count = (train, apart) if apart else (held_out, min(config.evaluation.curve_contexts, len(held_out)))
        if count == 0:
            return None
        chosen = np.linspace(0, len(data) - 1, count).round().astype(int).tolist()
        size = config.training.micro_batch or config.training.batch_size
        return cls([data.batch(chosen[at : at + size]) for at in range(0, count, size)], chosen if apart else ())

    def due(self, step: int, config: Config) -> bool:
        """Whether there is a point after `step`; there is one after the last."""
        steps = config.training.steps
        every = config.evaluation.curve_every or max(FEWEST_STEPS, -(-steps // POINTS))
        return step == steps or step % every == 0

    @torch.no_grad()
    def line(self, strategy: Strategy, config: Config, device: torch.device) -> dict[str, float]:
        """held_out/NAME of every objective: its loss at its own end over that of the base, so that 1 is the base.

        A run at fixed weights has all losses there. An objective of which the contexts say nothing is left out. Where
        the best state is kept, `selection` says how good this one is. Called by all workers together.
        """
        m, fixed = len(config.objectives), config.training.weights
        points = [normalise(fixed, config.objectives).tolist()] if fixed else np.eye(m).tolist()
        if self.apart and not fixed:
            points.append([1 / m] * m)  # a front of ends alone could not tell a bent one from a straight one
        sums, base = np.zeros((len(points), m)), np.zeros(m)
        strategy.scorer.eval()
        for batch in (batch.to(device) for batch in self.batches):
            count = len(batch.mask)
            beta = torch.tensor(config.temperatures, device=device).expand(count, m)
            base += batch.losses(torch.zeros_like(batch.reference), beta).sum(0).double().cpu().numpy()
            for point, losses in zip(points, sums, strict=True):
                weights = torch.tensor(point, device=device).expand(count, m)
                rewards = (strategy.score(batch.contexts, weights, beta) - batch.reference) * batch.mask
                losses += batch.losses(rewards, beta).sum(0).double().cpu().numpy()
        strategy.scorer.train()
        known = np.flatnonzero(base)
        ratios = sums[:, known] / base[known]
        own = ratios[0] if fixed else ratios[known, range(len(known))]
        line = {f"{CURVE}/{config.objectives[j]}": float(ratio) for j, ratio in zip(known, own, strict=True)}
        if self.apart:
            line[SELECTION] = _worth(ratios, own, np.array(points[0])[known] if fixed else None)
        return line


def _worth(ratios: Floats, own: Floats, fixed: Floats | None) -> float:
    """How good a state is: hypervolume of its losses against the base's; at fixed weights the gain in their loss.

    Where no point is better than the base for every objective it is the mean gain at the own ends, at most 0.

    Args:
        ratios: [points, m] losses over those of the base.
        own: [m] of them, each at its own end.
        fixed: [m] weights of a run that is not conditioned.
    """
    if fixed is not None:
        return float(fixed @ (1 - own) / fixed.sum()) if fixed.sum() else 0.0
    from cosdpo.evaluation.indicators import hypervolume  # here: training imports with torch and numpy alone

    return hypervolume(1 - ratios, np.zeros(len(own))) or float(min(0.0, 1 - own.mean()))
