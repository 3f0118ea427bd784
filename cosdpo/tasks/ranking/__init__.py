"""Rankers: query lists from LETOR files or the synthetic world, NDCG@10 per objective and for the main label."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import ray
import torch

from cosdpo.arrays import Floats, Integers, Singles
from cosdpo.config import Config, DataConfig
from cosdpo.data.batching import BatchOrder
from cosdpo.data.query_lists import QueryLists
from cosdpo.data.ranking_data import RankingData, graded_labels
from cosdpo.data.ranking_splits import Split, fold_count, read_split
from cosdpo.errors import InputError
from cosdpo.evaluation.front import Main, Measured
from cosdpo.evaluation.ndcg import mean_ndcg
from cosdpo.evaluation.samples import Order, Ranking
from cosdpo.losses import rescale
from cosdpo.models.ranking_scorer import BaseRanker, RankingScorer, average
from cosdpo.models.standardiser import Standardiser
from cosdpo.simplex import das_dennis, showcase
from cosdpo.tasks.task import Average, Findings, Measure, Task
from cosdpo.training import run_folder
from cosdpo.training.devices import worker_device
from cosdpo.training.progress import progress
from cosdpo.training.ray_train import Job, fit
from cosdpo.training.reference import ReferenceCache
from cosdpo.training.world import World

MAIN = "relevance"
METRIC = "ndcg@10"
SHOWN_QUERIES = 3
SHOWN_DOCUMENTS = 10
EXAMPLE_DOCUMENTS = 20

log = logging.getLogger("cosdpo")


@dataclass
class Ranked:
    """What a scorer reached at some weights of the grid, by grid index."""

    ndcg: dict[int, Floats] = field(default_factory=dict)
    """[R, m] NDCG@10 per auxiliary objective, at each of the R temperatures."""
    main: dict[int, Floats] = field(default_factory=dict)
    """[R] NDCG@10 of the main label."""
    parameters: tuple[int, int] = (0, 0)
    """Trained parameters, and those of the base."""
    rankings: list[Ranking] = field(default_factory=list)


class RankingTask(Task):
    """Query lists with graded labels, and the base ranker that gives the reference scores."""

    name = "ranking"
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
    def resolved(config: Config) -> Config:
        """All auxiliary objectives where none are named, listwise comparisons, and an absolute path."""
        data = {"comparisons": "listwise", "targets": "gains"}
        given = {name: getattr(config.data, name) for name in data if name in config.data.model_fields_set}
        places = {
            name: str(Path(getattr(config.data, name)).expanduser().resolve())
            for name in ("train", "validation", "test")
            if getattr(config.data, name)
        }
        return config.model_copy(
            update={
                "objectives": config.objectives or list(config.data.auxiliary),
                "data": config.data.model_copy(update={**data, **given, **places}),
            }
        )

    @staticmethod
    def check(config: Config) -> None:
        """What can be refused without reading any data."""
        known = config.data.auxiliary
        unknown = [name for name in config.objectives if name not in known]
        if unknown:
            raise InputError(
                f"objectives names {unknown[0]!r}, data.auxiliary has {', '.join(known) or 'none'}: add its feature "
                f"number by --data.auxiliary.{unknown[0]} NUMBER"
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
        task = cls(config, read_split(config))
        if task.split.train.numbers != task.split.held_out.numbers:
            raise InputError("the files have different features; give files of one data set")
        for side in (task.train, task.held_out):
            side.comparisons(config.objectives)
        # The main label is judged, and trained on where there is no base yet.
        for side in (task.held_out,) if config.model.base else (task.train, task.held_out):
            mean_ndcg(np.zeros(len(side.labels)), side.lists.relevance, _offsets(side))
        BatchOrder(task.train.lengths, config.training.batch_size, config.seed)
        if config.model.base:
            base = BaseRanker.load(Path(config.model.base))
            if list(task.split.train.numbers) != base.card.numbers:
                raise InputError(
                    f"model.base {config.model.base} was trained on {len(base.card.numbers)} features, data.train has "
                    f"{len(task.split.train.numbers)} besides data.auxiliary: train a base on the same ones"
                )
        return task

    def add_reference(self) -> None:
        """Trains a base on the main label if there is none, and scores both sides with it."""
        if not self.config.model.base:
            base = train_base(self.config, self.split.train)
            self.config = self.config.model_copy(
                update={"model": self.config.model.model_copy(update={"base": str(base)})}
            )
        scaling = self.config.scaling
        score = ray.remote(_reference_scores).options(
            num_cpus=scaling.cpus_per_worker, num_gpus=1 if scaling.use_gpu else 0
        )
        cache = ReferenceCache()
        for side in (self.train, self.held_out):
            key = _reference_key(Path(self.config.model.base), side)
            known = cache.load(key)
            if known is None:
                known = ray.get(score.remote(self.config.model_dump(mode="json"), side))
                cache.store(key, known)
            side.reference = np.concatenate(known).astype(np.float32)

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
        return partial(_measure, data=ray.put(self.held_out))

    def findings(self, parts: Sequence[Any], grid: Floats) -> Findings:
        """NDCG@10 over the grid, above the base ranker's."""
        ndcg, main = ({k: v for part in parts for k, v in getattr(part, name).items()} for name in ("ndcg", "main"))
        base, base_main = _ndcg(self.held_out.reference, self.held_out)
        trained, frozen = parts[0].parameters
        values, relevance = (np.stack([found[i] for i in range(len(grid))], axis=1) for found in (ndcg, main))  # [R, N]
        return Findings(
            metrics={METRIC: Measured(np.concatenate(values), base, base)},
            trained_parameters=trained,
            base_parameters=frozen,
            main=Main(name=MAIN, metric=METRIC, base=base_main, values=relevance.flatten().tolist()),
            pictures={"rankings": parts[0].rankings},
        )

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


def base_config(config: Config) -> Config:
    """The run of the base ranker: the main label alone, by ListNet.

    The loss of the conditioned run with one objective, temperature 1 and reference scores 0 is ListNet's: the base
    goes through the same loop.
    """
    training = {"steps": config.ranker.base_steps, "learning_rate": config.ranker.base_learning_rate, "penalty": 0.0}
    return config.model_copy(
        update={
            "output": config.output / "base",
            "objectives": [MAIN],
            "temperature": 1.0,
            "training": config.training.model_copy(update=training),
        }
    )


def base_data(lists: QueryLists, data: DataConfig) -> RankingData:
    """What the base ranker is trained on."""
    listnet = data.model_copy(update={"comparisons": "listwise", "targets": "gains"})
    return RankingData(lists, lists.relevance[:, None], listnet)


def train_base(config: Config, lists: QueryLists) -> Path:
    """Checkpoint folder of a base ranker, trained on the main label unless that was done already."""
    run = base_config(config)
    done = run.output / "checkpoint"
    if done.exists():
        return done
    run_folder.create(run)
    standardiser = Standardiser(len(lists.numbers), config.ranker.log1p, config.ranker.list_features)
    standardiser.fit(lists.features)
    job = Job(
        config=run.model_dump(mode="json"),
        create=partial(_create_base, numbers=lists.numbers, standardiser=standardiser),
        data=ray.put(base_data(lists, config.data)),
        finish=_nothing,
    )
    with progress(run.output, run.training.steps, "base ranker"):
        fit(run, job)
    return done


def _create_base(
    config: Config, device: torch.device, numbers: Sequence[int], standardiser: Standardiser
) -> BaseRanker:
    return BaseRanker.create(config, numbers, standardiser).to(device)


def _nothing(scorer: BaseRanker, config: Config, world: World) -> None:
    """A base is measured with what is trained on it."""


def _create(config: Config, device: torch.device) -> RankingScorer:
    return RankingScorer.create(config, BaseRanker.load(Path(config.model.base))).to(device)


def _reference_key(base: Path, data: RankingData) -> str:
    """sha256 over the base's weights and every feature, in order."""
    digest = hashlib.sha256()
    for name in ("cosdpo.json", "model.safetensors"):
        digest.update((base / name).read_bytes())
    for array in (data.lists.features, data.lists.offsets):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@torch.no_grad()
def _reference_scores(config_tree: dict[str, Any], data: RankingData) -> list[Floats]:
    """s_ref of every document, per query."""
    config = Config.model_validate(config_tree)
    device = worker_device(config.scaling.use_gpu)
    torch.set_num_threads(config.scaling.worker_threads)
    base = BaseRanker.load(Path(config.model.base)).to(device)
    scores = np.zeros(len(data.reference))
    for indices in data.in_order_of_length(config.evaluation.batch_tokens):
        lists = data.batch(indices).contexts.to(device)
        scores[data.lists.documents(indices)] = base.scores(lists).double().cpu().numpy()
    return np.split(scores, data.lists.offsets[1:-1])


def _average(shares: Mapping[Path, float], config: Config, device: torch.device) -> RankingScorer:
    return average(shares, device)


def _measure(
    scorer: RankingScorer,
    config: Config,
    indices: Iterable[int],
    lead: bool,
    illustrate: bool = True,
    ratios: Sequence[float] = (1.0,),
    *,
    data: Any,
) -> Ranked:
    held_out: RankingData = ray.get(data)
    grid = das_dennis(len(config.objectives), config.partitions)
    chosen = list(indices)
    trained = scorer.trained_parameters()
    ranked = Ranked(parameters=(trained, sum(p.numel() for p in scorer.parameters()) - trained))
    scores = torch.from_numpy(score_all(scorer, held_out, grid[chosen], config))
    reference = torch.from_numpy(held_out.reference)
    for index, row in zip(chosen, scores, strict=True):
        along = [_ndcg((row if c == 1 else rescale(row, reference, c)).numpy(), held_out) for c in ratios]
        ranked.ndcg[index] = np.stack([auxiliary for auxiliary, _ in along])
        ranked.main[index] = np.array([relevance for _, relevance in along])
    if lead and illustrate:
        ranked.rankings = _rankings(scorer, held_out, config)
    return ranked


@torch.no_grad()
def score_all(scorer: Any, data: RankingData, weights: Floats, config: Config) -> Singles:
    """Scores of all documents at several weights [W, m] and the scorer's own trained temperature, [W, N]."""
    scores = np.zeros((len(weights), len(data.reference)), dtype=np.float32)
    beta = torch.tensor(scorer.card.trained_temperature, dtype=torch.float32, device=scorer.device)
    w = torch.tensor(weights, dtype=torch.float32, device=scorer.device)
    for indices in data.in_order_of_length(config.evaluation.batch_tokens):
        lists = data.batch(indices).contexts.to(scorer.device)
        rows = data.lists.documents(indices)
        for i, one in enumerate(w):
            shape = (len(indices), len(one))
            scores[i, rows] = lists.unpad(scorer(lists, one.expand(shape), beta.expand(shape))).float().cpu().numpy()
    return scores


def _offsets(data: RankingData) -> Integers:
    return data.lists.offsets


def _ndcg(scores: npt.NDArray[Any], data: RankingData) -> tuple[Floats, float]:
    """NDCG@10 per auxiliary objective [m], and of the main label, each over the lists that tell documents apart."""
    auxiliary = np.array([mean_ndcg(scores, labels, _offsets(data)) for labels in data.labels.T])
    return auxiliary, mean_ndcg(scores, data.lists.relevance, _offsets(data))


def _rankings(scorer: RankingScorer, data: RankingData, config: Config) -> list[Ranking]:
    """The first queries whose labels tell most about the trade-off, ranked along it."""
    told = np.add.reduceat(data.targets, _offsets(data)[:-1]) > 0.5
    long_enough = data.lengths >= min(SHOWN_DOCUMENTS, data.lengths.max())
    order = np.argsort(-(told.sum(1) + 0.5 * long_enough), kind="stable")[:SHOWN_QUERIES]
    rankings = []
    weights = showcase(len(config.objectives), config.evaluation.samples)
    for query in order.tolist():
        rows = data.lists.documents([query])
        one = RankingData(data.lists.subset([query]), data.labels[rows], config.data)
        one.reference = data.reference[rows]
        scores = score_all(scorer, one, weights, config)
        labels = {name: one.labels[:, j].tolist() for j, name in enumerate(config.objectives)}
        rankings.append(
            Ranking(
                query=f"query {data.lists.queries[query]}",
                documents=[f"doc {i + 1}" for i in range(len(rows))],
                labels={MAIN: one.lists.relevance.tolist(), **labels},
                orders=[
                    Order(weights=w.tolist(), order=np.argsort(-row, kind="stable")[:SHOWN_DOCUMENTS].tolist())
                    for w, row in zip(weights, scores, strict=True)
                ],
            )
        )
    return rankings
