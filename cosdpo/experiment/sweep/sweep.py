"""A search over settings with Ray Tune: trials as runs of their own, the best of them as a configuration.

    data, reference scores and reference point once -> trials on Ray (Optuna, ASHA) -> trials.parquet, best.yaml

Killed and started again with `resume`, it goes on: finished trials are kept, others go on from their states.
"""

from __future__ import annotations

from typing import Any

import ray
import yaml

from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.experiment import cluster, job_checks
from cosdpo.experiment.execute import train_bases
from cosdpo.experiment.plan import Case
from cosdpo.experiment.progress import Phase
from cosdpo.experiment.sweep.space import parse_space
from cosdpo.experiment.sweep.sweep_result import SweepResult, gather
from cosdpo.experiment.sweep.targets import targets
from cosdpo.experiment.sweep.trial import reference_points
from cosdpo.experiment.sweep.trial_settings import check_corners
from cosdpo.experiment.sweep.tuning import forget_if_moved, tune_trials
from cosdpo.tasks import task_of
from cosdpo.training import run_folder
from cosdpo.training.reference import REFERENCE
from cosdpo.training.strategies import compatible


def sweep(config: Config) -> SweepResult:
    """Runs all trials, or those that are missing, and gathers them.

    Raises:
        InputError: wrong input, or not a single trial that could be finished.
    """
    config = located(config)
    check(config)
    space = parse_space(config)
    with Phase("data", config.output):
        task = task_of(config).prepare(config)
    fingerprints = task.fingerprints()
    run_folder.check_data(config, task.config.training.steps, fingerprints)
    config = task.config
    check_stopping(config)
    cluster.connect(config)
    limit = trials_at_once(config)
    forget_if_moved(config)
    run_folder.create(config)
    run_folder.keep_data(config.output, fingerprints)
    train_bases([(Case(config.seed, 0, config, lone=True), task)], 1, config)
    with Phase(REFERENCE, config.output, "contexts"):
        task.add_reference()
    config = task.config  # with the base that all trials share
    measure = task.measure()
    taken = {"num_cpus": config.sweep.cpus_per_trial, "num_gpus": config.sweep.gpus_per_trial}
    with Phase("reference point", config.output):
        reference = ray.get(ray.remote(reference_points).options(**taken).remote(task, measure))
    failures = tune_trials(config, space, task, measure, reference, limit)
    return gather(config, task, failures)


def located(config: Config) -> Config:
    """`config` as all trials share it: absolute paths, one process per trial, and fronts on the validation side."""
    config = job_checks.located(config)
    gpus = config.sweep.gpus_per_trial or float(config.scaling.use_gpu)
    cpus = config.sweep.cpus_per_trial or config.scaling.cpus_per_worker
    config = config.changed(
        {
            "sweep.cpus_per_trial": cpus,
            "sweep.gpus_per_trial": gpus,
            "scaling.use_gpu": gpus > 0,
            "scaling.cpus_per_worker": cpus,
            "evaluation.split": "validation",
        }
    )
    searched = {key: values.ends for key, values in parse_space(config).items()} if config.sweep.space else {}
    return task_of(config).for_trials(config, searched)


def check(config: Config) -> None:
    """What can be refused before any data is read."""
    job_checks.check_no_push(config, "leave it out, and push that of the best trial by python -m cosdpo.hub")
    sweep = config.sweep
    space = parse_space(config)
    targets(config)
    if config.method != "cos":
        raise InputError(
            f"a sweep tunes the conditioned run: leave method out, or set it to cos instead of {config.method}"
        )
    if config.scaling.workers > 1:
        raise InputError("a trial trains in one process: leave scaling.workers out, and see sweep.max_concurrent")
    compatible.check_single(config, "the trials of a sweep")
    if config.training.keep == "best" or "training.keep" in space:
        raise InputError("a trial is measured as it ends: leave training.keep out, and search training.steps instead")
    if config.training.epochs and (both := sorted({"training.steps", "training.batch_size"} & space.keys())):
        raise InputError(f"training.epochs does not go with {both[0]} in sweep.space: set training.steps instead")
    if "training.epochs" in space:
        raise InputError("sweep.space.training.epochs: search training.steps instead")
    if sweep.scheduler == "asha" and "training.steps" in space:
        raise InputError("sweep.scheduler asha stops runs early: take training.steps out of sweep.space")
    if not config.training.epochs:
        check_stopping(config)
    if task_of(config).folds(config) > 1 and not config.data.fold:
        raise InputError("a sweep tunes on one fold: name it by data.fold, such as --data.fold 1")
    job_checks.check(config)
    _check_resumed(config)
    check_corners(config, {key: values.ends for key, values in space.items()})


def check_stopping(config: Config) -> None:
    """Whether asha has fronts to compare before the last step, once the number of steps is known."""
    every, steps, sweep = config.evaluation.front_every, config.training.steps, config.sweep
    if sweep.scheduler == "asha":
        if not every:
            raise InputError(
                "sweep.scheduler asha compares intermediate fronts: set evaluation.front_every, such as "
                f"--evaluation.front_every {max(1, steps // 5)}, or sweep.scheduler none"
            )
        if max(every, sweep.grace_steps) >= steps:
            raise InputError(
                f"sweep.scheduler asha never stops a trial: evaluation.front_every {every} and sweep.grace_steps "
                f"{sweep.grace_steps} have to be below training.steps {steps}"
            )


def trials_at_once(config: Config) -> int:
    """Trials that fit the cluster, at most sweep.max_concurrent."""
    sweep = config.sweep
    fits = cluster.fitting(
        "trial",
        {
            "CPU": ("sweep.cpus_per_trial", sweep.cpus_per_trial),
            "GPU": ("sweep.gpus_per_trial", sweep.gpus_per_trial),
        },
    )
    return min(fits, sweep.max_concurrent or fits)


def _check_resumed(config: Config) -> None:
    """A sweep goes on as it was: what trials are drawn from and how they are measured stays."""
    path = config.output / run_folder.CONFIG
    if not config.resume or not path.exists():
        return
    before = Config.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    free = {"max_concurrent", "cpus_per_trial", "gpus_per_trial"}
    pairs: dict[str, tuple[Any, Any]] = {
        "sweep": (before.sweep.model_dump(exclude=free), config.sweep.model_dump(exclude=free)),
        "evaluation": (before.evaluation, config.evaluation),
        "grid": (before.grid, config.grid),
    }
    changed = [name for name, (old, new) in pairs.items() if old != new]
    if changed:
        raise InputError(
            f"output {config.output} was started with other settings of {', '.join(changed)}: resume with its own "
            f"(--config {path}), or name another folder with --output"
        )
