"""What a comparison shows, in plain words that follow from its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cosdpo.evaluation.numbers import listed, short
from cosdpo.experiment.results.by_weight import WeightComparison
from cosdpo.experiment.results.statistics import Difference, difference, over_seeds
from cosdpo.experiment.results.summary import Comparison, MethodSummary, conditioned

Methods = dict[str, MethodSummary]


@dataclass(frozen=True)
class Duel:
    """The subject against its strongest rival in one metric."""

    metric: str
    rival: str
    volume: Difference
    """Of the hypervolumes."""
    time: Difference
    """Of the total training times."""


def subject(comparison: Comparison) -> str:
    """The method that is judged: cos, else the best conditioned one, else the best of all."""
    methods, metric = comparison.methods, comparison.main_metric
    candidates = [name for name in methods if conditioned(name)] or list(methods)
    return "cos" if "cos" in candidates else max(candidates, key=lambda name: methods[name].hypervolume[metric].mean)


def rivals(comparison: Comparison) -> list[str]:
    """What the subject is judged against: the baselines, or all others where there are none."""
    others = [name for name in comparison.methods if name != subject(comparison)]
    return [name for name in others if not conditioned(name)] or others


def duel(comparison: Comparison, metric: str, methods: Methods | None = None) -> Duel | None:
    """The subject against the rival with the largest mean hypervolume; None without a rival."""
    methods = comparison.methods if methods is None else methods
    own, others = subject(comparison), [name for name in rivals(comparison) if name in methods]
    if own not in methods or not others:
        return None
    best = max(others, key=lambda name: methods[name].hypervolume[metric].mean)
    volume = difference(methods[own].volumes(metric), methods[best].volumes(metric))
    return Duel(metric, best, volume, difference(methods[own].seconds, methods[best].seconds))


def headline(comparison: Comparison) -> str:
    """One sentence: does the conditioned run reach what the best baseline reaches, and in what time?"""
    fight = duel(comparison, comparison.main_metric)
    own = phrase(comparison, subject(comparison))
    if fight is None:
        return _capital(f"{own} and nothing to compare it with.")
    reach, stay = ("reach", "stay") if own.endswith("runs") and not own.startswith("the") else ("reaches", "stays")
    volume, rival = fight.volume, phrase(comparison, fight.rival)
    many = comparison.methods[fight.rival].runs > 1
    time = f"in {_times(fight.time.ratio)} {'their' if many else 'its'} training time" if fight.time.ratio else ""
    ending = f", {time}." if time else "."
    if volume.seeds == 0:
        return _capital(f"{own} and {rival} share no seed, so that they cannot be compared.")
    if volume.ratio is None:
        mine = comparison.methods[subject(comparison)].hypervolume[fight.metric].mean
        if mine == 0:
            return _capital(f"neither {own} nor {rival} has any point beyond the reference point.")
        return _capital(f"{own} {reach} beyond the reference point in every objective at once, {rival} nowhere.")
    ratio = _times(volume.ratio)
    if volume.standing == "within":
        return (
            f"No difference beyond the seeds\u2019 deviation: {own} {reach} {ratio} the hypervolume of {rival}{ending}"
        )
    if volume.standing == "below":
        amount = f"{ratio} {'their' if many else 'its'} hypervolume, beyond the deviation of {volume.seeds} seeds"
        return _capital(f"{own} {stay} below {rival}: {amount}{ending}")
    before = "on one seed, " if volume.standing == "unknown" else ""
    return _capital(f"{before}{own} {reach} {ratio} the hypervolume of {rival}{ending.removeprefix(',')}")


def findings(comparison: Comparison, rows: Sequence[WeightComparison]) -> list[str]:
    """A few sentences under the headline: figures and deviation, other baselines and metrics, weights, equal time.

    Args:
        rows: the main metric weight by weight.
    """
    leading = comparison.main_metric
    metrics = [leading, *(name for name in comparison.higher_is_better if name != leading)]
    figures = [_figures(comparison, fight) for name in metrics if (fight := duel(comparison, name))]
    sentences = [*figures[:1], *_others(comparison, leading), *_in_pairs(comparison, leading), *figures[1:]]
    if comparison.equal_time and (fight := duel(comparison, leading, comparison.equal_time)) and fight.volume.ratio:
        sentences.append(
            f"Given equal training time, it reaches {_times(fight.volume.ratio)} the hypervolume of "
            f"the {best_of(comparison)}, {fight.rival}{_standing(fight.volume)}."
        )
    sentences += [sentence] if (sentence := beaten(comparison, rows)) else []
    if any(method.seeds != comparison.seeds for method in comparison.methods.values()):
        uneven = [f"{name} {listed([str(s) for s in m.seeds])}" for name, m in comparison.methods.items()]
        sentences.append(f"Not every method has every seed ({'; '.join(uneven)}): ratios are over the shared seeds.")
    if comparison.failures:
        count = len(comparison.failures)
        sentences.append(f"Not all could be measured: {count} failure{'s are' if count > 1 else ' is'} listed below.")
    return sentences


def beaten(comparison: Comparison, rows: Sequence[WeightComparison]) -> str:
    """One sentence: at how many weights is the subject inferior to a rival in every objective?"""
    own, count = subject(comparison), sum(subject(comparison) in row.methods for row in rows)
    if not rivals(comparison) or not count:
        return ""
    m = len(comparison.objectives)
    every = {1: "the objective", 2: "both objectives"}.get(m, f"all {m} objectives")
    lost = sum(bool(row.beaten_by) for row in rows)
    word = "a baseline" if best_of(comparison) == "best baseline" else "another method"
    margin = " by more than the seeds\u2019 deviation" if len(comparison.methods[own].seeds) > 1 else " (one seed)"
    if lost == 0:
        return f"At none of the {count} weights is {own} worse than {word} in {every}{margin}."
    return f"At {lost} of {count} weights {own} is worse than {word} in {every}{margin}."


def best_of(comparison: Comparison) -> str:
    """What the strongest rival is called."""
    baselines = conditioned(subject(comparison)) and not conditioned(rivals(comparison)[0])
    return "best baseline" if baselines else "best of the others"


def phrase(comparison: Comparison, name: str) -> str:
    """A method as one says it in a sentence: one conditioned run, 11 single-weight runs."""
    runs = comparison.methods[name].runs
    plural = "s" if runs > 1 else ""
    if conditioned(name):
        variant = name.removeprefix("cos").strip(" ,")
        return f"{'one' if runs == 1 else runs} conditioned run{plural}{f' ({variant})' if variant else ''}"
    return {
        "linear_scalarization": f"{runs} single-weight run{plural}",
        "soup": f"the soup of {runs} single-objective run{plural}",
        "modpo": f"MO-DPO\u2019s {runs} run{plural}",
    }.get(name, f"{name} ({runs} run{plural})")


def _figures(comparison: Comparison, fight: Duel) -> str:
    """The hypervolumes behind one ratio."""
    own = comparison.methods[subject(comparison)].hypervolume[fight.metric]
    other = comparison.methods[fight.rival].hypervolume[fight.metric]
    several = f"the {best_of(comparison)}, " if len(rivals(comparison)) > 1 else ""
    ratio, leading = fight.volume.ratio, fight.metric == comparison.main_metric
    ending = f": {_times(ratio, alone=True)}{_standing(fight.volume, True, leading)}" if ratio else ""
    return (
        f"In {fight.metric}, the hypervolume is {over_seeds(own)} against {over_seeds(other)} of {several}{fight.rival}"
        f"{ending}."
    )


def _others(comparison: Comparison, metric: str) -> list[str]:
    """The ratios to the other rivals, as one sentence."""
    fight, own = duel(comparison, metric), comparison.methods[subject(comparison)]
    parts = []
    for name in rivals(comparison):
        if fight and name != fight.rival:
            other = difference(own.volumes(metric), comparison.methods[name].volumes(metric))
            if other.ratio:
                parts.append(f"{_times(other.ratio)} that of {name}{_standing(other)}")
    return [f"It is {listed(parts)}."] if parts else []


def _in_pairs(comparison: Comparison, metric: str) -> list[str]:
    """The ratios to all rivals in two objectives at a time, as one sentence; none with two objectives."""
    own = comparison.methods[subject(comparison)]
    if not own.hypervolume_pairs:
        return []
    parts = []
    for name in rivals(comparison):
        methods = own, comparison.methods[name]
        against = difference(*(dict(zip(m.seeds, m.over_pairs(metric).seeds, strict=True)) for m in methods))
        if against.ratio:
            parts.append(f"{_times(against.ratio, alone=True)} that of {name}{_standing(against)}")
    return [f"Seen in two objectives at a time, it is on average {listed(parts)}."] if parts else []


def _standing(against: Difference, sure: bool = False, unknown: bool = False) -> str:
    """How certain a ratio is, as an aside; certainty is said only if `sure`, a lack of seeds only if `unknown`."""
    if against.standing == "within":
        return " (within the seeds\u2019 deviation)"
    if against.standing == "unknown":
        return " (one seed: nothing can be said about deviation)" if unknown else ""
    return ", beyond the seeds\u2019 deviation" if sure else ""


def _times(ratio: float | None, alone: bool = False) -> str:
    """A ratio before a noun, `1.21 times` or `0.94 of`; alone, `1.21 times` and `0.94 times`."""
    if ratio is None:
        return "an unknown share of"
    text = f"{ratio:.2f}" if 0.1 <= ratio < 10 else short(ratio)
    return f"{text} {'times' if alone or round(ratio, 2) >= 1 else 'of'}"


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
