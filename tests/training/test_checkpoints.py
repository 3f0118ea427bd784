"""States of a training by one process: whole or not at all, and the newest whole one is found."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from cosdpo.training.checkpoints import FolderCheckpoints
from cosdpo.training.storage import SNAPSHOT
from cosdpo.training.strategies.strategy import Strategy
from cosdpo.training.training_state import Clock


class Scorer(nn.Linear):
    """Something that is trained and saved."""

    broken = False

    def save(self, folder: Path) -> None:
        (folder / "weights").write_text(str(self.weight))
        if self.broken:
            raise OSError("no room")


@pytest.fixture
def strategy() -> Strategy:
    scorer = Scorer(2, 1)
    optimizer = torch.optim.AdamW(scorer.parameters())
    scorer(torch.ones(2)).sum().backward()
    optimizer.step()  # it has moments now
    return Strategy(scorer, optimizer)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "run" / "training"


def steps(folder: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("checkpoint_")) for path in folder.glob("checkpoint_0*"))


def test_what_was_saved_comes_back(strategy, folder):
    assert FolderCheckpoints(folder, keep=2).newest() is None
    FolderCheckpoints(folder, keep=2).save(strategy, Clock(5, 1.5))
    tensors, clock = FolderCheckpoints(folder, keep=2).newest()
    assert clock == Clock(5, 1.5)
    assert tensors.keys() == strategy.state().keys()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in strategy.state().items())


@pytest.mark.parametrize("keep", [1, 2, 5])
def test_the_newest_are_kept(strategy, folder, keep):
    checkpoints = FolderCheckpoints(folder, keep)
    folder.mkdir(parents=True)
    (folder / SNAPSHOT).write_text("{}")  # of Ray Train, where several workers began the run
    for step in (5, 10, 100, 120):
        checkpoints.save(strategy, Clock(step, 1.0))
    assert steps(folder) == [5, 10, 100, 120][-keep:]
    checkpoints.remove()
    assert not folder.exists()
    checkpoints.remove()  # nothing is there: nothing to do


def test_a_state_that_cannot_be_written_leaves_those_before_it(strategy, folder):
    checkpoints = FolderCheckpoints(folder, keep=1)
    checkpoints.save(strategy, Clock(5, 1.0))
    strategy.scorer.broken = True
    with pytest.raises(OSError, match="no room"):
        checkpoints.save(strategy, Clock(10, 2.0))
    assert [path.name for path in folder.iterdir()] == ["checkpoint_00000005"]
    assert checkpoints.newest()[1] == Clock(5, 1.0)


def test_an_old_state_goes_only_when_a_newer_one_is_there(strategy, folder, monkeypatch):
    checkpoints, removed = FolderCheckpoints(folder, keep=1), []
    checkpoints.save(strategy, Clock(5, 1.0))
    rmtree = shutil.rmtree

    def watched(path: Path, *arguments: object, **options: object) -> None:
        if path.name == "checkpoint_00000005":
            removed.append(checkpoints.newest()[1].step)
        rmtree(path, *arguments, **options)

    monkeypatch.setattr(shutil, "rmtree", watched)
    checkpoints.save(strategy, Clock(10, 2.0))
    assert removed == [10]


def test_a_state_that_is_not_whole_is_passed_over(strategy, folder):
    checkpoints = FolderCheckpoints(folder, keep=9)
    for step in (5, 10, 15, 20, 25, 100):
        checkpoints.save(strategy, Clock(step, 1.0))
    for step, name in ((100, "training_state.safetensors"), (20, "training_clock.json")):
        path = folder / f"checkpoint_{step:08d}" / name
        path.write_bytes(path.read_bytes()[:-1])
    (folder / "checkpoint_00000025" / "training_clock.json").unlink()
    (folder / "checkpoint_00000015" / "training_state.safetensors").unlink()
    shutil.copytree(folder / "checkpoint_00000005", folder / ".checkpoint_00000200.f00")  # a kill within a save
    assert checkpoints.newest()[1].step == 10
