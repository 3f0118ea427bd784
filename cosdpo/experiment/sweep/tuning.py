"""The sweep on Ray Tune: the trainable around one trial, the tuner, and its restoring."""

from __future__ import annotations

import logging
import os
import shutil
import time
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from ray import tune
from ray.tune import FailureConfig, RunConfig, TuneConfig, Tuner
from sqlalchemy.exc import SQLAlchemyError

from cosdpo.config import Config
from cosdpo.experiment.fronts import Reference
from cosdpo.experiment.sweep.record import Record, records
from cosdpo.experiment.sweep.search import StoredSearch, search_for
from cosdpo.experiment.sweep.space import Space, combinations
from cosdpo.experiment.sweep.stopping import scheduler_for, trial_name
from cosdpo.experiment.sweep.targets import failed_values, targets
from cosdpo.experiment.sweep.trial import train_trial
from cosdpo.experiment.sweep.trial_progress import TrialProgress
from cosdpo.experiment.trackers import Trackers
from cosdpo.tasks.task import Measure, Task
from cosdpo.training import run_folder

log = logging.getLogger("cosdpo")

FOLDER = "tune"
"""Name of Tune's own folder inside the sweep's."""

_ENVIRONMENT = {
    # A snapshot a second: what a kill loses is then less than the shortest trial.
    "TUNE_GLOBAL_CHECKPOINT_S": "1",
    # Lines between fronts carry no metric.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # Every trial writes its own metrics.jsonl and TensorBoard files.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # No suggestion before a trial can start: it would know less.
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
    # The progress lines are ours: the new output would print a panel even when it is to be silent.
    "RAY_AIR_NEW_OUTPUT": "0",
    # A sweep that is interrupted has not come to its end: its trials go on with --resume.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


def tune_trials(
    config: Config, space: Space, task: Task, measure: Measure, reference: Reference, limit: int
) -> dict[str, str]:
    """Runs every trial to its end, or to where the scheduler stops it; goes on with a sweep that was started before.

    Args:
        limit: most trials at once.

    Returns:
        Reason by the name of each trial that broke off for another reason than its settings.
    """
    os.environ.update(_ENVIRONMENT)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    trainable: Any = tune.with_resources(
        tune.with_parameters(run_trial, task=task, shared=config, measure=measure, reference=reference),
        {"CPU": config.sweep.cpus_per_trial, "GPU": config.sweep.gpus_per_trial},
    )
    tuner = _restored(config, trainable) or _started(config, space, trainable, limit)
    if tuner is None:
        return {}
    with Trackers() as trackers:
        TrialProgress.following = config, trackers
        results = tuner.fit()
    return {
        Path(result.path).name: f"{type(result.error).__name__}: {(str(result.error).splitlines() or [''])[-1]}"
        for result in (results[i] for i in range(len(results)))
        if result.error and result.path
    }


def forget_if_moved(config: Config) -> None:
    """Takes away what Tune keeps of a sweep whose folder was moved or copied: it names the old place throughout."""
    if (config.output / run_folder.CONFIG).exists():
        before = Path(run_folder.stored(config.output)["output"])
        if before != config.output and (config.output / FOLDER).exists():
            log.info("the sweep was moved from %s: trials that were not finished start anew", before)
            shutil.rmtree(config.output / FOLDER)


def _restored(config: Config, trainable: Any) -> Tuner | None:
    """The tuner of the sweep that is gone on with; None where it left none, or one that cannot be read."""
    folder = str(config.output / FOLDER)
    if not Tuner.can_restore(folder):
        return None
    try:
        return Tuner.restore(folder, trainable=trainable, resume_errored=True)
    except (ImportError, AttributeError, EOFError, UnpicklingError, SQLAlchemyError) as error:
        # Of another version, cut short, or of a folder that was moved.
        log.info("%s cannot be read (%s): trials that were not finished start anew", folder, error)
        return None


def _started(config: Config, space: Space, trainable: Any, limit: int) -> Tuner | None:
    """A tuner of the trials that are missing; None where all of them have ended."""
    wanted = targets(config)
    search = search_for(config, space, wanted, limit)
    ended = _ended(config, search)
    grid = config.sweep.search == "grid"
    count = (combinations(space) if grid else config.sweep.samples) - ended
    if count <= 0:
        return None
    shutil.rmtree(config.output / FOLDER, ignore_errors=True)
    return Tuner(
        trainable,
        tune_config=TuneConfig(
            num_samples=count,
            search_alg=search,
            scheduler=scheduler_for(config, wanted),
            trial_name_creator=trial_name,
            trial_dirname_creator=trial_name,
        ),
        run_config=RunConfig(
            name=FOLDER,
            storage_path=str(config.output),
            failure_config=FailureConfig(max_failures=config.scaling.max_failures),
            callbacks=[TrialProgress(count, wanted[0], config.output / "trials", config.training.steps)],
            verbose=0,
        ),
    )


def _ended(config: Config, search: StoredSearch) -> int:
    """Trials that ended under a tuner that cannot be restored; the others are taken away and asked for again."""
    search.ask_again()
    ended = 0
    for record in records(config.output):
        if record.state == "running" and not search.has_ended(record.settings):
            shutil.rmtree(config.output / "trials" / record.name)
        else:
            ended += 1
    return ended


def run_trial(settings: dict[str, Any], task: Task, shared: Config, measure: Measure, reference: Reference) -> None:
    """What Tune runs: `train_trial`; one that ended before reports that again."""
    name = tune.get_context().get_trial_name()
    folder = shared.output / "trials" / name
    config = shared.changed({**settings, "output": folder, "resume": False})
    wanted = [target.name for target in targets(shared)]
    record = Record.load(folder)
    if record is None or record.state == "running":
        record = record or Record(name=name, started=time.time(), settings=settings, steps=config.training.steps)
        record = train_trial(task, config, measure, reference, record, tune.report)
    worthless = failed_values(wanted) | {"step": float(config.training.steps)}
    tune.report(worthless if record.state == "failed" else record.last)
