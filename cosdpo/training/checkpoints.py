"""Where a training keeps its states for resuming, and how the newest whole one is found.

Every state is a folder checkpoint_STEP with what training_state.py writes. Training by one process keeps them in the
run folder itself; several workers hand them to Ray Train (training/ray_train.py), which by default keeps them in the
same place, so that a run may go on with another number of workers.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError
from torch import Tensor

from cosdpo.files import whole_folder
from cosdpo.training.strategies.strategy import Strategy
from cosdpo.training.training_state import Clock, read_state, write_state

log = logging.getLogger("cosdpo")

FOLDER = "training"
"""Name of the folder of states inside a run folder."""
PREFIX = "checkpoint_"
State = tuple[dict[str, Tensor], Clock]


class Checkpoints(Protocol):
    """The states of one training; every worker calls the methods, at the same time."""

    def newest(self) -> State | None:
        """The newest whole state, None where there is none."""

    def save(self, strategy: Strategy, clock: Clock) -> None:
        """Keeps the state as it is now, whole or not at all."""


def write(folder: Path, strategy: Strategy, tensors: Mapping[str, Tensor], clock: Clock) -> None:
    """Fills the folder of a state, which can be served as well, from `tensors` (strategy.state())."""
    strategy.scorer.save(folder)
    write_state(folder, tensors, clock)


def name_of(step: int) -> str:
    """Name of the folder of the state after `step` steps."""
    return f"{PREFIX}{step:08d}"


def newest_whole(names: Iterable[str], read: Callable[[str], State]) -> State | None:
    """The last of the states `names` that can be read: safetensors that a kill cut short cannot."""
    for name in sorted(names, reverse=True):
        try:
            return read(name)
        except (OSError, ValueError, SafetensorError):
            log.info("%s is not whole", name)
    return None


class FolderCheckpoints:
    """States in a folder of this machine, of a training by one process."""

    def __init__(self, folder: Path, keep: int) -> None:
        """Keeps the newest `keep` states."""
        self.folder = folder
        self.keep = keep

    def newest(self) -> State | None:
        """The newest whole state."""
        return newest_whole((path.name for path in self._kept()), lambda name: read_state(self.folder / name))

    def save(self, strategy: Strategy, clock: Clock) -> None:
        """Writes a state, and only then takes away what is too old: at every moment there is a whole one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with whole_folder(self.folder / name_of(clock.step)) as folder:
            write(folder, strategy, strategy.state(), clock)
        for old in self._kept()[: -self.keep]:
            shutil.rmtree(old)

    def remove(self) -> None:
        """Takes away all states, of a training that is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _kept(self) -> list[Path]:
        """The states, oldest first. Ray Train's list of checkpoints may lie beside them under a name like theirs."""
        return sorted(path for path in self.folder.glob(f"{PREFIX}*") if path.is_dir())
