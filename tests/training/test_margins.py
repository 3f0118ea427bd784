"""What MO-DPO's trainings take from single-objective ones, with a free score for every candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cosdpo.arrays import Floats
from cosdpo.config import Config
from cosdpo.data.batching import PreferenceData
from cosdpo.methods.modpo import Modpo
from cosdpo.training import margins
from cosdpo.training.checkpoints import FolderCheckpoints
from cosdpo.training.unit import Trained, Unit, train_unit
from cosdpo.training.world import World
from tests.tiny_models import settings

CANDIDATES = (3, 2, 4, 3, 2, 3)
CONTEXTS = len(CANDIDATES)
RANDOM = np.random.default_rng(0)
REFERENCE = [RANDOM.normal(size=n) for n in CANDIDATES]
OBJECTIVES = ["a", "b", "c"]
SCORES = [[RANDOM.normal(size=n).tolist() for _ in OBJECTIVES] for n in CANDIDATES]
REWARDS = tuple([3 * RANDOM.normal(size=n) for n in CANDIDATES] for _ in OBJECTIVES)
WEIGHTS = np.array([0.3, 0.5, 0.2])
CPU = torch.device("cpu")


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
        save_file({"table": self.table.detach()}, folder / "table.safetensors")


def create(config: Config, device: torch.device) -> Table:
    return Table()


def configured(weights: Sequence[float], **changes: object) -> Config:
    defaults: dict[str, object] = {
        "objectives": OBJECTIVES,
        "conditioning": "none",
        "temperature": [0.5, 1.0, 2.0],
        "data__comparisons": "listwise",
        "data__targets": "softmax",
        "training__weights": list(weights),
        "training__steps": 30,
        "training__batch_size": CONTEXTS,
        "training__learning_rate": 0.1,
        "evaluation__batch_tokens": 10,
    }
    return settings("", **defaults | changes)


def contexts(config: Config) -> PreferenceData:
    items = [Item(i, 2 + i % 3) for i in range(CONTEXTS)]
    return PreferenceData(items, SCORES, REFERENCE, config.data)


def run(
    config: Config, folder: Path, sources: Sequence[tuple[Path, float]] = (), keep_rewards: bool = False
) -> Trained:
    unit = Unit(config.changed({"output": folder}), create, sources, keep_rewards)
    return train_unit(unit, contexts(config), FolderCheckpoints(folder / "training", 1), CPU)


def table(folder: Path) -> list[Floats]:
    """The trained scores of each context."""
    rows = load_file(folder / "checkpoint" / "table.safetensors")["table"].double().numpy()
    return [row[:n] for row, n in zip(rows, CANDIDATES, strict=True)]


def stored(folder: Path, rewards: Sequence[Floats]) -> Path:
    folder.mkdir()
    margins.store(folder, dict(enumerate(rewards)))
    return folder


def centred(values: Floats) -> Floats:
    return values - values.mean()


class TestRewards:
    @pytest.mark.parametrize(("weights", "beta"), [([1, 0, 0], 0.5), ([0, 0, 1], 2.0)])
    def test_they_are_those_of_its_own_objective(self, tmp_path, weights, beta):
        run(configured(weights), tmp_path / "run", keep_rewards=True)
        kept = pq.read_table(tmp_path / "run" / "rewards.parquet")["rewards"].to_pylist()
        for rewards, scores, reference in zip(kept, table(tmp_path / "run"), REFERENCE, strict=True):
            # The loop's scores are float32.
            np.testing.assert_allclose(rewards, beta * (scores - reference), atol=1e-5)
            assert np.abs(rewards).max() > 0.1

    def test_workers_divide_the_contexts_among_them(self):
        config, module = configured([0, 1, 0]), Table()
        nn.init.normal_(module.table)
        whole, _ = margins.rewards(module, config, contexts(config), CPU, World())
        parts = [margins.rewards(module, config, contexts(config), CPU, World(rank, 2))[0] for rank in (0, 1)]
        assert all(parts)
        assert not parts[0].keys() & parts[1].keys()
        for index, values in (parts[0] | parts[1]).items():
            np.testing.assert_array_equal(values, whole[index])
        assert len(whole) == CONTEXTS == sum(map(len, parts))


class TestMargins:
    def test_they_are_the_weighted_rewards_over_beta(self, tmp_path):
        sources = [(stored(tmp_path / OBJECTIVES[k], REWARDS[k]), WEIGHTS[k]) for k in (0, 2)]
        config = Modpo(configured([])).runs(WEIGHTS[None])[-1].config
        assert config.temperatures[1] == pytest.approx(1.0 / 0.5)  # beta / w_j; the margin is over beta alone
        for found, a, c in zip(margins.read(sources, config), REWARDS[0], REWARDS[2], strict=True):
            np.testing.assert_allclose(found, (0.3 * a + 0.2 * c) / 1.0)

    @pytest.mark.parametrize("comparisons", ["pairwise", "listwise", "rankings"])
    def test_it_trains_by_the_published_loss(self, tmp_path, comparisons):
        """L = -log sigmoid((1 / w_j) [beta Delta r - sum_k w_k Delta r^k]), with the softmax for lists: the same
        trained scores as a loop of its own that minimises it.
        """
        base = configured([], data__comparisons=comparisons, training__warmup=0.0, training__clip=1e9)
        sources = [(stored(tmp_path / OBJECTIVES[k], REWARDS[k]), WEIGHTS[k]) for k in (0, 2)]
        config = Modpo(base).runs(WEIGHTS[None])[-1].config
        run(config, tmp_path / "run", sources)

        data, beta, own = contexts(config), 1.0, 0.5
        shifts = [0.3 * a + 0.2 * c for a, c in zip(REWARDS[0], REWARDS[2], strict=True)]
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
                z = (beta * r - torch.tensor(shifts[i])) / own
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
        grid = np.concatenate([np.eye(3), WEIGHTS[None]])
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
        (name,) = method.at(WEIGHTS).shares
        assert name == "modpo_0.3_0.5_0.2"
        for scores, reference, target in zip(table(tmp_path / name), REFERENCE, targets, strict=True):
            mixture = centred(WEIGHTS @ np.log(target))
            np.testing.assert_allclose(centred(1.0 * (scores - reference)), mixture, atol=5e-3)
