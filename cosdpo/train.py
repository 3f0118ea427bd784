"""What every training job calls: one conditioned run, its cross-validation, or the trainings of a baseline."""

from __future__ import annotations

from cosdpo import cross_validation
from cosdpo import run as single
from cosdpo.config import Config
from cosdpo.evaluation.front import Front
from cosdpo.experiment.compare import plan_method, run_method


def run(config: Config) -> None:
    """Trains and prints what came out of it; with config.plan, prints what it would take.

    Raises:
        InputError: anything wrong with configuration, data, model, cluster or output folder.
    """
    if config.plan:
        plan_method(config)
    else:
        single.print_front(config, train(config))


def train(config: Config) -> Front:
    """Trains by config.method, measures and reports; returns the front.

    Raises:
        InputError: anything wrong with configuration, data, model, cluster or output folder.
    """
    if config.method != "cos":
        return run_method(config)
    if config.task == "ranking":
        return cross_validation.run(config)
    return single.run(config)
