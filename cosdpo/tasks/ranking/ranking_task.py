"""Rankers: query lists from LETOR files or the synthetic world, NDCG@10 per objective and for the main label."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import ray
import torch

from cosdpo.arrays import Floats
from cosdpo.config import Config
from cosdpo.data.batching import BatchOrder, of_epochs
from cosdpo.data.query_lists import QueryLists
from cosdpo.data.ranking_data import RankingData, graded_labels
from cosdpo.data.ranking_splits import Split, fold_count, read_split
from cosdpo.errors import InputError
from cosdpo.evaluation.between import interpolation
from cosdpo.evaluation.bootstrap import PerContext
from cosdpo.evaluation.front import Main, Measured
from cosdpo.evaluation.ndcg import mean_ndcg
from cosdpo.models.ranking_scorer import BaseRanker, RankingScorer, average
from cosdpo.tasks.ranking.base_ranker import MAIN, base_data, base_unit, reference_key, reference_scores
from cosdpo.tasks.ranking.ranking_measurement import SHOWN_DOCUMENTS, measure, ndcg_of
from cosdpo.tasks.task import Average, Findings, Measure, Task
from cosdpo.training.reference import ReferenceCache
from cosdpo.training.unit import Unit

METRIC = "ndcg@10"
EXAMPLE_DOCUMENTS = 20
NETWORK = ("ranker.architecture", "ranker.width", "ranker.layers", "ranker.heads")


class RankingTask(Task):
    """Query lists with graded labels, and the base ranker that gives the reference scores."""

    name = "ranking"
    job = "train_ltr.py"
    conditioning = "ranker.conditioning"
    conditionings = ("concatenation", "gates", "both")
    example_key = "ranker.conditioning"
    train: RankingData
    held_out: RankingData

    def __init__(self, config: Config, split: Split) -> None:
        """Grades the labels of a split."""
        self.config = config
        self.split = split
        self.train, self.held_out = (self._data(lists) for lists in (split.train, split.held_out))
        self.notes = {}

    def _data(self, lists: QueryLists) -> RankingData:
        order = [list(self.config.data.auxiliary).index(name) for name in self.config.objectives]
        return RankingData(lists, graded_labels(lists)[:, order], self.config.data)

    @staticmethod
    def metrics(config: Config) -> list[str]:
        """NDCG@10."""
        return [METRIC]

    @staticmethod
    def folds(config: Config) -> int:
        """Folds of the source, or as many as data.folds cuts it into."""
        return fold_count(config.data)

    @staticmethod
    def why_not_searched(key: str, config: Config) -> str:
        """Trials share one base ranker, and have nothing of a language model."""
        if key in ("ranker.log1p", "ranker.list_features"):
            return "it belongs to the base, which all trials share"
        if key.startswith("ranker.base_"):
            return "all trials share one base ranker"
        if key == "conditioning":
            return "a ranker has ranker.conditioning"
        if key.startswith(("model.", "scope")) and key != "model.temperature_conditioned":
            return "a ranking model does not use it"
        if key in NETWORK and not config.model.base:
            raise InputError(
                f"sweep.space.{key}: it would change the base ranker, which all trials share; train a base first and "
                "name its checkpoint by model.base"
            )
        return ""

    @staticmethod
    def resolved(config: Config) -> Config:
        """All auxiliary objectives where none are named, listwise comparisons, and absolute paths."""
        listwise = {"comparisons": "listwise", "targets": "gains"}
        changes: dict[str, object] = {
            f"data.{key}": value for key, value in listwise.items() if key not in config.data.model_fields_set
        }
        for key in ("train", "validation", "test"):
            if path := getattr(config.data, key):
                changes[f"data.{key}"] = str(Path(path).expanduser().resolve())
        return config.changed({"objectives": config.objectives or list(config.data.auxiliary), **changes})

    @staticmethod
    def check(config: Config) -> None:
        """What can be refused without reading any data."""
        auxiliary = config.data.auxiliary
        unknown = [name for name in config.objectives if name not in auxiliary]
        if unknown:
            raise InputError(
                f"objectives names {unknown[0]!r}, data.auxiliary has {', '.join(auxiliary) or 'none'}: add its "
                f"feature number by --data.auxiliary.{unknown[0]} NUMBER"
            )
        if config.data.comparisons == "pairwise":
            raise InputError("data.comparisons pairwise is for language models; set it to listwise or rankings")
        if config.data.fold > fold_count(config.data):
            raise InputError(
                f"data.fold is {config.data.fold}, the data has {fold_count(config.data)}; set data.folds to cut a "
                "source without folds of its own"
            )
        if config.model.base:
            BaseRanker.load(Path(config.model.base))

    @classmethod
    def prepare(cls, config: Config) -> Self:
        """Reads the fold that data.fold names (0 is the only one)."""
        base = BaseRanker.load(Path(config.model.base)) if config.model.base else None
        task = cls(config, read_split(config, max(base.card.numbers, default=0) if base else 0))
        for side in (task.train, task.held_out):
            side.comparisons(config.objectives)
        # The main label is judged, and trained on where there is no base yet.
        for side in (task.held_out,) if config.model.base else (task.train, task.held_out):
            mean_ndcg(np.zeros(len(side.labels)), side.lists.relevance, side.lists.offsets)
        BatchOrder(task.train.lengths, config.training.batch_size, config.seed)
        task.config = of_epochs(config, len(task.train))
        if base and list(task.split.train.numbers) != base.card.numbers:
            raise InputError(
                f"model.base {config.model.base} was trained on {len(base.card.numbers)} features, data.train has "
                f"{len(task.split.train.numbers)} besides data.auxiliary: train a base on the same ones"
            )
        return task

    def base(self) -> tuple[Unit, RankingData] | None:
        """A ranker of the main label, where model.base names none."""
        if self.config.model.base:
            return None
        lists = self.split.train
        return base_unit(self.config, lists), base_data(lists, self.config.data)

    def add_reference(self) -> None:
        """Scores both sides with the base."""
        scaling = self.config.scaling
        score = ray.remote(reference_scores).options(
            num_cpus=scaling.cpus_per_worker, num_gpus=1 if scaling.use_gpu else 0
        )
        cache = ReferenceCache()
        for side in (self.train, self.held_out):
            key = reference_key(Path(self.config.model.base), side)
            scores = cache.load(key)
            if scores is None:
                scores = ray.get(score.remote(self.config, side))
                cache.store(key, scores)
            side.reference = np.concatenate(scores).astype(np.float32)

    @property
    def create(self) -> Callable[[Config, torch.device], RankingScorer]:
        """Builds a fresh scorer on a worker's device."""
        return _create

    @property
    def average(self) -> Average:
        """Loads trained scorers; averages are those of their parameters."""
        return _average

    def measure(self) -> Measure:
        """Measures scorers on the held-out lists."""
        return partial(measure, data=ray.put(self.held_out))

    def findings(self, parts: Sequence[Any], grid: Floats, curve: Floats | None = None) -> Findings:
        """NDCG@10 over the grid, above the base ranker's."""
        ndcg, main, scores = (
            [{k: v for part in parts for k, v in getattr(part, name).items()}[i] for i in range(len(grid))]
            for name in ("ndcg", "main", "scores")
        )
        base, base_main = ndcg_of(self.held_out.reference, self.held_out)

        def found(values: PerContext, relevance: PerContext) -> Findings:
            price = Main.of(MAIN, METRIC, relevance, base=float(base_main.mean[0]))
            return Findings({METRIC: Measured.of(values, base)}, price)

        between = None
        if curve is not None:
            known = np.stack(scores)
            # In single precision, so that documents that tie still do.
            rows = ((shares @ known).astype(np.float32) for shares in interpolation(grid, curve))
            along = zip(*(ndcg_of(row, self.held_out) for row in rows), strict=True)
            between = found(*map(PerContext.stacked, along))
        whole = found(PerContext.by_temperature(ndcg), PerContext.by_temperature(main))
        return replace(whole, rankings=parts[0].rankings, curve=between)

    def step_flops(self) -> float:
        """Estimated from the network's size and the mean length of the lists."""
        ranker = self.config.ranker
        inputs = len(self.split.train.numbers) * (2 if ranker.list_features else 1)
        matrices = (12 if ranker.architecture == "transformer" else 2) * ranker.layers * ranker.width**2
        documents = float(np.mean(self.train.lengths)) * self.config.training.batch_size
        return 6 * (inputs * ranker.width + matrices) * documents

    def example(self) -> dict[str, Any]:
        """The first held-out query of some length: up to 20 rows of its input features, as the data has them."""
        lists = self.split.held_out
        query = int(np.argmax(lists.lengths >= min(SHOWN_DOCUMENTS, lists.lengths.max())))
        rows = lists.features[lists.documents([query])][:EXAMPLE_DOCUMENTS]
        return {"features": [[float(f"{value:.7g}") for value in row] for row in rows.tolist()]}

    def facts(self) -> dict[str, str | int | float]:
        """Network and sizes."""
        ranker, sides = self.config.ranker, (self.split.train, self.split.held_out)
        return {
            "data": self.config.data.train or "synthetic",
            "ranker": f"{ranker.architecture}, {ranker.layers} layers of {ranker.width}",
            "conditioning": ranker.conditioning,
            "parametrisation": ranker.parametrisation,
            "input features": len(self.split.train.numbers),
            **{
                f"{name} queries": f"{len(side):,} ({len(side.relevance):,} documents)"
                for name, side in zip(("training", self.split.held_out_name), sides, strict=True)
            },
        }


def _create(config: Config, device: torch.device) -> RankingScorer:
    return RankingScorer.create(config, BaseRanker.load(Path(config.model.base))).to(device)


def _average(shares: Mapping[Path, float], config: Config, device: torch.device) -> RankingScorer:
    return average(shares, device)
