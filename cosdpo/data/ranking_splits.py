"""Which query lists a ranker is trained and judged on: files, folds, or a share held out at random."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from cosdpo.config import Config, DataConfig
from cosdpo.data import letor, synthetic_ranking
from cosdpo.data.query_lists import QueryLists
from cosdpo.errors import InputError

SYNTHETIC_SEED = 0
"""The synthetic data is one data set: the seed of a run chooses its splits and its training, not the data."""


@dataclass(frozen=True)
class Split:
    """The lists of one run."""

    train: QueryLists
    held_out: QueryLists
    held_out_name: str
    """test or validation."""


def fold_count(data: DataConfig) -> int:
    """Folds of the source: its own folders Fold1, Fold2, ..., or else data.folds.

    Raises:
        InputError: data.train is not where it is said to be.
    """
    own = len(letor.locate(Path(data.train))) if data.train else 1
    if own > 1 and data.folds not in (1, own):
        raise InputError(f"data.train {data.train} has {own} folds of its own; leave data.folds out")
    return own if own > 1 else data.folds


def read_split(config: Config) -> Split:
    """The lists of fold data.fold (0 where there is one fold only).

    With data.folds above 1 all queries of the source are pooled, and the fold is their part number data.fold, drawn
    with the run's seed. evaluation.split decides whether the test or the validation side is held out; a side that the
    source does not have is a random data.validation_share of the training queries.
    """
    data, wanted = config.data, config.evaluation.split
    if not data.train:
        files = letor.Fold(synthetic_ranking.write(data.synthetic_queries, SYNTHETIC_SEED))
    else:
        located = letor.locate(Path(data.train))
        files = located[max(data.fold, 1) - 1] if len(located) > 1 else located[0]
    read = partial(_read, data=data)
    if data.folds > 1 and fold_count(data) == data.folds and not _own_folds(data):
        paths = [files.train, _place(data.validation, files.validation), _place(data.test, files.test)]
        pooled = QueryLists.concat([read(path) for path in paths if path])
        folds = pooled.folds(data.folds, config.seed)
        mine = max(data.fold, 1) - 1
        rest = np.sort(np.concatenate([fold for k, fold in enumerate(folds) if k != mine]))
        if wanted == "test":
            return Split(pooled.subset(rest), pooled.subset(folds[mine]), "test")
        return _held_out(pooled.subset(rest), data.validation_share, config.seed)
    train = read(files.train)
    validation, test = _place(data.validation, files.validation), _place(data.test, files.test)
    if wanted == "test" and test:
        return Split(train, read(test), "test")
    if validation:
        return Split(train, read(validation), "validation")
    return _held_out(train, data.validation_share, config.seed)


def _own_folds(data: DataConfig) -> bool:
    return bool(data.train) and len(letor.locate(Path(data.train))) > 1


def _place(given: str, in_folder: Path | None) -> Path | None:
    return Path(given) if given else in_folder


def _read(path: Path, data: DataConfig) -> QueryLists:
    lists = letor.load(path, data.auxiliary)
    return lists.subset(range(min(data.max_rows, len(lists)))) if data.max_rows else lists


def _held_out(lists: QueryLists, share: float, seed: int) -> Split:
    """About `share` of the queries held out at random."""
    if not 0 < share < 1:
        raise InputError(f"data.validation_share is {share}; give a number between 0 and 1, or set data.validation")
    if len(lists) < 2:
        raise InputError(f"cannot hold out a share of {len(lists)} query; set data.validation, or give more data")
    order = np.random.default_rng(seed).permutation(len(lists))
    count = min(max(1, round(share * len(lists))), len(lists) - 1)
    return Split(lists.subset(np.sort(order[count:])), lists.subset(np.sort(order[:count])), "validation")
