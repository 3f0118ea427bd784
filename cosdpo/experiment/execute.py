"""Carries out an experiment on Ray: every training once, then the front of every method.

    cases -> bases -> reference scores -> trainings -> measurements -> fronts

Methods share the trainings, data, reference scores, order of batches and measurements of their case. Killed and started
again with `resume`, it goes on with what is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import ray

from cosdpo import activity
from cosdpo.arrays import Floats
from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front
from cosdpo.experiment import cluster, resources
from cosdpo.experiment.fronts import curve_over, front_of, keep_samples, kept_front
from cosdpo.experiment.launch import Measuring, start_measuring, start_training
from cosdpo.experiment.plan import Case, Entry, entries, run_name, source_name
from cosdpo.experiment.progress import Activity, Display, Phase
from cosdpo.experiment.schedule import Schedule, Step, in_one_line
from cosdpo.methods.method import TrainingRun
from cosdpo.preflight.estimate import refuse_too_large
from cosdpo.simplex import das_dennis
from cosdpo.tasks import task_of
from cosdpo.tasks.task import Task
from cosdpo.training import run_folder, storage
from cosdpo.training.curve import Curve
from cosdpo.training.failures import explained
from cosdpo.training.reference import REFERENCE
from cosdpo.training.unit import CHECKPOINT, Trained, Unit

log = logging.getLogger("cosdpo")


@dataclass
class Prepared:
    """A case whose data is read, and soon has its reference scores."""

    case: Case
    task: Task
    fingerprints: dict[str, str]
    """Of its data, by side."""
    entries: list[Entry] = field(default_factory=list)


@dataclass(frozen=True)
class Executed:
    """What came out of the steps of an experiment."""

    prepared: list[Prepared]
    schedule: Schedule

    def trained(self, case: Case, entry: Entry) -> list[Trained]:
        """The trainings of an entry that was finished."""
        return [self.schedule.results[case.training(run)] for run in entry.runs]

    def front(self, case: Case, entry: Entry) -> Front | None:
        """The front of an entry, None where it could not be finished."""
        front: Front | None = self.schedule.results.get(case.measuring(entry))
        return front


def execute(config: Config, cases: Sequence[Case]) -> Executed:
    """Reads the data of all cases, then trains and measures what is not done yet.

    Raises:
        InputError: wrong input, a cluster that is too small, or a base that could not be trained.
    """
    with Phase("data", config.output):
        prepared = [_prepared(case) for case in cases]
    config = _with_steps(config, prepared)
    for reason, count in prepared[0].task.notes.items():
        log.info("data: %d %s", count, reason)
    refuse_too_large(prepared[0].task)
    cluster.connect(config)
    slots = resources.at_once(config)
    _forget_fronts(config, cases)
    run_folder.create(config)
    for of_case in prepared:
        run_folder.keep_data(of_case.case.config.output, of_case.fingerprints)
    train_bases([(of_case.case, of_case.task) for of_case in prepared], slots, config)
    for of_case in prepared:
        with Phase(REFERENCE, of_case.task.config.output, "contexts"):
            of_case.task.add_reference()
        of_case.entries = list(entries(of_case.task.config))
    schedule = _run([step for of_case in prepared for step in _Steps(of_case).all()], slots, config)
    return Executed(prepared, schedule)


def _prepared(case: Case) -> Prepared:
    """Reads the data of a case, which says how many steps epochs are."""
    task = task_of(case.config).prepare(case.config)
    fingerprints = task.fingerprints()
    run_folder.check_data(case.config, task.config.training.steps, fingerprints)
    return Prepared(replace(case, config=task.config), task, fingerprints)


def _with_steps(config: Config, prepared: Sequence[Prepared]) -> Config:
    """`config` with the steps of its cases, where they are the same in all of them."""
    first, *others = {of_case.task.config.training.steps for of_case in prepared}
    if not config.training.epochs or others:
        return config
    run_folder.check_data(config, first, {})
    return config.changed({"training.steps": first, "training.epochs": 0})


def train_bases(of_cases: Sequence[tuple[Case, Task]], slots: int, config: Config) -> None:
    """Trains the bases that are missing, those of several cases side by side.

    Raises:
        InputError: a training failed.
    """
    bases = [(case, task, *base) for case, task in of_cases if (base := task.base()) is not None]
    steps = []
    for case, _, unit, data in bases:
        if not (unit.config.output / CHECKPOINT).exists():
            run_folder.create(unit.config)
            start = partial(start_training, unit, ray.put(data), one_of_many=False)
            steps.append(_training(case.step("base ranker"), unit, (), start))
    if steps:
        raise_failure(_run(steps, slots, config), config)
    for _, task, unit, _ in bases:
        task.use_base(unit.config.output / CHECKPOINT)


def raise_failure(schedule: Schedule, config: Config) -> None:
    """Raises what made a step fail, if any did: as InputError with one line where it is no defect."""
    for error in schedule.errors:
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, InputError) or explained([cause], config):
            raise InputError(_reason(cause, config))
        raise error


def _run(steps: Sequence[Step], slots: int, config: Config) -> Schedule:
    with Display() as display:
        schedule = Schedule(steps, slots, display, partial(_reason, config=config))
        schedule.run()
    return schedule


def _reason(cause: BaseException, config: Config) -> str:
    return explained([cause], config) or in_one_line(cause)


def _training(name: str, unit: Unit, needs: tuple[str, ...], start: Callable[[], Any]) -> Step:
    steps, folder = unit.config.training.steps, unit.config.output
    return Step(name, steps, needs, start, activity=lambda: Activity.of_training(folder, steps), training=unit.config)


class _Steps:
    """The steps of a case: every training once, then the measurement of every method."""

    def __init__(self, of_case: Prepared) -> None:
        self.case, self.task, self.entries = of_case.case, of_case.task, of_case.entries
        self.config = of_case.task.config
        self.grid = das_dennis(len(self.config.objectives), self.config.partitions)
        self.data, self.measure = ray.put(self.task.train), self.task.measure()
        self.curve = Curve.of(self.task.train, self.task.held_out, self.config)
        self.runs = {run_name(run): run for entry in self.entries for run in entry.runs}
        self.wanted = {source_name(run, name) for run in self.runs.values() for name in run.margins}
        """Runs whose rewards are margins of others."""

    def all(self) -> list[Step]:
        trainings = [self._training(name, run) for name, run in self.runs.items()]
        return trainings + [self._measuring(entry) for entry in self.entries]

    def _training(self, name: str, run: TrainingRun) -> Step:
        sources = [(self.case.folder(source_name(run, other)), share) for other, share in run.margins.items()]
        config = self._at(run.config, self.case.place(name))
        unit = Unit(config, self.task.create, sources, name in self.wanted, self.curve)
        needs = tuple(self.case.step(source_name(run, other)) for other in run.margins)

        def start() -> Any:
            done = Trained.read(unit.config.output)
            return done or start_training(unit, self.data, one_of_many=len(self.runs) > 1)

        return _training(self.case.training(run), unit, needs, start)

    def _measuring(self, entry: Entry) -> Step:
        path, ratios = self.case.front(entry), self.config.ratios if self.case.lone else [1.0]
        config = self.config.changed({"output": self.case.config.output, "grid.temperatures": ratios})
        names = {run.name: run_name(run) for run in entry.runs}
        policies = [
            (index, {self.case.folder(names[name]) / CHECKPOINT: share for name, share in shares.items()})
            for index, shares in enumerate(entry.method.at(weights).shares for weights in self.grid)
        ]
        wanted = Measuring(
            f"measuring-{path.stem}", config, policies, self.task.average, self.measure, illustrate=self.case.lone
        )

        def start() -> Any:
            activity.forget(config.output, wanted.name)  # of a measuring that was killed
            return kept_front(path, self.grid, ratios, self._curve(entry)) or start_measuring(wanted)

        def finish(parts: list[Any], results: Mapping[str, Any]) -> Front:
            activity.forget(config.output, wanted.name)
            return self._front(entry, parts, [results[self.case.training(run)] for run in entry.runs])

        needs = tuple(self.case.training(run) for run in entry.runs)
        counted = partial(Activity.counted, config.output, wanted.name, "weights")
        return Step(self.case.measuring(entry), len(self.grid), needs, start, finish, counted)

    def _front(self, entry: Entry, parts: list[Any], trained: Sequence[Trained]) -> Front:
        """The front of a method, kept for a later resume."""
        findings = self.task.findings(parts, self.grid, self._curve(entry))
        margins = any(run.margins for run in entry.runs)
        front = front_of(
            self.config,
            entry.name,
            findings,
            seconds=float(np.mean([run.seconds for run in trained])),
            seconds_total=sum(run.seconds + (run.reward_seconds if margins else 0.0) for run in trained),
            parameters=sum(run.parameters for run in trained),
        )
        if self.case.lone:
            keep_samples(self.case.config.output, findings)
        front.save(self.case.front(entry))
        return front

    def _curve(self, entry: Entry) -> Floats | None:
        return curve_over(self.config, self.grid) if entry.method.continuous else None

    def _at(self, config: Config, place: str) -> Config:
        """`config` with places of its own in the case's folder and in scaling.storage."""
        return storage.below(config.changed({"output": self.case.config.output / place}), place)


def _forget_fronts(config: Config, cases: Sequence[Case]) -> None:
    """Deletes fronts that were measured with other settings, before the new ones are written down."""
    if not (config.output / run_folder.CONFIG).exists():
        return
    if run_folder.stored(config.output)["evaluation"] != config.evaluation.model_dump(mode="json"):
        for case in cases:
            for entry in entries(case.config):
                case.front(entry).unlink(missing_ok=True)
