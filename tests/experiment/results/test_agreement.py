"""Results that do not belong together are refused by name."""

from __future__ import annotations

import pytest

from cosdpo.errors import InputError
from cosdpo.experiment.results.agreement import check
from cosdpo.experiment.results.result import Result
from tests.fake_results import result


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (result("cos"), "cos has two results of seed 0"),
        (result("soup", base=0.1), "cos and soup of seed 0 differ in accuracy's reference point"),
        (result("soup", objectives=["kind", "long"]), "differ in objectives"),
        (result("soup", loss=True), "differ in metrics"),
        (result("soup", main="relevance"), "differ in the task: language and ranking"),
    ],
)
def test_refuses(other: Result, says: str) -> None:
    with pytest.raises(InputError, match=says):
        check([result("cos"), other])


def test_seeds_may_have_bases_of_their_own() -> None:
    check([result(method, seed, base=0.1 * seed) for method in ("cos", "soup") for seed in (0, 1)])
    check([result("cos"), result("cos", budget="time")])
