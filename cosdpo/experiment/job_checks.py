"""What a job's configuration needs before anything is read: absolute places, and refusals that name the mend.

What the configuration alone decides, its own validators refuse (cosdpo/config).
"""

from __future__ import annotations

import logging
import sys
from functools import reduce
from pathlib import Path

from cosdpo import hub_check
from cosdpo.config import Config
from cosdpo.config.named_keys import keys_of
from cosdpo.errors import MASK, InputError
from cosdpo.experiment import cluster, trackers
from cosdpo.tasks import task_of
from cosdpo.training import run_folder, storage
from cosdpo.training.strategies import compatible


def located(config: Config) -> Config:
    """`config` with absolute local paths, since workers have another working directory, and what its task fills in."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    build = config.build
    given = {"model.base": config.model.base, "training.start": config.training.start}
    given |= {"build.prompts": build.prompts, "build.checkpoint": build.checkpoint}
    local = {key: str(Path(name).resolve()) for key, name in given.items() if name and Path(name).exists()}
    return task_of(config).resolved(config.changed({"output": config.output.resolve(), **local}))


def check(config: Config) -> None:
    """Refuses what can be refused without reading any data.

    Raises:
        InputError: objectives are not named, keys that only the runs of baselines have, or what task, trackers, output
            folder and this machine cannot do.
    """
    if not config.objectives:
        raise InputError("objectives is not set: name them in order, such as --objectives better safer")
    if config.training.weights:
        raise InputError("training.weights is for the runs of baselines: leave it out, or set method")
    if config.conditioning == "none":
        raise InputError("conditioning none is for the runs of baselines: choose another, or set method")
    check_credentials(config)
    compatible.check(config)
    task_of(config).check(config)
    if not config.plan:
        run_folder.check(config)
        storage.check(config)
        cluster.check_devices(config)
        trackers.check(config)
        if config.hub.push:
            hub_check.require_token("hub.push")


def check_no_push(config: Config, mend: str) -> None:
    """Refuses hub.push where there is more than one checkpoint."""
    if config.hub.push and not config.plan:
        raise InputError(f"hub.push is for a run with one checkpoint: {mend}")


def check_credentials(config: Config) -> None:
    """Refuses addresses of a config.yaml that a run wrote, whose credentials it did not write."""
    for key in keys_of(Config):
        if MASK in str(value := reduce(getattr, key.split("."), config)):
            raise InputError(
                f"{key} {value} has *** in place of credentials, which no run writes down: give it again by --{key}, "
                "or leave them to the environment"
            )
