"""Optuna as Tune's search algorithm: its samplers by name, its studies in SQLite for optuna-dashboard.

optuna-dashboard sqlite:///runs/sweep/optuna.db
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import optuna
from optuna.samplers import BaseSampler, GridSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from ray.tune.search.optuna import OptunaSearch

from cosdpo.config import Config
from cosdpo.experiment.sweep.space import Space
from cosdpo.experiment.sweep.targets import Target
from cosdpo.experiment.sweep.trial_settings import TrialSettings

DATABASE = "optuna.db"


class StoredSearch(OptunaSearch):
    """Ray's OptunaSearch, made safe for being restored: the database may know more than Tune's snapshot.

    It also limits the trials at once itself, since Tune's ConcurrencyLimiter forgets restored trials and would keep
    their results from the study.
    """

    _ot_study: Any
    _space: Any

    def __init__(self, limit: int, **arguments: Any) -> None:
        """`limit`: most trials at once."""
        self._limit = limit
        self._moved_past: set[int] = set()
        super().__init__(**arguments)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The settings of a new trial, or None while enough of them run."""
        if len(self._ot_trials.keys() - self._completed_trials) >= self._limit:
            return None
        settings: dict[str, Any] | None = super().suggest(trial_id)
        return settings

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Keeps an intermediate value by its step: lines without a front have none, and one may come again after a
        restart.
        """
        if not isinstance(self.metric, str) or self.metric not in result:
            return
        stored, step = self._stored(trial_id), int(result["step"])
        if not stored.state.is_finished() and step not in stored.intermediate_values:
            self._ot_trials[trial_id].report(result[self.metric], step)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tells the study, unless it was told before a kill."""
        if self._stored(trial_id).state.is_finished():
            self._completed_trials.add(trial_id)
        else:
            super().on_trial_complete(trial_id, result, error)

    def restore(self, checkpoint_path: str) -> None:
        """Takes up a snapshot; trials that were asked for after it and never ran are asked for again."""
        super().restore(checkpoint_path)
        self.ask_again()

    def ask_again(self) -> None:
        """Has trials of the study that ran under no snapshot, or under one that is lost, suggested again."""
        recorded = {trial.number for trial in self._ot_trials.values()}
        self._move_past(recorded)
        for trial in self._ot_study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            if trial.number not in recorded:
                with suppress(RuntimeError):  # at a grid's end it would stop Optuna's own loop
                    self._ot_study.tell(trial.number, state=TrialState.FAIL)
                again = {**trial.system_attrs, "fixed_params": trial.params}  # with its place in the grid
                self._ot_study.add_trial(create_trial(state=TrialState.WAITING, system_attrs=again))

    def _move_past(self, recorded: set[int]) -> None:
        """Has the sampler draw in vain what it drew for trials that its snapshot does not know, as they are numbered:
        from there on it would draw the same again. A grid knows from the study what is left.
        """
        study, known = self._ot_study, recorded | self._moved_past
        lost = [
            trial
            for trial in study.get_trials(deepcopy=False)
            if trial.number not in known and "fixed_params" not in trial.system_attrs
        ]
        if not isinstance(study.sampler, GridSampler):
            empty = optuna.create_study()  # where a model draws at random too: what it draws later hangs on the values
            for trial in lost:
                for name, distribution in self._space.items():
                    study.sampler.sample_independent(empty, trial, name, distribution)
        self._moved_past |= {trial.number for trial in lost}

    def has_ended(self, settings: TrialSettings) -> bool:
        """Whether the study knows what a trial of these settings came to."""
        ended = self._ot_study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        return any(trial.params == settings for trial in ended)

    def _stored(self, trial_id: str) -> FrozenTrial:
        stored: FrozenTrial = self._ot_study.get_trials(deepcopy=False)[self._ot_trials[trial_id].number]
        return stored


def search_for(config: Config, space: Space, targets: Sequence[Target], limit: int) -> StoredSearch:
    """The search algorithm of sweep.search, seeded by the run's seed."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    several = len(targets) > 1
    storage = RDBStorage(f"sqlite:///{config.output / DATABASE}")
    return StoredSearch(
        limit=limit,
        space={key: values.distribution() for key, values in space.items()},
        metric=[target.name for target in targets] if several else targets[0].name,
        mode=[target.mode for target in targets] if several else targets[0].mode,
        sampler=_sampler(config, space),
        study_name=next(iter(optuna.get_all_study_names(storage)), config.output.name),
        storage=storage,
    )


def _sampler(config: Config, space: Space) -> BaseSampler:
    if config.sweep.search == "random":
        return RandomSampler(seed=config.seed)
    if config.sweep.search == "grid":
        return GridSampler({key: list(values.ends) for key, values in space.items()}, seed=config.seed)
    # Some trials at random first, then the model; fewer than Optuna's 10 where there are few trials at all.
    startup = max(3, min(10, config.sweep.samples // 3))
    return TPESampler(seed=config.seed, n_startup_trials=startup, multivariate=True, constant_liar=True)
