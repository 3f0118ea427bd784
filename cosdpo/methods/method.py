"""What a method answers: which trainings does it need, and what is its policy at weight w?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from cosdpo.arrays import Floats
from cosdpo.config import Config


@dataclass(frozen=True)
class TrainingRun:
    """One training, complete in itself but for the rewards it may take from others."""

    name: str
    """Same name, same training: methods share what both of them need."""
    config: Config
    margins: Mapping[str, float] = field(default_factory=dict)
    """Weights w_k of the margin rewards r^k by the name of the run that gives them (MO-DPO)."""


@dataclass(frozen=True)
class Policy:
    """The model at one weight: a trained run as it is, or the average of several."""

    shares: Mapping[str, float]
    """Share of each run by name, summing to 1."""


class Method(ABC):
    """A way to a front over the weights of the objectives."""

    continuous: ClassVar[bool] = False
    """Whether it has a policy at every weight, not only at those of the grid."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @abstractmethod
    def runs(self, grid: Floats) -> list[TrainingRun]:
        """The trainings that the front over the weights `grid` [N, m] needs."""

    @abstractmethod
    def at(self, weights: Sequence[float] | Floats) -> Policy:
        """The policy at weights [m] of the grid."""


def vertex(weights: Sequence[float] | Floats) -> int | None:
    """The objective that has all the weight, if one has."""
    largest = int(np.argmax(weights))
    return largest if np.isclose(weights[largest], 1.0) else None


def label(weights: Sequence[float] | Floats) -> str:
    """Weights in a name: 0.3_0.7."""
    return "_".join(f"{w:.4g}" for w in weights)


def single(config: Config, weights: Sequence[float] | Floats) -> TrainingRun:
    """The ordinary DPO run of sum_j w_j L_j at fixed weights: no conditioning, plain LoRA."""
    training, model, baseline = config.training, config.model, config.baseline
    rank = baseline.lora_rank or model.lora_rank
    return TrainingRun(
        f"single_{label(weights)}",
        config.changed(
            {
                "conditioning": "none",
                "training.weights": [float(w) for w in weights],
                "training.steps": baseline.steps or training.steps,
                "training.learning_rate": baseline.learning_rate or training.learning_rate,
                "training.weight_decay": training.weight_decay if baseline.weight_decay < 0 else baseline.weight_decay,
                "training.penalty": 0.0,
                "training.target": "labels",
                "model.lora_rank": rank,
                "model.lora_alpha": model.lora_alpha * rank / model.lora_rank,
                "model.temperature_conditioned": False,
            }
        ),
    )
