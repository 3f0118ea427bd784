"""Every fold of a ranking data set as a run of its own, and their mean front.

runs/mslr/fold-1 ... fold-5     ordinary run folders, each to be had alone by --data.fold K
runs/mslr                       front.json, front.png and report.html of the mean over the folds
"""

from __future__ import annotations

import logging

from cosdpo import run as single
from cosdpo.config import Config
from cosdpo.data.ranking_splits import fold_count
from cosdpo.evaluation.front import Front, mean_over_folds
from cosdpo.tasks import task_of
from cosdpo.training import run_folder, storage

log = logging.getLogger("cosdpo")


def run(config: Config) -> Front:
    """Runs the fold that data.fold names, or all of them and their mean.

    Raises:
        InputError: as for a single run.
    """
    config = single.located(config)
    single.check(config)
    folds = fold_count(config.data)
    if folds == 1 or config.data.fold:
        return single.run(config)
    runs = [
        config.model_copy(
            update={
                "output": config.output / f"fold-{fold}",
                "scaling": storage.below(config.scaling, f"fold-{fold}"),
                "data": config.data.model_copy(update={"fold": fold}),
            }
        )
        for fold in range(1, folds + 1)
    ]
    for one in runs:
        # Read and dropped again: what is wrong with the last fold shall not show after hours on the others.
        task_of(one).prepare(one)
    run_folder.create(config)
    fronts = []
    for fold, one in enumerate(runs, start=1):
        log.info("fold %d of %d", fold, folds)
        done = one.output / "front.json"
        fronts.append(Front.load(done) if config.resume and done.exists() else single.run(one))
    front = mean_front(fronts)
    single.write(config, front, {}, {"folds": folds, "seconds of training": round(front.train_seconds_total, 1)})
    return front


def mean_front(fronts: list[Front]) -> Front:
    """Values averaged over folds point by point; hypervolumes of every fold are kept next to that of the mean."""
    return mean_over_folds(fronts)
