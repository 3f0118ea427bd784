"""The sentences follow from the figures: hypervolumes here are 0.375 times the square of a method's quality."""

from __future__ import annotations

import pytest

from cosdpo.experiment.results.by_weight import table
from cosdpo.experiment.results.result import Result
from cosdpo.experiment.results.summary import summarise
from cosdpo.reports.verdict import findings, headline
from tests.fake_results import field, result

SECONDS = {"cos": 60.0, "linear_scalarization": 500.0, "soup": 120.0}
STEADY = (0.999, 1.0, 1.001)


def times(quality: float) -> list[float]:
    return [quality * x for x in STEADY]


def says(results: list[Result], failures: dict[str, str] | None = None) -> tuple[str, str]:
    comparison = summarise(results, failures)
    own = next(iter(comparison.methods))
    rows = table(results, comparison.main_metric, own, [name for name in comparison.methods if name != own])
    return headline(comparison), " ".join(findings(comparison, rows))


def test_clear_win() -> None:
    first, rest = says(field({"cos": times(1.1), "soup": times(0.9), "linear_scalarization": times(1.0)}, SECONDS))
    assert first == (
        "One conditioned run reaches 1.21 times the hypervolume of 5 single-weight runs in 0.12 of their training time."
    )
    # 0.375 * 1.21 = 0.454; its deviation is 2 * 0.001 of it; 1.21 / 0.81 = 1.49
    assert rest == (
        "In accuracy, the hypervolume is 0.454 ± 0.001 against 0.375 ± 0.001 of the best baseline, "
        "linear_scalarization: 1.21 times, beyond the seeds\u2019 deviation. It is 1.49 times that of soup. At none of "
        "the 5 weights is cos worse than a baseline in both objectives by more than the seeds\u2019 deviation."
    )


def test_two_objectives_at_a_time() -> None:
    qualities = {"cos": times(1.1), "linear_scalarization": times(1.0), "soup": times(0.9)}
    assert "two objectives at a time" not in says(field(qualities, SECONDS))[1]
    first, rest = says(
        [
            result(method, seed, quality, objectives=("kind", "brief", "vivid"))
            for method, per_seed in qualities.items()
            for seed, quality in enumerate(per_seed)
        ]
    )
    assert first.startswith("Neither one conditioned run nor")  # every point has an objective at the reference
    # Volumes go with the square of the quality here too, whatever the pair.
    assert "Seen in two objectives at a time, it is on average 1.21 times that of linear_scalarization and" in rest
    assert "1.49 times that of soup." in rest


def test_within_deviation() -> None:
    first, rest = says(field({"cos": [0.9, 1.0, 1.1], "linear_scalarization": [0.95, 1.05, 1.1]}, SECONDS))
    assert first.startswith("No difference beyond the seeds\u2019 deviation: one conditioned run reaches 0.9")
    assert first.endswith(" of the hypervolume of 5 single-weight runs, in 0.12 of their training time.")
    assert "(within the seeds\u2019 deviation)" in rest
    assert "best baseline" not in rest  # there is one only


def test_clear_loss() -> None:
    first, rest = says(field({"cos": times(0.9), "linear_scalarization": times(1.0)}, SECONDS))
    assert first == (
        "One conditioned run stays below 5 single-weight runs: 0.81 of their hypervolume, beyond the deviation of 3 "
        "seeds, in 0.12 of their training time."
    )
    # at the ends one of the two values is 0 for both, so that cos is worse in one objective only
    assert "At 3 of 5 weights cos is worse than a baseline in both objectives by more than the seeds" in rest


def test_one_seed() -> None:
    first, rest = says(field({"cos": [1.1], "linear_scalarization": [1.0], "soup": [0.9]}, SECONDS))
    assert first.startswith("On one seed, one conditioned run reaches 1.21 times the hypervolume of")
    assert rest.count("nothing can be said about deviation") == 1
    assert "in both objectives (one seed)." in rest
    assert "\u00b1" not in rest


def test_missing_methods() -> None:
    first, _ = says(field({"cos": times(1.0)}))
    assert first == "One conditioned run and nothing to compare it with."
    first, _ = says(field({"soup": times(1.1), "modpo": times(1.0)}))
    assert first.startswith("The soup of 2 single-objective runs reaches 1.21 times the hypervolume of MO-DPO\u2019s 6")
    first, _ = says(field({"linear_scalarization": times(0.9), "soup": times(1.0)}))
    assert first.startswith("The soup of 2 single-objective runs reaches 1.23 times the hypervolume of 5 single-weight")
    first, _ = says(field({"linear_scalarization": times(1.1), "soup": times(1.0)}))
    assert first.startswith("5 single-weight runs reach 1.21 times the hypervolume of the soup of 2 single-objective")
    missing = [one for one in field({"cos": times(1.1), "soup": times(1.0)}) if one.front.seed < 2]
    _, rest = says([*missing, result("cos", 2, 1.1)], {"soup, seed 2": "died", "modpo": "died"})
    assert "Not every method has every seed (cos 0, 1 and 2; soup 0 and 1)" in rest
    assert "Not all could be measured: 2 failures are listed below." in rest
    first, _ = says([result("cos", 0), result("soup", 1)])
    assert (
        first
        == "One conditioned run and the soup of 2 single-objective runs share no seed, so that they cannot be compared."
    )


def test_variants_of_cos_among_themselves() -> None:
    results = [
        result(name, seed, quality)
        for name, quality in (("cos, gated_lora", 1.1), ("cos, hyper_prompt", 1.0))
        for seed in (0, 1)
    ]
    first, rest = says(results)
    assert first == (
        "One conditioned run (gated_lora) reaches 1.21 times the hypervolume of one conditioned run (hyper_prompt) in "
        "1.00 times its training time."
    )
    assert "baseline" not in rest


def test_nothing_beyond_the_reference_point() -> None:
    assert says(field({"cos": [1, 1], "soup": [0, 0]}))[0] == (
        "One conditioned run reaches beyond the reference point in every objective at once, the soup of 2 "
        "single-objective runs nowhere."
    )
    assert says(field({"cos": [0, 0], "soup": [0, 0]}))[0].startswith("Neither one conditioned run nor the soup")


def test_equal_time_and_other_metrics() -> None:
    steps = [result(name, seed, q, loss=True) for name, q in (("cos", 1.1), ("soup", 1.0)) for seed in (0, 1)]
    results = [*steps, *(result("soup", seed, 0.55, budget="time", loss=True) for seed in (0, 1))]
    _, rest = says(results)
    # (1.1 / 0.55)^2
    assert "Given equal training time, it reaches 4.00 times the hypervolume of the best baseline, soup." in rest
    assert "In loss, the hypervolume is 0.454 ± 0.000 against 0.375 ± 0.000 of soup: 1.21 times" in rest


@pytest.mark.parametrize(("m", "every"), [(1, "the objective"), (2, "both objectives"), (3, "all 3 objectives")])
def test_every_objective(m: int, every: str) -> None:
    names = ["a", "b", "c"][:m]
    results = [result(name, objectives=names) for name in ("cos", "soup")]
    assert every in says(results)[1]
