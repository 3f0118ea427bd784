"""How much each searched setting mattered, judged at a step that all trials reached."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from scipy.stats import spearmanr

from cosdpo.experiment.sweep.record import Record
from cosdpo.experiment.sweep.space import Space
from cosdpo.experiment.sweep.targets import Target

FEW = 10
"""Below this many trials Optuna's estimate is noise, and rank correlations stand in for it."""


def judged(trials: Sequence[Record], target: Target) -> tuple[int, dict[str, float]]:
    """The last step at which all measured trials have a front, and the metric there by trial name.

    Stopped trials would otherwise look bad for having been stopped. Where trials have no step in common, each one's
    newest value counts, and the step is 0.
    """
    measured = [trial for trial in trials if trial.history]
    common = set.intersection(*({line["step"] for line in trial.history} for trial in measured)) if measured else set()
    if not common:
        return 0, {trial.name: trial.last[target.name] for trial in measured}
    step = max(common)
    return int(step), {
        trial.name: next(line[target.name] for line in trial.history if line["step"] == step) for trial in measured
    }


def importances(trials: Sequence[Record], space: Space, target: Target) -> tuple[dict[str, float], str]:
    """Importance of every key, the largest first, and how it was estimated."""
    _, values = judged(trials, target)
    chosen = [trial for trial in trials if trial.name in values]
    scores = [target.sign * values[trial.name] for trial in chosen]
    if len(chosen) >= FEW and len(set(scores)) > 1:
        found, how = _anova(chosen, scores, space), "PED-ANOVA, shares of 1"
    else:
        found, how = {key: _correlation(chosen, scores, key) for key in space}, "rank correlation"
    return dict(sorted(found.items(), key=lambda item: -item[1])), how


def _anova(trials: Sequence[Record], scores: Sequence[float], space: Space) -> dict[str, float]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    distributions = {key: one.distribution() for key, one in space.items()}
    for trial, score in zip(trials, scores, strict=True):
        study.add_trial(optuna.trial.create_trial(params=trial.settings, distributions=distributions, value=score))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)
        found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=0.25))
    return {key: float(found.get(key, 0.0)) for key in space}


def _correlation(trials: Sequence[Record], scores: Sequence[float], key: str) -> float:
    """Size of Spearman's correlation; of a choice that between its values' mean ranks and the ranks."""
    values = [trial.settings[key] for trial in trials]
    if len(set(values)) < 2 or len(set(scores)) < 2:
        return 0.0
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return float(abs(spearmanr(values, scores).statistic))
    ranks = np.argsort(np.argsort(scores)).astype(float)
    means = {value: ranks[[one == value for one in values]].mean() for value in set(values)}
    spread = np.var([means[value] for value in values]) / np.var(ranks)
    return float(np.sqrt(spread))
