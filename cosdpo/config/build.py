"""Preferences made from prompts: who answers them, and how."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cosdpo.config.section import Location, NonNegative, Positive, Rate, Section


class BuildConfig(Section):
    """Preferences that jobs/build_preferences.py makes of prompts; evaluation.scorers scores them."""

    prompts: Location = ""
    """Prompts to answer: a hub dataset or a local file whose rows have a prompt, a text or chat messages, such as any
    preference data."""
    checkpoint: Location = ""
    """Checkpoint of a conditioned run that answers, at weights spread over the grid; empty has model.base answer."""
    samples: Annotated[int, Field(ge=2)] = 4
    """Answers to each prompt."""
    sampling_temperature: Rate = 1.0
    """Sampling temperature of the answers. Not the DPO temperature."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Answers are sampled from the likeliest tokens that have this share of the probability."""
    rows: Positive = 32
    """Answers that a worker writes at a time."""
    scorer_workers: Positive = 1
    """Processes of each reward model among the scorers."""
    scorer_gpus: Annotated[float, Field(ge=0)] = 0.0
    """Share of a GPU for each of them."""
    scorer_cpus: Annotated[float, Field(ge=0)] = 1.0
    """CPU cores for each of them."""
    rounds: NonNegative = 0
    """Rounds of answering and training: each answers with the checkpoint of the one before and trains on from it, with
    model.base as the reference. 0 makes preferences alone."""
