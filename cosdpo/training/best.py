"""The best state that a training has seen, for runs that keep it instead of the last (training.keep best)."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

from cosdpo.files import whole_folder
from cosdpo.training.strategies.strategy import Strategy
from cosdpo.training.training_state import Clock, read_state, write_state
from cosdpo.training.world import World

BEST = "best"
WORTH = "worth.json"


class Best:
    """RUN FOLDER/best/, with its worth beside it so that a resumed training knows what it has to beat.

    All workers call the methods together and with the same values.
    """

    def __init__(self, folder: Path) -> None:
        """Finds what a training before this one left in `folder`."""
        self.folder = folder
        path = folder / WORTH
        self.worth: float = json.loads(path.read_text()) if path.exists() else -math.inf

    def offer(self, worth: float, strategy: Strategy, clock: Clock, world: World) -> None:
        """Keeps the state as it is now, whole or not at all, if it is worth more than the best so far."""
        if worth <= self.worth:
            return
        self.worth = worth
        tensors = strategy.state()
        if world.rank == 0:
            with whole_folder(self.folder) as folder:
                write_state(folder, tensors, clock)
                (folder / WORTH).write_text(json.dumps(worth))

    def take(self, strategy: Strategy, world: World) -> int:
        """Gives the trained tensors their best values; returns after how many steps they had them."""
        world.gathered(None)  # so that the first worker has written it
        tensors, clock = read_state(self.folder)
        strategy.restore(tensors, clock.step)
        return clock.step

    def remove(self) -> None:
        """Takes the folder away, of a training that is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)
