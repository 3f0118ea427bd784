"""A search over settings with Ray Tune: trials as runs of their own, the best of them as a configuration.

    data, reference scores and reference point once -> trials on Ray (Optuna, ASHA) -> trials.parquet, best.yaml, report

Killed and started again with `resume`, it goes on: finished trials are kept, others go on from their checkpoints.
"""

from __future__ import annotations

import logging
from typing import Any

import ray
import yaml

from cosdpo import run as single_run
from cosdpo.config import Config
from cosdpo.data.ranking_splits import fold_count
from cosdpo.errors import InputError
from cosdpo.experiment import cluster
from cosdpo.experiment.sweep.space import parse_space
from cosdpo.experiment.sweep.sweep_result import SweepResult, gather
from cosdpo.experiment.sweep.targets import targets
from cosdpo.experiment.sweep.trial import reference_points
from cosdpo.experiment.sweep.trial_settings import check_corners
from cosdpo.experiment.sweep.tuning import tune_trials
from cosdpo.reports.sweep_page import write_sweep
from cosdpo.tasks import task_of
from cosdpo.tasks.task import Measure, Task
from cosdpo.training import run_folder
from cosdpo.training.strategies import compatible

log = logging.getLogger("cosdpo")


def sweep(config: Config) -> SweepResult:
    """Runs all trials, or those that are missing, and reports on them.

    Raises:
        InputError: wrong input, or not a single trial that could be finished.
    """
    config = located(config)
    check(config)
    space = parse_space(config)
    task = task_of(config).prepare(config)
    cluster.connect(config)
    limit = trials_at_once(config)
    run_folder.create(config)
    task.add_reference()
    config = task.config  # with the base ranker that all trials share
    measure = task.measure()
    asked = {"num_cpus": config.sweep.cpus_per_trial, "num_gpus": config.sweep.gpus_per_trial}
    reference = ray.get(ray.remote(_reference_points).options(**asked).remote(task, measure))
    failures = tune_trials(config, space, task, measure, reference, limit)
    result = gather(config, task, failures)
    write_sweep(result)
    return result


def located(config: Config) -> Config:
    """`config` as all trials share it: absolute paths, one process per trial, and fronts on the validation side."""
    sweep, scaling = config.sweep, config.scaling
    config = single_run.located(config)
    cpus = sweep.cpus_per_trial or scaling.cpus_per_worker
    gpus = sweep.gpus_per_trial or float(scaling.use_gpu)
    return config.model_copy(
        update={
            "sweep": sweep.model_copy(update={"cpus_per_trial": cpus, "gpus_per_trial": gpus}),
            "scaling": scaling.model_copy(update={"use_gpu": gpus > 0, "cpus_per_worker": cpus}),
            "evaluation": config.evaluation.model_copy(update={"split": "validation"}),
            "data": _with_room(config) if config.task == "language" else config.data,
        }
    )


def check(config: Config) -> None:
    """What can be refused before any data is read."""
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
    every, steps = config.evaluation.front_every, config.training.steps
    if sweep.scheduler == "asha":
        if not every:
            raise InputError(
                "sweep.scheduler asha compares intermediate fronts: set evaluation.front_every, such as "
                f"--evaluation.front_every {max(1, steps // 5)}, or sweep.scheduler none"
            )
        if "training.steps" in space:
            raise InputError("sweep.scheduler asha stops runs early: take training.steps out of sweep.space")
        if max(every, sweep.grace_steps) >= steps:
            raise InputError(
                f"sweep.scheduler asha never stops a trial: evaluation.front_every {every} and sweep.grace_steps "
                f"{sweep.grace_steps} have to be below training.steps {steps}"
            )
    if config.task == "ranking" and fold_count(config.data) > 1 and not config.data.fold:
        raise InputError("a sweep tunes on one fold: name it by data.fold, such as --data.fold 1")
    single_run.check(config)
    _check_resumed(config)
    check_corners(config, {key: one.ends for key, one in space.items()})


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


def _reference_points(task: Task, measure: Measure) -> dict[str, list[float]]:
    return reference_points(task, measure)


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


def _with_room(config: Config) -> Any:
    """Data settings under which every trial sees the same tokens, whatever room its soft tokens take."""
    written = config.sweep.space
    if not config.model.base or not {"conditioning", "model.soft_tokens"} & written.keys():
        return config.data
    from cosdpo.models.base import load_config

    space = parse_space(config)
    soft = space["model.soft_tokens"].ends if "model.soft_tokens" in space else (config.model.soft_tokens,)
    kinds = space["conditioning"].ends if "conditioning" in space else (config.conditioning,)
    if not {"hyper_prompt", "both"} & set(kinds):
        return config.data
    room = int(load_config(config.model.base).max_position_embeddings) - max(int(count) for count in soft)
    return config.data.model_copy(update={"max_length": min(config.data.max_length or room, room)})
