"""What a run needs to know of its task: what it is, its data, its scorers, and how they are measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import torch

from cosdpo.arrays import Floats
from cosdpo.config import Config
from cosdpo.data.tokenization import TokenizedContext
from cosdpo.data.training_data import TrainingData
from cosdpo.evaluation.front import Main, Measured
from cosdpo.evaluation.samples import Ranking, Sample
from cosdpo.training.unit import Unit


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
    main: Main | None = None
    samples: Sequence[Sample] = field(default_factory=list)
    """What a language model answers along the trade-off."""
    rankings: Sequence[Ranking] = field(default_factory=list)
    """How a ranker ranks along it."""
    curve: Findings | None = None
    """The metrics and the main objective at the weights of a curve between the grid's, at the trained temperature."""


class Task(ABC):
    """Data of one run, and what is done with it; made before Ray starts."""

    name: ClassVar[Literal["language", "ranking"]]
    job: ClassVar[str]
    """The script of jobs/ that trains one configuration of it."""
    conditioning: ClassVar[str]
    """The key of how the weights enter."""
    conditionings: ClassVar[tuple[str, ...]]
    """The values of that key that a comparison may name."""
    plans_memory: ClassVar[bool] = False
    """Whether its trainings can be too large for a GPU, so that a plan says what they take."""
    example_key: ClassVar[str]
    """A key that a sweep of it may search, for messages."""

    config: Config
    train: TrainingData
    held_out: TrainingData
    notes: dict[str, int]
    """Rows dropped and texts cut, by reason."""

    @staticmethod
    @abstractmethod
    def metrics(config: Config) -> list[str]:
        """Names of the metrics that its fronts have, the main one first."""

    @staticmethod
    def folds(config: Config) -> int:
        """Folds of the data."""
        return 1

    @staticmethod
    def resolved(config: Config) -> Config:
        """`config` with what the task can fill in."""
        return config

    @staticmethod
    def with_demo_data(config: Config) -> Config:
        """`config` with synthetic data where it names neither data nor a base."""
        return config

    @staticmethod
    @abstractmethod
    def check(config: Config) -> None:
        """Refuses (InputError) what can be refused without reading any data."""

    @staticmethod
    @abstractmethod
    def why_not_searched(key: str, config: Config) -> str:
        """Why the trials of a sweep cannot differ in `key`, as the rest of `it cannot be searched, for`; empty where
        they can.
        """

    @staticmethod
    def fitting(config: Config) -> Callable[[Config], None]:
        """A check of other settings against the base of `config`, which raises InputError where they do not fit it."""
        return lambda other: None

    @staticmethod
    def for_trials(config: Config, searched: Mapping[str, Sequence[Any]]) -> Config:
        """`config` under which every trial has the same data.

        Args:
            searched: the ends of the searched keys' values.
        """
        return config

    @classmethod
    @abstractmethod
    def prepare(cls, config: Config) -> Self:
        """Reads and checks the data."""

    def base(self) -> tuple[Unit, TrainingData] | None:
        """What has to be trained before there are reference scores, with its data; None where the base is given."""
        return None

    def use_base(self, checkpoint: Path) -> None:
        """Takes the trained base."""
        self.config = self.config.changed({"model.base": str(checkpoint)})

    def fingerprints(self) -> dict[str, str]:
        """Of what it is trained on and measured on, which for a ranker is evaluation.split's."""
        sides = {"training": self.train, f"held-out {self.config.evaluation.split}": self.held_out}
        return {side: data.fingerprint() for side, data in sides.items()}

    @abstractmethod
    def add_reference(self) -> None:
        """Gives both sides their reference scores; needs Ray and a base."""

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
    def findings(self, parts: Sequence[Any], grid: Floats, curve: Floats | None = None) -> Findings:
        """Joins the parts that `measure` returned; together they cover the grid [N, m], and the first is a lead's.

        The points of the findings are the grid at the first ratio, then at the next.

        Args:
            curve: weights [K, m] between those of the grid, of a policy that is continuous in the weights.
        """

    @abstractmethod
    def step_flops(self) -> float:
        """Floating-point operations of an optimiser step, estimated: 2 per parameter and item forward, 2 for the
        gradients of activations, and 2 for those of the parameters that are trained.
        """

    @property
    def contexts(self) -> Sequence[TokenizedContext]:
        """The training contexts whose lengths decide what memory a training takes; none where `plans_memory` is off."""
        return []

    def example(self) -> dict[str, Any] | None:
        """What the service lets people try the model on, besides the samples; None where these are enough."""
        return None

    @abstractmethod
    def facts(self) -> dict[str, str | int | float]:
        """What the report says about the run."""
