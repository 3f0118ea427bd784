"""The law for rankers, and one temperature-conditioned run against a run per temperature vector.

Everything is trained in this process, on one fold per seed; NDCG@10 is measured on its held-out queries.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from law.kept import kept

from cosdpo.arrays import Floats
from cosdpo.config import Config
from cosdpo.data.ranking_data import RankingData
from cosdpo.data.ranking_splits import read_split
from cosdpo.evaluation.indicators import hypervolume
from cosdpo.evaluation.ndcg import mean_ndcg
from cosdpo.losses import rescale
from cosdpo.models.ranking_scorer import BaseRanker, RankingScorer
from cosdpo.simplex import das_dennis
from cosdpo.tasks.ranking import RankingTask
from cosdpo.tasks.ranking.base_ranker import base_data, base_unit
from cosdpo.training.loop import optimizer_for, train
from cosdpo.training.training_state import Clock

DIRECTIONS = ((0.5, 0.5), (0.8, 0.2), (0.2, 0.8))
"""Normalised temperatures of the two objectives, at which the conditioned run is compared."""


@dataclass(frozen=True)
class Sides:
    """The data of one seed and its base ranker."""

    task: RankingTask
    base: Path

    @property
    def held_out(self) -> RankingData:
        """What is measured on."""
        return self.task.held_out

    def scorer(self, config: Config) -> tuple[RankingScorer, float]:
        """A ranker trained with `config` on this data, and its seconds of training."""
        torch.manual_seed(config.seed)
        made = RankingScorer.create(config, BaseRanker.load(self.base))
        return made, fit(made, self.task.train, config)

    def centred(self, scores: Floats) -> Floats:
        """Scores [N, T] less their mean over each list: no loss and no order sees a constant per list."""
        lists = self.held_out.lists
        means = np.add.reduceat(scores, lists.offsets[:-1], axis=1) / lists.lengths
        centred: Floats = scores - np.repeat(means, lists.lengths, axis=1)
        return centred

    def ndcg(self, scores: Floats) -> list[float]:
        """NDCG@10 of every objective, then of the relevance, for scores [T] of all held-out documents."""
        lists = self.held_out.lists
        labels = [*self.held_out.labels.T, lists.relevance]
        return [mean_ndcg(scores, of_one, lists.offsets) for of_one in labels]


def fit(model: Any, data: RankingData, config: Config) -> float:
    """Trains `model` in place; returns the seconds."""
    optimizer = optimizer_for(model, config)
    seconds = train(model, data, config, optimizer, Clock(), lambda line: None, lambda now: None).seconds
    model.eval()
    return seconds


def prepared(config: Config, folder: Path) -> Sides:
    """Reads the fold of a seed and trains its base ranker, whose checkpoint is put into `folder`."""
    task = RankingTask(config, read_split(config))
    lists = task.split.train
    unit = base_unit(config, lists)
    torch.manual_seed(config.seed)
    base = unit.create(unit.config, torch.device("cpu"))
    fit(base, base_data(lists, config.data), unit.config)
    base.save(folder)
    with torch.no_grad():
        for side in (task.train, task.held_out):
            side.reference = base.scores(side.batch(range(len(side))).contexts).numpy()
    return Sides(task, folder)


@torch.no_grad()
def scores_at(scorer: RankingScorer, data: RankingData, grid: Floats, beta: list[float]) -> Floats:
    """Scores of all held-out documents at every weight of the grid and temperatures [m], [N, T]."""
    lists = data.batch(range(len(data))).contexts
    temperatures = torch.tensor(beta).float().expand(len(data), -1)
    rows = [lists.unpad(scorer(lists, torch.tensor(w).float().expand(len(data), -1), temperatures)) for w in grid]
    return torch.stack(rows).double().numpy()


def law(config: Config, betas: list[float], seeds: int, folder: Path) -> dict[str, Any]:
    """By parametrisation, [seeds] of: what `one_law` gives."""
    return {
        kind: [
            kept(folder, f"ranker-{kind}-{seed}", lambda k=kind, s=seed: one_law(_of(config, k, s), betas))
            for seed in range(seeds)
        ]
        for kind in ("augmentation", "scratch")
    }


def one_law(config: Config, betas: list[float]) -> dict[str, Any]:
    """One seed: a run at every beta, against the run at the configured temperature rescaled to it.

    Returns:
        By measure a list over `betas`. same_network: largest absolute difference of scores between the network asked
        for c * beta and the rescaled scores of the same network at beta. trained_anew: the same difference for a
        network trained at c * beta, less a constant per list; and `reward`, the largest absolute reward there without
        its own constant, to set it against. trained,
        rescaled: NDCG@10 at every weight of the objectives and of the relevance, [N, m + 1].
    """
    grid = das_dennis(len(config.objectives), config.partitions)
    trained_at = config.temperatures[0]
    measured: dict[str, list[Any]] = {
        name: [] for name in ("same_network", "trained_anew", "reward", "trained", "rescaled")
    }
    with tempfile.TemporaryDirectory() as name:
        data = prepared(config, Path(name))
        reference = data.held_out.reference.astype(np.float64)
        original, _ = data.scorer(config)
        at_trained = torch.from_numpy(scores_at(original, data.held_out, grid, config.temperatures))
        for beta in betas:
            rescaled = rescale(at_trained, torch.from_numpy(reference), beta / trained_at).numpy()
            temperatures = [beta] * len(config.objectives)
            anew, _ = data.scorer(config.changed({"temperature": beta}))
            scores = scores_at(anew, data.held_out, grid, temperatures)
            same = scores_at(original, data.held_out, grid, temperatures)
            measured["same_network"].append(float(np.abs(same - rescaled).max()))
            measured["trained_anew"].append(float(np.abs(data.centred(scores - rescaled)).max()))
            measured["reward"].append(float(np.abs(data.centred(scores - reference)).max()))
            measured["trained"].append([data.ndcg(row) for row in scores])
            measured["rescaled"].append([data.ndcg(row) for row in rescaled])
    print(f"ranker: {config.ranker.parametrisation} seed {config.seed} done", flush=True)
    return measured


def vectors(config: Config, seeds: int, folder: Path) -> list[dict[str, Any]]:
    """[seeds] of: what `one_run_for_all_vectors` gives."""
    return [
        kept(folder, f"vectors-{seed}", lambda s=seed: one_run_for_all_vectors(_of(config, "augmentation", s)))
        for seed in range(seeds)
    ]


def one_run_for_all_vectors(config: Config) -> dict[str, Any]:
    """One seed: a temperature-conditioned run at every temperature vector, against a run trained at each.

    Returns:
        conditioned, separate: by vector the NDCG@10 at every weight, [V, N, m + 1]; the hypervolumes above the base
        [V]; seconds of training, of the one run and of all others together.
    """
    grid = das_dennis(len(config.objectives), config.partitions)
    kappa = sum(config.temperatures)
    with tempfile.TemporaryDirectory() as name:
        data = prepared(config, Path(name))
        base = np.array(data.ndcg(data.held_out.reference.astype(np.float64)))[:-1]
        one, seconds = data.scorer(config.changed({"model.temperature_conditioned": True}))
        ndcg: dict[str, list[Any]] = {"conditioned": [], "separate": []}
        spent = 0.0
        for direction in DIRECTIONS:
            beta = [kappa * share for share in direction]
            other, more = data.scorer(config.changed({"temperature": beta}))
            spent += more
            for way, scorer in (("conditioned", one), ("separate", other)):
                ndcg[way].append([data.ndcg(row) for row in scores_at(scorer, data.held_out, grid, beta)])
    volumes = {
        f"{way}_hypervolume": [hypervolume(np.array(values)[:, :-1], base) for values in of_way]
        for way, of_way in ndcg.items()
    }
    print(f"ranker: temperature vectors seed {config.seed} done", flush=True)
    return {**ndcg, **volumes, "conditioned_seconds": seconds, "separate_seconds": spent}


def _of(config: Config, parametrisation: str, seed: int) -> Config:
    """The configuration of one seed, on a fold of its own."""
    fold = 1 + seed % max(config.data.folds, 1)
    return config.changed({"ranker.parametrisation": parametrisation, "data.fold": fold, "seed": seed})
