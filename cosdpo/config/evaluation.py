"""What is measured, and at which weights and temperatures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from cosdpo.config.section import NonNegative, Positive, Rate, Section


class GridConfig(Section):
    """The weights and temperatures at which a front is evaluated."""

    partitions: NonNegative = 0
    """Das-Dennis partitions per objective: 10 gives 11 weights for two objectives, 66 for three. 0 takes 10 for up to
    three objectives, and for more as many as give at most 70 weights."""
    curve: NonNegative = 101
    """Weights at which the front of a run that has all of them (cos, soup) is known besides, from scores interpolated
    between those of the grid, which costs no pass of the model: 101 for two objectives, the next smaller grid for more.
    0 leaves it out. Grids of fewer than four partitions have none."""
    temperatures: list[Rate] = []
    """Multiples of the trained temperature at which the front of a conditioned run is measured, such as 0.5,1,2,4;
    1 always is. The figures of a front, comparisons, sweeps and baselines know 1 alone."""

    @field_validator("temperatures")
    @classmethod
    def _each_once(cls, given: list[float]) -> list[float]:
        twice = [c for c in given if given.count(c) > 1]
        if twice:
            raise ValueError(f"{twice[0]:g} stands there {given.count(twice[0])} times; name each multiple once")
        return given


class EvaluationConfig(Section):
    """What is measured along the front."""

    split: Literal["test", "validation"] = "test"
    """Held-out side that a ranker's front is measured on, where the data has both."""
    batch_tokens: Positive = 16384
    """Tokens scored at once during evaluation and for the reference cache."""
    scorers: dict[str, str] = {}
    """Scorer of generated text per objective: positivity, brevity, shortness, plainness, dialogue, module:function, or
    hub:NAME, a reward model that classifies sequences. Empty skips the reward front."""
    prompts: Positive = 16
    """Held-out prompts that text is generated for when scorers are configured, and along whose responses the distance
    from the base is measured."""
    samples: Positive = 5
    """Trade-offs at which the report answers the same prompt."""
    max_new_tokens: Positive = 64
    """Longest generated answer in tokens."""
    sampling_temperature: Annotated[float, Field(ge=0)] = 0.8
    """Sampling temperature of generated text; 0 is greedy. Not the DPO temperature."""
    curve_contexts: NonNegative = 16
    """Held-out contexts on which a training is watched, each objective's loss at its own end; 0 watches none."""
    curve_every: NonNegative = 0
    """Optimiser steps between two points of that curve; 0 is an eighth of the steps, but at least 25."""
    front_every: NonNegative = 0
    """Optimiser steps between the intermediate fronts of a sweep's trials; 0 measures the front at the end only."""
