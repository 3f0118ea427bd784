"""Where a run's checkpoints for resuming are kept: its run folder, or scaling.storage, a path or an address.

Ray Train registers a checkpoint once all of it is there, in a snapshot that it overwrites in place. A kill in between
leaves a checkpoint that is not registered, or a snapshot that is cut short. So what resumes looks for itself where Ray
knows of nothing: the newest checkpoint that can be read, since safetensors cut short cannot.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.fs

from cosdpo.config import Config
from cosdpo.errors import InputError, masked
from cosdpo.training import run_folder
from cosdpo.training.checkpoints import PREFIX, State, newest_whole
from cosdpo.training.training_state import read_state

if TYPE_CHECKING:  # a training by one process does without Ray Train, whose import brings Ray Data and pandas
    from ray.train import Checkpoint

log = logging.getLogger("cosdpo")

SNAPSHOT = "checkpoint_manager_snapshot.json"
"""Ray Train's list of registered checkpoints."""


def location(config: Config) -> str:
    """Path or address that Ray Train's folder of the run lies in."""
    given = config.scaling.storage
    return given if "://" in given else str((Path(given) if given else config.output).resolve())


def opened(config: Config) -> tuple[Any, str]:
    """The file system of `location`, and its path there, which holds none of the credentials of an address."""
    filesystem, path = pyarrow.fs.FileSystem.from_uri(location(config))
    return filesystem, path


def below(config: Config, name: str) -> Config:
    """`config` of a run that is a part of another one, with a place of its own in scaling.storage."""
    given = config.scaling.storage
    return config.changed({"scaling.storage": f"{given.rstrip('/')}/{name}"}) if given and name else config


def check(config: Config) -> None:
    """Raises InputError for a scaling.storage that cannot be read, holds another run, or is not the resumed run's."""
    given, settings = config.scaling.storage, config.output / run_folder.CONFIG
    if config.resume and settings.exists():
        before = run_folder.stored(config.output)["scaling"]["storage"]
        if before != masked(given):
            raise InputError(
                f"the checkpoints of output {config.output} are in {before or 'output'}: resume with "
                f"--scaling.storage '{before}' instead of '{given}'"
            )
    if not given:
        return
    try:
        filesystem, path = opened(config)
        kept = filesystem.get_file_info(pyarrow.fs.FileSelector(path, allow_not_found=True))
    except (OSError, ValueError) as error:
        raise InputError(f"scaling.storage {given} cannot be read: {str(error).splitlines()[0]}") from None
    if kept and not config.resume:
        raise InputError(f"scaling.storage {given} is not empty: give each run a place of its own, or --resume")


def mend(config: Config, name: str) -> None:
    """Takes away a snapshot in folder `name` that a kill cut short, which Ray Train would refuse to start from."""
    filesystem, folder = opened(config)
    path = f"{folder}/{name}/{SNAPSHOT}"
    if filesystem.get_file_info(path).type == pyarrow.fs.FileType.NotFound:
        return
    with filesystem.open_input_stream(path) as file:
        text = file.read()
    try:
        json.loads(text)
    except ValueError:
        log.info("the list of checkpoints was cut short: looking for the newest whole one")
        filesystem.delete_file(path)


def forget(config: Config, name: str) -> None:
    """Takes away the snapshot in folder `name` of the output: Ray Train would refuse to start from one that lists
    checkpoints which a training by one process, going on from them, has taken away.
    """
    (config.output / name / SNAPSHOT).unlink(missing_ok=True)


def newest(registered: Checkpoint | None, filesystem: Any, path: str) -> State | None:
    """The state of the registered checkpoint, or else of the newest whole one in `path`; None where there is none."""
    if registered is not None:
        return _read(registered)
    from ray.train import Checkpoint

    infos = filesystem.get_file_info(pyarrow.fs.FileSelector(path, allow_not_found=True))
    names = [info.path for info in infos if info.base_name.startswith(PREFIX) and not info.is_file]
    return newest_whole(names, lambda name: _read(Checkpoint(name, filesystem)))


def _read(checkpoint: Checkpoint) -> State:
    with checkpoint.as_directory() as folder:
        return read_state(Path(folder))
