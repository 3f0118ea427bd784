"""One run: its own keys, and all sections."""

from __future__ import annotations

from math import comb
from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from cosdpo.config import checks
from cosdpo.config.build import BuildConfig
from cosdpo.config.data import DataConfig
from cosdpo.config.evaluation import EvaluationConfig, GridConfig
from cosdpo.config.experiment import BaselineConfig, ComparisonConfig, MethodName, SweepConfig
from cosdpo.config.scaling import GpuConfig, HubConfig, ScalingConfig, TrackingConfig
from cosdpo.config.section import LocalPath, NonNegative, Rate, Section
from cosdpo.config.training import ModelConfig, RankerConfig, TrainingConfig

LARGEST_GRID = 70
"""Weights of an evaluation grid whose partitions are not given."""


class Config(Section):
    """One run."""

    output: LocalPath = Path("runs/run")
    """Folder that the run writes; an existing one is refused unless resume is set."""
    seed: NonNegative = 0
    """Seed of initialisation, data order, weight draws and sampling."""
    resume: bool = False
    """Go on from the newest checkpoint in output."""
    plan: bool = False
    """Print what the job would run, the memory it needs under every strategy and what it costs, and stop."""
    task: Literal["language", "ranking"] = "language"
    """What is trained: a language model or a ranker."""
    objectives: list[str] = []
    """Names of the objectives, in the order in which weights are given; empty takes all of data.auxiliary (rankers)."""
    method: MethodName = "cos"
    """cos is one conditioned run for the whole front. The baselines: linear_scalarization, a run per weight; soup, a
    run per objective, averaged; modpo, a run per weight with margins of the single-objective runs."""
    conditioning: Literal["hyper_prompt", "gated_lora", "both", "none"] = "gated_lora"
    """How the weights enter a language model: soft tokens (the paper's), gates on the LoRA ranks of each row, or both;
    none is a run at the fixed training.weights."""
    scope: Literal["sequence", "response"] = "response"
    """Tokens the adapters act on: all of them, or only from the last prompt token on, so that the frozen base encodes
    each prompt once for all trade-offs."""
    temperature: Rate | list[Rate] = 0.1
    """Trained DPO temperature beta: one for all objectives, or a list with one each."""
    model: ModelConfig = ModelConfig()
    ranker: RankerConfig = RankerConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    grid: GridConfig = GridConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    build: BuildConfig = BuildConfig()
    scaling: ScalingConfig = ScalingConfig()
    gpu: GpuConfig = GpuConfig()
    baseline: BaselineConfig = BaselineConfig()
    comparison: ComparisonConfig = ComparisonConfig()
    sweep: SweepConfig = SweepConfig()
    tracking: TrackingConfig = TrackingConfig()
    hub: HubConfig = HubConfig()

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        checks.check_objectives(self.objectives, self.temperature)
        checks.check_groups(self.task, self.data, self.training)
        checks.check_workers(self.training, self.scaling)
        checks.check_target(self.training)
        checks.check_writing(self.task, self.training, self.build)
        checks.check_strategy(self.task, self.scaling)
        checks.check_quantization(self.task, self.model, self.scaling)
        checks.check_ranker(self.task, self.ranker)
        return self

    @property
    def conditioned(self) -> bool:
        """Whether the weights are an input of the model."""
        return not self.training.weights

    @property
    def partitions(self) -> int:
        """Das-Dennis partitions of the evaluation grid."""
        if self.grid.partitions:
            return self.grid.partitions
        m = len(self.objectives)
        return max(p for p in range(1, 11) if p == 1 or comb(p + m - 1, m - 1) <= LARGEST_GRID)

    @property
    def ratios(self) -> list[float]:
        """Multiples of the trained temperature at which a front is measured: 1, then the others in rising order."""
        return [1.0, *sorted(c for c in self.grid.temperatures if c != 1)]

    @property
    def temperatures(self) -> list[float]:
        """The trained temperature of each objective, in order."""
        if isinstance(self.temperature, list):
            return self.temperature
        return [self.temperature] * len(self.objectives)
