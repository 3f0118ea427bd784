"""Results that are compared must belong together: the same objectives and metrics, judged from the same place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front
from cosdpo.experiment.results.result import Result


def check(results: Sequence[Result]) -> None:
    """Refuse results that cannot be compared.

    Reference points and base values must agree within a seed: methods of one seed start from one base model and are
    judged on the same data, while seeds may have base models of their own.

    Raises:
        InputError: two results differ in what they measured or from where they are judged, or one is there twice.
    """
    seen: set[tuple[str, str, int]] = set()
    first_of: dict[int, Front] = {}
    for result in results:
        front = result.front
        key = (result.budget, front.method, front.seed)
        if key in seen:
            raise InputError(f"{front.method} has two results of seed {front.seed}; give one for each budget")
        seen.add(key)
        _same_kind(results[0].front, front)
        _same_place(first_of.setdefault(front.seed, front), front)


def _same_kind(first: Front, front: Front) -> None:
    for what, expected, actual in (
        ("the task", first.task, front.task),
        ("objectives", first.objectives, front.objectives),
        ("metrics", _directions(first), _directions(front)),
        ("the main objective", _main(first), _main(front)),
    ):
        if expected != actual:
            raise InputError(
                f"{first.method} (seed {first.seed}) and {front.method} (seed {front.seed}) differ in {what}: "
                f"{expected} and {actual}; compare runs of one configuration"
            )


def _directions(front: Front) -> dict[str, str]:
    return {name: "more" if metric.higher_is_better else "less" for name, metric in sorted(front.metrics.items())}


def _main(front: Front) -> tuple[str, str, bool] | None:
    return None if front.main is None else (front.main.name, front.main.metric, front.main.higher_is_better)


def _same_place(first: Front, front: Front) -> None:
    for name, metric in front.metrics.items():
        for what in ("reference_point", "base"):
            expected, actual = getattr(first.metrics[name], what), getattr(metric, what)
            if not np.allclose(
                expected, actual, rtol=1e-3, atol=1e-9
            ):  # evaluation on several devices rounds differently
                raise InputError(
                    f"{first.method} and {front.method} of seed {front.seed} differ in {name}'s "
                    f"{what.replace('_', ' ')}: {expected} and {actual}; evaluate both on the same data "
                    "from one base model"
                )
