"""What a run needs to know of its task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import torch

from cosdpo.arrays import Floats
from cosdpo.config import Config
from cosdpo.data.training_data import TrainingData
from cosdpo.evaluation.front import Main, Measured


class Measure(Protocol):
    """Measures a scorer at some of the grid's weights; picklable, as is the part that it returns."""

    def __call__(
        self,
        scorer: Any,
        config: Config,
        indices: Iterable[int],
        lead: bool,
        illustrate: bool = True,
        ratios: Sequence[float] = (1.0,),
    ) -> Any:
        """The lead also measures the base and illustrates the trade-off, which only a conditioned scorer can.

        Args:
            ratios: multiples of the trained temperature, at each of which every weight is measured.
        """


Average = Callable[[Mapping[Path, float], Config, torch.device], Any]
"""Loads one checkpoint (share 1), or the average of several; picklable."""


@dataclass(frozen=True)
class Findings:
    """All that was measured, ready for the front and its report: the grid at one temperature after the other."""

    metrics: dict[str, Measured]
    trained_parameters: int
    base_parameters: int
    main: Main | None = None
    pictures: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the report: samples of a language model, rankings of a ranker."""


class Task(ABC):
    """Data of one run, and what is done with it; made before Ray starts."""

    name: ClassVar[Literal["language", "ranking"]]
    config: Config
    train: TrainingData
    held_out: TrainingData
    notes: dict[str, int]
    """Rows dropped and texts cut, by reason."""

    @staticmethod
    def resolved(config: Config) -> Config:
        """`config` with what the task can fill in."""
        return config

    @staticmethod
    @abstractmethod
    def check(config: Config) -> None:
        """Refuses (InputError) what can be refused without reading any data."""

    @classmethod
    @abstractmethod
    def prepare(cls, config: Config) -> Self:
        """Reads and checks the data."""

    @abstractmethod
    def add_reference(self) -> None:
        """Gives both sides their reference scores; needs Ray. May train a base first, and then sets model.base."""

    @property
    @abstractmethod
    def create(self) -> Callable[[Config, torch.device], Any]:
        """Builds a fresh scorer on a worker's device; picklable."""

    @property
    @abstractmethod
    def average(self) -> Average:
        """Loads trained scorers from their checkpoints; a soup loads several at once."""

    @abstractmethod
    def measure(self) -> Measure:
        """Measures scorers on the held-out data, on whichever node; needs Ray."""

    @abstractmethod
    def findings(self, parts: Sequence[Any], grid: Floats) -> Findings:
        """Joins the parts that `measure` returned; together they cover the grid [N, m], and the first is a lead's.

        The points of the findings are the grid at the first ratio, then at the next.
        """

    @abstractmethod
    def step_flops(self) -> float:
        """Floating-point operations of an optimiser step, estimated: 2 per parameter and item forward, 2 for the
        gradients of activations, and 2 for those of the parameters that are trained.
        """

    def example(self) -> dict[str, Any] | None:
        """What the service lets people try the model on, besides the samples; None where these are enough."""
        return None

    @abstractmethod
    def facts(self) -> dict[str, str | int | float]:
        """What the report says about the run."""
