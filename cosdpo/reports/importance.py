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
    measured = {trial.name: {line["step"]: line for line in trial.history} for trial in trials if trial.history}
    step = max(set.intersection(*(set(lines) for lines in measured.values())), default=0) if measured else 0
    return int(step), {name: lines[step or max(lines)][target.name] for name, lines in measured.items()}


def importances(trials: Sequence[Record], space: Space, target: Target) -> tuple[dict[str, float], str]:
    """Importance of every key, the largest first, and how it was estimated."""
    _, values = judged(trials, target)
    measured = [trial for trial in trials if trial.name in values]
    gains = [target.sign * values[trial.name] for trial in measured]
    if len(measured) >= FEW and len(set(gains)) > 1:
        shares, how = _anova(measured, gains, space), "PED-ANOVA, shares of 1"
    else:
        shares, how = {key: _correlation(measured, gains, key) for key in space}, "rank correlation"
    return dict(sorted(shares.items(), key=lambda item: -item[1])), how


def _anova(trials: Sequence[Record], gains: Sequence[float], space: Space) -> dict[str, float]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    distributions = {key: domain.distribution() for key, domain in space.items()}
    for trial, gain in zip(trials, gains, strict=True):
        study.add_trial(optuna.trial.create_trial(params=trial.settings, distributions=distributions, value=gain))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)
        shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=0.25))
    return {key: float(shares.get(key, 0.0)) for key in space}


def _correlation(trials: Sequence[Record], gains: Sequence[float], key: str) -> float:
    """Size of Spearman's correlation; of a choice that between its values' mean ranks and the ranks."""
    values = [trial.settings[key] for trial in trials]
    if len(set(values)) < 2 or len(set(gains)) < 2:
        return 0.0
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return float(abs(spearmanr(values, gains).statistic))
    ranks = np.argsort(np.argsort(gains)).astype(float)
    means = {value: ranks[[other == value for other in values]].mean() for value in set(values)}
    return float(np.sqrt(np.var([means[value] for value in values]) / np.var(ranks)))
