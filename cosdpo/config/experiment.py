"""Several trainings together: baselines, comparisons and sweeps."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cosdpo.config.section import NonNegative, Positive, Section

MethodName = Literal["cos", "linear_scalarization", "soup", "modpo"]


class BaselineConfig(Section):
    """The runs of the baselines, where they differ from the conditioned run."""

    steps: NonNegative = 0
    """Optimiser steps of every baseline run; 0 takes training.steps."""
    learning_rate: Annotated[float, Field(ge=0)] = 0.0
    """Peak learning rate; 0 takes training.learning_rate."""
    weight_decay: Annotated[float, Field(ge=-1)] = -1.0
    """Weight decay; -1 takes training.weight_decay."""
    lora_rank: NonNegative = 0
    """LoRA rank, with lora_alpha scaled alike; 0 takes model.lora_rank."""


class ComparisonConfig(Section):
    """Several methods and seeds compared (jobs/compare.py)."""

    methods: list[MethodName] = ["cos", "linear_scalarization", "soup", "modpo"]
    """Methods to compare."""
    conditionings: list[str] = []
    """Further conditionings to compare next to the one that is configured: hyper_prompt, gated_lora or both for a
    language model, concatenation, gates or both for a ranker."""
    seeds: list[NonNegative] = [0, 1, 2]
    """Seeds of every method."""
    budgets: list[Literal["steps", "time"]] = ["steps"]
    """steps gives every run its full number of steps; time divides the steps of the conditioned run among the runs of a
    baseline, so that all methods train about equally long."""
    cpus_per_run: Annotated[float, Field(ge=0)] = 0
    """CPU cores that Ray reserves for a run of one worker; 0 takes scaling.cpus_per_worker."""
    gpus_per_run: Annotated[float, Field(ge=0)] = 0
    """GPUs that Ray reserves for a run of one worker, where a fraction lets runs share one; 0 takes one with
    scaling.use_gpu and none without."""


class SweepConfig(Section):
    """A search for good settings (jobs/sweep.py)."""

    space: dict[str, str] = {}
    """What to search, by dotted key: uniform(0.1, 2), loguniform(1e-4, 1e-2), int(4, 32), choice(gated_lora, both) or
    grid(0.05, 0.1, 0.2), such as {training.alpha: "loguniform(0.2, 2)"}. Bounds are included."""
    samples: Positive = 20
    """Number of trials; the grid search runs every combination once instead."""
    search: Literal["optuna", "random", "grid"] = "optuna"
    """optuna learns from finished trials where to look next, random draws from the space, grid runs all combinations
    of choice(...) and grid(...)."""
    scheduler: Literal["none", "asha"] = "none"
    """asha stops trials whose intermediate fronts are behind those of the others (needs evaluation.front_every)."""
    metrics: list[str] = ["hypervolume"]
    """What to search for: hypervolume or controllability (larger is better; of another metric by
    hypervolume/loss), parameters or seconds (smaller is better). With several, optuna looks for the trade-off between
    them; the first one names the best trial."""
    grace_steps: NonNegative = 0
    """Optimiser steps before asha may stop a trial; 0 takes evaluation.front_every."""
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """asha lets the best of this many trials go on at each of its milestones."""
    max_concurrent: NonNegative = 0
    """Trials at once; 0 runs as many as the cluster holds."""
    cpus_per_trial: Annotated[float, Field(ge=0)] = 0
    """CPU cores that Ray reserves for a trial; 0 takes scaling.cpus_per_worker."""
    gpus_per_trial: Annotated[float, Field(ge=0)] = 0
    """GPUs that Ray reserves for a trial, where a fraction lets trials share one; 0 takes one with scaling.use_gpu and
    none without."""
