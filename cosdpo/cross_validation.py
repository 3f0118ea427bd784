"""Every fold of a ranking data set as a run of its own, and their mean front.

runs/mslr/fold-1 ... fold-5     ordinary run folders, each to be had alone by --data.fold K
runs/mslr                       front.json, front.png and report.html of the mean over the folds
"""

from __future__ import annotations

import logging

import numpy as np

from cosdpo import run as single
from cosdpo.config import Config
from cosdpo.data.ranking_splits import fold_count
from cosdpo.evaluation.front import Front, Main, Measured, build
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
    first = fronts[0]
    mains = [front.main for front in fronts if front.main is not None]
    return build(
        method=first.method,
        task=first.task,
        objectives=first.objectives,
        seed=first.seed,
        trained_temperature=first.trained_temperature,
        train_seconds=float(np.mean([front.train_seconds for front in fronts])),
        train_seconds_total=float(np.mean([front.train_seconds_total for front in fronts])),
        trained_parameters=first.trained_parameters,
        weights=first.weights,
        temperatures=[point.temperature for point in first.points],
        metrics={
            name: Measured(
                values=np.mean([front.values(name) for front in fronts], axis=0),
                base=np.mean([front.metrics[name].base for front in fronts], axis=0),
                reference_point=np.mean([front.metrics[name].reference_point for front in fronts], axis=0),
                higher_is_better=metric.higher_is_better,
                hypervolume_folds=[front.metrics[name].hypervolume for front in fronts],
            )
            for name, metric in first.metrics.items()
        },
        main=Main(
            name=mains[0].name,
            metric=mains[0].metric,
            base=float(np.mean([main.base for main in mains])),
            values=np.mean([main.values for main in mains], axis=0).tolist(),
        )
        if mains
        else None,
    )
