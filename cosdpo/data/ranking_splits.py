"""Which query lists a ranker is trained and judged on: files, folds, or a share held out at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cosdpo.config import Config, DataConfig
from cosdpo.data import letor, synthetic_ranking
from cosdpo.data.letor_parser import Notation
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


def read_split(config: Config, least_width: int = 0) -> Split:
    """The lists of fold data.fold (0 where there is one fold only), with at least `least_width` features.

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
    if data.folds > 1 and fold_count(data) == data.folds and not _own_folds(data):
        paths = [files.train, _place(data.validation, files.validation), _place(data.test, files.test)]
        pooled = QueryLists.concat(_read([path for path in paths if path], data, least_width))
        folds = pooled.folds(data.folds, config.seed)
        mine = max(data.fold, 1) - 1
        rest = np.sort(np.concatenate([fold for k, fold in enumerate(folds) if k != mine]))
        if wanted == "test":
            return Split(pooled.subset(rest), pooled.subset(folds[mine]), "test")
        return _held_out(pooled.subset(rest), data.validation_share, config.seed)
    test, validation = _place(data.test, files.test), _place(data.validation, files.validation)
    name, other = ("test", test) if wanted == "test" and test else ("validation", validation)
    if other:
        train, held_out = _read([files.train, other], data, least_width)
        return Split(train, held_out, name)
    (train,) = _read([files.train], data, least_width)
    return _held_out(train, data.validation_share, config.seed)


def _own_folds(data: DataConfig) -> bool:
    return bool(data.train) and len(letor.locate(Path(data.train))) > 1


def _place(given: str, in_folder: Path | None) -> Path | None:
    return Path(given) if given else in_folder


def _read(paths: Sequence[Path], data: DataConfig, least_width: int) -> list[QueryLists]:
    notation = Notation(data.first_feature, data.missing) if data.train else Notation()
    of_files = letor.load(paths, data.auxiliary, notation, least_width)
    most = data.max_rows
    return [lists.subset(range(most)) if 0 < most < len(lists) else lists for lists in of_files]


def _held_out(lists: QueryLists, share: float, seed: int) -> Split:
    """About `share` of the queries held out at random."""
    if not 0 < share < 1:
        raise InputError(f"data.validation_share is {share}; give a number between 0 and 1, or set data.validation")
    if len(lists) < 2:
        raise InputError(f"cannot hold out a share of {len(lists)} query; set data.validation, or give more data")
    order = np.random.default_rng(seed).permutation(len(lists))
    count = min(max(1, round(share * len(lists))), len(lists) - 1)
    return Split(lists.subset(np.sort(order[count:])), lists.subset(np.sort(order[:count])), "validation")
