"""What a sweep searches for: names such as hypervolume/loss, and their values of a measured front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front
from cosdpo.tasks import task_of

COSTS = ("parameters", "seconds")
_INDICATORS = ("hypervolume", "controllability")


@dataclass(frozen=True)
class Target:
    """One metric to search for."""

    name: str
    """In full: hypervolume/accuracy, controllability/loss, parameters or seconds."""

    @property
    def mode(self) -> Literal["max", "min"]:
        """Whether more or less of it is better."""
        return "min" if self.name in COSTS else "max"

    @property
    def sign(self) -> int:
        """By which values are multiplied so that more is better."""
        return -1 if self.mode == "min" else 1


def targets(config: Config) -> list[Target]:
    """The metrics of sweep.metrics, in full.

    Raises:
        InputError: none or one twice, one that does not exist, or several where one is needed.
    """
    sweep, measured = config.sweep, task_of(config).metrics(config)
    names = [*COSTS, *(f"{indicator}/{name}" for indicator in _INDICATORS for name in measured)]
    if not sweep.metrics:
        raise InputError("sweep.metrics is empty; name at least one, such as hypervolume")
    wanted = []
    for given in sweep.metrics:
        name = f"{given}/{measured[0]}" if given in _INDICATORS else given
        if name not in names:
            near = get_close_matches(given, [*_INDICATORS, *names], 1)
            mend = f"did you mean {near[0]}?" if near else f"there are {', '.join([*_INDICATORS, *names])}"
            raise InputError(f"sweep.metrics: there is no metric {given!r}; {mend}")
        wanted.append(Target(name))
    if len(set(wanted)) < len(wanted):
        raise InputError(f"sweep.metrics {sweep.metrics} names one twice; name each once")
    if sweep.scheduler == "asha":
        if len(wanted) > 1:
            raise InputError("sweep.scheduler asha goes by one metric; give one in sweep.metrics, or set it to none")
        if wanted[0].name in COSTS:
            raise InputError(f"sweep.scheduler asha cannot go by {wanted[0].name}; use hypervolume, or set it to none")
    return wanted


def measured_values(front: Front) -> dict[str, float]:
    """All metrics of a front by their full names; controllability is that of the weakest objective."""
    values = {"parameters": float(front.trained_parameters), "seconds": front.train_seconds}
    for name, metric in front.metrics.items():
        values[f"hypervolume/{name}"] = metric.hypervolume
        values[f"controllability/{name}"] = min(metric.controllability)
    return values


def failed_values(names: Sequence[str]) -> dict[str, float]:
    """What a trial whose loss is not finite is worth: nothing. Its costs stay out of it."""
    worst = {"hypervolume": 0.0, "controllability": -1.0}
    return {name: worst[name.split("/")[0]] if "/" in name else float("inf") for name in names}
