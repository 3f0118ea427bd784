"""What the trainings and measurements of a comparison take of the cluster, and how many run at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.experiment import cluster


@dataclass(frozen=True)
class Resources:
    """What Ray reserves."""

    cpus: float
    gpus: float

    @property
    def options(self) -> dict[str, Any]:
        """Options of a Ray task that takes them."""
        return {"num_cpus": self.cpus, "num_gpus": self.gpus}


NOTHING = Resources(0, 0)
"""Of a task that has Ray Train reserve its workers'."""


def of_worker(config: Config) -> Resources:
    """One worker of a training; also a measurement in one process."""
    comparison, scaling = config.comparison, config.scaling
    return Resources(
        comparison.cpus_per_run or scaling.cpus_per_worker, comparison.gpus_per_run or float(scaling.use_gpu)
    )


def of_run(config: Config) -> Resources:
    """All workers of a training."""
    worker, count = of_worker(config), config.scaling.workers
    return Resources(count * worker.cpus, count * worker.gpus)


def at_once(config: Config) -> int:
    """Trainings that the connected cluster holds at once, each with all its workers; one may have to do with fewer.

    Raises:
        InputError: not even one fits with its fewest workers.
    """
    worker, scaling = of_worker(config), config.scaling
    alone = scaling.workers == 1
    fits = cluster.fitting(
        "run",
        {
            "CPU": ("comparison.cpus_per_run" if alone else "scaling.workers", scaling.fewest * worker.cpus),
            "GPU": ("comparison.gpus_per_run" if alone else "scaling.workers", scaling.fewest * worker.gpus),
        },
    )
    return max(1, fits * scaling.fewest // scaling.workers)


def check(config: Config) -> None:
    """Raises InputError for shares of a run that has several workers."""
    for key in ("cpus_per_run", "gpus_per_run"):
        if config.scaling.workers > 1 and (value := getattr(config.comparison, key)):
            raise InputError(
                f"comparison.{key} {value:g} is for runs of one worker: leave it out, as each of scaling.workers "
                f"{config.scaling.workers} takes scaling.cpus_per_worker and, with scaling.use_gpu, one GPU"
            )
