"""Work and memory of one training of a configuration, from its data where there is some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.tasks import task_of
from cosdpo.tasks.task import Task

if TYPE_CHECKING:  # a ranker needs no transformers, which takes seconds to import
    from cosdpo.preflight.memory_fit import MemoryFit


@dataclass(frozen=True)
class Estimate:
    """What one training takes."""

    step_flops: float
    """Floating-point operations of an optimiser step."""
    memory: MemoryFit | None
    """None for rankers, which fit anywhere."""
    steps: int
    """training.steps, or those that training.epochs come to."""


def estimate(config: Config) -> Estimate:
    """Reads the data, or assumes lengths where a language model has none yet.

    Raises:
        InputError: wrong data or model.
    """
    kind = task_of(config)
    if not kind.plans_memory:
        ranking = kind.prepare(config)
        return Estimate(ranking.step_flops(), None, ranking.config.training.steps)
    from cosdpo.models.base import load_config, skeleton
    from cosdpo.preflight.memory_fit import MemoryFit
    from cosdpo.tasks.language.language_task import step_flops

    if config.data.train:
        task = kind.prepare(config)
        return Estimate(task.step_flops(), MemoryFit(config, task.contexts), task.config.training.steps)
    if config.training.epochs:
        raise InputError("training.epochs are of data.train, which is not set: name it, or set training.steps")
    fit = MemoryFit(config)
    parameters = sum(p.numel() for p in skeleton(load_config(config.model.base, weights=False)).parameters())
    tokens = sum(context.tokens for context in fit.longest(config.training.batch_size))
    return Estimate(step_flops(config, parameters, tokens), fit, config.training.steps)


def refuse_too_large(task: Task) -> None:
    """Before anything is scheduled: refuses a run on GPUs that could not hold it.

    Raises:
        InputError: with the keys that would make it fit.
    """
    config = task.config
    if config.scaling.use_gpu and task.plans_memory:
        from cosdpo.preflight.memory_fit import MemoryFit

        MemoryFit(config, task.contexts).check()
