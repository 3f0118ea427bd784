"""comparison.json: what every method reached and what it took, as mean and deviation over the seeds.

`summarise` turns the fronts of all methods and seeds into a `Comparison`; `Comparison.save` and `Comparison.load` are
the only ways to the file and back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from cosdpo.errors import InputError, first_wrong
from cosdpo.evaluation import indicators
from cosdpo.evaluation.front import Front, Metric, main_metric
from cosdpo.experiment.results.result import Budget, Result
from cosdpo.experiment.results.statistics import Statistic, Statistics
from cosdpo.files import write_whole

Count = Annotated[int, Field(ge=0)]


class MainSummary(BaseModel):
    """What the trade-offs of a method do to the main objective."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: str
    """What it is called, such as relevance."""
    metric: str
    """How it was measured, such as ndcg@10."""
    higher_is_better: bool
    """False for losses."""
    base: Statistic
    """Value of the base model."""
    mean: Statistic
    """Mean over the trade-offs."""
    worst: Statistic
    """Value at the trade-off that costs the main objective most."""
    best: Statistic
    """Value at the trade-off that is best for the main objective."""


class MethodSummary(BaseModel):
    """One method over its seeds. Maps are by metric."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    seeds: Annotated[list[int], Field(min_length=1)]
    """Seeds with a result, ascending: the order of all lists called `seeds` below."""
    runs: Annotated[int, Field(ge=1)]
    """Trainings that the method needs for its front."""
    train_seconds_total: Statistic
    """Training time of all these runs."""
    trained_parameters: Count
    """Number of parameters that were trained."""
    peak_memory_bytes: Count
    """Largest resident memory of any run of any seed."""
    hypervolume: dict[str, Statistic]
    """Hypervolume of each seed's front from the reference point of that seed."""
    hypervolume_held_out: dict[str, Statistic] = {}
    """Deviation of each seed's hypervolume over other held-out contexts (bootstrap.py), of which the deviation over the
    seeds, all measured on the same ones, says nothing. Left out of the file where it is not known."""
    hypervolume_curve: dict[str, Statistic] = {}
    """Hypervolume along each seed's curve, of a method that has every weight; not to be compared with that of a method
    which has those of the grid alone. Left out of the file where there is no curve."""
    hypervolume_pairs: dict[str, dict[str, Statistic]] = {}
    """With three objectives or more, the hypervolume of the front as seen in two of them, by their names: `a, b`. That
    of all objectives together says little once one of them falls below the reference. Left out of the file with two."""
    igd_plus: dict[str, Statistic]
    """IGD+ against the non-dominated points of all methods with the same seed and budget; less is better."""
    spread: dict[str, Statistic]
    """Diagonal of the box around the non-dominated points."""
    non_dominated: dict[str, Statistic]
    """Number of different non-dominated points."""
    controllability: dict[str, Statistics]
    """[m] Spearman's rank correlation of w_j with metric j."""
    main: MainSummary | None = None
    """The main objective; left out of the file where there is none."""

    @model_serializer(mode="wrap")
    def _without_absent(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        optional = ("main", "hypervolume_pairs", "hypervolume_held_out", "hypervolume_curve")
        return {key: value for key, value in write(self).items() if value or key not in optional}

    def volumes(self, metric: str) -> dict[int, float]:
        """Hypervolume by seed."""
        return dict(zip(self.seeds, self.hypervolume[metric].seeds, strict=True))

    def over_pairs(self, metric: str) -> Statistic:
        """Mean over the pairs of objectives, by seed."""
        volumes = [of_pair.seeds for of_pair in self.hypervolume_pairs[metric].values()]
        return Statistic.of(np.mean(volumes, axis=0).tolist())

    @property
    def seconds(self) -> dict[int, float]:
        """Total training time by seed."""
        return dict(zip(self.seeds, self.train_seconds_total.seeds, strict=True))


class Comparison(BaseModel):
    """All methods of one comparison, as in comparison.json."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    task: Literal["language", "ranking"]
    """What was trained."""
    objectives: Annotated[list[str], Field(min_length=1)]
    """The m names, in the order of every list of m numbers here."""
    seeds: list[int]
    """All seeds with a result, ascending."""
    budget: Literal["steps"] = "steps"
    """Budget of `methods`: every run has its full number of steps."""
    higher_is_better: dict[str, bool]
    """By metric; False for losses, whose indicators are taken of the negated values."""
    main_metric: str
    """The metric that the verdict is about."""
    reference_point: dict[str, list[FiniteFloat]]
    """[m] by metric: the worst values that count for the hypervolume, as mean over the seeds."""
    reference_point_seeds: dict[str, list[list[FiniteFloat]]]
    """[seeds, m] by metric: the reference point of each seed, which all methods share. Seeds differ where each has a
    base model of its own, as rankers do."""
    base: dict[str, list[FiniteFloat]]
    """[m] by metric: values of the base model, as mean over the seeds."""
    methods: Annotated[dict[str, MethodSummary], Field(min_length=1)]
    """The methods by name."""
    equal_time: dict[str, MethodSummary] = {}
    """The same with equal training time: baselines divide the time of the one conditioned run among their runs. The
    conditioned run is its own measure and stands here as it does in `methods`. Empty where this was not measured."""
    failures: dict[str, str] = {}
    """What has no result, with the reason."""

    def save(self, path: Path) -> None:
        """Write comparison.json whole or not at all: a reader never meets half a file."""
        write_whole(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Comparison:
        """Read comparison.json.

        Raises:
            InputError: the file cannot be read or is no comparison.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}; give a finished comparison's file") from None
        except ValidationError as error:
            raise InputError(f"{path} is no comparison, {first_wrong(error)}; compare again to write it anew") from None


def conditioned(method: str) -> bool:
    """Whether one run of the method covers all weights: cos, and its variants such as `cos, hyper_prompt`."""
    return re.match(r"cos\b", method) is not None


def of_budget(results: Sequence[Result], budget: Budget) -> list[Result]:
    """Results of one budget, in their order.

    With equal time, the conditioned runs with full steps are their own measure: they stand in where they were not
    given again, unless nothing else has that budget.
    """
    chosen = [result for result in results if result.budget == budget]
    if budget == "time" and chosen:
        given = {result.front.method for result in chosen}
        own = [r for r in results if r.budget == "steps" and conditioned(r.front.method)]
        chosen = [result for result in own if result.front.method not in given] + chosen
    return chosen


def summarise(results: Sequence[Result], failures: Mapping[str, str] | None = None) -> Comparison:
    """Mean and deviation over the seeds of all that is compared.

    Raises:
        InputError: nothing was measured with full steps.
    """
    steps = of_budget(results, "steps")
    if not steps:
        reasons = "; ".join(f"{what}: {why}" for what, why in (failures or {}).items())
        raise InputError(f"no method has a result to compare{f' ({reasons})' if reasons else ''}; mend its runs first")
    first = results[0].front
    by_seed = {result.front.seed: result.front for result in reversed(results)}
    seeds = sorted(by_seed)
    reference = {name: [by_seed[seed].metrics[name].reference_point for seed in seeds] for name in first.metrics}
    bases = {name: [by_seed[seed].metrics[name].base for seed in seeds] for name in first.metrics}
    return Comparison(
        task=first.task,
        objectives=first.objectives,
        seeds=seeds,
        higher_is_better={name: metric.higher_is_better for name, metric in first.metrics.items()},
        main_metric=main_metric(first),
        reference_point={name: np.mean(points, axis=0).tolist() for name, points in reference.items()},
        reference_point_seeds=reference,
        base={name: np.mean(points, axis=0).tolist() for name, points in bases.items()},
        methods=_methods(steps),
        equal_time=_methods(of_budget(results, "time")),
        failures=dict(failures or {}),
    )


def _methods(results: Sequence[Result]) -> dict[str, MethodSummary]:
    """The methods in their order of appearance."""
    union = {
        (seed, name): np.concatenate([r.front.gains(name) for r in results if r.front.seed == seed])
        for seed in {result.front.seed for result in results}
        for name in results[0].front.metrics
    }
    targets = {key: points[indicators.non_dominated(points)] for key, points in union.items()}

    def method(name: str) -> MethodSummary:
        own = sorted((r for r in results if r.front.method == name), key=lambda result: result.front.seed)
        fronts = [result.front for result in own]
        metrics = {metric: [front.metrics[metric] for front in fronts] for metric in fronts[0].metrics}

        def over_seeds(figure: Callable[[Metric], float | None]) -> dict[str, Statistic]:
            figures = {name: [figure(metric) for metric in seeds] for name, seeds in metrics.items()}
            known = {name: [value for value in of if value is not None] for name, of in figures.items()}
            return {name: Statistic.of(of) for name, of in known.items() if len(of) == len(fronts)}

        return MethodSummary(
            seeds=[front.seed for front in fronts],
            runs=max(result.runs for result in own),
            train_seconds_total=Statistic.of([front.train_seconds_total for front in fronts]),
            trained_parameters=max(front.trained_parameters for front in fronts),
            peak_memory_bytes=max(result.peak_memory for result in own),
            hypervolume=over_seeds(lambda metric: metric.hypervolume),
            hypervolume_held_out=over_seeds(lambda metric: metric.hypervolume_deviation),
            hypervolume_curve=_along_curves(fronts),
            hypervolume_pairs={key: _pairs(fronts, key) for key in metrics} if len(fronts[0].objectives) > 2 else {},
            igd_plus={
                key: Statistic.of([indicators.igd_plus(f.gains(key), targets[f.seed, key]) for f in fronts])
                for key in metrics
            },
            spread=over_seeds(lambda metric: metric.spread),
            non_dominated=over_seeds(lambda metric: metric.non_dominated),
            controllability={
                key: Statistics.of([metric.controllability for metric in seeds]) for key, seeds in metrics.items()
            },
            main=_main(fronts),
        )

    return {name: method(name) for name in dict.fromkeys(result.front.method for result in results)}


def _along_curves(fronts: Sequence[Front]) -> dict[str, Statistic]:
    curves = [front.curve.metrics for front in fronts if front.curve is not None]
    names = curves[0] if len(curves) == len(fronts) else {}
    return {name: Statistic.of([curve[name].hypervolume for curve in curves]) for name in names}


def _pairs(fronts: Sequence[Front], metric: str) -> dict[str, Statistic]:
    """Hypervolume in every two objectives, with all points of the front and the same reference."""
    sign = 1 if fronts[0].metrics[metric].higher_is_better else -1
    by_pair = {}
    for pair in combinations(range(len(fronts[0].objectives)), 2):
        volumes = [
            indicators.hypervolume(
                front.gains(metric)[:, pair], sign * np.array(front.metrics[metric].reference_point)[list(pair)]
            )
            for front in fronts
        ]
        by_pair[", ".join(fronts[0].objectives[j] for j in pair)] = Statistic.of(volumes)
    return by_pair


def _main(fronts: Sequence[Front]) -> MainSummary | None:
    mains = [front.main for front in fronts if front.main is not None]
    if not mains:
        return None
    sign = 1 if mains[0].higher_is_better else -1
    return MainSummary(
        name=mains[0].name,
        metric=mains[0].metric,
        higher_is_better=mains[0].higher_is_better,
        base=Statistic.of([main.base for main in mains]),
        mean=Statistic.of([float(np.mean(main.values)) for main in mains]),
        worst=Statistic.of([sign * float(main.gains.min()) for main in mains]),
        best=Statistic.of([sign * float(main.gains.max()) for main in mains]),
    )
