"""One training, called as a plain function: it trains as the loop does, and no kill changes how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from cosdpo.config import Config
from cosdpo.models.ranking_scorer import RankingScorer
from cosdpo.training import margins
from cosdpo.training.checkpoints import FOLDER, FolderCheckpoints
from cosdpo.training.loop import optimizer_for, train
from cosdpo.training.strategies.strategy import Strategy
from cosdpo.training.tracking import read_metrics
from cosdpo.training.training_state import Clock, save_state
from cosdpo.training.unit import Trained, Unit, train_unit
from tests.tiny_rankers import ranking_data, scorer, settings
from tests.training.runs import whole_run

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def config() -> Config:
    """Twelve steps, states after 5, 10 and the last."""
    return settings(
        training__weights=[0.0, 1.0],
        training__steps=12,
        training__checkpoint_every=5,
        training__log_every=1,
        training__weight_decay=0.1,
        ranker__dropout=0.2,
    )


def create(config: Config, device: torch.device) -> RankingScorer:
    return scorer(config)


class Dying(FolderCheckpoints):
    """The process dies in its save number `last`, before or after the state is there."""

    def __init__(self, folder: Path, last: int, after: bool) -> None:
        super().__init__(folder, keep=2)
        self.left, self.after = last, after

    def save(self, strategy: Strategy, clock: Clock) -> None:
        self.left -= 1
        if self.left or self.after:
            super().save(strategy, clock)
        if not self.left:
            raise KeyboardInterrupt


def trained(
    config: Config,
    folder: Path,
    checkpoints: FolderCheckpoints | None = None,
    sources: Sequence[tuple[Path, float]] = (),
    watch: Callable[[object, Clock], None] = lambda scorer, clock: None,
) -> Trained:
    """Trains into `folder`, or goes on with what is there."""
    unit = Unit(config.changed({"output": folder}), create, sources, keep_rewards=True)
    return train_unit(unit, ranking_data(config), checkpoints or states(folder), CPU, watch=watch)


def states(folder: Path) -> FolderCheckpoints:
    return FolderCheckpoints(folder / FOLDER, keep=2)


def killed(config: Config, folder: Path, save: int, after: bool) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(config, folder, Dying(folder / FOLDER, save, after))
    assert Trained.read(folder) is None
    assert not (folder / "checkpoint").exists()


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory) -> Path:
    """The folder of the training that nothing happened to."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    trained(config, folder)
    return folder


def assert_goes_on(config: Config, folder: Path, whole: Path, start: int) -> Trained:
    """It goes on from step `start` and ends, bit for bit, as `whole`."""
    seen: list[int] = []
    ended = trained(config, folder, watch=lambda scorer, clock: seen.append(clock.step))
    assert seen == [step for step in (5, 10, 12) if step > start]
    ours, right = (load_file(path / "checkpoint" / "model.safetensors") for path in (folder, whole))
    assert ours.keys() == right.keys()
    for name, tensor in right.items():
        assert torch.equal(ours[name], tensor), name
    kept = [pq.read_table(path / "rewards.parquet") for path in (folder, whole)]
    assert kept[0].equals(kept[1])
    assert not list(folder.glob(".*"))
    assert [line["step"] for line in read_metrics(folder)] == list(range(1, 13))
    return ended


class TestWhole:
    def test_what_it_leaves(self, whole):
        assert {path.name for path in whole.iterdir()} == {
            "checkpoint", "done.json", "metrics.jsonl", "rewards.parquet", "tensorboard", "training",
        }  # fmt: skip
        left = Trained.read(whole)
        assert (left.steps, left.workers) == (12, 1)
        assert left.seconds > 0
        assert left.reward_seconds > 0
        module = RankingScorer.load(whole / "checkpoint")
        count = sum(p.numel() for p in module.base.parameters())
        assert (left.parameters, left.base_parameters) == (
            sum(p.numel() for p in module.parameters()) - count, count,
        )  # fmt: skip
        assert left.peak_memory > 10_000_000  # bytes: an interpreter with torch is larger

    def test_it_trains_as_the_loop_does(self, config, whole):
        tensors, lines = whole_run(config)
        ours = load_file(whole / "checkpoint" / "model.safetensors")
        for name, tensor in tensors.items():
            assert torch.equal(ours[name], tensor), name
        assert [line["loss"] for line in read_metrics(whole)] == [line["loss"] for line in lines]

    def test_the_process_does_not_change_the_start(self, config, tmp_path):
        short = config.changed({"training.steps": 2})
        for seed, name in enumerate(("one", "two")):
            torch.manual_seed(seed)
            trained(short, tmp_path / name)
        one, two = (load_file(tmp_path / name / "checkpoint" / "model.safetensors") for name in ("one", "two"))
        assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())

    def test_done_json_of_an_earlier_version(self, tmp_path):
        assert Trained.read(tmp_path) is None
        old = {"steps": 7, "seconds": 1.5, "reward_seconds": 0.0, "parameters": 9, "peak_memory": 100}
        (tmp_path / "done.json").write_text(json.dumps(old))
        assert Trained.read(tmp_path) == Trained(**old, base_parameters=0, workers=1)


class TestInterruption:
    @pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("save", [1, 2, 3])
    def test_it_ends_like_one_that_was_not_interrupted(self, config, whole, tmp_path, save, after):
        folder = tmp_path / "run"
        killed(config, folder, save, after)
        before = states(folder).newest()
        ended = assert_goes_on(config, folder, whole, start=[0, 5, 10, 12][save if after else save - 1])
        assert ended.seconds > (before[1].seconds if before and before[1].step < 12 else 0)

    def test_a_state_that_was_cut_short_is_passed_over(self, config, whole, tmp_path):
        killed(config, tmp_path / "run", save=2, after=True)
        path = tmp_path / "run" / FOLDER / "checkpoint_00000010" / "training_state.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
        assert_goes_on(config, tmp_path / "run", whole, start=5)

    def test_trained_but_not_scored(self, config, whole, tmp_path, monkeypatch):
        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(margins, "rewards", interrupt)
            with pytest.raises(KeyboardInterrupt):
                trained(config, tmp_path / "run")
        assert Trained.read(tmp_path / "run") is None
        assert_goes_on(config, tmp_path / "run", whole, start=12)

    def test_a_folder_of_the_version_before(self, config, whole, tmp_path):
        """Every training went through Ray Train, which lists its checkpoints and marks its storage."""
        folder = tmp_path / "run"
        place = folder / FOLDER / "checkpoint_00000005"
        place.mkdir(parents=True)
        (folder / FOLDER / "checkpoint_manager_snapshot.json").write_text('{"checkpoint_results": []}')
        (folder / FOLDER / ".validate_storage_marker").touch()
        module = scorer(config)
        optimizer = optimizer_for(module, config)
        lines: list[dict[str, float]] = []

        def save(clock: Clock) -> None:
            module.save(place)
            save_state(place, module, optimizer, clock)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(module, ranking_data(config), config, optimizer, Clock(), lines.append, save)
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert_goes_on(config, folder, whole, start=5)
