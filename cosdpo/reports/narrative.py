"""What a front shows, in plain words."""

from __future__ import annotations

import numpy as np

from cosdpo.evaluation.front import Front, Main, main_metric
from cosdpo.evaluation.numbers import listed, number, seconds, short

STEERED = 0.9
"""Controllability from which the weights are said to steer an objective."""


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
    sentences += behind(front)
    if front.main is not None:
        sentences.append(_price(front.main))
    return sentences


def behind(front: Front) -> list[str]:
    """A sentence with every metric by which objectives end worse at their own end than the base, and what to change;
    none where there is no such metric.
    """
    parts = []
    for name, metric in front.metrics.items():
        gains, sign = front.gains(name), 1 if metric.higher_is_better else -1
        worse = []
        for j, objective in enumerate(front.objectives):
            ends = gains[np.isclose(front.weights[:, j], 1), j]
            if len(ends) and ends.mean() < sign * metric.base[j]:
                worse.append(f"{objective} ({number(sign * ends.mean())}, base {number(metric.base[j])})")
        if worse:
            parts.append(f"the {name} of {listed(worse)}")
    if not parts:
        return []
    return [
        f"At its own end {listed(parts)} {'is' if len(parts) == 1 else 'are'} worse than the base's: lower "
        "training.learning_rate or training.steps, or give more data."
    ]


def _price(main: Main) -> str:
    """One sentence: what the trade-offs do to the main objective."""
    low, high = number(min(main.values)), number(max(main.values))
    opening = f"The price: {main.name} {main.metric} goes from {number(main.base)} (base) to {low}"
    if low == high:
        return f"{opening}{' at every trade-off' if len(main.values) > 1 else ''}."
    return f"{opening} at its lowest and {high} at its highest trade-off."
