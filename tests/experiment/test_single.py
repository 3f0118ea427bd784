"""One training and one measurement of a comparison, called as plain functions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from cosdpo.experiment.single import Measuring, Trained, measure_some, train_one
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cosdpo.arrays import Floats
from cosdpo.config import Config
from cosdpo.data.batching import PreferenceData
from cosdpo.experiment import single as training
from cosdpo.methods.method import Policy
from cosdpo.methods.modpo import Modpo
from cosdpo.models.ranking_scorer import RankingScorer
from cosdpo.training.training_state import Clock
from tests import tiny_rankers
from tests.tiny_models import settings

CONTEXTS, CANDIDATES = 6, (3, 2, 4, 3, 2, 3)
RANDOM = np.random.default_rng(0)
REFERENCE = [RANDOM.normal(size=n) for n in CANDIDATES]
OBJECTIVES = ["a", "b", "c"]
SCORES = [[RANDOM.normal(size=n).tolist() for _ in OBJECTIVES] for n in CANDIDATES]


@dataclass(frozen=True)
class Item:
    """A context known by its place in the table."""

    index: int
    tokens: int


class Table(nn.Module):
    """A free score for every candidate, whatever the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(CONTEXTS, max(CANDIDATES)))
        for row, values in zip(self.table.data, REFERENCE, strict=True):
            row[: len(values)] = torch.tensor(values)

    def decays(self, name: str) -> bool:
        return False

    def trained_parameters(self) -> int:
        return self.table.numel()

    def forward(self, contexts: Sequence[Item], weights: Tensor, temperatures: Tensor) -> Tensor:
        rows = [c.index for c in contexts]
        return self.table[rows, : max(CANDIDATES[i] for i in rows)]

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"table": self.table.detach()}, folder / "table.safetensors")


def create(config: Config, device: torch.device) -> Table:
    return Table()


def configured(weights: Sequence[float], **changes: object) -> Config:
    return settings(
        "",
        **{
            "objectives": OBJECTIVES,
            "conditioning": "none",
            "temperature": [0.5, 1.0, 2.0],
            "data__comparisons": "listwise",
            "data__targets": "softmax",
            "training__weights": list(weights),
            "training__steps": 30,
            "training__batch_size": 6,
            "training__learning_rate": 0.1,
            "evaluation__batch_tokens": 10,
            **changes,
        },
    )


def contexts(config: Config) -> PreferenceData:
    items = [Item(i, 2 + i % 3) for i in range(CONTEXTS)]
    return PreferenceData(items, SCORES, REFERENCE, config.data)


def run(
    config: Config, folder: Path, sources: Sequence[tuple[Path, float]] = (), keep_rewards: bool = False
) -> Trained:
    return train_one(placed(config, folder), create, contexts(config), sources, keep_rewards)


def placed(config: Config, folder: Path) -> dict[str, Any]:
    return config.model_copy(update={"output": folder}).model_dump(mode="json")


def table(folder: Path) -> list[Floats]:
    """The trained scores of each context."""
    rows = load_file(folder / "checkpoint" / "table.safetensors")["table"].double().numpy()
    return [row[:n] for row, n in zip(rows, CANDIDATES, strict=True)]


def write_rewards(folder: Path, rewards: Sequence[Floats]) -> Path:
    folder.mkdir()
    pq.write_table(pa.table({"rewards": pa.array([r.tolist() for r in rewards])}), folder / "rewards.parquet")
    return folder


def centred(values: Floats) -> Floats:
    return values - values.mean()


class TestTrainOne:
    def test_what_a_finished_run_leaves(self, tmp_path):
        trained = run(configured([1.0, 0.0, 0.0]), tmp_path / "run")
        assert {path.name for path in (tmp_path / "run").iterdir()} == {
            "checkpoint", "done.json", "metrics.jsonl", "tensorboard",
        }  # fmt: skip
        assert Trained.read(tmp_path / "run") == trained
        assert trained.steps == 30
        assert trained.seconds > 0
        assert trained.parameters == CONTEXTS * max(CANDIDATES)
        assert trained.peak_memory > 10_000_000  # bytes: an interpreter with torch is larger
        lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [10, 20, 30]
        assert lines[-1]["loss/a"] < lines[0]["loss/a"]

    def test_an_unfinished_run_is_none(self, tmp_path):
        assert Trained.read(tmp_path / "nowhere") is None
        (tmp_path / "run" / "checkpoint").mkdir(parents=True)
        assert Trained.read(tmp_path / "run") is None

    @pytest.mark.parametrize(("weights", "beta"), [([1, 0, 0], 0.5), ([0, 0, 1], 2.0)])
    def test_rewards_are_those_of_its_own_objective(self, tmp_path, weights, beta):
        trained = run(configured(weights), tmp_path / "run", keep_rewards=True)
        stored = pq.read_table(tmp_path / "run" / "rewards.parquet")["rewards"].to_pylist()
        for rewards, scores, reference in zip(stored, table(tmp_path / "run"), REFERENCE, strict=True):
            # The loop's scores are float32.
            np.testing.assert_allclose(rewards, beta * (scores - reference), atol=1e-5)
            assert np.abs(rewards).max() > 0.1
        assert trained.reward_seconds > 0

    def test_another_process_does_not_change_the_start(self, tmp_path):
        config = tiny_rankers.settings(training__weights=[1.0, 0.0], training__steps=2)
        for seed, name in enumerate(("one", "two")):
            torch.manual_seed(seed)
            ranker_run(config, tmp_path / name)
        one, two = (load_file(tmp_path / name / "checkpoint" / "model.safetensors") for name in ("one", "two"))
        assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def create_ranker(config: Config, device: torch.device) -> RankingScorer:
    base = tiny_rankers.base_ranker(config, tiny_rankers.query_lists(*tiny_rankers.LENGTHS))
    torch.manual_seed(config.seed)
    return RankingScorer.create(config, base)


def ranker_run(config: Config, folder: Path, sources: Sequence[tuple[Path, float]] = ()) -> Trained:
    data = tiny_rankers.ranking_data(config)
    return train_one(placed(config, folder), create_ranker, data, sources, keep_rewards=True)


class TestInterruption:
    @pytest.fixture
    def config(self) -> Config:
        return tiny_rankers.settings(
            training__weights=[0.0, 1.0],
            training__steps=12,
            training__checkpoint_every=5,
            training__log_every=1,
            training__weight_decay=0.1,
            ranker__dropout=0.2,
        )

    @pytest.fixture
    def whole(self, config, tmp_path) -> Path:
        ranker_run(config, tmp_path / "whole")
        return tmp_path / "whole"

    @staticmethod
    def cut(monkeypatch: pytest.MonkeyPatch, checkpoint: int, half_written: bool) -> None:
        """The process dies at the given checkpoint, counted from 1, before it has its name."""
        save_state, count = training.save_state, iter(range(1, 100))

        def dying(folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, clock: Clock) -> None:
            last = next(count) == checkpoint
            if not last or half_written:
                save_state(folder, module, optimizer, clock)
            if last:
                raise KeyboardInterrupt

        monkeypatch.setattr(training, "save_state", dying)

    def assert_same(self, folder: Path, whole: Path) -> None:
        for name, tensor in load_file(whole / "checkpoint" / "model.safetensors").items():
            ours = load_file(folder / "checkpoint" / "model.safetensors")[name]
            assert torch.equal(ours, tensor), name
        kept = [pq.read_table(path / "rewards.parquet") for path in (folder, whole)]
        assert kept[0].equals(kept[1])
        assert not list(folder.glob(".*"))
        assert not (folder / "state").exists()
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == list(range(1, 13))

    @pytest.mark.parametrize("half_written", [False, True])
    @pytest.mark.parametrize(("checkpoint", "goes_on_from"), [(1, 0), (2, 5), (3, 10)])
    def test_it_ends_like_a_run_that_was_not_interrupted(
        self, config, whole, tmp_path, monkeypatch, checkpoint, half_written, goes_on_from
    ):
        folder = tmp_path / "run"
        with monkeypatch.context() as patch:
            self.cut(patch, checkpoint, half_written)
            patch.setattr("os.getpid", lambda: 1)  # what goes on is another process
            with pytest.raises(KeyboardInterrupt):
                ranker_run(config, folder)
        assert Trained.read(folder) is None
        assert not (folder / "checkpoint").exists()
        clocks = list((folder / "state").glob("[0-9]*/training_clock.json"))
        assert [json.loads(clock.read_text())["step"] for clock in clocks] == [goes_on_from] * (goes_on_from > 0)

        started: list[int] = []
        train = training.train
        monkeypatch.setattr(training, "train", lambda *a, **k: started.append(a[4].step) or train(*a, **k))
        trained = ranker_run(config, folder)
        assert started == [goes_on_from]
        assert trained.steps == 12
        self.assert_same(folder, whole)

    @pytest.mark.parametrize("operation", ["rename", "rmtree"])
    @pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
    @pytest.mark.parametrize("save", [1, 2, 3])
    def test_a_kill_within_a_save_loses_no_state_of_an_earlier_one(
        self, config, whole, tmp_path, monkeypatch, operation, done, save
    ):
        folder, count = tmp_path / "run", iter(range(1, 100))
        place, original = (Path, Path.rename) if operation == "rename" else (shutil, shutil.rmtree)

        def dying(path: Path, *arguments: object, **options: object) -> None:
            # Of a save's clearing away, that of the state before it.
            last = (
                path.parent.name == "state" and (operation == "rename" or path.name != ".new") and next(count) == save
            )
            if not last or done:
                original(path, *arguments, **options)
            if last:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(place, operation, dying)
            if operation == "rmtree" and save == 3:  # three saves clear away two states
                ranker_run(config, folder)
                return
            with pytest.raises(KeyboardInterrupt):
                ranker_run(config, folder)
        saved = save if operation == "rename" else save + 1  # the kill came with this save
        right = [0, 5, 10, 12][saved if done or operation == "rmtree" else saved - 1]
        started: list[int] = []
        train = training.train
        monkeypatch.setattr(training, "train", lambda *a, **k: started.append(a[4].step) or train(*a, **k))
        ranker_run(config, folder)
        assert started == [right]
        self.assert_same(folder, whole)

    def test_trained_but_not_scored(self, config, whole, tmp_path, monkeypatch):
        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(training, "rewards", interrupt)
            with pytest.raises(KeyboardInterrupt):
                ranker_run(config, tmp_path / "run")
        assert Trained.read(tmp_path / "run") is None
        ranker_run(config, tmp_path / "run")
        self.assert_same(tmp_path / "run", whole)

    def test_seconds_add_up_over_restarts(self, config, tmp_path, monkeypatch):
        with monkeypatch.context() as patch:
            self.cut(patch, 2, half_written=False)
            with pytest.raises(KeyboardInterrupt):
                ranker_run(config, tmp_path / "run")
        before = json.loads((tmp_path / "run" / "state" / "00000005" / "training_clock.json").read_text())["seconds"]
        assert ranker_run(config, tmp_path / "run").seconds > before > 0


class TestMargins:
    weights = np.array([0.3, 0.5, 0.2])
    rewards = tuple([3 * RANDOM.normal(size=n) for n in CANDIDATES] for _ in range(3))

    def test_zero_margins_change_nothing_and_others_do(self, tmp_path):
        config = configured([0.0, 1.0, 0.0])
        zero = write_rewards(tmp_path / "zero", [np.zeros(n) for n in CANDIDATES])
        other = write_rewards(tmp_path / "other", self.rewards[0])
        run(config, tmp_path / "plain")
        run(config, tmp_path / "with-zero", [(zero, 0.3)])
        run(config, tmp_path / "with-other", [(other, 0.3)])
        for plain, same, moved in zip(
            *(table(tmp_path / name) for name in ("plain", "with-zero", "with-other")), strict=True
        ):
            np.testing.assert_array_equal(same, plain)
            assert np.abs(moved - plain).max() > 0.05

    @pytest.mark.parametrize("comparisons", ["pairwise", "listwise", "rankings"])
    def test_it_trains_by_the_published_loss(self, tmp_path, comparisons):
        """L = -log sigmoid((1 / w_j) [beta Delta r - sum_k w_k Delta r^k]), with the softmax for lists: the same
        trained scores as a loop of its own that minimises it.
        """
        base = configured([], data__comparisons=comparisons, training__warmup=0.0, training__clip=1e9)
        sources = [(write_rewards(tmp_path / OBJECTIVES[k], self.rewards[k]), self.weights[k]) for k in (0, 2)]
        config = Modpo(base).runs(self.weights[None])[-1].config
        run(config, tmp_path / "run", sources)

        data, beta, own = contexts(config), 1.0, 0.5
        margins = [0.3 * a + 0.2 * c for a, c in zip(self.rewards[0], self.rewards[2], strict=True)]
        plain, steps = Table(), config.training.steps
        optimizer = torch.optim.AdamW(plain.parameters(), lr=0.1, weight_decay=0.0)
        preferred = [labels[1][:, None] > labels[1] for labels in data.scores]
        pairs = sum(int(p.sum()) for p in preferred)
        choices = sum(int(p.any(1).sum()) for p in preferred)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = 0.1 * (
                1.0 if step == 0 else 0.5 * (1 + np.cos(np.pi * (step - 1) / (steps - 1)))
            )
            loss = torch.zeros((), dtype=torch.float64)
            for i, n in enumerate(CANDIDATES):  # every batch has all contexts
                r = plain.table[i, :n].double() - torch.tensor(REFERENCE[i])
                z = (beta * r - torch.tensor(margins[i])) / own
                if comparisons == "pairwise":
                    for best, worst in np.argwhere(preferred[i]):
                        loss = loss - nn.functional.logsigmoid(z[best] - z[worst]) / pairs
                elif comparisons == "rankings":
                    for best, below in enumerate(preferred[i]):
                        if below.any():
                            rivals = torch.cat([z[best, None], z[torch.from_numpy(below)]])
                            loss = loss - rivals.log_softmax(0)[0] / choices
                else:
                    loss = loss - (torch.tensor(data.targets[i][1]) * z.log_softmax(0)).sum() / CONTEXTS
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        for ours, right, reference in zip(table(tmp_path / "run"), plain.table, REFERENCE, strict=True):
            expected = right[: len(ours)].detach().double().numpy()
            np.testing.assert_allclose(ours, expected, atol=2e-4)
            assert np.abs(ours - reference).max() > 0.2

    def test_between_its_ends_the_optimum_is_the_geometric_mixture(self, tmp_path):
        """The margins of single-objective optima add up to a known policy.

        A free policy's single-objective optimum has softmax(beta_k r) = p^k, so that r^k = log p^k up to a constant.
        MO-DPO's listwise optimum has (1 / w_j) [beta_j r - sum_k w_k r^k] = log p^j, hence

            beta_j r = sum_k w_k log p^k + const        over all k, the chosen objective among them.
        """
        grid = np.concatenate([np.eye(3), self.weights[None]])
        config = configured([], training__steps=400, training__learning_rate=0.5, training__clip=100.0)
        method = Modpo(config)
        for one in method.runs(grid):
            sources = [(tmp_path / name, share) for name, share in one.margins.items()]
            run(one.config, tmp_path / one.name, sources, keep_rewards=True)
        targets = contexts(config).targets
        for k, corner in enumerate(np.eye(3)):
            (name,) = method.at(corner).shares
            for scores, reference, target in zip(table(tmp_path / name), REFERENCE, targets, strict=True):
                beta = config.temperatures[k]
                np.testing.assert_allclose(centred(beta * (scores - reference)), centred(np.log(target[k])), atol=2e-3)
        (name,) = method.at(self.weights).shares
        assert name == "modpo_0.3_0.5_0.2"
        for scores, reference, target in zip(table(tmp_path / name), REFERENCE, targets, strict=True):
            mixture = centred(self.weights @ np.log(target))
            np.testing.assert_allclose(centred(1.0 * (scores - reference)), mixture, atol=5e-3)

    def test_a_ranker_takes_margins(self, tmp_path):
        config = tiny_rankers.settings(training__steps=5)
        one, _, between = Modpo(config).runs(np.array([[0.4, 0.6]]))
        ranker_run(one.config, tmp_path / "source")
        ranker_run(between.config, tmp_path / "plain")
        ranker_run(between.config, tmp_path / "with", [(tmp_path / "source", 0.4)])
        head = "network.head.weight"
        plain, with_margins = (
            load_file(tmp_path / name / "checkpoint" / "model.safetensors")[head] for name in ("plain", "with")
        )
        assert not torch.allclose(plain, with_margins, atol=1e-4)


class TestMeasureSome:
    @pytest.fixture
    def calls(self) -> list[tuple[Any, ...]]:
        return []

    @pytest.fixture
    def measured(self, calls, tmp_path) -> Callable[..., list[Any]]:
        """Measures with stand-ins that write down what they are asked."""

        def average(shares: Mapping[Path, float], config: Config, device: torch.device) -> str:
            calls.append(("average", {path.parent.name: share for path, share in shares.items()}))
            assert all(path == tmp_path / path.parent.name / "checkpoint" for path in shares)
            return "+".join(path.parent.name for path in shares)

        def measure(scorer: str, config: Config, indices: Iterable[int], lead: bool, illustrate: bool = True) -> str:
            calls.append(("measure", scorer, list(indices), lead, illustrate))
            return f"part of {scorer}"

        def run(policies: Sequence[Policy]) -> list[Any]:
            tree = configured([]).model_dump(mode="json")
            return measure_some(Measuring(tree, tmp_path, list(enumerate(policies)), average, measure))

        return run

    def test_a_conditioned_run_is_loaded_once(self, measured, calls):
        assert measured([Policy({"cos": 1.0})] * 3) == ["part of cos"]
        assert calls == [("average", {"cos": 1.0}), ("measure", "cos", [0, 1, 2], True, False)]

    def test_equal_policies_share_their_loading(self, measured, calls):
        ends, middle = (Policy({"one": 1.0}), Policy({"two": 1.0})), Policy({"one": 0.5, "two": 0.5})
        parts = measured([ends[0], middle, ends[1], ends[0]])
        assert parts == ["part of one", "part of one+two", "part of two"]
        # The first alone also measures the base.
        assert [call for call in calls if call[0] == "measure"] == [
            ("measure", "one", [0, 3], True, False),
            ("measure", "one+two", [1], False, False),
            ("measure", "two", [2], False, False),
        ]

    def test_shares_tell_policies_apart(self, measured, calls):
        measured([Policy({"one": 0.3, "two": 0.7}), Policy({"one": 0.7, "two": 0.3})])
        assert [call[1] for call in calls if call[0] == "average"] == [
            {"one": 0.3, "two": 0.7},
            {"one": 0.7, "two": 0.3},
        ]
        assert [call[2] for call in calls if call[0] == "measure"] == [[0], [1]]
