"""Training speed of the conditioned ranker against padded batches, and NDCG@10 of its base against LightGBM.

    python benchmarks/ranking.py [--batch 64] [--queries 1024] [--turns 3]
    python benchmarks/ranking.py --config jobs/configs/mslr_sample.yaml --data.train FOLDER [--seeds 5]
    python benchmarks/ranking.py --memory

Speed: the default ranker with five objectives on synthetic lists of MSLR's lengths, one thread; the same network,
lists, losses, reference scores and optimiser on all sides. Ours packs lists and batches those of similar length
together. The padded side does as allRank and ptranking do: random batches, padded to their longest list, every layer on
padded rows; its inputs are standardised once beforehand. Losses and gradients of both are compared first, then the
sides train an epoch in turn, counted in processor time. A third side cuts its lists to a slate of 240 documents,
allRank's default: it drops documents, which makes it another problem, and it takes no part in the ratio.

NDCG: the base ranker of a run with these options against LGBMRanker with lambdarank and its other defaults, on the same
inputs and folds, over seeds that draw the folds. Needs lightgbm (extra `bench`), --data.train and folds.

Memory: 10,000 synthetic queries, MSLR-WEB10K's size, are loaded, split and trained on for 20 steps.

Ends with one JSON line.
"""

import argparse
import copy
import importlib.util
import json
import os
import resource
import time
from collections.abc import Callable
from statistics import mean, median, stdev

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from padded_lists import PaddedTraining
from torch import nn

from cosdpo.cli.command_line import read_config
from cosdpo.config import Config
from cosdpo.data import letor, synthetic_ranking
from cosdpo.data.query_lists import QueryLists
from cosdpo.data.ranking_data import RankingData, graded_labels
from cosdpo.data.ranking_splits import SYNTHETIC_SEED, fold_count, read_split
from cosdpo.evaluation.ndcg import mean_ndcg
from cosdpo.experiment.job_checks import located
from cosdpo.losses import conditioned_loss, labelled_for
from cosdpo.models.ranking_scorer import BaseRanker, RankingScorer
from cosdpo.models.standardiser import Standardiser
from cosdpo.tasks.ranking import RankingTask
from cosdpo.tasks.ranking.base_ranker import base_data, base_unit
from cosdpo.training.loop import optimizer_for, train
from cosdpo.training.training_state import Clock

SLATE = 240
FULL_SIZE = 10_000
STEPS = 20


def train_ours(scorer: nn.Module, data: RankingData, config: Config) -> None:
    """The package's own loop, without a log and without checkpoints."""
    train(scorer, data, config, optimizer_for(scorer, config), Clock(), lambda line: None, lambda clock: None)


def default_config(batch: int) -> Config:
    """The default ranker with five objectives."""
    config = RankingTask.resolved(Config(task="ranking"))
    return config.changed({"training.batch_size": batch})


def synthetic(config: Config, queries: int) -> RankingData:
    """Synthetic training data."""
    lists = letor.load([synthetic_ranking.write(queries, SYNTHETIC_SEED)], config.data.auxiliary)[0]
    order = [list(config.data.auxiliary).index(name) for name in config.objectives]
    return RankingData(lists, graded_labels(lists)[:, order], config.data)


def fresh_base(config: Config, lists: QueryLists) -> BaseRanker:
    """An untrained base with the statistics of the data."""
    standardiser = Standardiser(len(lists.numbers), config.ranker.log1p, config.ranker.list_features)
    standardiser.fit(lists.features)
    return BaseRanker.create(config, lists.numbers, standardiser)


def assert_equal(scorer: RankingScorer, data: RankingData, config: Config) -> None:
    """Loss and gradients of one batch, of weights that are nowhere 0, are those of the padded side."""
    scorer = copy.deepcopy(scorer).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in scorer.network.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    other = PaddedTraining(scorer, data, config)
    other.model.eval()
    draw = other.sampler(0)
    contexts = np.random.default_rng(0).permutation(len(data))[: config.training.batch_size].tolist()
    theirs = other.loss(contexts, draw.weights, draw.temperatures)
    theirs.backward()
    batch = data.batch(contexts)
    rewards = (scorer(batch.contexts, draw.weights, draw.temperatures) - batch.reference) * batch.mask
    losses = other.objective.losses(rewards, batch, draw.temperatures)
    ours = conditioned_loss(draw.weights, losses, labelled_for(batch.scores)).mean()
    ours.backward()
    gradients = ([p.grad.flatten() for p in net.parameters()] for net in (scorer.network, other.model.network))
    a, b = (torch.cat(list(parts)) for parts in gradients)
    apart = [float((ours - theirs).detach().abs() / theirs.detach()), float((a - b).norm() / b.norm())]
    print(f"relative difference of the two sides: loss {apart[0]:.1g}, gradient {apart[1]:.1g}", flush=True)
    assert max(apart) < 1e-3


def speed(batch: int, queries: int, turns: int) -> float:
    """Queries per second of processor time, ours over the padded side's."""
    config = default_config(batch)
    data = synthetic(config, queries)
    torch.manual_seed(config.seed)
    base = fresh_base(config, data.lists)
    scorer = RankingScorer.create(config, base)
    with torch.no_grad():
        for indices in data.in_order_of_length(config.evaluation.batch_tokens):
            data.reference[data.lists.documents(indices)] = base.scores(data.batch(indices).contexts).numpy()
    assert_equal(scorer, data, config)
    lengths, size = data.lengths, batch
    orders = [np.random.default_rng(turn).permutation(len(data)) for turn in range(1, turns + 1)]
    widest = [lengths[order[: len(order) // size * size]].reshape(-1, size).max(1).mean() for order in orders]
    print(
        f"{len(data)} lists of {lengths.min()} to {lengths.max()} documents, {lengths.mean():.0f} on average; "
        f"random batches of {size} are padded to {mean(widest):.0f}"
    )
    steps = len(data) // size
    epoch = config.changed({"training.steps": steps})
    padded, slate = PaddedTraining(scorer, data, config), PaddedTraining(scorer, data, config, SLATE)
    sides: dict[str, Callable[[int], None]] = {
        "ours": lambda turn: train_ours(scorer, data, epoch.changed({"seed": turn})),
        "padded": padded.epoch,
        f"slate {SLATE}": slate.epoch,
    }
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns + 1):
        for name, side in sides.items():
            began = time.process_time()
            side(turn)
            if turn:  # the first is for warming up
                rates[name].append(steps * size / (time.process_time() - began))
    for name, values in rates.items():
        print(f"{name:10s} {median(values):7.1f} queries/s ({min(values):.1f} to {max(values):.1f})", flush=True)
    dropped = 1 - np.minimum(lengths, SLATE).sum() / lengths.sum()
    print(f"slate {SLATE} drops {dropped:.1%} of the documents")
    return median(rates["ours"]) / median(rates["padded"])


def our_ndcg(config: Config, train_lists: QueryLists, test: QueryLists) -> float:
    """NDCG@10 of the base ranker as a run trains it."""
    unit = base_unit(config, train_lists)
    run = unit.config
    torch.manual_seed(run.seed)
    base = unit.create(run, torch.device("cpu"))
    train_ours(base, base_data(train_lists, run.data), run)
    held_out, scores = base_data(test, run.data), np.zeros(len(test.relevance))
    with torch.no_grad():
        for indices in held_out.in_order_of_length(run.evaluation.batch_tokens):
            scores[test.documents(indices)] = base.eval().scores(held_out.batch(indices).contexts).numpy()
    return mean_ndcg(scores, test.relevance, test.offsets)


def lightgbm_ndcg(train_lists: QueryLists, test: QueryLists) -> float:
    """NDCG@10 of LambdaMART with LightGBM's defaults."""
    from lightgbm import LGBMRanker

    model = LGBMRanker(objective="lambdarank", verbose=-1, n_jobs=1)
    model.fit(train_lists.features, train_lists.relevance.astype(int), group=train_lists.lengths)
    return mean_ndcg(model.predict(test.features), test.relevance, test.offsets)


def ndcg(config: Config, seeds: int) -> float | None:
    """Mean NDCG@10 of the main label over folds and seeds, ours over LightGBM's."""
    if not config.data.train:
        print("NDCG@10 is left out: give --data.train")
        return None
    if importlib.util.find_spec("lightgbm") is None:
        print("NDCG@10 is left out: lightgbm is not installed (pip install 'cosdpo[bench]')")
        return None
    rows: list[tuple[float, float]] = []
    for seed in range(seeds):
        folds = []
        for fold in range(1, fold_count(config.data) + 1):
            of_fold = config.changed({"seed": seed, "data.fold": fold})
            split = read_split(of_fold)
            folds.append((our_ndcg(of_fold, split.train, split.held_out), lightgbm_ndcg(split.train, split.held_out)))
        ours, theirs = np.mean(folds, axis=0).tolist()
        rows.append((ours, theirs))
        print(f"seed {seed}, mean of {len(folds)} folds: base ranker {ours:.4f}, LightGBM {theirs:.4f}", flush=True)
    for name, values in zip(("base ranker", "LightGBM"), zip(*rows, strict=True), strict=True):
        deviation = f" ± {stdev(values):.4f} over seeds" if seeds > 1 else ""
        print(f"{name:12s} NDCG@10 {mean(values):.4f}{deviation}")
    return mean(row[0] for row in rows) / mean(row[1] for row in rows)


def peak() -> float:
    """Largest memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def memory(batch: int) -> float:
    """Peak memory of a full-size training, in GB."""
    config = default_config(batch)
    config = config.changed({"data.synthetic_queries": FULL_SIZE, "training.steps": STEPS})

    def note(what: str) -> None:
        print(f"{peak():.2f} GB after {what}", flush=True)

    note("the imports")
    synthetic_ranking.write(FULL_SIZE, SYNTHETIC_SEED)
    note("making them, where they were not cached")
    task = RankingTask.prepare(config)
    documents = len(task.split.train.relevance) + len(task.split.held_out.relevance)
    note(f"loading, splitting and grading {documents:,} documents of {FULL_SIZE:,} queries")
    scorer = RankingScorer.create(config, fresh_base(config, task.split.train))
    note("fitting the standardiser")
    train_ours(scorer, task.train, config)
    note(f"{STEPS} steps")
    return peak()


def main() -> None:
    """Speed and NDCG, or memory alone."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--batch", type=int, default=64)
    own.add_argument("--queries", type=int, default=1024)
    own.add_argument("--turns", type=int, default=3)
    own.add_argument("--seeds", type=int, default=5)
    own.add_argument("--memory", action="store_true")
    chosen, rest = own.parse_known_args()
    config = located(read_config(rest, __doc__, {"task": "ranking"}))
    torch.set_num_threads(1)
    if chosen.memory:
        print(json.dumps({"full_size_gb": round(memory(chosen.batch), 2)}))
        return
    faster = speed(chosen.batch, chosen.queries, chosen.turns) if chosen.turns else None
    better = ndcg(config, chosen.seeds) if chosen.seeds else None
    figures = {"queries_vs_padded": faster, "ndcg_vs_lightgbm": better}
    print(json.dumps({name: None if value is None else round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
