"""What a front shows, in plain words, and the numbers of the report as people write them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosdpo.evaluation.front import Front, Main

STEERED = 0.9
"""Controllability from which the weights are said to steer an objective."""

_PREFERRED = ("accuracy", "ndcg@10", "reward", "loss")


def main_metric(front: Front) -> str:
    """The metric that the headline is about: accuracy, NDCG, reward or loss, the first that was measured."""
    return next((name for name in _PREFERRED if name in front.metrics), next(iter(front.metrics)))


def headline(front: Front) -> str:
    """One sentence: do the weights steer, and how far does each objective move between its ends?"""
    name = main_metric(front)
    values, names = front.values(name), front.objectives
    if len(front.points) == 1:
        return f"One trade-off: {listed([f'{n} {name} {short(x)}' for n, x in zip(names, values[0], strict=True)])}."
    steered = [n for n, rho in zip(names, front.metrics[name].controllability, strict=True) if rho >= STEERED]
    if not steered:
        return f"The weights do not steer {listed(names)} reliably."
    if len(steered) < len(names):
        return (
            f"The weights steer {listed(steered)}, but not reliably {listed([n for n in names if n not in steered])}."
        )
    moves = {}
    for j, w in enumerate(front.weights.T):  # with 3 objectives and more, several points share the smallest weight
        low, high = float(values[w == w.min(), j].mean()), float(values[w == w.max(), j].mean())
        moves[f"{names[j]} {name} from {short(low)} to {short(high)}"] = abs(high - low)
    if len(names) <= 3:
        every = {1: "the objective", 2: "both objectives"}.get(len(names), f"all {len(names)} objectives")
        return f"The weights steer {every}: {listed(list(moves))}."
    widest, narrowest = (choose(moves, key=lambda move: moves[move]) for choose in (max, min))
    if widest == narrowest:
        return f"The weights steer all {len(names)} objectives alike: {widest}."
    return f"The weights steer all {len(names)} objectives: most {widest}, least {narrowest}."


def findings(front: Front) -> list[str]:
    """A few sentences under the headline: cost, gain over the base model, where the steering is weak, and its price."""
    name = main_metric(front)
    metric, gains, count = front.metrics[name], front.gains(name), len(front.points)
    base = np.array(metric.base) if metric.higher_is_better else -np.array(metric.base)
    better = int((gains > base).all(axis=1).sum())
    run = "One training run of" if front.train_seconds_total <= front.train_seconds else "Training runs of together"
    share = {count: "All of them beat", 0: "None of them beats"}.get(better, f"{better} of them beat")
    sentences = [
        f"{run} {seconds(front.train_seconds_total)} gave {count} measured trade-off{'s' if count > 1 else ''}.",
        f"{share} the base model's {name} in every objective at once, and {metric.non_dominated} of {count} are "
        "non-dominated: no other is at least as good everywhere and better somewhere.",
    ]
    weak = [n for n, rho in zip(front.objectives, metric.controllability, strict=True) if rho < STEERED]
    if weak and count > 1:
        sentences.append(f"The rank correlation of weight and {name} stays under {STEERED:g} for {listed(weak)}.")
    if front.main is not None:
        sentences.append(_price(front.main))
    return sentences


def _price(main: Main) -> str:
    """One sentence: what the trade-offs do to the main objective."""
    low, high = number(min(main.values)), number(max(main.values))
    opening = f"The price: {main.name} {main.metric} goes from {number(main.base)} (base) to {low}"
    if low == high:
        return f"{opening}{' at every trade-off' if len(main.values) > 1 else ''}."
    return f"{opening} at its lowest and {high} at its highest trade-off."


def over_folds(values: Sequence[float]) -> str:
    """Mean and sample standard deviation over the folds, 0.0123 ± 0.0045; of a single fold its value alone."""
    mean = number(float(np.mean(values)))
    return f"{mean} ± {short(float(np.std(values, ddof=1)))}" if len(values) > 1 else mean


def number(value: float) -> str:
    """A measured value with three decimals, more for the small and none for the large: 0.735, 0.0473, 98,304."""
    size = abs(value)
    text = f"{value:,.0f}" if size >= 1000 else f"{value:.3f}" if size >= 0.1 else f"{value:.3g}" if size else "0"
    return text.replace("-", "\u2212")


def short(value: float) -> str:
    """A value as one says it in a sentence, with two or three digits: 0.73, 0.1, 12, 158."""
    size = abs(value)
    return (f"{value:,.0f}" if size >= 100 else f"{value:.3g}" if size >= 1 else f"{value:.2g}").replace("-", "\u2212")


def seconds(value: float) -> str:
    """A duration as people say it: 4.2 s, 42 s, 2 min 38 s, 3 h 05 min."""
    whole = round(value)
    if whole < 60:
        return f"{value:.1f} s" if value < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def listed(items: Sequence[str]) -> str:
    """The items in a sentence: a, b and c."""
    return " and ".join(part for part in (", ".join(items[:-1]), *items[-1:]) if part)
